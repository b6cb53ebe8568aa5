"""The process of a run: that no other makes the same run meanwhile, and that it can be stopped at any moment."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import FrameType

try:
    import fcntl
except ImportError:  # not on Windows: there, nothing keeps two processes from making the same run
    fcntl = None

LOCK = "lock"
PATIENCE = 2.0  # seconds in which a lock that is only being looked at is free again


# What a point would else import anew: that of W&B alone takes two seconds.
PRELOADED = ["experiments.training", "wandb", "wandb.sdk.launch"]


class Busy(ValueError):
    """Another process makes this run."""


class Stopped(BaseException):
    """A signal asked this process to stop. No KeyboardInterrupt: of that, Lightning makes an exit of its own."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


def point_server() -> ForkServerContext:
    """Start the server that points are forked from, which has imported everything once, unless it runs already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    return context


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder. The system frees it when this process ends in whatever way. Raises Busy.

    The lock is on the file, not on its being there: what a dead process leaves behind is free.
    """
    if fcntl is None or os.environ.get("LOCAL_RANK", "0") != "0":  # other processes of a run share its first one's lock
        yield
        return
    with (folder / LOCK).open("a+") as file:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                # A record lock: forked processes that load clips do not inherit it, and so cannot outlive it.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise Busy(f"{folder.name} is being run by {holder(folder)}; wait for it, or stop it") from None
                time.sleep(0.05)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


def holder(folder: Path) -> str | None:
    """Which living process makes the run of a folder, None for none. Not for a folder that this process holds."""
    try:
        with (folder / LOCK).open("r+") as file:
            with suppress(OSError):
                if fcntl is None:
                    return None
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return None
            return file.read() or "another process"
    except OSError:
        return None


def stop_on_signals() -> None:
    """Make Ctrl-C and SIGTERM raise Stopped in this process, once: what ends a run must not be interrupted too."""
    process, stopping = os.getpid(), False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if os.getpid() != process:  # a forked one, which loads clips
            os._exit(128 + signum)
        if not stopping:
            stopping = True
            raise Stopped(signum)

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)
