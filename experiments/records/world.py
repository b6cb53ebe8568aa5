"""Which of a run's processes this one is, and who started them: asked of Lightning, in this place only.

A run on several devices has one process for each. Lightning starts them itself, or torchrun, SLURM, LSF or MPI did.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.fabric.plugins.environments import ClusterEnvironment

# What launchers say to the processes that they start.
NAMES = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK")
PREFIXES = ("MASTER_", "TORCHELASTIC_", "SLURM_", "LSB_", "OMPI_", "PMI_", "PMIX_")


def launch_words() -> list[str]:
    """The environment variables of this process that a launcher set."""
    return [name for name in os.environ if name in NAMES or name.startswith(PREFIXES)]


def forget_launcher() -> None:
    """Make this process one of its own: a point of a sweep is no part of the world that the sweep was started in."""
    for name in launch_words():
        del os.environ[name]


def environment() -> ClusterEnvironment:
    """Lightning's view of who started this process. It never puts a SLURM job back into the queue.

    Lightning would save a checkpoint of its own for that, and load it later unasked.
    """
    from lightning.fabric.plugins import environments as known

    if known.TorchElasticEnvironment.detect():  # also used inside SLURM
        return known.TorchElasticEnvironment()
    if known.SLURMEnvironment.detect():
        # Lightning asks for these, which a job's script may lack. A run uses one machine.
        tasks = os.environ["SLURM_NTASKS"]
        for name, usual in (("SLURM_NTASKS_PER_NODE", tasks), ("SLURM_PROCID", "0"), ("SLURM_LOCALID", "0")):
            os.environ.setdefault(name, usual)
        return known.SLURMEnvironment(auto_requeue=False)
    for other in (known.LSFEnvironment, known.MPIEnvironment):
        if other.detect():
            return other()
    return known.LightningEnvironment()


def rank() -> int:
    """The number of this process among those of its run, 0 for the first."""
    return _place()[0]


def check_world(devices: int) -> None:
    """Raise ValueError if a launcher started more or fewer processes of a run than it has devices."""
    world = _place()[1]
    if world not in (None, devices):
        names = ("LOCAL_RANK", "WORLD_SIZE", "SLURM_NTASKS")
        said = " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
        raise ValueError(
            f"trainer.devices={devices}: a launcher says that this run has {world} processes ({said}); set "
            f"trainer.devices={world}, or unset these variables"
        )


def _place() -> tuple[int, int | None]:
    """The rank of this process, and how many processes there are; None if Lightning starts the others itself."""
    if not launch_words():
        return 0, None
    found = environment()
    if type(found).__name__ != "LightningEnvironment":
        return found.global_rank(), found.world_size()
    if not found.creates_processes_externally:
        return 0, None
    # Lightning counts its own processes only once it trains. They are all on this machine.
    return found.local_rank(), int(os.environ.get("WORLD_SIZE", 1))
