"""Where records lie, and reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FORMAT = 1  # of records; a changed meaning or default of a setting raises it


def read_record(folder: Path) -> dict[str, Any] | None:
    """A run's record, or None where it has none or not a whole one."""
    try:
        return json.loads((folder / "record.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def made_of(record: dict[str, Any]) -> list[str]:
    """Hash of the code and fingerprints of the data sets that a record was made of."""
    data = record["data"]
    return [record["code"]["hash"], *data.get("fingerprints", [data["fingerprint"]])]


def read_records(results: Path) -> list[dict]:
    """All records of `results/runs/*/record.json`, sorted by id. Raises ValueError for a file that is not one."""
    records = []
    for path in sorted((results / "runs").glob("*/record.json")):
        remedy = f"delete {path.parent} and run that point again"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as JSON ({error}): {remedy}") from error
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        if found != FORMAT:
            raise ValueError(f"{path} has record format {found!r}, this code reads format {FORMAT}: {remedy}")
        records.append(record)
    return sorted(records, key=lambda record: record["id"])
