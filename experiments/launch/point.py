"""One point of a sweep: running it in its process, and what its end means."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from datamodules.files import write_atomically
from experiments import ROOT
from experiments.launch.board import Board
from experiments.launch.processes import in_processes, usual_jobs
from experiments.launch.status import error_of, first_line
from experiments.records.command import command
from experiments.records.lock import Busy, holder
from experiments.records.world import forget_launcher
from experiments.settings.schema import RunConfig

BUSY = 75  # exit code of a point that another process is making


class Outcome(NamedTuple):
    """A point, its exit code, and the reason if that is not 0."""

    run: RunConfig
    exit_code: int
    why: str = ""


# Runs points, yields the outcome of each as it ends: (points, number side by side, whether also finished ones, where it
# is shown how far they are).
Launcher = Callable[[Sequence[RunConfig], int | None, bool, Board], Iterator[Outcome]]


def points_in_processes(runs: Sequence[RunConfig], jobs: int | None, force: bool, board: Board) -> Iterator[Outcome]:
    """Run points in processes of this machine, `jobs` at a time (None: as many as fit)."""

    def announce(number: int, run: RunConfig) -> None:
        board.say(f"[{number} of {len(runs)}] {command(run)}")

    if runs:
        side_by_side, attempt = jobs or usual_jobs(runs), partial(_attempt, force)
        for ended in in_processes(attempt, runs, side_by_side, announce, board.progress, quiet=board.live):
            yield outcome_of(ended.run, *(ended.result or (ended.exit_code, "")))


def run_on_ray(run: RunConfig, force: bool, folder: str) -> tuple[int, str, str]:
    """Run a point in a task of Ray. Returns its exit code, the reason if that is not 0, and the machine's name."""
    os.chdir(folder)
    forget_launcher()
    return *_attempt(force, run), platform.node()


def outcome_of(run: RunConfig, exit_code: int, why: str = "") -> Outcome:
    """What a point's exit code means. Writes error.txt for a point that could not do so itself."""
    folder = run.folder
    if exit_code == 0:
        return Outcome(run, 0)
    if exit_code == BUSY:
        return Outcome(run, BUSY, f"is being run by {holder(folder) or 'another process'}")
    if exit_code - 128 in (signal.SIGINT, signal.SIGTERM):  # its checkpoint remains, and no error
        return Outcome(run, exit_code, f"stopped by {signal.Signals(exit_code - 128).name}")
    if exit_code < 0:
        why = f"ended by {signal.Signals(-exit_code).name}" + ", perhaps for want of memory" * (exit_code == -9)
    if error_of(folder) is None:
        why = why or f"ended with exit code {exit_code}"
        with suppress(OSError):  # a full disk: the sweep goes on with the other points
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "error.txt", why)
    return Outcome(run, exit_code, why or error_of(folder) or "")


def _attempt(force: bool, run: RunConfig) -> tuple[int, str]:
    from experiments.training.train import run_point

    # Lightning starts the other processes of DDP with these words.
    sys.argv = [str(ROOT / "experiments" / "run.py"), *shlex.split(command(run))[2:], *["--force"] * force]
    try:
        run_point(run, force)
    except Busy:
        return BUSY, ""
    except Exception as error:  # error.txt has all of it, unless the disk is full
        return 1, first_line(traceback.format_exception_only(error)[-1])
    return 0, ""
