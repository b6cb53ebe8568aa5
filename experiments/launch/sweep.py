"""A sweep: every point of a W&B sweep file, each in a process of its own, here or on a Ray cluster.

A finished point is skipped, an interrupted one goes on, a failed one is tried again. `status.py` explains the states.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from datamodules.dataset_store import prepare_tracks
from datamodules.processes import available_cores
from experiments.launch.board import Board
from experiments.launch.point import BUSY, Launcher, Outcome, points_in_processes
from experiments.launch.status import states_of
from experiments.launch.stores import needed
from experiments.records.command import command
from experiments.records.files import writing_in
from experiments.report.update import NAME, update
from experiments.settings.schema import RunConfig
from experiments.tables.render import Section
from experiments.tables.update import Tables
from experiments.tracking.sweep_report import log_report, own_sections

TABLE_SHARE = 0.05  # of a sweep's time, at most, goes into tables before its end


class Swept(NamedTuple):
    """The points that are still not finished, and whether the tables leave nothing out."""

    unfinished: list[RunConfig]
    tables_complete: bool


def run_all(
    name: str,
    runs: Sequence[RunConfig],
    force: bool,
    jobs: int | None = None,
    launcher: Launcher = points_in_processes,
) -> Swept:
    """Run the points that are not finished and write the tables.

    A point that fails does not stop the others. The last lines give the command and the reason of each failure.
    `jobs` points run side by side (None: as many as there are devices, or cores for their threads).
    """
    started, results = time.monotonic(), Path(runs[0].results)
    with writing_in(results):  # before data are prepared for nothing
        pass
    todo = [run for run, state in zip(runs, states_of(runs), strict=True) if force or state.name != "finished"]
    if len(todo) < len(runs):
        print(f"{name}: {len(runs) - len(todo)} of {len(runs)} points were finished before (--force runs them again)")
    _prepare(todo)
    unfinished: list[Outcome] = []
    table_seconds, table_time = 0.0, started
    with closing(Board(name, todo)) as board:
        for outcome in launcher(todo, jobs, force, board):
            if outcome.exit_code:
                unfinished.append(outcome)
            elif (now := time.monotonic()) - table_time > table_seconds / TABLE_SHARE:
                with board.aside():
                    _tables(results)
                table_time = time.monotonic()
                table_seconds = table_time - now
            board.end(outcome.run, failed=bool(outcome.exit_code))
    tables = _tables(results)
    if tables:
        tables.show()
        _report(name, runs, results, tables.sections)
    finished = len(runs) - len(unfinished)
    print(f"{finished} of {len(runs)} points of {name} are finished, {time.monotonic() - started:.0f} s", flush=True)
    _explain(unfinished, force)
    if tables:
        curves = f"; curves: wandb leet {results / 'wandb'}" if (results / "wandb").is_dir() else ""
        print(f"look at {results / NAME}{curves}", flush=True)
    return Swept([outcome.run for outcome in unfinished], tables is not None and not tables.problems)


def _explain(unfinished: Sequence[Outcome], force: bool) -> None:
    """Say on standard error which points are not finished, why, and what to do."""
    by_reason: dict[str, list[RunConfig]] = defaultdict(list)
    for run, exit_code, why in unfinished:
        if exit_code == BUSY:
            print(f"not run: {run.id}: {why}", file=sys.stderr)
        else:
            by_reason[why].append(run)
    for why, runs in by_reason.items():
        if len(runs) == 1:
            print(f"failed: {command(runs[0])}\n    {why}", file=sys.stderr)
        else:
            print(f"failed: {len(runs)} points: {why}", *map(command, runs), sep="\n    ", file=sys.stderr)
    if unfinished:
        again = "the same command without --force" if force else "the same command"
        print(f"{len(unfinished)} points are not finished; {again} tries only these again", file=sys.stderr)


def _prepare(runs: Sequence[RunConfig]) -> None:
    """Build each data set's frame store once, with all that the points need of it."""
    for data, tracks in needed(runs):
        with suppress(ValueError, OSError):  # each point says what is wrong with its data, and others can run
            prepare_tracks(data, tracks, available_cores(), max_store=data.max_store)


def _tables(results: Path) -> Tables | None:
    """Update the tables. None if that fails: nothing that happens here may stop the points."""
    try:
        return update(results)
    except Exception as error:  # such as a full disk
        print(f"no tables: {str(error) or type(error).__name__}", file=sys.stderr, flush=True)
        return None


def _report(name: str, runs: Sequence[RunConfig], results: Path, sections: list[Section]) -> None:
    """Show the sections that have rows of these runs as a run of W&B."""
    log_report(runs[0].wandb, name, own_sections(sections, [run.id for run in runs]), results)
