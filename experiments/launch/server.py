"""The server that the processes of runs are forked from."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext

# A run would import these anew. Importing W&B alone takes two seconds.
PRELOADED = ["experiments.training.train", "wandb", "wandb.sdk.launch"]


def point_server() -> ForkServerContext:
    """Start the fork server, unless it is there. It imports everything once, while this process goes on.

    SIGTERM, which a job queue sends to all processes, does not end the server: its points need time to end. They start
    with the signal blocked, too, so that none is lost before they handle it (`stop_on_signals`).
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # or the server would start it, and unblock the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    return context
