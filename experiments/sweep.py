"""A sweep: every point of a W&B sweep file, each in a process of its own, here or on a Ray cluster.

What is finished is skipped, what was interrupted goes on, what failed is tried again (`state.py` says which is which).
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import platform
import shlex
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import yaml

from datamodules.processes import die_with_parent, ray_cluster
from datamodules.video import available_cores, prepare_tracks
from experiments.comparisons import read_comparisons
from experiments.config import RunConfig, compose, did_you_mean, parse
from experiments.ensembles import update_tables
from experiments.prepare import needed
from experiments.record import ROOT, command, run_folder
from experiments.running import Busy, Stopped, holder, point_server, stop_on_signals, write_atomically
from experiments.state import STATES, error_of, states_of
from experiments.table import read_published, read_records, tables
from experiments.tracking import log_report

SWEEPS = Path(__file__).parent / "sweeps"
AXES = ("strategy", "dataset", "recipe", "clip", "seed", "data.split")  # of which a word can name several
BUSY = 75  # exit code of a point that another process is making
TABLE_SHARE = 0.05  # of a sweep's time at most is spent on tables before its end
GRACE = 75.0  # seconds that a stopped point has to end its W&B run, which may take 60

Outcome = tuple[RunConfig, int, str]  # a point, its exit code, and why if that is not 0
Launcher = Callable[[Sequence[RunConfig], int | None, bool], Iterator[Outcome]]


def read_points(name: str, overrides: list[str], only: Sequence[str] = ()) -> list[RunConfig]:
    """The runs of `sweeps/<name>.yaml`, `overrides` applied to each: the same set as W&B's grid search makes.

    An override of one of AXES may name several values, as `seed=0,1,2`. `only` keeps the points that have one of the
    values that each of its words names. Raises ValueError for a sweep that does not exist or that is no grid.
    """
    path = SWEEPS / f"{name}.yaml"
    if not path.exists():
        known = sorted(path.stem for path in SWEEPS.glob("*.yaml"))
        raise ValueError(f"--sweep {name}: no such sweep. {did_you_mean(name, known)}")
    sweep = yaml.safe_load(path.read_text())
    if sweep.get("method") != "grid":
        raise ValueError(f"{path}: method {sweep.get('method')!r}; only `grid` runs here, others with `wandb agent`")
    axes: dict[str, list[Any]] = {}
    for key, choice in sweep["parameters"].items():
        if set(choice) not in ({"value"}, {"values"}):
            raise ValueError(f"{path}: parameter {key} has {sorted(choice)}; expected `value` or `values`")
        axes[key] = choice.get("values", [choice.get("value")])
    for key, value in parse(overrides).items():
        axes[key] = list(dict.fromkeys(value.split(","))) if key in AXES else [value]
    for key, choices in axes.items():
        if not choices:
            raise ValueError(f"{path}: parameter {key} has no value")
    for word in only:
        key, value = next(iter(parse([word]).items()))
        wanted = value.split(",")
        if key not in axes or (unknown := set(wanted) - set(map(str, axes[key]))):
            known = list(axes) if key not in axes else list(map(str, axes[key]))
            unknown = key if key not in axes else sorted(unknown)[0]
            raise ValueError(f"--only {key}={value}: {name} has no {unknown}. {did_you_mean(unknown, known)}")
        axes[key] = [known for known in axes[key] if str(known) in wanted]
    keys = sorted(axes)
    points = [dict(zip(keys, values, strict=True)) for values in itertools.product(*(axes[key] for key in keys))]
    return _composed(points)


def _composed(points: list[dict[str, Any]]) -> list[RunConfig]:
    """The run of each point. Points that differ in their seeds only are composed once: a grid may have many of them."""
    known: dict[tuple[str, ...], RunConfig] = {}
    composed = []
    for point in points:
        others = tuple(f"{key}={value}" for key, value in point.items() if key != "seed")
        seed = str(point.get("seed", ""))
        if others in known and seed.isdecimal() and int(seed) < 2**32:
            given = [f"seed={seed}" if word.startswith("seed=") else word for word in known[others].overrides]
            composed.append(replace(known[others], seed=int(seed), overrides=given))
        else:
            composed.append(compose([f"{key}={value}" for key, value in point.items()]))
            known[others] = composed[-1]
    return composed


def show_status(name: str, runs: Sequence[RunConfig]) -> int:
    """Print where each point stands, and how many stand there."""
    states = states_of(runs)
    width = max(len(run.id) for run in runs)
    for run, state in zip(runs, states, strict=True):
        print(f"{state.name:<12} {run.id:<{width}}  {state.detail}".rstrip())
    counts = Counter(state.name for state in states)
    print(f"{name}: {', '.join(f'{counts[state]} {state}' for state in STATES if counts[state])}")
    return 0


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
                process = context.Process(target=_point, args=(run, force, device))
                process.start()
                running[process.sentinel] = process, run, slot
            for ended in wait(list(running)):
                process, run, slot = running.pop(ended)
                process.join()
                free.append(slot)
                yield _outcome(run, process.exitcode)
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


def on_ray(runs: Sequence[RunConfig], jobs: int | None, force: bool) -> Iterator[Outcome]:
    """Run points as tasks on the Ray cluster that RAY_ADDRESS names, or on a Ray for `jobs` points started here.

    The machines of a cluster must see this folder, the data and the results under the same paths, and have this
    package. A task asks for the cores and GPUs that its point uses.
    """
    if not runs:
        return
    cores = {run.id: run.trainer.devices * (run.trainer.threads + run.trainer.workers) for run in runs}
    per_point = max(cores.values())
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    with ray_cluster((jobs or usual_jobs(runs)) * per_point, show_output=True) as ray:
        for signum, handler in handlers.items():  # Ray sets its own
            signal.signal(signum, handler)
        gpus = ray.cluster_resources().get("GPU", 0)
        asked = {
            run.id: {
                "num_cpus": cores[run.id],
                "num_gpus": run.trainer.devices if gpus and run.trainer.accelerator != "cpu" else 0,
            }
            for run in runs
        }
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for run in runs:
            own = asked[run.id]
            if not any(m.get("CPU", 0) >= own["num_cpus"] and m.get("GPU", 0) >= own["num_gpus"] for m in machines):
                raise ValueError(
                    f"{run.id} asks for {own['num_cpus']} cores and {own['num_gpus']} GPUs (trainer.devices, "
                    "trainer.threads, trainer.workers), which no machine of the Ray cluster has"
                )
        waiting, running = list(runs), {}
        while waiting or running:
            while waiting and len(running) < (jobs or len(runs)):
                run = waiting.pop(0)
                # A worker for each point, which ends with it: a crash costs one point only.
                task = ray.remote(max_calls=1, max_retries=0, **asked[run.id])(_point_on_ray)
                running[task.remote(run, force, os.getcwd())] = run
            for done in ray.wait(list(running))[0]:
                run = running.pop(done)
                try:
                    exit_code, machine = ray.get(done)
                except ray.exceptions.RayError as error:
                    yield _outcome(run, 1, f"Ray says: {' '.join(str(error).split())[-500:]}")
                    continue
                if exit_code == 0 and not (run_folder(run) / "record.json").exists():
                    why = f"finished on {machine}, whose {run.results} is not this one: copy runs/{run.id} from there"
                    yield run, 1, why
                else:
                    yield _outcome(run, exit_code)


def _outcome(run: RunConfig, exit_code: int | None, why: str = "") -> Outcome:
    """What a point's end means. One that could not leave an error itself gets it here."""
    assert exit_code is not None, "the point has ended"
    folder = run_folder(run)
    if exit_code == 0:
        return run, 0, ""
    if exit_code == BUSY:
        return run, BUSY, f"is being run by {holder(folder) or 'another process'}"
    if exit_code - 128 in (signal.SIGINT, signal.SIGTERM):  # its checkpoint remains, and no error
        return run, exit_code, f"stopped by {signal.Signals(exit_code - 128).name}"
    if exit_code < 0:
        why = f"ended by {signal.Signals(-exit_code).name}" + ", perhaps for want of memory" * (exit_code == -9)
    if error_of(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "error.txt", why or f"ended with exit code {exit_code}")
    return run, exit_code, error_of(folder) or why


