"""A folder of results: its records, and whether it takes new ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from experiments.records.record import Record


@contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Make a folder and look whether it takes a file. Raises OSError in one line, also for one within the block."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            yield
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"{folder}: cannot write there ({why}); make it writable or choose another results=") from None


def read_record(folder: Path) -> Record | None:
    """A run's record, or None where it has none or not a whole one."""
    try:
        return Record.read(folder / "record.json")
    except (FileNotFoundError, ValueError):
        return None


def read_records(results: Path) -> tuple[list[Record], list[str]]:
    """All records of `results/runs/*/record.json`, sorted by id, and a line for each file that is left out.

    A record whose id is not its folder's name is left out: a copied folder would count twice.
    """
    records, problems = [], []
    for path in sorted((results / "runs").glob("*/record.json")):
        remedy = f"; it is left out: delete {path.parent} and run that point again"
        try:
            record = Record.read(path)
        except (FileNotFoundError, ValueError) as error:
            problems.append(f"{error}{remedy}")
            continue
        if record.id == path.parent.name:
            records.append(record)
        else:
            problems.append(f"{path} is the record of {record.id}, not of its folder{remedy}")
    return records, problems
