"""The order of an epoch's clips and of a test's views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from torch.utils.data import Sampler

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
            order = balanced_order([video.labels for video in videos], self.num_clips, rng)
        else:
            order = shuffled_order(len(videos), self.draws, self.num_clips, rng)
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


def shuffled_order(num_videos: int, draws: int, num_clips: int, rng: np.random.Generator) -> np.ndarray:
    """Training clips in random order, (num_clips, 2): the index of a video, and the number of its draw, from 0.

    Every video comes `draws` times before any comes more often.
    """
    size = num_videos * draws
    rounds = range(-(-num_clips // size))
    items = np.concatenate([number * size + rng.permutation(size) for number in rounds])[:num_clips]
    return np.stack([items % num_videos, items // num_videos], axis=1)


def balanced_order(labels: Sequence[tuple[int, ...]], num_clips: int, rng: np.random.Generator) -> np.ndarray:
    """As `shuffled_order`, but the class of each clip is drawn uniformly from the classes that have videos.

    `labels` has the labels of each video; a video may come for each of its classes. Within a class every video comes
    before any comes again.
    """
    members: dict[int, list[int]] = {}
    for video, classes in enumerate(labels):
        for label in classes:
            members.setdefault(label, []).append(video)
    drawn = rng.integers(len(members), size=num_clips)
    videos = np.empty(num_clips, dtype=np.int64)
    for number, (_, own) in enumerate(sorted(members.items())):
        places = np.flatnonzero(drawn == number)
        order = shuffled_order(len(own), 1, len(places), rng)[:, 0] if places.size else places
        videos[places] = np.array(own)[order]
    seen: Counter[int] = Counter()
    draws = np.empty_like(videos)
    for place, video in enumerate(videos.tolist()):
        draws[place] = seen[video]
        seen[video] += 1
    return np.stack([videos, draws], axis=1)
