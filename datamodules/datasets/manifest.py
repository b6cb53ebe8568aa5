"""A CSV manifest of videos -> its rows."""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from datamodules.datasets.official_lists import read_lines
from datamodules.errors import DataError

SPLITS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}


class Row(NamedTuple):
    """One video: its path below the root, its class, its group, its split (train, test or val) and its rate or 0."""

    path: str
    label: str
    group: str
    split: str
    fps: float = 0.0


COLUMNS = ("path", "label", "group", "split")


def read_manifest(path: Path) -> list[Row]:
    """The rows of a manifest in its order. Raises DataError with the line at fault."""
    lines = read_lines(path)
    reader = csv.DictReader((line for _, line in lines), skipinitialspace=True)
    found = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = found
    if not set(COLUMNS) <= set(found):
        raise DataError(f"{path}: found the columns {','.join(found)!r}, expected {','.join(COLUMNS)!r} among them")
    for name in (*COLUMNS, "fps"):
        if found.count(name) > 1:
            raise DataError(f"{path}: there are {found.count(name)} columns {name!r}, expected one")
    rows = list(reader)
    if len(rows) != len(lines) - 1:
        raise DataError(f"{path}: a value goes on over a line end; close its quote, or rename a file so named")
    return [_row(where, cells) for (where, _), cells in zip(lines[1:], rows, strict=True)]


def _row(where: str, cells: dict[str, str | None]) -> Row:
    values = {column: (cells[column] or "").strip() for column in COLUMNS}
    for column, value in values.items():
        if not value:
            raise DataError(f"{where}: the column {column!r} is empty, expected a value")
    if "\\" in values["path"]:
        raise DataError(f"{where}: the path {values['path']!r} has a backslash; write it with / between the folders")
    if values["split"] not in SPLITS:
        raise DataError(f"{where}: found split {values['split']!r}, expected 'train', 'test' or 'val'")
    rate = (cells.get("fps") or "").strip()
    try:
        fps = float(rate or 0)
    except ValueError:
        fps = -1.0
    if not 0 <= fps < float("inf") or (rate and not fps):
        raise DataError(f"{where}: found fps {rate!r}, expected a number of frames per second above 0, or nothing")
    return Row(**{**values, "split": SPLITS[values["split"]]}, fps=fps)


def class_numbers(labels: Iterable[str], source: str) -> dict[str, int]:
    """The number of each class, in the order of their names. Raises DataError if two names look the same."""
    names = sorted(set(labels))
    looks = Counter(_look(name) for name in names)
    if same := [name for name in names if looks[_look(name)] > 1]:
        twins = [name for name in same if _look(name) == _look(same[0])]
        raise DataError(
            f"{source}: the classes {', '.join(map(ascii, twins))} are equal but for case, spaces or Unicode form; "
            "give them one name, or names that differ"
        )
    return {name: number for number, name in enumerate(names)}


def _look(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
