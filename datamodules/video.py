"""Clips of stored videos as a Lightning DataModule: all that the data sets share.

A batch is a dict of N views (a view is one crop of one clip; in training a clip has one, and only the first three
entries are there):
    rgb        (N, 3, T, H, W) uint8
    flow       (N, 2, L, H, W) uint8, 128 is no motion, or float32 in pixels where each field is stored in its own
               range (`data.flow.range=field`); with `flow_direction=both` the first L / 2 fields lead forward
               from the clip's middle frame on, the others backward from it;
               flow_mean (N, 2, L) each whole field's mean displacement, pixels
    target     (N, C) bool, the true labels
    drawn      (N, C) bool, the one of them that is trained on; only in training with `train_labels=one`
    video      (N,) index into the split's videos; clip (N,) which clip of the video
    center     (N,) float32, the clip's middle, in seconds (in frames where the file does not say its frame rate); of a
               video of which pieces are stored, seconds of these, as if one followed on another
    valid      (N,) false for a test video that cannot be decoded: its frames are zeros and it counts as wrong
With an auxiliary data set to train on as well, a training batch is {"main": batch, "auxiliary": batch}.
Views of one clip are neighbours, and so are clips of one video; a video's views may spread over several batches, so
that memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from datamodules import clips as clip_rules
from datamodules.building import Launcher, build_tracks, in_processes
from datamodules.clips import ClipSpec
from datamodules.lists import (
    DataError,
    Dataset,
    Video,
    VideoArray,
    VideoLists,
    check_apart,
    hold_out,
    known_bad,
    select,
)
from datamodules.store import FrameStore, StoredVideo, Track, open_store, read_shards, store_folder
from datamodules.transforms import (
    Window,
    cut_flow,
    cut_rgb,
    principal_colours,
    random_colours,
    random_window,
    recolour,
    view_windows,
)

AUXILIARY = 2**32  # added to the seed, so that an auxiliary data set has draws of its own
COLOUR_VIDEOS = 500  # at most so many training videos say what the principal components of their colours are

Example = dict[str, np.ndarray | int | float | bool]


class _Clips(TorchDataset):
    """What training and evaluation share: cutting one view out of the store."""

    def __init__(
        self, videos: Sequence[Video], store: FrameStore, spec: ClipSpec, num_classes: int, mirror: bool
    ) -> None:
        self.videos, self.store, self.spec, self.mirror = videos, store, spec, mirror
        self.num_classes = num_classes
        tried = set()
        for video in videos:  # now, not in a worker in the middle of an epoch
            stored = store.videos[video.path]
            extent = (stored.frames, stored.fps, stored.piece)
            if stored.frames and extent not in tried:
                tried.add(extent)
                try:
                    clip_rules.clip_indices(spec, stored.frames, stored.fps, np.zeros(1, np.int64), stored.piece)
                except DataError as error:
                    raise DataError(f"{video.path}: {error}") from None

    def _target(self, labels: Sequence[int]) -> np.ndarray:
        target = np.zeros(self.num_classes, dtype=bool)
        target[list(labels)] = True
        return target

    def _cut(self, path: str, clips: clip_rules.Clips, number: int, window: Window) -> Example:
        """The window of clip `number` of a video."""
        example: Example = {}
        if self.spec.frames:
            example["rgb"] = cut_rgb(self.store.rgb(path), clips.rgb[number], window, self.spec.crop)
        if self.spec.flow_frames:
            parts = [cut_flow(*self.store.flow(path), clips.flow[number], window, self.spec.crop)]
            if clips.backward.size:
                fields, means = self.store.flow(path, backward=True)
                parts.append(cut_flow(fields, means, clips.backward[number], window, self.spec.crop))
            example["flow"], example["flow_mean"] = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return example

    def _blank(self) -> Example:
        size = (self.spec.crop, self.spec.crop)
        example: Example = {}
        if self.spec.frames:
            example["rgb"] = np.zeros((3, self.spec.frames, *size), dtype=np.uint8)
        if self.spec.flow_frames:
            motionless = np.uint8(128) if self.store.tracks["flow"].flow.range == "bound" else np.float32(0)
            example["flow"] = np.full((2, self.spec.flow_frames, *size), motionless)
            example["flow_mean"] = np.zeros((2, self.spec.flow_frames), dtype=np.float32)
        return example


class TrainClips(_Clips):
    """Random clips of the training videos, one random window, one change of colours and one label of several each.

    An item's key is (epoch, video, draw) and its randomness is seeded from (seed, epoch, video, draw) alone, so that
    neither workers nor an interruption change what is drawn.
    """

    def __init__(
        self, videos: Sequence[Video], store: FrameStore, spec: ClipSpec, num_classes: int, mirror: bool, seed: int
    ) -> None:
        super().__init__(videos, store, spec, num_classes, mirror)
        self.seed = seed
        self.colours = None
        if spec.colour == "pca" and spec.frames:
            some = videos[:: -(-len(videos) // COLOUR_VIDEOS)]
            self.colours = principal_colours(store.rgb(v.path)[store.videos[v.path].frames // 2] for v in some)

    def __getitem__(self, key: tuple[int, int, int]) -> Example:
        epoch, index, draw = key
        video = self.videos[index]
        stored = self.store.videos[video.path]
        rng = np.random.default_rng([self.seed, epoch, index, draw])
        starts = clip_rules.train_starts(self.spec, stored.frames, stored.fps, rng, stored.piece)
        clips = clip_rules.clip_indices(self.spec, stored.frames, stored.fps, starts, stored.piece)
        window = random_window(*self.spec.resize, self.spec.crop, self.mirror, rng, self.spec.crop_scales)
        example = self._cut(video.path, clips, 0, window)
        if self.spec.colour != "none" and self.spec.frames:
            example["rgb"] = recolour(example["rgb"], random_colours(self.spec.colour, self.colours, rng))
        example["target"] = self._target(video.labels)
        if self.spec.train_labels == "one":
            example["drawn"] = self._target([video.labels[rng.integers(len(video.labels))]])
        return example


class TestViews(_Clips):
    """Every view of every test clip, in order; deterministic (what is random is seeded by the path)."""

    __test__ = False  # the name is not a test's

    def __init__(
        self, videos: Sequence[Video], store: FrameStore, spec: ClipSpec, num_classes: int, mirror: bool
    ) -> None:
        super().__init__(videos, store, spec, num_classes, mirror)
        # An undecodable video keeps its place with the number of clips that any other video has, and one view of each.
        stored = [store.videos[video.path] for video in videos]
        if spec.test_clips == "all":
            clips = [len(self.starts(video, None)) if video.frames else 1 for video in stored]
        else:
            clips = [int(spec.test_clips)] * len(stored)
        views = len(view_windows(spec.test_views, *spec.resize, spec.crop, mirror, np.random.default_rng(0)))
        self.clips_of = np.array(clips, np.int64)  # of each video, (N,)
        self.views_of = np.array([views if video.frames else 1 for video in stored], np.int64)  # of each of its clips
        self.first = np.concatenate([[0], np.cumsum(self.clips_of * self.views_of)])  # view of each video, (N + 1,)
        self._last: tuple[int, clip_rules.Clips, list[list[Window]]] | None = None  # as views come in order

    def starts(self, stored: StoredVideo, rng: np.random.Generator | None) -> np.ndarray:
        """First frames of a video's clips; `rng` draws random ones."""
        return clip_rules.test_starts(self.spec, stored.frames, stored.fps, rng, stored.piece)

    def _clips(self, index: int) -> tuple[clip_rules.Clips, np.random.Generator]:
        """The clips of a video that decodes, and the generator that drew them."""
        path = self.videos[index].path
        stored = self.store.videos[path]
        rng = np.random.default_rng(list(hashlib.sha256(os.fsencode(path)).digest()[:8]))
        starts = self.starts(stored, rng)
        return clip_rules.clip_indices(self.spec, stored.frames, stored.fps, starts, stored.piece), rng

    def __len__(self) -> int:
        return int(self.first[-1])

    def __getitem__(self, key: int) -> Example:
        index = int(np.searchsorted(self.first, key, side="right")) - 1
        clip, view = divmod(key - int(self.first[index]), int(self.views_of[index]))
        video = self.videos[index]
        stored = self.store.videos[video.path]
        place = {"video": index, "clip": clip, "target": self._target(video.labels), "valid": stored.frames > 0}
        if not stored.frames:
            return {**self._blank(), **place, "center": np.float32(0)}
        if self._last is None or self._last[0] != index:
            clips, rng = self._clips(index)
            crops = (self.spec.test_views, *self.spec.resize, self.spec.crop, self.mirror)
            self._last = index, clips, [view_windows(*crops, rng) for _ in clips.center]
        _, clips, windows = self._last
        center = np.float32(clips.center[clip] / (stored.fps or 1))
        return {**self._cut(video.path, clips, clip, windows[clip][view]), **place, "center": center}

    @property
    def num_clips(self) -> int:
        """Clips of all videos; a video that cannot be decoded keeps its number of clips."""
        return int(self.clips_of.sum())

    @property
    def padded_clips(self) -> int:
        """How many clips reach beyond the end of their video, or of the piece of it that is stored."""
        decodable = (i for i, video in enumerate(self.videos) if self.store.videos[video.path].frames)
        return sum(int(self._clips(index)[0].padded.sum()) for index in decodable)


