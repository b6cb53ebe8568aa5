"""A sweep here: every point of a W&B sweep file, each in a process of its own."""

from __future__ import annotations

import itertools
import multiprocessing
import shlex
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import yaml

from datamodules.lists import Dataset
from datamodules.video import available_cores, prepare_store, tracks
from experiments.config import RunConfig, compose, did_you_mean
from experiments.ensembles import update_tables
from experiments.record import command

SWEEPS = Path(__file__).parent / "sweeps"


def read_points(name: str, overrides: list[str]) -> list[RunConfig]:
    """The runs of `sweeps/<name>.yaml`, `overrides` applied to each: the same set as W&B's grid search makes.

    Raises ValueError for a sweep that does not exist or that is no grid.
    """
    path = SWEEPS / f"{name}.yaml"
    if not path.exists():
        known = sorted(path.stem for path in SWEEPS.glob("*.yaml"))
        raise ValueError(f"--sweep {name}: no such sweep. {did_you_mean(name, known)}")
    sweep = yaml.safe_load(path.read_text())
    if sweep.get("method") != "grid":
        raise ValueError(f"{path}: method {sweep.get('method')!r}; only `grid` runs here, others with `wandb agent`")
    axes: dict[str, list[Any]] = {}
    for key, choice in sorted(sweep["parameters"].items()):
        if set(choice) not in ({"value"}, {"values"}):
            raise ValueError(f"{path}: parameter {key} has {sorted(choice)}; expected `value` or `values`")
        axes[key] = choice.get("values", [choice.get("value")])
    points = [
        [f"{key}={value}" for key, value in zip(axes, values, strict=True)]
        for values in itertools.product(*axes.values())
    ]
    return [compose([*point, *overrides]) for point in points]


def run_sweep(name: str, overrides: list[str], *, dry_run: bool, force: bool) -> int:
    """Run every point of a sweep that is not finished (`run_all`). 0, or 1 where a point failed."""
    runs = read_points(name, overrides)
    if dry_run:
        print("\n".join(command(run) for run in runs))
        return 0
    return 1 if run_all(name, runs, force) else 0


def run_all(name: str, runs: list[RunConfig], force: bool) -> list[RunConfig]:
    """Run what is not finished of these points and regenerate the tables; returns the points that failed.

    A point that fails does not stop the others; the last lines say which failed, and the command for each.
    """
    _prepare(runs)
    started, failed = time.monotonic(), []
    for done, (run, exit_code) in enumerate(_run_points(runs, force), start=1):
        if exit_code:
            failed.append(run)
        else:
            update_tables(Path(run.results))
        left = (time.monotonic() - started) / done * (len(runs) - done)
        print(f"{name}: {done} of {len(runs)} points done, about {left:.0f} s left", flush=True)
    for path in update_tables(Path(runs[0].results)):
        print(f"wrote {path}")
    print(f"{len(runs) - len(failed)} of {len(runs)} points of {name} are finished, {time.monotonic() - started:.0f} s")
    for run in failed:
        print(f"failed: {command(run)}", file=sys.stderr)
    return failed


def _run_points(runs: list[RunConfig], force: bool) -> Iterator[tuple[RunConfig, int]]:
    """Run the points, as many side by side as the cores allow (one with a GPU); each with its exit code as it ends.

    Each is a process forked from a server that has imported everything once, so that a crash costs one point only.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["experiments.training"])
    jobs = 1 if torch.cuda.is_available() else max(1, available_cores() // max(run.trainer.threads for run in runs))
    waiting = list(enumerate(runs, start=1))
    running: dict[int, tuple[BaseProcess, RunConfig]] = {}  # by what tells that the process has ended
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, run = waiting.pop(0)
                print(f"[{number} of {len(runs)}] {command(run)}", flush=True)
                process = context.Process(target=_point, args=(run, force))
                process.start()
                running[process.sentinel] = process, run
            for ended in wait(list(running)):
                process, run = running.pop(ended)
                process.join()
                yield run, process.exitcode
    finally:  # an interrupted sweep takes its points along
        for process, _ in running.values():
            process.terminate()
            process.join()


def _prepare(runs: list[RunConfig]) -> None:
    """Build each data set's frame store once, with all that the points need of it."""
    stores: dict[str, tuple[Dataset, list]] = {}
    for run in runs:
        for data in filter(None, (run.data, run.auxiliary_data)):
            _, needed = stores.setdefault(repr((data, run.sampling.resize)), (data, []))
            needed += [track for track in tracks(data, run.sampling, main=run.data) if track not in needed]
    for data, needed in stores.values():
        prepare_store(data, needed, available_cores())


def _point(run: RunConfig, force: bool) -> None:
    """The process of one point."""
    from experiments.training import run_point

    sys.argv = shlex.split(command(run))[1:]  # what a second process under DDP is started with
    try:
        run_point(run, force)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
