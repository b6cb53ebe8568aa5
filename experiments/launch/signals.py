"""Ending a process by a signal, or together with the process that started it."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from experiments.records.world import rank


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
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def end_with_parent() -> None:
    """End this process within a second of the end of the process that started it, however that ends."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_with_rank_0() -> None:
    """End with the process that started this one, if this is not the first process of a run."""
    if rank() > 0:
        end_with_parent()