def _point(run: RunConfig, force: bool, device: str | None) -> None:
    """The process of one point."""
    stop_on_signals()
    die_with_parent()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    try:
        sys.exit(_attempt(run, force))
    except Stopped as stopped:
        sys.exit(stopped.exit_code)


def _point_on_ray(run: RunConfig, force: bool, folder: str) -> tuple[int, str]:
    """The task of one point: its exit code, and the machine that it ran on."""
    os.chdir(folder)
    return _attempt(run, force), platform.node()


def _attempt(run: RunConfig, force: bool) -> int:
    from experiments.training import run_point

    # What a second process under DDP is started with.
    sys.argv = [str(ROOT / "experiments" / "run.py"), *shlex.split(command(run))[2:], *["--force"] * force]
    try:
        run_point(run, force)
    except Busy:
        return BUSY
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except Exception:  # which stands in error.txt too
        traceback.print_exc()
        return 1
    return 0


def run_all(
    name: str, runs: Sequence[RunConfig], force: bool, jobs: int | None = None, launcher: Launcher = in_processes
) -> list[RunConfig]:
    """Run what is not finished of these points and regenerate the tables; returns those that are not finished then.

    A point that fails does not stop the others; the last lines say which failed and why, and the command for each.
    `jobs` points run side by side (None: as many as there are devices, or cores for their threads).
    """
    started = time.monotonic()
    todo = [run for run, state in zip(runs, states_of(runs), strict=True) if force or state.name != "finished"]
    if len(todo) < len(runs):
        print(f"{name}: {len(runs) - len(todo)} of {len(runs)} points were finished before (--force runs them again)")
    _prepare(todo)
    unfinished: list[Outcome] = []
    results, table_seconds, table_time = Path(runs[0].results), 0.0, started
    for done, outcome in enumerate(launcher(todo, jobs, force), start=1):
        if outcome[1]:
            unfinished.append(outcome)
        elif (now := time.monotonic()) - table_time > table_seconds / TABLE_SHARE:
            _update_tables(results)
            table_time = time.monotonic()
            table_seconds = table_time - now
        left = (time.monotonic() - started) / done * (len(todo) - done)
        print(f"{name}: {done} of {len(todo)} points done, about {left:.0f} s left", flush=True)
    for path in _update_tables(results):
        print(f"wrote {path}")
    _report(name, runs, results)
    finished = len(runs) - len(unfinished)
    print(f"{finished} of {len(runs)} points of {name} are finished, {time.monotonic() - started:.0f} s", flush=True)
    for run, exit_code, why in unfinished:
        print(
            f"not run: {run.id}: {why}" if exit_code == BUSY else f"failed: {command(run)}\n    {why}", file=sys.stderr
        )
    if unfinished:
        again = "the same command without --force" if force else "the same command"
        print(f"{len(unfinished)} points are not finished; {again} tries only these again", file=sys.stderr)
    return [run for run, _, _ in unfinished]


def _prepare(runs: Sequence[RunConfig]) -> None:
    """Build each data set's frame store once, with all that the points need of it."""
    for data, tracks in needed(runs):
        with suppress(ValueError, OSError):  # what is wrong with it, each of its points says, and others can run
            prepare_tracks(data, tracks, available_cores(), max_store=data.max_store)


def _update_tables(results: Path) -> list[Path]:
    try:
        return update_tables(results)
    except (ValueError, OSError) as error:  # such as of a record that is being copied here
        print(f"no tables: {error}", file=sys.stderr, flush=True)
        return []


def _report(name: str, runs: Sequence[RunConfig], results: Path) -> None:
    """Show the sections of the tables that have rows of these runs as a run of W&B."""
    try:
        sections = tables(read_records(results), read_published(), read_comparisons(results))
    except ValueError:
        return  # said before
    ids = {run.id for run in runs}
    own = [section for section in sections if any(ids & set(str(row.get("runs")).split(",")) for row in section.csv)]
    log_report(runs[0].wandb, name, own, results)
