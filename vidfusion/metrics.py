"""Hit@k at clip and video level, for one or several true labels, and the votes that lead there.

Scores are class probabilities, (N, C). Targets are (N, C) bool, true for each label that the sample has. A sample whose
scores are NaN could not be scored (its video cannot be decoded): it counts as wrong.
"""

from __future__ import annotations

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
