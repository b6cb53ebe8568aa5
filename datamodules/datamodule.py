"""Clips of stored videos as a Lightning DataModule, for every data set.

A batch is a dict of N views. A view is one crop of one clip. A training clip has one view, without the entries from
`video` on. In training with `train_labels=one` there is also `drawn`.
    rgb        (N, T, H, W, 3) uint8, as the frames lie in the store.
    flow       (N, L, H, W, 2) uint8, 128 is no motion. With `flow_direction=both` the first L / 2 fields lead forward
               from the clip's middle frame. The others lead backward from it.
    flow_mean  (N, L, 2) mean displacement of each whole field, pixels.
    target     (N, C) bool, the true labels.
    drawn      (N, C) bool, the one of them that is trained on.
    video      (N,) index into the videos of the split.
    clip       (N,) number of the clip in its video.
    center     (N,) float32, middle of the clip in seconds. In frames, if the file does not say its rate. If a video is
               stored in pieces, seconds count over the stored pieces only.
    valid      (N,) false for a test video that cannot be decoded. Its frames are zeros, and it counts as wrong.
Views of one clip are neighbours, and so are clips of one video. The views of a video may spread over several batches.
Memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from datamodules.clip_spec import ClipSpec, check
from datamodules.dataset_store import prepare_store, tracks
from datamodules.datasets.base import Dataset
from datamodules.epoch import TrainOrder, ViewShare
from datamodules.errors import DataError
from datamodules.holdout import hold_out
from datamodules.loader import PATIENCE, Loader, check_shared_memory
from datamodules.loading import StoredClips, TestViews, TrainClips, start_loading
from datamodules.processes import available_cores
from datamodules.store.key import store_folder
from datamodules.store.reading import FrameStore
from datamodules.store.shards import read_shards
from datamodules.store.tracks import Track
from datamodules.videos import Split, Video, select


class VideoDataModule(L.LightningDataModule):
    """Clips of one data set under one clip specification.

    `prepare_data` makes the videos of a generated data set, and decodes each video once into the frame store. `setup`
    opens the store. `batch_size` counts training clips per process, `test_batch_size` test views. Both methods raise
    DataError if anything is wrong with files or settings.
    """

    def __init__(
        self,
        dataset: Dataset,
        spec: ClipSpec,
        *,
        batch_size: int,
        test_batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        check(spec)
        self.dataset, self.spec, self.seed, self.workers = dataset, spec, seed, workers
        self.batch_size, self.test_batch_size = batch_size, test_batch_size
        self._store: FrameStore | None = None

    @cached_property
    def lists(self) -> Split:
        """The chosen split of the data set, read once."""
        return self.dataset.read()

    @property
    def tracks(self) -> list[Track]:
        """The tracks of the frame store that the clips need."""
        return tracks(self.dataset, self.spec)

    def prepare_data(self) -> None:
        """Make the videos if they are generated, and build what is missing of the frame store (one process only)."""
        if self._store is None:
            self.dataset.prepare(available_cores())  # before its lists are read
            if len(classes := self.lists.classes) < 2:
                root = self.dataset.folder()
                raise DataError(f"{root}: all videos are of the class {classes[0]!r}, expected 2 classes")
            store = prepare_store(self.dataset, self.tracks, available_cores(), self.lists)
            self.dataset.report(self.lists, store.videos)

    def find_stores(self) -> tuple[bool, str] | None:
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

    def setup(self, stage: str | None = None) -> None:
        """Open the store, hold out groups for validation, and check that every process has something to do."""
        if self._store is None:
            self._open()
        check_shared_memory(self.spec, self.workers, self.batch_size + self.test_batch_size)
        world = self._process()[1]
        for name, count in (
            ("training clips", len(self.train_clips.videos) * self.spec.train_clips),
            ("validation videos", len(self.validation_views.videos)),
            ("test videos", len(self.test_views.videos)),
        ):
            if 0 < count < world:
                raise DataError(
                    f"{count} {name} for {world} processes: each needs at least one; use trainer.devices={count}"
                )

    def _process(self) -> tuple[int, int]:
        """(number of this process, number of processes)."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _open(self) -> None:
        # Everything is built by now (`prepare_data`), so this only opens it.
        store = prepare_store(self.dataset, self.tracks, 1, self.lists)
        train, validation = hold_out(self.dataset, self.lists.train, self.lists.validation)
        classes, mirror = len(self.lists.classes), self.dataset.mirror
        whole = whole_videos(self.dataset, train, store)
        self.train_clips = TrainClips(whole, store, self.spec, classes, mirror, self.seed)
        self.validation_views = TestViews(validation, store, self.spec, classes, mirror)
        self.test_views = TestViews(self.lists.test, store, self.spec, classes, mirror)
        self._store = store

    @property
    def store(self) -> FrameStore:
        """The frame store, open after `setup`."""
        assert self._store is not None, "setup() opens the store"
        return self._store

    def steps_per_epoch(self, processes: int) -> int:
        """Optimiser steps in an epoch, if each of some processes takes `batch_size` clips per step."""
        return -(-len(self._train_order(0, processes)) // self.batch_size)

    @property
    def num_classes(self) -> int:
        """Classes of the data set, C."""
        return len(self.lists.classes)

    @property
    def num_test_batches(self) -> int:
        """Number of batches in this process's share of the test."""
        return len(self.test_dataloader())

    def _train_order(self, rank: int, world: int) -> TrainOrder:
        return TrainOrder(self.train_clips, self.batch_size, rank, world)

    def _loader(self, dataset: TorchDataset, sampler: Sampler, batch_size: int) -> DataLoader:
        processes = {"timeout": PATIENCE, "worker_init_fn": start_loading, "persistent_workers": True}
        return Loader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            **processes if self.workers else {},
        )

    def train_dataloader(self) -> DataLoader:
        """Random clips, shuffled anew in each epoch."""
        order = self._train_order(*self._process())
        loader = self._loader(self.train_clips, order, self.batch_size)
        # Lightning opens the loader of a resumed run before it says which epoch it is, and workers draw at once.
        order.start_at(*divmod(self.trainer.global_step if self.trainer else 0, len(loader)), self.batch_size)
        return loader

    def view_loader(self, views: TestViews) -> DataLoader:
        """This process's share of some views, in order."""
        return self._loader(views, ViewShare(views, *self._process()), self.test_batch_size)

    def val_dataloader(self) -> DataLoader | list:
        """Every view of the held-out training groups; empty if nothing is held out."""
        return self.view_loader(self.validation_views) if self.validation_views.videos else []

    def test_dataloader(self) -> DataLoader:
        """Every view of every test video."""
        return self.view_loader(self.test_views)

    def fingerprint(self) -> str:
        """16 hex digits that change with the videos, labels, frame counts or content of the files.

        What is stored of them (frame size, flow) belongs to the run's settings.
        """
        described = {
            "train": _described(self.train_clips),
            "validation": _described(self.validation_views),
            "test": _described(self.test_views),
            "classes": self.lists.classes,
            "store": _key(self.store.folder),
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]

    def fingerprints(self) -> list[str]:
        """Of what each data set contributes: here there is one."""
        return [self.fingerprint()]


def _as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return batch


def whole_videos(dataset: Dataset, videos: Sequence[Video], store: FrameStore) -> Sequence[Video]:
    """The training videos that decode whole. Others are left out, or raise DataError, as the settings say."""
    broken = [store.videos[video.path].damage(video.path) for video in videos]
    if any(broken) and dataset.undecodable != "skip":
        raise DataError(
            f"{sum(map(bool, broken))} of {len(videos)} training videos cannot be decoded whole, first "
            f"{next(filter(None, broken))}; replace them, or train on the others with data.undecodable=skip"
        )
    whole = select(videos, np.array([not why for why in broken], bool))
    if not whole:
        raise DataError(f"none of the {len(videos)} training videos of {dataset.folder()} can be decoded whole")
    return whole


def _described(clips: StoredClips) -> list[tuple]:
    return [(video.path, video.labels, clips.store.videos[video.path].frames) for video in clips.videos]


def _key(folder: Path) -> str:
    """The key of a store. Its folder also has the root's name, which may differ elsewhere."""
    return folder.name.rpartition("-")[2]
