"""Tests with clips played otherwise, `--time reversed,shuffled`: of one checkpoint, or of a sweep's finished points."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from datamodules.clip_spec import ClipSpec
from experiments.launch.processes import in_processes, usual_jobs
from experiments.launch.status import first_line, states_of
from experiments.records.files import read_record, read_records, writing_in
from experiments.records.provenance import code_hash
from experiments.records.record import Record
from experiments.report.update import update
from experiments.settings.schema import RunConfig, is_place
from experiments.settings.words import did_you_mean, type_of
from experiments.trained.load import OF_THE_TEST
from experiments.trained.test import command_of, make_test, tested_by

KEY = "sampling.test_time"


def times_of(option: str, settings: Sequence[str]) -> list[str]:
    """The times that `--time` names, each once. Raises ValueError for others, and where `settings` name one too."""
    _, *known = get_args(type_of(ClipSpec(), "test_time"))  # the first is the usual one
    if given := [word for word in settings if word.startswith(f"{KEY}=")]:
        raise ValueError(f"--time {option} and {given[0]}: --time sets {KEY}; give one of them")
    times = list(dict.fromkeys(option.split(",")))
    for time in times:
        if time not in known:
            raise ValueError(f"--time {option}: {time!r} is no time. {did_you_mean(time, known)}")
    return times


def test_times(checkpoint: Path, times: Sequence[str], changes: Sequence[str], other_data: bool = False) -> int:
    """Test a checkpoint with its clips played in each of some ways; returns 0. Raises as `test` does."""
    changed = []
    for number, time in enumerate(times, start=1):
        print(f"[{number} of {len(times)}] {KEY}={time}", flush=True)
        changed.append(make_test(checkpoint, [*changes, f"{KEY}={time}"], other_data))
    results = next(filter(None, changed), None)
    return update(results).show() if results else 0


test_times.__test__ = False  # the name is not a test's


def sweep_times(name: str, runs: Sequence[RunConfig], times: Sequence[str], jobs: int | None = None) -> int:
    """Test the network of each finished point with its clips played in each of some ways, then update the tables.

    A test whose record is there is skipped. A failed test does not stop the others. Each test has a process of its own,
    `jobs` side by side (None: as many as fit). Returns 1 where a point is not finished or a test failed.
    """
    results = Path(runs[0].results)
    with writing_in(results):  # before anything is tested for nothing
        pass
    points = _finished(name, runs)
    tests, records = [(point, time) for time in times for point in points], read_records(results)[0]
    todo = [_words(point, time) for point, time in tests if not _is_there(point, time, records)]
    if len(todo) < len(tests):
        print(f"{name}: {len(tests) - len(todo)} of {len(tests)} tests were made before")

    def announce(number: int, run: RunConfig) -> None:
        print(f"[{number} of {len(todo)}] {command_of(_checkpoint(run), run.overrides)}", flush=True)

    failed = 0
    for done, ended in enumerate(in_processes(_attempt, todo, jobs or usual_jobs(todo), announce) if todo else (), 1):
        why = f"ended with exit code {ended.exit_code}" if ended.result is None else ended.result
        if why:
            failed += 1
            print(f"failed: {command_of(_checkpoint(ended.run), ended.run.overrides)}\n    {why}", file=sys.stderr)
        print(f"{name}: {done} of {len(todo)} tests done{f', {failed} failed' if failed else ''}", flush=True)
    problems = update(results).show() if tests else 0
    print(f"{len(tests) - failed} of {len(runs) * len(times)} tests of {name} are there", flush=True)
    return 1 if problems or failed or len(points) < len(runs) else 0


def _finished(name: str, runs: Sequence[RunConfig]) -> list[RunConfig]:
    """The points that have a record and its network. Says which have not, and which are of other code."""
    found = []
    for run, state in zip(runs, states_of(runs), strict=True):
        whole = state.name in ("finished", "stale") and read_record(run.folder) is not None
        if whole and _checkpoint(run).is_file():
            found.append(run)
            if state.name == "stale":  # the test itself refuses other data
                print(f"{run.id}: {state.detail}; its network is tested all the same", flush=True)
        else:
            why = f"{_checkpoint(run)} is not there" if whole else f"{state.name} {state.detail}".strip()
            print(f"not finished: {run.id}: {why}", file=sys.stderr, flush=True)
    if len(found) < len(runs):
        missing = len(runs) - len(found)
        print(f"{missing} of {len(runs)} points of {name} are not finished: --sweep {name} runs them", file=sys.stderr)
    return found


def _checkpoint(run: RunConfig) -> Path:
    """The network that a point's own record tests."""
    return run.folder / ("best.ckpt" if run.training.select == "best" else "last.ckpt")


def _words(run: RunConfig, time: str) -> RunConfig:
    """A point whose words are those of a test of it: places, and how its clips are played."""
    own = [word for word in run.overrides if word.startswith(OF_THE_TEST) and is_place(word.partition("=")[0])]
    return replace(run, overrides=[*(word for word in own if not word.startswith("results=")), f"{KEY}={time}"])


def _is_there(run: RunConfig, time: str, records: Sequence[Record]) -> bool:
    """Whether there is a record of this test, made by this code, of the network that is there now."""
    point = read_record(run.folder)
    return point is not None and any(
        (record.test.run, record.test.checkpoint, record.test.changed) == (run.id, _checkpoint(run).name, {KEY: time})
        and record.test.made_of == point.made_of
        and record.code.hash == tested_by(code_hash(run), point.code.hash)
        for record in records
        if record.kind == "test" and record.test
    )


def _attempt(run: RunConfig) -> str:
    """Make the test that a point's words describe; returns why it failed, or nothing."""
    try:
        make_test(_checkpoint(run), run.overrides)
    except Exception as error:
        return first_line(traceback.format_exception_only(error)[-1])
    return ""