class _TrainOrder(Sampler[tuple[int, int, int]]):
    """The clips of an epoch, in an order seeded from (seed, epoch); each process takes an equal share.

    Each video comes `train_clips` times, or where `balanced`, classes equally often. What does not fill a batch on
    every process is left out of the epoch (another remainder in each). With `steps`, an epoch has so many full batches
    instead, for which the videos come round as often as it takes.
    """

    def __init__(self, clips: TrainClips, batch_size: int, rank: int, world: int, steps: int | None = None) -> None:
        self.clips, self.rank, self.world = clips, rank, world
        self.draws = clips.spec.train_clips
        self.num_clips = len(clips.videos) * self.draws
        share = self.num_clips // world
        self.length = share // batch_size * batch_size if share >= batch_size else share
        if steps is not None:
            self.length, self.draws = steps * batch_size, 1
            self.num_clips = self.length * world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        rng = np.random.default_rng([self.clips.seed, self.epoch])
        videos = self.clips.videos
        if self.clips.spec.balanced:
            order = clip_rules.balanced_order([video.labels for video in videos], self.num_clips, rng)
        else:
            order = clip_rules.shuffled_order(len(videos), self.draws, self.num_clips, rng)
        for video, draw in order[self.rank :: self.world][: self.length].tolist():
            yield self.epoch, video, draw


