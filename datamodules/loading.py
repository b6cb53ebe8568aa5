"""Training clips and test views, cut out of the frame store."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from datamodules import clips as clip_rules
from datamodules.clip_spec import ClipSpec, snippet
from datamodules.errors import DataError
from datamodules.playback import path_seed, play
from datamodules.processes import die_with_parent
from datamodules.store.reading import FrameStore
from datamodules.store.shards import StoredVideo
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
from datamodules.videos import Video

COLOUR_VIDEOS = 500  # training videos from which the principal components of colours are computed, at most

Batch = dict[str, np.ndarray]


class StoredClips(TorchDataset):
    """What training and test share: videos, their store, and cutting one view out of it."""

    def __init__(
        self, videos: Sequence[Video], store: FrameStore, spec: ClipSpec, num_classes: int, mirror: bool
    ) -> None:
        self.videos, self.store, self.spec, self.mirror = videos, store, spec, mirror
        self.num_classes = num_classes
        self._check_clips()

    def _check_clips(self) -> None:
        """Raise DataError if a video has no such clip: now, not in a loading process in the middle of an epoch."""
        tried = set()
        for video in self.videos:
            stored = self.store.videos[video.path]
            extent = (stored.frames, stored.fps, stored.piece)
            if stored.frames and extent not in tried:
                tried.add(extent)
                try:
                    clip_rules.clip_indices(
                        self.spec,
                        stored.frames,
                        stored.rate,
                        np.zeros((1, snippet(self.spec)[0]), np.int64),
                        stored.piece,
                    )
                except DataError as error:
                    raise DataError(f"{video.path}: {error}") from None

    def __getitems__(self, keys: Sequence) -> dict[str, torch.Tensor]:
        """A batch of views, as `datamodule.py` describes it: each is cut straight into the batch's memory."""
        batch = self._batch(len(keys))
        for place, key in enumerate(keys):
            self._fill({name: values[place : place + 1] for name, values in batch.items()}, key)
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def _batch(self, count: int) -> Batch:
        """Room for `count` views."""
        side = (self.spec.crop, self.spec.crop)
        batch: Batch = {"target": np.zeros((count, self.num_classes), bool)}
        if self.spec.frames:
            batch["rgb"] = np.zeros((count, self.spec.frames, *side, 3), np.uint8)
        if self.spec.flow_frames:
            batch["flow"] = np.full((count, self.spec.flow_frames, *side, 2), 128, np.uint8)  # no motion
            batch["flow_mean"] = np.zeros((count, self.spec.flow_frames, 2), np.float32)
        return batch

    def _fill(self, view: Batch, key: Any) -> None:
        """Write the view of a key; `view` is a batch of one. Training and test each define it."""
        raise NotImplementedError

    def _cut(self, view: Batch, path: str, clips: clip_rules.Clips, number: int, window: Window) -> None:
        """Write the window of clip `number` of a video."""
        if self.spec.frames:
            cut_rgb(self.store.rgb(path), clips.rgb[number], window, view["rgb"][0])
        forward = clips.flow.shape[1]
        for backward, indices in enumerate((clips.flow[number], clips.backward[number])):
            if indices.size:
                part = slice(forward, None) if backward else slice(forward)
                fields, means = self.store.flow(path, backward=bool(backward))
                view["flow_mean"][0, part] = cut_flow(fields, means, indices, window, view["flow"][0, part])


