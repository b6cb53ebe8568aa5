"""The one pool of processes for runs: a function of each run, some at a time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import torch

from datamodules.processes import available_cores, die_with_parent
from experiments.launch.server import point_server
from experiments.launch.signals import Stopped, end_with_parent, stop_on_signals
from experiments.records.world import forget_launcher
from experiments.settings.schema import RunConfig
from experiments.training.callbacks import Progress

GRACE = 75.0  # seconds that a stopped process has to end its W&B run, which may take 60


class Ended(NamedTuple):
    """How the process of a run ended. `number` counts the runs from 1. `result` is what the function returned, None if
    it did not return."""

    number: int
    run: RunConfig
    exit_code: int
    result: Any


# What is told of a training: (run, steps done, of so many, loss).
Hear = Callable[[RunConfig, int, int, float], None]


@dataclass
class _Task:
    process: BaseProcess
    receiver: Connection
    number: int
    run: RunConfig
    slot: int
    result: Any = None
    speaks: bool = True  # the pipe is open

    def hear(self, hear: Hear | None) -> None:
        """Take all that the process has said by now."""
        while self.speaks and self.receiver.poll():
            try:
                is_result, said = self.receiver.recv()
            except EOFError:
                self.speaks = False
                return
            if is_result:
                self.result = said
            elif hear is not None:
                hear(self.run, *said)


def in_processes(
    function: Callable[[RunConfig], Any],
    runs: Sequence[RunConfig],
    jobs: int,
    announce: Callable[[int, RunConfig], None],
    hear: Hear | None = None,
    quiet: bool = False,
) -> Iterator[Ended]:
    """Call a function of each run, `jobs` at a time. Yields how each process ended, in the order of their ends.

    Every process is forked from a server that has imported everything once. A crash costs one run only. The runs take
    the GPUs in turn. `announce(number, run)` is called before each one, counted from 1. What the function returns goes
    through a pipe and stays below 64 kB. `hear` is called with how far a training is; `quiet` runs print nothing.
    """
    devices = device_groups(runs)
    waiting, free = list(enumerate(runs, start=1)), list(range(jobs))
    running: dict[int, _Task] = {}  # keyed by process sentinel
    try:
        while waiting or running:
            while waiting and free:
                number, run = waiting.pop(0)
                announce(number, run)
                slot = free.pop(0)
                device = devices[slot % len(devices)] if devices else None
                process, receiver = _start(function, run, device, quiet)
                running[process.sentinel] = _Task(process, receiver, number, run, slot)
            ready = wait([*running, *(task.receiver for task in running.values() if task.speaks)])
            for sentinel, task in list(running.items()):
                task.hear(hear)
                if sentinel in ready:
                    del running[sentinel]
                    free.append(task.slot)
                    yield _ended(task, hear)
    except BaseException:
        _stop_all()
        raise


def _start(
    function: Callable[[RunConfig], Any], run: RunConfig, device: str | None, quiet: bool
) -> tuple[BaseProcess, Connection]:
    context = point_server()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(function, run, device, quiet, sender))
    process.start()
    sender.close()
    return process, receiver


def _call(
    function: Callable[[RunConfig], Any], run: RunConfig, device: str | None, quiet: bool, sender: Connection
) -> None:
    stop_on_signals()
    die_with_parent()
    end_with_parent()
    forget_launcher()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device

    def tell(*said: Any) -> None:
        with suppress(OSError):  # whoever listened is gone, and this process ends with it
            sender.send((False, said))

    Progress.tell = staticmethod(tell)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere) if quiet else nullcontext():
            result = function(run)
        sender.send((True, result))
    except Stopped as stopped:
        sys.exit(stopped.exit_code)


def _ended(task: _Task, hear: Hear | None) -> Ended:
    task.process.join()
    exit_code = task.process.exitcode
    assert exit_code is not None, "the process has ended"
    task.process.close()
    with task.receiver:
        task.hear(hear)
    return Ended(task.number, task.run, exit_code, task.result)


def _stop_all() -> None:
    """Stop the processes, also one that is just being started, and wait for their end."""
    processes = multiprocessing.active_children()
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(GRACE)
        process.kill()
        process.join()


def usual_jobs(runs: Sequence[RunConfig]) -> int:
    """How many runs go side by side: one per group of GPUs, without a GPU one per `trainer.threads` cores."""
    return len(device_groups(runs)) or max(1, available_cores() // max(run.trainer.threads for run in runs))


def device_groups(runs: Sequence[RunConfig]) -> list[str]:
    """The values of CUDA_VISIBLE_DEVICES that runs take in turn. Empty if no run uses a GPU."""
    if not torch.cuda.is_available() or all(run.trainer.accelerator == "cpu" for run in runs):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    ids, each = visible.split(","), max(run.trainer.devices for run in runs)
    return [",".join(ids[first : first + each]) for first in range(0, len(ids) - each + 1, each)]
