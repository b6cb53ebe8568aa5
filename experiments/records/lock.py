"""One process per run: the lock on a run's folder.

A record lock (fcntl.lockf), since forked processes that load clips do not inherit it and cannot outlive it. The library
`filelock` takes flock, which forked processes share with their parent, and does not say who holds a lock.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.records.world import rank

try:
    import fcntl
except ImportError:  # Windows has no fcntl: nothing keeps two processes from making the same run there
    fcntl = None


LOCK = "lock"
HELD = (BlockingIOError, PermissionError)  # raised for a lock that another process holds
PATIENCE = 2.0  # seconds; a lock that another process only looks at is free again by then


class Busy(ValueError):
    """Another process makes this run."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder. The system frees it when this process ends, in whatever way. Raises Busy.

    A lock file that a dead process left behind is free.
    """
    if fcntl is None or rank() > 0:  # the first process of a run holds the lock for all
        yield
        return
    with (folder / LOCK).open("a+") as file:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except HELD:
                if time.monotonic() > deadline:
                    raise Busy(f"{folder.name} is being run by {holder(folder)}; wait for it, or stop it") from None
                time.sleep(0.05)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


def holder(folder: Path) -> str | None:
    """Which living process makes the run of a folder, or None. Not for a folder that this process holds itself."""
    try:
        with (folder / LOCK).open() as file:
            try:
                if fcntl is not None:
                    fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # others can look at the same time
                return None
            except HELD:
                return file.read() or "another process"
    except OSError:  # there is no lock, or the disk knows none
        return None
