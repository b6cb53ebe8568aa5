"""The order of an epoch's clips and of a test's views."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
from torch.utils.data import Sampler

from datamodules import clips as clip_rules
from datamodules.loading import TestViews, TrainClips


class TrainOrder(Sampler[tuple[int, int, int]]):
    """The clips of an epoch, in an order seeded from (seed, epoch). Each process takes an equal share.

    Each video comes `train_clips` times; if `balanced`, each class comes equally often. Clips that do not fill a batch
    on every process are left out, others in each epoch. With `steps`, an epoch has that many full batches instead, and
    the videos come as often as necessary.
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
        self.epoch, self.start = 0, (0, 0)

    def start_at(self, epoch: int, batches: int, batch_size: int) -> None:
        """Begin within an epoch, after the batches of it that a stopped run has seen."""
        self.epoch, self.start = epoch, (epoch, batches * batch_size)

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
        seen = self.start[1] if self.epoch == self.start[0] else 0
        for video, draw in order[self.rank :: self.world][seen : self.length].tolist():
            yield self.epoch, video, draw


class ViewShare(Sampler[int]):
    """The views of this process's test videos, in order. Each video belongs to exactly one process."""

    def __init__(self, views: TestViews, rank: int, world: int) -> None:
        self.first, self.last = views.first[:-1][rank::world].tolist(), views.first[1:][rank::world].tolist()

    def __len__(self) -> int:
        return sum(self.last) - sum(self.first)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(map(range, self.first, self.last))
