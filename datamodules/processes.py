"""Work in other processes, here or on a Ray cluster. Where it runs changes no number of it."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from datamodules.errors import DataError

# Yields each job with its result as it is done: (function, jobs, number of workers) -> (job, function(job)).
Launcher = Callable[[Callable[[Any], Any], Sequence[Any], int], Iterator[tuple[Any, Any]]]


class WorkerDied(Exception):
    """A worker process ended in the middle of a job; the text says more where more is known."""


def in_processes(function: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterator[tuple[Any, Any]]:
    """Run jobs in `workers` processes of this machine."""
    context = multiprocessing.get_context("spawn")  # a forked copy of a process that runs threads may hang
    pool = ProcessPoolExecutor(max(1, min(workers, len(jobs))), context, initializer=die_with_parent)
    try:
        with _script_left_alone(function, jobs):
            futures = {pool.submit(function, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool as error:
        raise WorkerDied from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _script_left_alone(function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[None]:
    """Processes that are started meanwhile do not run the user's script again, which has started this one.

    They would, to find what is defined there. Only where a job comes from the script itself do they need to.
    """
    own = sys.modules["__main__"]
    if b"__main__" not in pickle.dumps((function, jobs[:1])):
        sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = own


def on_ray(function: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterator[tuple[Any, Any]]:
    """Run jobs as Ray tasks of one core each, on the cluster of RAY_ADDRESS or on `workers` cores of this machine.

    All machines of a cluster must have this package, and see data and stores under the same paths. Ray repeats a task
    whose machine is lost.
    """
    with ray_cluster(workers) as ray:
        try:
            task, waiting, running = ray.remote(num_cpus=1)(function), iter(jobs), {}
            while True:
                for job in itertools.islice(waiting, 1000 - len(running)):  # waiting for very many at once is slow
                    running[task.remote(job)] = job
                if not running:
                    break
                for done in ray.wait(list(running))[0]:
                    yield running.pop(done), ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise WorkerDied(f"Ray, which says {str(error).strip().splitlines()[0]}") from error


@contextmanager
def ray_cluster(cores: int, show_output: bool = False) -> Iterator[Any]:
    """The module `ray`, connected to the cluster of RAY_ADDRESS, else to a new one of `cores` on this machine."""
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


def die_with_parent() -> None:
    """End this process when the one that started it is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "multiprocessing started this process"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
