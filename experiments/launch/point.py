"""One point of a sweep in a process of its own, and its outcome."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence

from datamodules.files import write_atomically
from datamodules.processes import die_with_parent
from experiments import ROOT
from experiments.launch.signals import Stopped, stop_on_signals
from experiments.launch.status import error_of
from experiments.records.lock import Busy, holder
from experiments.records.make import command
from experiments.settings.schema import RunConfig

BUSY = 75  # exit code of a point that another process is making

Outcome = tuple[RunConfig, int, str]  # a point, its exit code, and why if that is not 0
Launcher = Callable[[Sequence[RunConfig], int | None, bool], Iterator[Outcome]]


def outcome_of(run: RunConfig, exit_code: int | None, why: str = "") -> Outcome:
    """What a point's end means. One that could not leave an error itself gets it here."""
    assert exit_code is not None, "the point has ended"
    folder = run.folder
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


def run_in_process(run: RunConfig, force: bool, device: str | None) -> None:
    """The process of one point."""
    stop_on_signals()
    die_with_parent()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    try:
        sys.exit(_attempt(run, force))
    except Stopped as stopped:
        sys.exit(stopped.exit_code)


def run_on_ray(run: RunConfig, force: bool, folder: str) -> tuple[int, str]:
    """The task of one point: its exit code, and the machine that it ran on."""
    os.chdir(folder)
    return _attempt(run, force), platform.node()


def _attempt(run: RunConfig, force: bool) -> int:
    from experiments.training.train import run_point

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
