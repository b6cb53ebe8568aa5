"""Your own videos: a CSV manifest, or one folder per class under `train`, `test` and, if there is one, `val`."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Optional

from datamodules.datasets.base import Dataset
from datamodules.datasets.manifest import SPLITS, Row, class_numbers, read_manifest
from datamodules.datasets.official_lists import existing_root
from datamodules.datasets.tree import not_taken, videos_below
from datamodules.errors import DataError
from datamodules.videos import Listing, Split, Video

if TYPE_CHECKING:
    from datamodules.store.shards import StoredVideo


@dataclass
class Folder(Dataset):
    """Any videos with one label each. Classes are numbered in the order of their names. There is one split.

    The videos of `val`, if there are some, are held out for validation. Without a manifest every file is a group of its
    own. Cuts of one recording can then be in training and in test: give a manifest where that matters. Set `mirror` to
    false where left and right tell classes apart.

    manifest:  CSV file with the columns path (relative to the root), label, group and split (train, test or val); other
               columns are ignored. A relative name is looked up here, then in the root. By default it is the root's
               manifest.csv, if there is one.
    image_fps: frames per second of videos that are folders of numbered images; the manifest's column `fps` goes before
               (null: not known, so data.store_fps and sampling.fps cannot be set)
    """

    LAYOUT: ClassVar[str] = """\
<data.root>/                             either
    manifest.csv                         path,label,group,split with split train, test or val; or: data.manifest
    any/folders/video.mp4
<data.root>/                             or
    train/<class>/*.mp4                  also avi, mkv, mov, webm, mpg and others; folders in a class are entered
    train/<class>/<video>/0001.jpg       a folder of numbered images is a video too; its rate: data.image_fps
    test/<class>/*.mp4
    val/<class>/*.mp4                    if there is one, it is what validation holds out"""

    root: str = "???"
    manifest: str | None = None
    image_fps: Optional[float] = None  # noqa: UP045 - OmegaConf resolves these at run time on Python 3.10 too

    def listing(self) -> Listing:
        """Parse the manifest, or list the folders. Raises DataError."""
        if self.image_fps is not None and not 0 < self.image_fps < float("inf"):
            raise DataError(f"data.image_fps={self.image_fps}: expected a number of frames per second above 0, or null")
        rows, notes = self._rows()
        number = class_numbers((row.label for row in rows), self._source())
        videos: dict[str, list[Video]] = {"train": [], "test": [], "val": []}
        for row in rows:
            videos[row.split].append(Video(row.path, (number[row.label],), row.group))
        validation = {1: videos["val"]} if videos["val"] else {}
        rates = {row.path: rate for row in rows if (rate := row.fps or self.image_fps)}
        both = {1: (videos["train"], videos["test"])}
        return Listing(list(number), both, validation=validation, rates=rates, notes=notes)

    def read(self) -> Split:
        """The split, in which each class has a training video. Raises DataError."""
        split = super().read()
        trained = {label for video in split.train for label in video.labels}
        untrained = [name for label, name in enumerate(split.classes) if label not in trained]
        if untrained:
            raise DataError(f"{self._source()}: {len(untrained)} classes have no training video, first {untrained[0]}")
        return split

    def remarks(self, split: Split) -> list[str]:
        """How far the manifest separates groups."""
        if self._manifest():
            train, test = ({video.group for video in videos} for videos in (split.train, split.test))
            return [f"{len(train & test)} of {len(test)} test groups recur in training"]
        return ["no manifest: every file is a group of its own"]

    def report(self, split: Split, stored: Mapping[str, StoredVideo]) -> None:
        """Print what a reader of the results should know, such as files that are not taken."""
        for note in split.notes:
            print(f"{self.root}: {note}", flush=True)

    def identity(self) -> str:
        """8 hex digits of what the lists hold: paths, labels, groups and splits."""
        rows = sorted(row[:4] for row in self._rows()[0])
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:8]

    def _source(self) -> str:
        """What the lists come from: the manifest, or the root."""
        return str(self._manifest() or f"data.root={self.root}")

    def _rows(self) -> tuple[list[Row], list[str]]:
        """(rows of the manifest or of the folders, sentences about files that are not taken). Raises DataError."""
        root = existing_root(self.folder(), self.LAYOUT)
        manifest = self._manifest()
        if not manifest:
            return list_folders(root, self.LAYOUT)
        rows = read_manifest(manifest)
        unlisted = set(videos_below(root)[0]) - {posixpath.normpath(row.path) for row in rows}
        return rows, not_taken(unlisted, f"{manifest.name} does not list them")

    def _manifest(self) -> Path | None:
        """The manifest file, or None if the folders are to be listed. Raises DataError."""
        root = self.folder()
        candidates = [Path(self.manifest), root / self.manifest] if self.manifest else [root / "manifest.csv"]
        for path in candidates:
            if path.is_file():
                return path
        if self.manifest:
            raise DataError(f"data.manifest={self.manifest}: no such file, neither here nor in data.root={self.root}")
        return None


def list_folders(root: Path, layout: str) -> tuple[list[Row], list[str]]:
    """(rows for `<split>/<class>/**/<video>`, sentences about files that are not taken). Raises DataError."""
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise DataError(
                f"data.root={root}: found neither manifest.csv nor the folder {split!r}; expected\n{layout}"
            )
    rows, classes = [], set()
    videos, others = videos_below(root)
    misplaced = []
    for path in videos:
        split, *folders = path.split("/")
        if split in SPLITS and len(folders) >= 2:
            rows.append(Row(path, folders[0], path, SPLITS[split]))
            classes.add((split, folders[0]))
        else:
            misplaced.append(path)
    for split in filter(lambda name: (root / name).is_dir(), SPLITS):
        for folder in sorted(path for path in (root / split).glob("[!.]*") if path.is_dir()):
            if (split, folder.name) not in classes:
                raise DataError(f"{folder}: found 0 videos, expected some; fill or remove it")
    notes = not_taken(misplaced, "they are not in train/<class>, test/<class> or val/<class>")
    return rows, notes + not_taken(others, "they are no videos")
