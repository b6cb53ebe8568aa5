"""The server that points are forked from."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

# What a point would else import anew: that of W&B alone takes two seconds.
PRELOADED = ["experiments.training.train", "wandb", "wandb.sdk.launch"]


def point_server() -> ForkServerContext:
    """Start the server that points are forked from, which has imported everything once, unless it runs already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    return context
