"""The process of a run: no other makes the same run meanwhile, and it can be stopped or killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import FrameType

try:
    import fcntl
except ImportError:  # not on Windows: there, nothing keeps two processes from making the same run
    fcntl = None

LOCK = "lock"
HELD = (BlockingIOError, PermissionError)  # what a lock that another process holds raises
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


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: it is replaced in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
            except HELD:
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
        with (folder / LOCK).open() as file:
            try:
                if fcntl is not None:
                    fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # others can look at the same time
                return None
            except HELD:
                return file.read() or "another process"
    except OSError:  # there is no lock, or the disk knows none
        return None


def end_with_rank_0() -> None:
    """In a process that Lightning started beside a run's first one: end when that does, however it does."""
    first = os.getppid()

    def watch() -> None:
        while os.getppid() == first:
            time.sleep(1)
        os._exit(1)

    if os.environ.get("LOCAL_RANK", "0") != "0":
        threading.Thread(target=watch, daemon=True).start()


def stop_on_signals() -> None:
    """Make Ctrl-C and SIGTERM raise Stopped in this process: at the first one, since what ends a run should not be
    interrupted too, unless someone insists with a third."""
    process, received = os.getpid(), 0

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if os.getpid() != process or received > 2:  # a forked process, which loads clips, or one that does not end
            os._exit(128 + signum)
        if received == 1:
            # Or PyTorch's handler makes an error of it that the processes that load clips end too.
            signal.signal(signal.SIGCHLD, lambda *_: None)
            raise Stopped(signum)

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)