class _ViewShare(Sampler[int]):
    """The views of this process's videos, in order: whole videos, none twice, none left out."""

    def __init__(self, views: TestViews, rank: int, world: int) -> None:
        self.first, self.last = views.first[:-1][rank::world].tolist(), views.first[1:][rank::world].tolist()

    def __len__(self) -> int:
        return sum(self.last) - sum(self.first)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(map(range, self.first, self.last))


def _collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(np.stack([example[name] for example in examples])).contiguous() for name in examples[0]
    }


class VideoDataModule(L.LightningDataModule):
    """Clips of one data set under one clip specification.

    `prepare_data` makes or checks the videos and decodes each once into the frame store; `setup` opens the store.
    `batch_size` counts clips per process in training, `test_batch_size` views. Raises DataError for anything wrong with
    the files or settings.

    `auxiliary` is a second data set to train on (multi-task training, Simonyan & Zisserman 2014, section 4): clips of
    all videos of its lists, of training and test alike, of the same specification and with flow as the main data set
    computes it. Each batch then has `batch_size` clips of both. Epochs and tests are the main data set's.
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
        auxiliary: Dataset | None = None,
    ) -> None:
        super().__init__()
        clip_rules.check(spec)
        if auxiliary is not None and (auxiliary.validation or auxiliary.folds):
            raise DataError(
                f"auxiliary_data.validation={auxiliary.validation:g}, auxiliary_data.folds={auxiliary.folds}: an "
                "auxiliary data set is trained on whole; set both to 0"
            )
        self.dataset, self.spec, self.seed, self.workers = dataset, spec, seed, workers
        self.batch_size, self.test_batch_size = batch_size, test_batch_size
        self.auxiliary = auxiliary
        self._store: FrameStore | None = None

    @cached_property
    def lists(self) -> VideoLists:
        """The data set's lists, read once."""
        return self.dataset.read()

    @cached_property
    def auxiliary_lists(self) -> VideoLists | None:
        """The auxiliary data set's lists, read once."""
        return self.auxiliary.read() if self.auxiliary is not None else None

    @property
    def auxiliary_classes(self) -> tuple[str, ...]:
        """Classes of the auxiliary data set; none without one."""
        return self.auxiliary_lists.classes if self.auxiliary_lists else ()

    @property
    def tracks(self) -> list[Track]:
        """What the clips need of a frame store."""
        return tracks(self.dataset, self.spec)

    @property
    def auxiliary_tracks(self) -> list[Track]:
        """The same of the auxiliary data set's store."""
        assert self.auxiliary is not None, "there is no auxiliary data set"
        return tracks(self.auxiliary, self.spec, main=self.dataset)

    def prepare_data(self) -> None:
        """Make the videos if they are generated, and build what is missing of the frame store (one process only)."""
        if self._store is None:
            for dataset in filter(None, (self.dataset, self.auxiliary)):
                dataset.prepare(available_cores())  # before its lists are read
                main = dataset is self.dataset
                lists, needed = (self.lists, self.tracks) if main else (self.auxiliary_lists, self.auxiliary_tracks)
                store = prepare_store(dataset, needed, available_cores(), lists)
                dataset.report(lists, store.videos)

    def find_stores(self) -> tuple[bool, str] | None:
        """Whether all that is needed of the frame stores is built, so that `setup` only opens it, and the key of the
        main one's files; None where the lists or the videos are not here."""
        try:
            stores = [(self.dataset, self.lists, self.tracks)]
            if self.auxiliary is not None and self.auxiliary_lists is not None:
                stores.append((self.auxiliary, self.auxiliary_lists, self.auxiliary_tracks))
        except DataError:
            return None
        built, keys = True, []
        for dataset, lists, needed in stores:
            root = dataset.folder()
            if not any((root / path).is_file() for path in lists.files):
                return None
            folder = store_folder(root, lists.files, Path(dataset.stores), Path(root).name)
            built = built and all(read_shards(folder, track) is not None for track in needed)
            keys.append(_key(folder))
        return built, keys[0]

    def setup(self, stage: str | None = None) -> None:
        """Open the store, hold out groups for validation and check that every process has something to do."""
        if self._store is None:
            self._open()
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
        """Which process this is, of how many."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _open(self) -> None:
        # Everything is built by now (`prepare_data`), so this only opens it.
        store = prepare_store(self.dataset, self.tracks, 1, lists=self.lists)
        train, validation = hold_out(self.dataset, self.lists.train)
        classes, mirror = len(self.lists.classes), self.dataset.mirror
        whole = _whole_videos(self.dataset, "data", train, store)
        self.train_clips = TrainClips(whole, store, self.spec, classes, mirror, self.seed)
        self.auxiliary_clips = self._open_auxiliary()
        self.validation_views = TestViews(validation, store, self.spec, classes, mirror)
        self.test_views = TestViews(self.lists.test, store, self.spec, classes, mirror)
        self._store = store

    def _open_auxiliary(self) -> TrainClips | None:
        lists = self.auxiliary_lists
        if self.auxiliary is None or lists is None:
            return None
        check_apart(self.auxiliary, lists, self.dataset, self.lists)
        store = prepare_store(self.auxiliary, self.auxiliary_tracks, 1, lists=lists)
        both = VideoArray.of([*lists.train, *lists.test])
        whole = _whole_videos(self.auxiliary, "auxiliary_data", both, store)
        classes, mirror = len(lists.classes), self.auxiliary.mirror
        return TrainClips(whole, store, self.spec, classes, mirror, self.seed + AUXILIARY)

    @property
    def store(self) -> FrameStore:
        """The frame store, open after `setup`."""
        assert self._store is not None, "setup() opens the store"
        return self._store

    def steps_per_epoch(self, processes: int) -> int:
        """Optimiser steps in one pass over the training videos, each process taking `batch_size` clips per step."""
        return -(-len(self._train_order(0, processes)) // self.batch_size)

    @property
    def num_classes(self) -> int:
        """Classes of the data set, C."""
        return len(self.lists.classes)

    @property
    def num_test_batches(self) -> int:
        """Batches of views in this process's share of the test."""
        return len(self.test_dataloader())

    def _train_order(self, rank: int, world: int) -> _TrainOrder:
        return _TrainOrder(self.train_clips, self.batch_size, rank, world)

    def _loader(self, dataset: TorchDataset, sampler: Sampler, batch_size: int) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=_collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train_dataloader(self) -> DataLoader | CombinedLoader:
        """Random clips, shuffled anew in each epoch; beside those of the auxiliary data set, if there is one."""
        order = self._train_order(*self._process())
        main = self._loader(self.train_clips, order, self.batch_size)
        # Lightning opens the loader of a resumed run before it says which epoch it is, and workers draw at once.
        epoch = self.trainer.global_step // len(main) if self.trainer else 0
        order.set_epoch(epoch)
        if self.auxiliary_clips is None:
            return main
        order = _TrainOrder(self.auxiliary_clips, self.batch_size, *self._process(), steps=len(main))
        order.set_epoch(epoch)
        auxiliary = self._loader(self.auxiliary_clips, order, self.batch_size)
        return CombinedLoader({"main": main, "auxiliary": auxiliary}, "min_size")  # they have equally many batches

    def view_loader(self, views: TestViews) -> DataLoader:
        """This process's share of some views, in order."""
        return self._loader(views, _ViewShare(views, *self._process()), self.test_batch_size)

    def val_dataloader(self) -> DataLoader | list:
        """Every view of the held-out training groups; nothing when `data.validation` and `data.folds` are 0."""
        return self.view_loader(self.validation_views) if self.validation_views.videos else []

    def test_dataloader(self) -> DataLoader:
        """Every view of every test video."""
        return self.view_loader(self.test_views)

    def fingerprint(self) -> str:
        """16 hex digits that change with anything the data contribute: ids, labels, frame counts, the files' content.

        What is stored of them (frame size, flow) is part of the run's settings. The auxiliary data set has its own.
        """
        described = {
            "train": _described(self.train_clips),
            "validation": _described(self.validation_views),
            "test": _described(self.test_views),
            "classes": self.lists.classes,
            "store": _key(self.store.folder),
        }
        return _digest(described)

    def auxiliary_fingerprint(self) -> str:
        """The same of what the auxiliary data set contributes; empty without one."""
        clips = self.auxiliary_clips
        return "" if clips is None else _digest([_described(clips), self.auxiliary_classes, _key(clips.store.folder)])


