"""A data set's lists and its frame store, without PyTorch: what a DataModule cuts clips from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from datamodules.clip_spec import ClipSpec
from datamodules.dataset_store import prepare_store, tracks
from datamodules.datasets.base import Dataset
from datamodules.errors import DataError
from datamodules.holdout import hold_out
from datamodules.processes import available_cores
from datamodules.store.key import store_folder
from datamodules.store.reading import FrameStore
from datamodules.store.shards import read_shards
from datamodules.store.tracks import Track
from datamodules.videos import Split, Video, select


class StoredData:
    """One data set as one clip specification needs it stored. `prepare` builds the store, `open` opens it.

    After `open` there are `store`, and the videos of `train` (without those that do not decode whole), `validation`
    and `test`. Both methods raise DataError if anything is wrong with files or settings.
    """

    store: FrameStore
    train: Sequence[Video]
    validation: Sequence[Video]
    test: Sequence[Video]

    def __init__(self, dataset: Dataset, spec: ClipSpec) -> None:
        self.dataset, self.spec = dataset, spec
        self.is_open = False

    @cached_property
    def lists(self) -> Split:
        """The chosen split of the data set, read once."""
        return self.dataset.read()

    @property
    def tracks(self) -> list[Track]:
        """The tracks of the frame store that the clips need."""
        return tracks(self.dataset, self.spec)

    def prepare(self) -> None:
        """Make the videos if they are generated, and build what is missing of the frame store."""
        self.dataset.prepare(available_cores())  # before its lists are read
        if len(classes := self.lists.classes) < 2:
            root = self.dataset.folder()
            raise DataError(f"{root}: all videos are of the class {classes[0]!r}, expected 2 classes")
        store = prepare_store(self.dataset, self.tracks, available_cores(), self.lists)
        self.dataset.report(self.lists, store.videos)

    def find(self) -> tuple[bool, str] | None:
        """(whether all needed tracks are built, key of the store's files); None if lists or videos are not here."""
        root = self.dataset.folder()
        try:
            files = self.lists.files
        except DataError:
            return None
        if not any((root / path).exists() for path in files):
            return None
        folder = store_folder(root, files, Path(self.dataset.stores), Path(root).name)
        return all(read_shards(folder, track) is not None for track in self.tracks), _key(folder)

    def open(self) -> None:
        """Open the store that `prepare` has built, and hold out groups for validation."""
        if self.is_open:
            return
        self.store = prepare_store(self.dataset, self.tracks, 1, self.lists)
        train, self.validation = hold_out(self.dataset, self.lists.train, self.lists.validation)
        self.train, self.test = self.whole(train), self.lists.test
        self.is_open = True

    def whole(self, videos: Sequence[Video]) -> Sequence[Video]:
        """Training videos that decode whole. Others are left out, or raise DataError, as the settings say."""
        broken = [self.store.videos[video.path].damage(video.path) for video in videos]
        if any(broken) and self.dataset.undecodable != "skip":
            raise DataError(
                f"{sum(map(bool, broken))} of {len(videos)} training videos cannot be decoded whole, first "
                f"{next(filter(None, broken))}; replace them, or train on the others with data.undecodable=skip"
            )
        whole = select(videos, np.array([not why for why in broken], bool))
        if not whole:
            root = self.dataset.folder()
            raise DataError(f"none of the {len(videos)} training videos of {root} can be decoded whole")
        return whole

    def fingerprint(self) -> str:
        """16 hex digits that change with the videos, labels, frame counts or content of the files.

        What is stored of them (frame size, flow) belongs to the run's settings.
        """
        described = {
            "train": self._described(self.train),
            "validation": self._described(self.validation),
            "test": self._described(self.test),
            "classes": self.lists.classes,
            "store": _key(self.store.folder),
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]

    def _described(self, videos: Sequence[Video]) -> list[tuple]:
        return [(video.path, video.labels, self.store.videos[video.path].frames) for video in videos]


def _key(folder: Path) -> str:
    """The key of a store. Its folder also has the root's name, which may differ elsewhere."""
    return folder.name.rpartition("-")[2]
