"""Hit@k at clip and video level, for one or several true labels, and the votes that lead there.

Scores are class probabilities, (N, C). Targets are (N, C) bool, true for each label that the sample has. A sample whose
scores are NaN could not be scored (its video cannot be decoded): it counts as wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


def top_k(scores: Tensor, k: int) -> Tensor:
    """The k best classes of each sample, (N, k), best first; of equal scores the lower index comes first."""
    return scores.argsort(dim=1, descending=True, stable=True)[:, :k]


def hits_at_k(scores: Tensor, target: Tensor, k: int) -> Tensor:
    """Whether any true label is among the k best, (N,) bool (Karpathy et al. 2014, section 5.1)."""
    return target.gather(1, top_k(scores, k)).any(1) & ~scores.isnan().any(1)


class HitAtK(Metric):
    """Share of samples with at least one true label among the k best-scored classes, 0 to 1.

    `scored_only` leaves samples that could not be scored out of the count instead of counting them as wrong. The result
    is NaN for no sample, and where k >= C, since every guess would be a hit.
    """

    full_state_update = False

    def __init__(self, k: int = 1, scored_only: bool = False) -> None:
        super().__init__()
        self.k, self.scored_only = k, scored_only
        self.add_state("hits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Count a batch of scores (N, C) and targets (N, C) bool."""
        if self.k >= scores.shape[1]:
            return
        self.hits += hits_at_k(scores, target, self.k).sum()
        self.total += (~scores.isnan().any(1)).sum() if self.scored_only else len(scores)

    def compute(self) -> Tensor:
        """Hits divided by samples."""
        return self.hits / self.total


class PerClassHits(Metric):
    """Hit@1 of each class over the samples that carry its label, (C,); NaN for a class without samples."""

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.add_state("hits", torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Count a batch of scores (N, C) and targets (N, C) bool."""
        hit = hits_at_k(scores, target, 1)
        self.hits += (target & hit[:, None]).sum(0)
        self.total += target.sum(0)

    def compute(self) -> Tensor:
        """Hits divided by samples, per class; its mean over classes is the mean class accuracy."""
        return self.hits / self.total


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
