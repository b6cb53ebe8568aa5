"""The check of a whole data set, and the CSV of what it finds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, astuple, fields, replace
from pathlib import Path

from datamodules.datasets.base import Dataset
from datamodules.doctor.children import examine_all
from datamodules.doctor.examine import Finding
from datamodules.doctor.survey import Survey, survey_lists
from datamodules.files import write_csv
from datamodules.known_bad import check_file, check_files, is_unchanged, read_rows
from datamodules.progress import Progress

COLUMNS = ("path", "splits", "labels", "group", *(column.name for column in fields(Finding)))


def check(data: Dataset, workers: int, patience: float = 60.0) -> tuple[Survey, dict[str, Finding]]:
    """(the lists compared with the disk, findings by path), after writing the CSV.

    A file that an earlier check knows is not decoded again unless it has changed. Raises DataError if the lists cannot
    be read, OSError if the CSV cannot be written, before any file is decoded.
    """
    data.prepare(workers)
    survey = survey_lists(data)
    root, stores = data.folder(), Path(data.stores)
    table = check_file(root, stores, data.identity())
    journal = table.with_suffix(".partial.jsonl")
    try:
        stores.mkdir(parents=True, exist_ok=True)
        journal.touch()
    except OSError as error:
        raise OSError(
            f"{stores}: cannot write the table of the check: {error.strerror}; point data.stores to a folder that you "
            "may write to"
        ) from error
    earlier: dict[str, Finding] = {}
    for file in check_files(root, stores):
        earlier |= _read_table(file)
    for file in check_files(root, stores, "check.partial.jsonl"):
        earlier |= _read_journal(file)
    findings = dict(survey.absent)
    for path in survey.entries.keys() - findings.keys():
        if path in earlier and _still_true(earlier[path], root / path):
            findings[path] = replace(earlier[path], modified=(root / path).stat().st_mtime_ns)
    todo = {path: root / path for path in sorted(survey.entries.keys() - findings.keys())}
    unsound, total = sum(finding.status != "ok" for finding in findings.values()), len(survey.entries)
    with journal.open("a", encoding="utf-8") as lines, Progress(total, "check", initial=len(findings)) as bar:
        lines.write("\n")  # a killed check may have left half a line
        for path, finding in examine_all(todo, workers, patience):
            findings[path] = finding
            lines.write(json.dumps({"path": path, **asdict(finding)}) + "\n")
            lines.flush()  # at once, so no file is decoded twice
            unsound += finding.status != "ok"
            bar.set_postfix_str(f"{unsound:,} not sound", refresh=False)
            bar.update()
    write_csv(table, [COLUMNS, *_rows(survey, findings)])
    journal.unlink(missing_ok=True)
    return survey, findings


def _still_true(finding: Finding, file: Path) -> bool:
    """Whether the file was read whole, or broke the decoder, and has not changed since."""
    if finding.status in ("changed", "missing", "outside"):
        return False
    if not finding.sha256 and finding.status not in ("hang", "crash"):
        return False
    return is_unchanged(file, finding.size, finding.modified, finding.sha256)


def _read_table(path: Path) -> dict[str, Finding]:
    """Findings of an earlier check by path; none if the table has other columns."""
    try:
        return {row["path"]: Finding.from_texts(row) for row in read_rows(path)}
    except (KeyError, TypeError, ValueError):
        return {}


def _read_journal(path: Path) -> dict[str, Finding]:
    """Findings of a stopped check by path."""
    findings = {}
    for line in path.read_text("utf-8", "replace").split("\n"):
        with suppress(ValueError, TypeError, KeyError, AttributeError):  # half a line, or one of another version
            row = json.loads(line)
            name = row.pop("path")
            findings[name] = Finding(**row)
    return findings


def _rows(survey: Survey, findings: Mapping[str, Finding]) -> Iterator[tuple]:
    for entry in survey.entries.values():
        splits = " ".join(f"{number}:{side}" for number, side in entry.sides.items()) or "unused"
        labels = "; ".join(survey.labels(entry))
        yield entry.path, splits, labels, entry.group, *astuple(findings[entry.path])
