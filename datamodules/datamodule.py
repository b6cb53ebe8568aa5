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

import lightning as L
import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from datamodules.clip_spec import ClipSpec, check
from datamodules.datasets.base import Dataset
from datamodules.epoch import TrainOrder, ViewShare
from datamodules.errors import DataError
from datamodules.loader import PATIENCE, Loader, check_shared_memory
from datamodules.loading import TestViews, TrainClips, start_loading
from datamodules.store.reading import FrameStore
from datamodules.store.tracks import Track
from datamodules.stored_data import StoredData
from datamodules.videos import Split


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
        self.stored = StoredData(dataset, spec)

    @property
    def lists(self) -> Split:
        """The chosen split of the data set, read once."""
        return self.stored.lists

    @property
    def tracks(self) -> list[Track]:
        """The tracks of the frame store that the clips need."""
        return self.stored.tracks

    def prepare_data(self) -> None:
        """Make the videos if they are generated, and build what is missing of the frame store (one process only)."""
        if not self.stored.is_open:
            self.stored.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Open the store, hold out groups for validation, and check that every process has something to do."""
        if not self.stored.is_open:
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
        self.stored.open()
        store, classes, mirror = self.stored.store, self.num_classes, self.dataset.mirror
        self.train_clips = TrainClips(self.stored.train, store, self.spec, classes, mirror, self.seed)
        self.validation_views = TestViews(self.stored.validation, store, self.spec, classes, mirror)
        self.test_views = TestViews(self.stored.test, store, self.spec, classes, mirror)

    @property
    def store(self) -> FrameStore:
        """The frame store, open after `setup`."""
        assert self.stored.is_open, "setup() opens the store"
        return self.stored.store

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
        """16 hex digits of what the clips are cut from; see `StoredData`."""
        return self.stored.fingerprint()

    def fingerprints(self) -> list[str]:
        """Of what each data set contributes: here there is one."""
        return [self.fingerprint()]


def _as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return batch
