"""Reading the records of a folder of results."""

from __future__ import annotations

from pathlib import Path

from experiments.records.record import Record


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