class TrainClips(StoredClips):
    """Random clips of the training videos, each with a random window and, as the spec says, random colours and label.

    The key of an item is (epoch, video, draw). Its randomness is seeded from (seed, epoch, video, draw) alone, so
    neither loading processes nor an interruption change it.
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

    def _batch(self, count: int) -> Batch:
        batch = super()._batch(count)
        return batch | ({"drawn": np.zeros_like(batch["target"])} if self.spec.train_labels == "one" else {})

    def _fill(self, view: Batch, key: tuple[int, int, int]) -> None:
        epoch, index, draw = key
        video = self.videos[index]
        stored = self.store.videos[video.path]
        rng = np.random.default_rng([self.seed, epoch, index, draw])
        starts = clip_rules.train_starts(self.spec, stored.frames, stored.rate, rng, stored.piece)
        clips = clip_rules.clip_indices(self.spec, stored.frames, stored.rate, starts, stored.piece)
        window = random_window(*self.spec.resize, self.spec.crop, self.mirror, rng, self.spec.crop_scales)
        self._cut(view, video.path, clips, 0, window)
        if self.spec.colour != "none" and self.spec.frames:
            recolour(view["rgb"], random_colours(self.spec.colour, self.colours, rng))
        view["target"][0, list(video.labels)] = True
        if self.spec.train_labels == "one":
            view["drawn"][0, video.labels[rng.integers(len(video.labels))]] = True


class TestViews(StoredClips):
    """Every view of every test clip, in order. Random clips and crops are seeded from the video's path."""

    __test__ = False  # the name is not a test's

    def __init__(
        self, videos: Sequence[Video], store: FrameStore, spec: ClipSpec, num_classes: int, mirror: bool
    ) -> None:
        super().__init__(videos, store, spec, num_classes, mirror)
        # A video that cannot be decoded keeps its place, with as many clips as other videos and one view of each.
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
        """First frames of the snippets of a video's clips, (N, K)."""
        return clip_rules.test_starts(self.spec, stored.frames, stored.rate, rng, stored.piece)

    def _clips(self, index: int) -> tuple[clip_rules.Clips, np.random.Generator]:
        """The clips of a video that decodes, and the random generator after drawing them."""
        path = self.videos[index].path
        stored = self.store.videos[path]
        rng = np.random.default_rng(path_seed(path))
        starts = self.starts(stored, rng)
        return clip_rules.clip_indices(self.spec, stored.frames, stored.rate, starts, stored.piece), rng

    def __len__(self) -> int:
        return int(self.first[-1])

    def _batch(self, count: int) -> Batch:
        kinds = {"video": np.int64, "clip": np.int64, "center": np.float32, "valid": bool}
        return super()._batch(count) | {name: np.zeros(count, kind) for name, kind in kinds.items()}

    def _fill(self, view: Batch, key: int) -> None:
        index = int(np.searchsorted(self.first, key, side="right")) - 1
        clip, crop = divmod(key - int(self.first[index]), int(self.views_of[index]))
        video = self.videos[index]
        stored = self.store.videos[video.path]
        view["video"][0], view["clip"][0], view["valid"][0] = index, clip, stored.frames > 0
        view["target"][0, list(video.labels)] = True
        if not stored.frames:
            return
        if self._last is None or self._last[0] != index:
            clips, rng = self._clips(index)
            crops = (self.spec.test_views, *self.spec.resize, self.spec.crop, self.mirror)
            self._last = index, clips, [view_windows(*crops, rng) for _ in clips.center]
        _, clips, windows = self._last
        view["center"][0] = clips.seconds[clip]
        self._cut(view, video.path, clips, clip, windows[clip][crop])
        play({name: view[name][0] for name in ("rgb", "flow", "flow_mean") if name in view}, self.spec, video.path)

    @property
    def num_clips(self) -> int:
        """Number of clips of all videos, also of those that cannot be decoded."""
        return int(self.clips_of.sum())

    @property
    def padded_clips(self) -> int:
        """Number of clips that reach beyond the end of their video, or of its stored piece."""
        decodable = (i for i, video in enumerate(self.videos) if self.store.videos[video.path].frames)
        return sum(int(self._clips(index)[0].padded.sum()) for index in decodable)


def start_loading(_: int) -> None:
    """Let a loading process end with the process that started it, even if that was killed, and never before it.

    A signal that stops a run reaches its loading processes too. The run still waits for their batch.
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    die_with_parent()