def _digest(described: dict | list) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _whole_videos(dataset: Dataset, node: str, videos: Sequence[Video], store: FrameStore) -> Sequence[Video]:
    """The videos to train on that decode whole; others are refused or left out, as the data set's settings say."""
    name = "training" if node == "data" else "auxiliary"
    broken = [store.videos[video.path].damage(video.path) for video in videos]
    if any(broken) and dataset.undecodable != "skip":
        raise DataError(
            f"{sum(map(bool, broken))} of {len(videos)} {name} videos cannot be decoded whole, first "
            f"{next(filter(None, broken))}; replace them, or train on the others with {node}.undecodable=skip"
        )
    whole = select(videos, np.array([not why for why in broken], bool))
    if not whole:
        raise DataError(f"none of the {len(videos)} {name} videos of {dataset.folder()} can be decoded whole")
    return whole


def _described(clips: _Clips) -> list[tuple]:
    return [(video.path, video.labels, clips.store.videos[video.path].frames) for video in clips.videos]


def _key(folder: Path) -> str:
    """A store's key without the root's name, which may differ elsewhere."""
    return folder.name.rpartition("-")[2]


def tracks(dataset: Dataset, spec: ClipSpec, main: Dataset | None = None) -> list[Track]:
    """What the clips of a specification need of a data set's frame store. Raises DataError.

    An auxiliary data set is stored as the settings of the `main` one say, but for which part of each video.
    """
    sample, main = dataset.sample(), main or dataset
    if sample is not None and spec.span == "video":
        node = "data" if dataset is main else "auxiliary_data"
        raise DataError(
            f"sampling.span=video spreads a clip over a whole video, of which {node}.clips_per_video={sample.clips} "
            f"stores pieces only; set {node}.clips_per_video=0 or sampling.span=fixed"
        )
    height, width = spec.resize
    stored = {"quality": main.quality, "fps": main.store_fps, "sample": sample}
    needed = [Track(height, width, encoding=main.encoding, **stored)] if spec.frames else []
    if spec.flow_frames:
        stored["encoding"] = main.flow.encoding
        needed.append(Track(height, width, main.flow, **stored))
        if spec.flow_direction == "both":
            needed.append(Track(height, width, main.flow, backward=True, **stored))
    return needed


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_tracks(
    dataset: Dataset,
    tracks: list[Track],
    workers: int,
    *,
    max_store: float,
    lists: VideoLists | None = None,
    launcher: Launcher = in_processes,
) -> tuple[Path, int]:
    """Make a data set's videos if it is generated, and build what is missing of its store; its folder, and its videos.

    See `build_tracks`. A file that crashed or hung the decoder when it was checked is not opened: it counts as one that
    cannot be decoded.
    """
    dataset.prepare(workers)
    files = (lists or dataset.read()).files
    folder = build_tracks(
        dataset.folder(),
        files,
        Path(dataset.stores),
        Path(dataset.folder()).name,
        tracks,
        workers=workers,
        max_store=max_store,
        known_bad=_condemned(dataset),
        launcher=launcher,
    )
    return folder, len(set(files))


def prepare_store(dataset: Dataset, tracks: list[Track], workers: int, lists: VideoLists | None = None) -> FrameStore:
    """Open a data set's frame store with some tracks, one of each kind at most, after `prepare_tracks`."""
    folder, num_videos = prepare_tracks(dataset, tracks, workers, max_store=dataset.max_store, lists=lists)
    return open_store(folder, num_videos, tracks, _condemned(dataset))


def _condemned(dataset: Dataset) -> dict[str, str]:
    return {path: f"{path}: {why}" for path, why in known_bad(dataset).items()}
