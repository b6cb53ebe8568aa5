"""Loading processes: whether their batches fit into shared memory, and what is wrong if one of them stops."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch.utils.data import DataLoader

from datamodules.clip_spec import ClipSpec
from datamodules.errors import DataError

PATIENCE = 120  # seconds to wait for a batch of a loading process
PREFETCH = 2  # batches that each loading process has ready, torch's default
SHARED_MEMORY = "/dev/shm"
REMEDY = "set trainer.workers=0, take smaller batches, or give the container more of it (docker run --shm-size=8g)"


class Loader(DataLoader):
    """A DataLoader that says in one line why its processes give no batch. Raises DataError."""

    def __iter__(self) -> Iterator[Any]:
        try:
            with _garbage_kept_apart() if self.num_workers else nullcontext():
                batches = super().__iter__()  # starts the processes
            yield from batches
        except RuntimeError as error:
            text = str(error)
            if "DataLoader timed out" in text:
                found = f"gave no batch for {self.timeout:g} s"
            elif "DataLoader worker" in text and "Caught" not in text:
                found = "ended by itself"
            else:
                raise
            free = f"{SHARED_MEMORY} has {_free_bytes() / 1e6:,.0f} MB free; {REMEDY}"
            raise DataError(f"trainer.workers={self.num_workers}: a loading process {found}; {free}") from error


@contextmanager
def _garbage_kept_apart() -> Iterator[None]:
    """Processes that are forked meanwhile never free what they inherit.

    A frame of PyAV would wait for its threads, which only the parent process has, without end.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def check_shared_memory(spec: ClipSpec, workers: int, clips: int) -> None:
    """Raise DataError if what loading processes have ready does not fit into shared memory.

    `clips` are those of one training batch and one test batch, since both kinds of processes stay.
    """
    pixels = spec.crop**2 * (3 * spec.frames + 2 * spec.flow_frames)  # a byte each
    needed, free = workers * PREFETCH * clips * pixels, _free_bytes()
    if needed > free:
        raise DataError(
            f"trainer.workers={workers}: the batches of the loading processes need {needed / 1e6:,.0f} MB of shared "
            f"memory, and {SHARED_MEMORY} has {free / 1e6:,.0f} MB free; {REMEDY}"
        )


def _free_bytes() -> float:
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:  # a system that shares memory otherwise
        return float("inf")
