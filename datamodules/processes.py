"""Processes that end with the one that started them, and Ray: what runs work elsewhere and changes no number of it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datamodules.lists import DataError


def die_with_parent() -> None:
    """End this process when the one that started it has been killed, which could not end it any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "multiprocessing started this process"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def ray_cluster(cores: int, show_output: bool = False) -> Iterator[Any]:
    """The module `ray`, connected to the cluster of RAY_ADDRESS, else to a Ray of so many cores started now."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise DataError("--launcher ray needs Ray: pip install 'vidfusion[ray]'") from None

    if "RAY_ADDRESS" in os.environ:
        ray.init(ignore_reinit_error=True, log_to_driver=show_output)
    else:
        ray.init("local", num_cpus=cores, include_dashboard=False, ignore_reinit_error=True, log_to_driver=show_output)
    try:
        yield ray
    finally:
        ray.shutdown()
