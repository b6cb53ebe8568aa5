"""Stopping a process by a signal."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType


class Stopped(BaseException):
    """A signal asked this process to stop. No KeyboardInterrupt: of that, Lightning makes an exit of its own."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


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
