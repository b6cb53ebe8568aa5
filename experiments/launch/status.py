"""Where each point of a sweep stands. The state follows from what lies in the point's folder alone.

running       `lock` is held by a living process.
failed        error.txt says why.
finished      record.json, made by this code of these data, as far as these are here.
stale         record.json or unfinished/last.ckpt made by other code or of other data.
interrupted   unfinished/last.ckpt of this code and these data, also where there is an earlier record.
to do         none of these.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from datamodules.stored_data import StoredData
from experiments.records.files import read_record
from experiments.records.lock import holder
from experiments.records.provenance import code_hash
from experiments.settings.schema import RunConfig
from experiments.training.folder import unfinished
from experiments.training.progress import read_progress

LONGEST_ERROR, LONGEST_LINE = 10**6, 500  # what is read of an error.txt, and shown of a line

STATES = ("finished", "running", "failed", "interrupted", "stale", "to do")


class State(NamedTuple):
    """One of STATES, and a remark on it."""

    name: str
    detail: str = ""


class Ingredients(NamedTuple):
    """What a record or checkpoint is made from.

    code:   hash of the code
    data:   fingerprints of the data sets; None if a frame store is not built
    files:  key of the videos' files, if a frame store is not built; None also if the data are not here
    """

    code: str
    data: list[str] | None = None
    files: str | None = None


def made_from(run: RunConfig, known: dict[str, tuple]) -> Ingredients:
    """What a run would be made from here and now. `known` keeps what runs share, so that it is looked at once."""
    key = repr((run.datasets(), run.sampling))
    if key not in known:
        known[key] = _data_here(run)
    return Ingredients(code_hash(run), *known[key])


def _data_here(run: RunConfig) -> tuple[list[str] | None, str | None]:
    parts = [StoredData(dataset, run.sampling) for dataset in run.datasets()]
    found = [part.find() for part in parts]
    if None in found:
        return None, None
    if all(built for built, _ in found):
        with suppress(ValueError):  # the run itself says what is wrong with the data
            for part in parts:
                part.open()
            return [part.fingerprint() for part in parts], None
    return None, found[0][1]


def error_of(folder: Path) -> str | None:
    """The first line of the error in a failed run's error.txt, after its traceback. None if there is no such file."""
    try:
        with (folder / "error.txt").open("rb") as file:
            text = file.read(LONGEST_ERROR).decode(errors="replace")
    except OSError:
        return None
    return first_line(text)


def first_line(text: str) -> str:
    """The first line of the error that a text ends with, which may begin with a traceback."""
    _, _, error = text.rpartition("Traceback (most recent call last):\n")
    # A traceback's own lines are indented, the error below it is not.
    lines = [line for line in error.splitlines() if line.strip() and not line.startswith(" ")]
    said = lines[0] if lines else "the error says nothing"
    return re.sub(r"^[\w.]*(DataError|ValueError|OSError): ", "", said)[:LONGEST_LINE]


def states_of(runs: Sequence[RunConfig]) -> list[State]:
    """Where each of some runs stands."""
    known: dict[str, tuple] = {}
    return [state_of(run, made_from(run, known)) for run in runs]


def state_of(run: RunConfig, now: Ingredients) -> State:
    """Where a run stands, compared with what it would be made from now."""
    folder = run.folder
    stopped, last = State("to do"), unfinished(folder) / "last.ckpt"
    saved = read_progress(last)
    step = f"after step {saved.step} of {saved.steps}" if saved else ""
    if process := holder(folder):
        return State("running", f"{process}; last saved {step}" if saved else process)
    if (error := error_of(folder)) is not None:
        return State("failed", error)
    kept = "".join(f"; {aside.name}/ is kept" for aside in sorted(folder.glob("stale-*")))
    if saved:
        stopped = _compared(State("interrupted", step), saved.made_of, None, now)
    elif last.exists():
        stopped = State("stale", "last.ckpt cannot be read")
    record = read_record(folder)
    if record is not None and stopped.name != "interrupted":
        stopped = _compared(State("finished"), record.made_of, record.data.files, now)
    return State(stopped.name, (stopped.detail + kept).removeprefix("; "))


def _compared(state: State, made: list[str], files: str | None, now: Ingredients) -> State:
    before = Ingredients(made[0], made[1:], files)
    pairs = [(what, *pair) for what, *pair in zip(now._fields, before, now, strict=True) if None not in pair]
    if changed := [what for what, then, today in pairs if then != today]:
        return State("stale", f"made with other {' and '.join(changed)}")
    if now.data is None and now.files is None:
        return State(state.name, f"{state.detail}; the data are not here to be compared".removeprefix("; "))
    return state


def show_status(name: str, runs: Sequence[RunConfig]) -> int:
    """Print the state of each point, and how many points there are of each."""
    states = states_of(runs)
    width = max(len(run.id) for run in runs)
    for run, state in zip(runs, states, strict=True):
        print(f"{state.name:<12} {run.id:<{width}}  {state.detail}".rstrip())
    counts = Counter(state.name for state in states)
    print(f"{name}: {', '.join(f'{counts[state]} {state}' for state in STATES if counts[state])}")
    return 0
