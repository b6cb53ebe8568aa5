"""The server that the processes of runs are forked from."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

# A run would import these anew. Importing W&B alone takes two seconds.
PRELOADED = ["experiments.training.train", "wandb", "wandb.sdk.launch"]


def point_server() -> ForkServerContext:
    """Start the fork server, unless it is there. It imports everything once, while this process goes on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    return context
