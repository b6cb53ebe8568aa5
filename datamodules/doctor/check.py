"""Checking a whole data set, and the CSV of what was found."""

from __future__ import annotations

import csv
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path

from datamodules.datasets.base import Dataset
from datamodules.doctor.children import CheckProgress, examine_all
from datamodules.doctor.examine import Finding
from datamodules.doctor.survey import Survey, survey_lists
from datamodules.known_bad import check_file, is_unchanged

# The check.

COLUMNS = ("path", "splits", "labels", "group", *(column.name for column in fields(Finding)))


def check(data: Dataset, workers: int, patience: float = 60.0) -> tuple[Survey, dict[str, Finding]]:
    """Survey the lists, examine every file that is not known yet, and write the CSV; findings are by path.

    Raises DataError where the lists cannot be read, OSError where the CSV cannot be written.
    """
    data.prepare(workers)
    survey = survey_lists(data)
    table = check_file(data.folder(), Path(data.stores))
    journal = table.with_suffix(".partial.jsonl")
    table.parent.mkdir(parents=True, exist_ok=True)
    earlier = _read_table(table) | _read_journal(journal)
    findings, todo = dict(survey.absent), {}
    for path in survey.entries.keys() - findings.keys():
        file = data.folder() / path
        if (known := _still_true(earlier.get(path), file)) is not None:
            findings[path] = known
        else:
            todo[path] = file
    todo = dict(sorted(todo.items()))
    progress = CheckProgress(findings, {path: _size(file) for path, file in todo.items()})
    # Every finding is kept at once, as a line of its own: whatever stops the check, no file is decoded twice.
    with journal.open("a", encoding="utf-8") as lines:
        lines.write("\n")  # a killed check may have left half a line
        for path, finding in examine_all(todo, workers, patience):
            lines.write(json.dumps({"path": path, **asdict(finding)}) + "\n")
            lines.flush()
            findings[path] = finding
            progress.add(path, finding)
    _write_table(table, survey, findings)
    journal.unlink(missing_ok=True)
    return survey, findings


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _still_true(finding: Finding | None, file: Path) -> Finding | None:
    """The finding, if its file was read whole, or broke the decoder, and has not changed since."""
    if finding is None or finding.status in ("changed", "missing", "outside"):
        return None
    if not finding.sha256 and finding.status not in ("hang", "crash"):
        return None
    if not is_unchanged(file, finding.size, finding.modified, finding.sha256):
        return None
    return replace(finding, modified=file.stat().st_mtime_ns)


def _read_table(path: Path) -> dict[str, Finding]:
    """Findings of an earlier check by path; none if its table is not there, or has other columns than today's."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return {row["path"]: Finding.from_texts(row) for row in csv.DictReader(file)}
    except (FileNotFoundError, KeyError, ValueError, TypeError, csv.Error):
        return {}


def _read_journal(path: Path) -> dict[str, Finding]:
    findings = {}
    try:
        lines = path.read_text("utf-8").split("\n")
    except (FileNotFoundError, ValueError):
        return {}
    for line in lines:
        try:
            row = json.loads(line)
            path = row.pop("path")
            findings[path] = Finding(**row)
        except (ValueError, TypeError, KeyError, AttributeError):  # half a line, or one of another version
            continue
    return findings


def _write_table(path: Path, survey: Survey, findings: Mapping[str, Finding]) -> None:
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for entry in survey.entries.values():
                lists = {
                    "path": entry.path,
                    "splits": " ".join(f"{number}:{side}" for number, side in entry.sides.items()) or "unused",
                    "labels": "; ".join(survey.labels(entry)),
                    "group": entry.group,
                }
                writer.writerow(lists | asdict(findings[entry.path]))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
