"""The film of a test video for a page: drawn anew where it may be shown, else a link to the file on this machine.

Records and names of videos may be somebody else's. So no file of a data set is ever read into a page: a generated video
follows from its name and a few numbers. A link leads to nothing outside the folder of the data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from datamodules.datasets.moving_shapes import MovingShapes
from datamodules.datasets.rendering import render
from datamodules.datasets.scenes import CLASSES, MIN_FRAMES, make_scene
from experiments.records.record import Record
from experiments.report.beside import look_files
from experiments.report.encode import LARGEST, data_uri, film

LONGEST = 5  # seconds of a film
WIDTH = 128  # pixels of a film, at least
RANGES = {"data_seed": (0, 2**31), "size": (32, 256), "frames": (20, 500), "fps": (1, 60)}
NAME = re.compile(r"(?P<name>\w+)/v_(?P=name)_g(?P<group>\d\d)_c(?P<clip>\d\d)\.mp4", re.ASCII)


class Picture(NamedTuple):
    """A film for a page: `source`, its address as data, or `link`, a file's address from the page; `seconds`, 0 if it
    does not say."""

    source: str = ""
    link: str = ""
    seconds: float = 0.0


def may_be_shown(record: Record) -> bool:
    """Whether frames of the record's data set may be shown to anybody."""
    return (record.config or {}).get("dataset") == "moving_shapes" and MovingShapes.MAY_BE_SHOWN


def picture(results: Path, record: Record, path: str) -> Picture:
    """The film of a test video of a record, for a page in `results`; empty where there is nothing to show."""
    if not may_be_shown(record):
        return Picture(link=_link(results, _settings(record).get("root"), path))
    if (drawn := _drawn(_settings(record), path)) is None:
        return Picture()
    frames, fps = drawn
    shown = frames[: LONGEST * fps]
    times = max(1, WIDTH // frames.shape[1])
    return Picture(source=data_uri(film(shown.repeat(times, 1).repeat(times, 2), fps)), seconds=len(frames) / fps)


def _settings(record: Record) -> dict[str, Any]:
    data = (record.config or {}).get("data")
    return data if isinstance(data, dict) else {}


def _drawn(settings: dict[str, Any], path: str) -> tuple[np.ndarray, int] | None:
    """Frames (N, H, W, 3) and frame rate of a generated video; None for settings or a name that no such video has."""
    numbers = {name: settings.get(name) for name in RANGES}
    if any(
        type(value) is not int or not RANGES[name][0] <= value <= RANGES[name][1] for name, value in numbers.items()
    ):
        return None
    found = NAME.fullmatch(path)
    families = [family for family, own in CLASSES.items() if found and found["name"] in own]
    if not families or numbers["size"] % 2 or numbers["frames"] % 2 or numbers["frames"] < MIN_FRAMES[families[0]]:
        return None
    place = int(found["group"]), int(found["clip"])
    scene = make_scene(numbers["data_seed"], families[0], found["name"], *place, numbers["size"], numbers["frames"])
    return render(scene), numbers["fps"]


def _link(results: Path, root: Any, path: str) -> str:
    """The address of a data set's file from a page in `results`; empty where it is not there, or outside its root."""
    try:
        folder = Path(root).expanduser().resolve()
        file = (folder / path).resolve()
        there = folder in file.parents and file.exists()
        return quote(os.path.relpath(file, results.resolve())) if there else ""
    except (TypeError, ValueError, OSError, RuntimeError):  # no text, a NUL in it, a circle of links, no home
        return ""


def looks(results: Path, record: Record) -> Iterator[tuple[str, Picture]]:
    """Films of where a run's network looks, which `--look` wrote beside its record: their names, and each film."""
    for path in look_files(results / "runs" / record.id):
        if may_be_shown(record) and path.stat().st_size <= 4 * LARGEST:
            yield path.stem, Picture(source=data_uri(path.read_bytes()))
        else:
            yield path.stem, Picture(link=quote(f"runs/{record.id}/{path.name}"))
