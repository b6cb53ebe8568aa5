"""The one command's end: the tables, and the page that shows them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from datamodules.files import write_atomically
from experiments.records.record import digest
from experiments.report.beside import curve_files, look_files
from experiments.tables.render import Section
from experiments.tables.update import Tables
from experiments.tables.update import update as update_tables

NAME = "report.html"
HEAD = 400  # characters of the page in which its key stands
SOURCES = [path for path in sorted(Path(__file__).parent.rglob("*")) if path.suffix in (".py", ".html", ".css", ".js")]
CODE = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]


def update(results: Path) -> Tables:
    """Bring the tables of a folder up to date, then its page; returns the tables with the page among their files.

    The page is left as it is where nothing that it is made of has changed.
    """
    tables = update_tables(results)
    path, key = results / NAME, _key(results, tables)
    if not _is_made_of(path, key):
        from experiments.report.films import films_html  # here: what draws and decodes takes a second to import
        from experiments.report.page import page

        films = films_html(results, tables.records)
        write_atomically(path, page(results, tables.sections, tables.records, films, key))
    return dataclasses.replace(tables, paths=[*tables.paths, path])


def _is_made_of(path: Path, key: str) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return key in file.read(HEAD)
    except (OSError, ValueError):
        return False


def _key(results: Path, tables: Tables) -> str:
    """A digest of all that the page shows: tables, records, and size and time of the files beside them."""
    beside = {}
    for record in tables.records:
        folder = results / "runs" / record.id
        for path in (folder / "scores.npz", *curve_files(folder), *look_files(folder)):
            try:
                state = path.stat()
            except OSError:
                continue
            beside[str(path.relative_to(results))] = [state.st_size, state.st_mtime_ns]
    shown = [_shown(section) for section in tables.sections]
    return f"{CODE}-{digest([str(results), shown, [record.file_digest for record in tables.records], beside])}"


def _shown(section: Section) -> list[object]:
    plain = json.loads(json.dumps(section.csv, default=str))
    return [section.title, section.facts, section.columns, section.rows, section.notes, plain]
