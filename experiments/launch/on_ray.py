"""Points as tasks on a Ray cluster."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from datamodules.processes import ray_cluster
from experiments.launch.board import Board
from experiments.launch.point import Outcome, outcome_of, run_on_ray
from experiments.launch.processes import usual_jobs
from experiments.settings.schema import RunConfig

RETRIES = 3  # times that a point is tried again after its machine was lost


def points_on_ray(runs: Sequence[RunConfig], jobs: int | None, force: bool, board: Board) -> Iterator[Outcome]:
    """Run points on the Ray cluster that RAY_ADDRESS names, or on a Ray for `jobs` points started here.

    The machines of a cluster must see this folder, the data and the results under the same paths, and have this
    package. A task asks for the cores and GPUs that its point uses. Raises ValueError if no machine has these.
    """
    if not runs:
        return
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    with ray_cluster((jobs or usual_jobs(runs)) * max(map(_cores, runs)), show_output=True) as ray:
        for signum, handler in handlers.items():  # Ray sets its own
            signal.signal(signum, handler)
        asked = {run.id: _resources(run, ray) for run in runs}
        waiting, running, losses = list(runs), {}, Counter[str]()
        while waiting or running:
            while waiting and len(running) < (jobs or len(runs)):
                run = waiting.pop(0)
                # One worker process per point: a crash costs one point only.
                task = ray.remote(max_calls=1, max_retries=0, **asked[run.id])(run_on_ray)
                running[task.remote(run, force, os.getcwd())] = run
            for done in ray.wait(list(running))[0]:
                run = running.pop(done)
                try:
                    yield _outcome(run, *ray.get(done))
                except (ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError) as error:
                    losses[run.id] += 1
                    if losses[run.id] > RETRIES:
                        yield outcome_of(run, 1, _said(error))
                    else:
                        board.say(f"{run.id}: its machine was lost, so it is tried again")
                        waiting.append(run)
                except ray.exceptions.RayError as error:
                    yield outcome_of(run, 1, _said(error))


def _cores(run: RunConfig) -> int:
    return run.trainer.devices * (run.trainer.threads + run.trainer.workers)


def _resources(run: RunConfig, ray: Any) -> dict[str, int]:
    """The cores and GPUs of a point. Raises ValueError if no machine has them."""
    with_gpu = ray.cluster_resources().get("GPU", 0) and run.trainer.accelerator != "cpu"
    cores, gpus = _cores(run), run.trainer.devices if with_gpu else 0
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(machine.get("CPU", 0) >= cores and machine.get("GPU", 0) >= gpus for machine in machines):
        raise ValueError(
            f"{run.id} asks for {cores} cores and {gpus} GPUs, which no machine of the Ray cluster has; lower "
            "trainer.devices, trainer.threads or trainer.workers"
        )
    return {"num_cpus": cores, "num_gpus": gpus}


def _outcome(run: RunConfig, exit_code: int, why: str, machine: str) -> Outcome:
    if exit_code == 0 and not (run.folder / "record.json").exists():
        where = f"{machine}, whose {run.results} is not this one"
        return Outcome(run, 1, f"finished on {where}: copy runs/{run.id} from there")
    return outcome_of(run, exit_code, why)


def _said(error: Exception) -> str:
    return f"Ray says: {' '.join(str(error).split())[-500:]}"
