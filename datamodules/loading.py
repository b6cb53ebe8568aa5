"""Training clips and test views, cut out of the frame store."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from datamodules import clips as clip_rules
from datamodules.clip_spec import ClipSpec, snippet
from datamodules.errors import DataError
from datamodules.playback import path_seed, played
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

Example = dict[str, np.ndarray | int | float | bool]


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
            example["flow"] = np.full((2, self.spec.flow_frames, *size), 128, np.uint8)  # no motion
            example["flow_mean"] = np.zeros((2, self.spec.flow_frames), dtype=np.float32)
        return example


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

    def __getitem__(self, key: tuple[int, int, int]) -> Example:
        epoch, index, draw = key
        video = self.videos[index]
        stored = self.store.videos[video.path]
        rng = np.random.default_rng([self.seed, epoch, index, draw])
        starts = clip_rules.train_starts(self.spec, stored.frames, stored.rate, rng, stored.piece)
        clips = clip_rules.clip_indices(self.spec, stored.frames, stored.rate, starts, stored.piece)
        window = random_window(*self.spec.resize, self.spec.crop, self.mirror, rng, self.spec.crop_scales)
        example = self._cut(video.path, clips, 0, window)
        if self.spec.colour != "none" and self.spec.frames:
            example["rgb"] = recolour(example["rgb"], random_colours(self.spec.colour, self.colours, rng))
        example["target"] = self._target(video.labels)
        if self.spec.train_labels == "one":
            example["drawn"] = self._target([video.labels[rng.integers(len(video.labels))]])
        return example


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
        center = np.float32(clips.seconds[clip])
        cut = self._cut(video.path, clips, clip, windows[clip][view])
        return {**played(cut, self.spec, video.path), **place, "center": center}

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


def collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    """A batch of examples: the same entries, stacked."""
    return {
        name: torch.from_numpy(np.stack([example[name] for example in examples])).contiguous() for name in examples[0]
    }
