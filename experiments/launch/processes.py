"""Points in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

import torch

from datamodules.processes import available_cores
from experiments.launch.point import Outcome, outcome_of, run_in_process
from experiments.launch.server import point_server
from experiments.records.make import command
from experiments.settings.schema import RunConfig

GRACE = 75.0  # seconds that a stopped point has to end its W&B run, which may take 60


def in_processes(runs: Sequence[RunConfig], jobs: int | None, force: bool) -> Iterator[Outcome]:
    """Run points in processes of this machine; each with its outcome as it ends.

    Each is forked from a server that has imported everything once, so that a crash costs one point only. Points have
    the GPUs in turn.
    """
    if not runs:
        return
    context, devices = point_server(), device_groups(runs)
    waiting = list(enumerate(runs, start=1))
    free = list(range(jobs or usual_jobs(runs)))
    running: dict[int, tuple[BaseProcess, RunConfig, int]] = {}  # by what tells that the process has ended
    try:
        while waiting or running:
            while waiting and free:
                number, run = waiting.pop(0)
                slot = free.pop(0)
                print(f"[{number} of {len(runs)}] {command(run)}", flush=True)
                device = devices[slot % len(devices)] if devices else None
                process = context.Process(target=run_in_process, args=(run, force, device))
                process.start()
                running[process.sentinel] = process, run, slot
            for ended in wait(list(running)):
                process, run, slot = running.pop(ended)
                process.join()
                free.append(slot)
                yield outcome_of(run, process.exitcode)
    except BaseException:  # a sweep that is stopped takes its points along, also one that is just being started
        points = multiprocessing.active_children()
        for process in points:
            process.terminate()
        for process in points:
            process.join(GRACE)
            process.kill()
            process.join()
        raise


def usual_jobs(runs: Sequence[RunConfig]) -> int:
    """How many points run side by side: as many as there are devices, or without a GPU cores for their threads."""
    return len(device_groups(runs)) or max(1, available_cores() // max(run.trainer.threads for run in runs))


def device_groups(runs: Sequence[RunConfig]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES can be for a point, one choice after the other; none where no point uses a GPU."""
    if not torch.cuda.is_available() or all(run.trainer.accelerator == "cpu" for run in runs):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    ids, each = visible.split(","), max(run.trainer.devices for run in runs)
    return [",".join(ids[first : first + each]) for first in range(0, len(ids) - each + 1, each)]
