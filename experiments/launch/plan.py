"""What a sweep will take, before it runs: time, memory and disk, scaled from short runs of each kind of point.

A probe trains and tests a point as the sweep does, but on a few videos, for a few steps, in a temporary folder. As many
probes run side by side as the sweep runs points side by side. Nothing of a plan stays on the disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from datamodules.datasets.base import Dataset
from datamodules.processes import WorkerDied
from datamodules.store.size import KEEP_FREE
from experiments.launch.probe import Measured, Small, first_line, probe, shrink, with_datasets
from experiments.launch.processes import device_groups, in_processes
from experiments.launch.status import states_of
from experiments.launch.stores import needed
from experiments.records.command import command
from experiments.settings.schema import RunConfig, flat
from experiments.tables.text import aligned
from experiments.training.train import CHECKPOINTS

# Settings that change nothing in what a run takes.
ALIKE = (
    "seed", "sweep", "results", "overrides", "data.split", "data.fold",
    "training.lr", "training.head_lr_factor", "training.bias_lr_factor", "training.weight_decay", "training.schedule",
    "training.milestones", "training.gamma", "training.warmup", "training.label_smoothing",
)  # fmt: skip


class Row(NamedTuple):
    """A kind of point and what one takes: seconds of training and test, bytes on the disk, and what was measured."""

    name: str
    points: int
    run: RunConfig
    training: float
    test: float
    disk: float
    found: Measured


def plan(name: str, runs: Sequence[RunConfig], jobs: int) -> int:
    """Print what the points that are not finished take, `jobs` side by side. Returns 1 if some cannot run, else 0."""
    todo = [run for run, state in zip(runs, states_of(runs), strict=True) if state.name != "finished"]
    print(f"{len(runs) - len(todo)} of {len(runs)} points of {name} are finished, {len(todo)} to do.", flush=True)
    if not todo:
        return 0
    kinds: dict[str, list[RunConfig]] = defaultdict(list)
    for run in todo:
        kinds[kind_of(run)].append(run)
    firsts, jobs = [points[0] for points in kinds.values()], min(jobs, len(todo))
    with tempfile.TemporaryDirectory(prefix="vidfusion-plan-", ignore_cleanup_errors=True) as scratch:
        stores = _shrink_all(todo, Path(scratch))
        found = _probe_all(firsts, stores, jobs, Path(scratch))
    rows, failed = [], []
    for label, points, measured in zip(_labels(firsts), kinds.values(), found, strict=True):
        if isinstance(measured, Measured):
            rows.append(scaled(label, len(points), points[0], stores[_place(points[0].data)], measured))
        else:
            failed.append(f"{label} cannot run as it is, and is not counted: {measured}")
    good = [small for small in stores.values() if isinstance(small, Small)]
    print("\n".join(["", *_table(rows), "", *totals(rows, good, jobs), *failed]))
    return int(bool(failed))


def kind_of(run: RunConfig) -> str:
    """The same text for runs that take the same."""
    return repr({name: value for name, value in flat(asdict(run)).items() if name not in ALIKE})


def _labels(runs: Sequence[RunConfig]) -> list[str]:
    """A name for each run: its strategy, and the words that not all runs share."""
    words = [[word for word in command(run).split()[3:] if word.partition("=")[0] not in ALIKE] for run in runs]
    return [
        " ".join([run.strategy, *(word for word in own if not all(word in other for other in words))])
        for run, own in zip(runs, words, strict=True)
    ]


def _place(data: Dataset) -> tuple:
    return type(data), data.folder(), data.stores


def _shrink_all(runs: Sequence[RunConfig], scratch: Path) -> dict[tuple, Small | str]:
    """Each data set in small, or why it cannot be used."""
    smalls: dict[tuple, Small | str] = {}
    for number, (data, tracks) in enumerate(needed(runs)):
        print(f"decoding a few videos of {data.folder()}", file=sys.stderr, flush=True)
        try:
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                smalls[_place(data)] = shrink(data, tracks, scratch / str(number))
        except (ValueError, OSError, WorkerDied) as error:
            smalls[_place(data)] = first_line(error)
    return smalls


def _probe_all(
    runs: Sequence[RunConfig], stores: Mapping[tuple, Small | str], jobs: int, scratch: Path
) -> list[Measured | str]:
    """What each run takes, or why it fails. Runs are repeated until all jobs have something to do."""
    found: dict[int, Measured | str] = {}
    able: dict[int, RunConfig] = {}
    for number, run in enumerate(runs):
        smalls = [stores[_place(data)] for data in run.datasets()]
        if why := next((small for small in smalls if isinstance(small, str)), None):
            found[number] = why
        else:
            able[number] = with_datasets(run, [small.data for small in smalls])

    def announce(number: int, run: RunConfig) -> None:
        if number <= len(able):
            print(f"probing {run.strategy} [{number} of {len(able)}]", file=sys.stderr, flush=True)

    repeated = list(islice(cycle(able.values()), max(len(able), jobs)))
    for ended in in_processes(partial(probe, scratch), repeated, jobs, announce):
        if ended.number <= len(able):
            killed = ", perhaps for want of memory" * (ended.exit_code == -9)
            lost = f"the probe ended with exit code {ended.exit_code}{killed}"
            found[list(able)[ended.number - 1]] = ended.result or lost
    return [found[number] for number in range(len(runs))]


def scaled(name: str, points: int, run: RunConfig, small: Small, found: Measured) -> Row:
    """What one point of a kind takes on all videos, with a validation at each checkpoint and after the training."""
    validation = small.validation * found.video
    training = found.start + found.steps * found.step + CHECKPOINTS * validation
    checkpoints = found.checkpoint * (2 if small.validation else 1)
    disk = checkpoints + (small.test + small.validation) * found.video_bytes
    return Row(name, points, run, training, small.test * found.video + validation, disk, found)


def _table(rows: Sequence[Row]) -> list[str]:
    """Markdown: a line for each kind of point."""
    titles = ["Point", "Points", "Steps", "Seconds per step", "Training", "Test", "Memory MB", "GPU MB", "Disk MB"]
    lines = []
    for row in rows:
        sizes = [f"{size / 1e6:,.1f}" for size in (row.found.memory, row.found.gpu_memory, row.disk)]
        times = [f"{row.found.step:.4f}", clock(row.training), clock(row.test)]
        lines.append([row.name, str(row.points), f"{row.found.steps:,}", *times, *sizes])
    return aligned(titles, lines, markdown=True) if rows else []


def totals(rows: Sequence[Row], smalls: Sequence[Small], jobs: int) -> list[str]:
    """What all points take together, with a warning where this machine has less."""
    each = [row.training + row.test for row in rows for _ in range(row.points)]
    preparing = sum(small.seconds for small in smalls)
    running = max([sum(each) / jobs, *each])
    lines = [line for small in smalls for line in small.notes]
    lines.append(
        f"Time: {clock(preparing + running)}, of which {clock(preparing)} for videos and frame stores, "
        f"{clock(running)} for the points, {jobs} side by side. The time of W&B and of checkpoints is left out."
    )
    lines.append(_fits("Memory", _largest(rows, "memory", jobs), available_memory(), "lower --jobs"))
    if rows and rows[0].found.gpu_whole:
        per_gpu = -(-jobs // max(1, len(device_groups([row.run for row in rows]))))
        gpu, whole = _largest(rows, "gpu_memory", per_gpu), rows[0].found.gpu_whole
        lines.append(_fits("Memory of a GPU", gpu, whole, "lower --jobs or training.batch_size"))
    disks: dict[int, tuple[Path, float]] = {}  # by device: a folder on it, and the bytes to write
    outputs = [(Path(row.run.results), row.points * row.disk) for row in rows]
    outputs += [(Path(small.stores), small.missing) for small in smalls]
    for path, size in outputs:
        existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        device = existing.stat().st_dev
        known, before = disks.get(device, (existing, 0.0))
        disks[device] = known, before + size
    for path, size in disks.values():
        free = shutil.disk_usage(path).free - KEEP_FREE
        lines.append(_fits(f"Disk of {path}", size, free, "point results= or data.stores= to a larger disk"))
    return lines


def _fits(what: str, wanted: float, there: float, remedy: str) -> str:
    line = f"{what}: {wanted / 1e9:.2f} GB, {there / 1e9:.2f} GB are free."
    return line if wanted <= there else f"{line} WARNING: this does not fit; {remedy}."


def _largest(rows: Sequence[Row], name: str, jobs: int) -> float:
    """The most that so many points can hold together."""
    return sum(sorted((getattr(row.found, name) for row in rows for _ in range(row.points)), reverse=True)[:jobs])


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def available_memory() -> float:
    """Bytes that new processes can have, within the limit of the container if there is one."""
    amounts = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    with contextlib.suppress(OSError, KeyError, ValueError):
        said = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        amounts.append(int(said["MemAvailable"].split()[0]) * 1024)
        amounts.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(amounts)
