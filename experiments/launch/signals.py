"""Ending a process by a signal, or together with the process that started it."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType


class Stopped(BaseException):
    """A signal asked this process to stop. It is no KeyboardInterrupt: Lightning turns that into an exit of its own."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


def stop_on_signals() -> None:
    """Raise Stopped in this process at the first Ctrl-C or SIGTERM.

    A second signal changes nothing: what ends a run is not interrupted. A third one ends the process at once.
    """
    process, received = os.getpid(), 0

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if os.getpid() != process or received > 2:  # a forked process that loads clips, or one that does not end
            os._exit(128 + signum)
        if received == 1:
            # PyTorch's handler would report that the loading processes end too, as an error.
            signal.signal(signal.SIGCHLD, lambda *_: None)
            raise Stopped(signum)

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)


def end_with_rank_0() -> None:
    """End when the run's first process ends, if Lightning started this process beside it."""
    first = os.getppid()

    def watch() -> None:
        while os.getppid() == first:
            time.sleep(1)
        os._exit(1)

    if os.environ.get("LOCAL_RANK", "0") != "0":
        threading.Thread(target=watch, daemon=True).start()
