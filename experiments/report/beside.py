"""Files beside a run's record that a page shows."""

from __future__ import annotations

from pathlib import Path


def curve_files(folder: Path) -> list[Path]:
    """The files of a run's curves, in the order in which they were begun."""
    found = [path for path in folder.glob("curves/version_*/metrics.csv") if path.parent.name[8:].isdecimal()]
    return sorted((path for path in found if path.is_file()), key=lambda path: int(path.parent.name[8:]))


def look_files(folder: Path) -> list[Path]:
    """The films of where a run's network looks, but for links to files elsewhere."""
    found = sorted(folder.glob("look-*.mp4"))
    return [path for path in found if path.resolve().parent == folder.resolve() and path.is_file()]
