"""Scores of views -> scores of clips -> scores of videos."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Votes(NamedTuple):
    """Scores of M clips in order: `video` (M,), `clip` (M,), `center` (M,) in seconds, `target` (M, C) and `scores`
    (M, R, C) for the R rows that a run reports."""

    video: Tensor
    clip: Tensor
    center: Tensor
    target: Tensor
    scores: Tensor

    def videos(self) -> Votes:
        """Mean over the clips of each video."""
        return _mean_neighbours(self, self.video)


class ViewVotes:
    """Turns the scores of views into scores of clips: a clip's score is the mean probability over its crops.

    Views come in order, so that a clip's views are neighbours, also across batches; only clips are kept.
    """

    def __init__(self) -> None:
        self._open: Votes | None = None  # views of the clip that may go on in the next batch
        self._done: list[Votes] = []

    def add(self, views: Votes) -> None:
        """Take a batch of views (one row of `views` each)."""
        if self._open is not None:
            views = Votes(*(torch.cat(pair) for pair in zip(self._open, views, strict=True)))
        last = (views.video == views.video[-1]) & (views.clip == views.clip[-1])
        self._open = Votes(*(field[last] for field in views))
        if not last.all():
            self._done.append(self._clips(Votes(*(field[~last] for field in views))))

    @staticmethod
    def _clips(views: Votes) -> Votes:
        return _mean_neighbours(views, torch.stack([views.video, views.clip], 1))

    def clips(self) -> Votes:
        """All clips so far, in order."""
        assert self._open is not None, "no view was added"
        return Votes(*(torch.cat(fields) for fields in zip(*self._done, self._clips(self._open), strict=True)))


def _mean_neighbours(votes: Votes, key: Tensor) -> Votes:
    """Mean score of each run of neighbours with equal `key`; everything else is the first one's."""
    _, group, counts = torch.unique_consecutive(key, return_inverse=True, return_counts=True, dim=0)
    scores = votes.scores.new_zeros(len(counts), *votes.scores.shape[1:], dtype=torch.float64)
    scores.index_add_(0, group, votes.scores.double())
    scores /= counts[:, None, None]
    first = counts.cumsum(0) - counts
    return Votes(*(field[first] for field in votes[:-1]), scores=scores.to(votes.scores.dtype))


def of_all_processes(votes: Votes, processes: int) -> Votes:
    """The votes of every process under DDP, in the order of the videos."""
    if processes == 1:
        return votes
    parts: list[Votes | None] = [None] * processes
    torch.distributed.all_gather_object(parts, votes)
    votes = Votes(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
    order = votes.video.argsort(stable=True)
    return Votes(*(values[order] for values in votes))
