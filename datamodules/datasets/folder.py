"""Your own videos: a CSV manifest, or one folder per class under `train` and `test`."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from datamodules.datasets.base import Dataset
from datamodules.datasets.official_lists import existing_root, read_lines
from datamodules.errors import DataError
from datamodules.videos import Listing, Split, Video

SUFFIXES = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v")


class Row(NamedTuple):
    """One video of a manifest; the fields are its columns."""

    path: str
    label: str
    group: str
    split: str


@dataclass
class Folder(Dataset):
    """Any videos with one label each. Classes are numbered in the order of their names. There is one split.

    Without a manifest every file is a group of its own. Cuts of one recording can then be in training and in test:
    give a manifest where that matters. Set `mirror` to false where left and right tell classes apart.

    manifest: CSV file with the columns path (relative to the root), label, group and split (train or test); other
              columns are ignored. A relative name is looked up here, then in the root. By default it is the root's
              manifest.csv, if there is one.
    """

    LAYOUT: ClassVar[str] = """\
<data.root>/                             either
    manifest.csv                         path,label,group,split with split train or test; elsewhere: data.manifest
    any/folders/video.mp4
<data.root>/                             or
    train/<class>/*.mp4                  also avi, mkv, mov, webm, mpg, mpeg, m4v
    test/<class>/*.mp4"""

    root: str = "???"
    manifest: str | None = None

    def listing(self) -> Listing:
        """Parse the manifest, or list the folders. Raises DataError."""
        root = existing_root(self.folder(), self.LAYOUT)
        manifest = self.find_manifest(root)
        rows = read_manifest(manifest) if manifest else list_folders(root, self.LAYOUT)
        classes = sorted({row.label for row in rows})
        videos: dict[str, list[Video]] = {"train": [], "test": []}
        for row in rows:
            videos[row.split].append(Video(row.path, (classes.index(row.label),), row.group))
        return Listing(classes, {1: (videos["train"], videos["test"])})

    def read(self) -> Split:
        """The split, in which every class has a training video. Raises DataError."""
        split = super().read()
        trained = {label for video in split.train for label in video.labels}
        untrained = [name for label, name in enumerate(split.classes) if label not in trained]
        if untrained:
            source = self.find_manifest(self.folder()) or self.root
            raise DataError(f"{source}: {len(untrained)} classes have no training video, first {untrained[0]}")
        return split

    def remarks(self, split: Split) -> list[str]:
        """How far the manifest separates groups."""
        if self.find_manifest(self.folder()):
            return [count_shared_groups(split)]
        return ["no manifest: every file is a group of its own"]

    def find_manifest(self, root: Path) -> Path | None:
        """The manifest file, or None where the root is to be listed."""
        candidates = [Path(self.manifest), root / self.manifest] if self.manifest else [root / "manifest.csv"]
        for path in candidates:
            if path.is_file():
                return path
        if self.manifest:
            raise DataError(f"data.manifest={self.manifest}: no such file, neither here nor in data.root={self.root}")
        return None


def read_manifest(path: Path) -> list[Row]:
    """Rows of a CSV manifest in its order."""
    lines = read_lines(path)
    reader = csv.DictReader(line for _, line in lines)
    found = reader.fieldnames or []
    if not set(Row._fields) <= set(found):
        raise DataError(f"{path}: found the columns {','.join(found)!r}, expected {','.join(Row._fields)!r} among them")
    rows = list(reader)
    if len(rows) != len(lines) - 1:
        raise DataError(f"{path}: a value goes on over a line end; close its quote, or rename a file so named")
    result = []
    for (where, _), cells in zip(lines[1:], rows, strict=True):
        row = Row(*((cells[column] or "").strip() for column in Row._fields))
        for column, value in row._asdict().items():
            if not value:
                raise DataError(f"{where}: the column {column!r} is empty, expected a value")
        if row.split not in ("train", "test"):
            hint = "; validation is held out of train by data.validation" if row.split.startswith("val") else ""
            raise DataError(f"{where}: found split {row.split!r}, expected 'train' or 'test'{hint}")
        result.append(row)
    return result


def list_folders(root: Path, layout: str) -> list[Row]:
    """Rows for `train/<class>/<video>` and `test/<class>/<video>`, sorted by name."""
    rows = []
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise DataError(
                f"data.root={root}: found neither manifest.csv nor the folder {split!r}; expected\n{layout}"
            )
        for folder in sorted(path for path in (root / split).glob("[!.]*") if path.is_dir()):
            paths = [f"{split}/{folder.name}/{name}" for name in sorted(os.listdir(folder)) if is_video(name)]
            if not paths:
                raise DataError(f"{folder}: found 0 videos ({' '.join(SUFFIXES)}), expected some; fill or remove it")
            rows += [Row(path, folder.name, path, split) for path in paths]
    return rows


def is_video(name: str) -> bool:
    """Whether a file name is a video's. A leading dot says no: macOS leaves `._video.mp4` beside videos."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def count_shared_groups(split: Split) -> str:
    """How far the manifest separates groups."""
    train, test = ({video.group for video in videos} for videos in (split.train, split.test))
    return f"{len(train & test)} of {len(test)} test groups recur in training"
