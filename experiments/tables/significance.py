"""Comparisons of a table's rows with their baseline: records of their own, so that tables read records only.

<results>/comparisons/<id>.json   the names of the two rows, digests of the records of their runs and of the code that
                                  compared them (without comments and layout), and what came out
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values after Holm's correction for their number (Holm 1979), in the order given."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


LEVEL = 0.05
MIN_CLUSTERS = 20  # of a bootstrap
REPLICATES = 10_000
CHUNK = 4_000_000  # draws held in memory at once


class Outcome(NamedTuple):
    """A difference of two shares of right videos, -1 to 1, with a 95 % interval and a two-sided p that agree.

    `low`, `high` and `p` are None where there are too few clusters. `draws` counts replicates or patterns of signs.
    """

    method: str
    clusters: int
    draws: int
    difference: float
    low: float | None
    high: float | None
    p: float | None


def compare(
    row: Sequence[np.ndarray],
    baseline: Sequence[np.ndarray],
    clusters: Sequence[np.ndarray],
    replicates: int = REPLICATES,
    paired: bool = False,
) -> Outcome:
    """The difference of two rows: the mean over splits of the mean over videos, averaged over seeds.

    Each list has one entry per split: of a row (S, N) bool, which of the N test videos each of its S seeds has right
    (S may differ between rows); of `clusters` (N,) the name of each video's cluster, which may recur in other splits.
    `paired` says that a seed has the same place in both rows and trained networks that both are made of: what training
    these again would give then moves both. The same input gives the same outcome.
    """
    _, codes = np.unique(np.concatenate(clusters), return_inverse=True)
    num_clusters = int(codes.max()) + 1
    codes = np.split(codes, np.cumsum([len(names) for names in clusters])[:-1])
    if num_clusters >= MIN_CLUSTERS:
        method = "cluster bootstrap"
        difference, likely = bootstrap(row, baseline, codes, replicates, paired)
    else:
        method = "exact sign-flip"
        difference, likely = sign_flip(row, baseline, codes)
    low, high, p = judge(likely)
    if p is None:
        method = "too few groups"
    return Outcome(method, num_clusters, len(likely) + (num_clusters < MIN_CLUSTERS), difference, low, high, p)


def judge(likely: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """95 % interval and two-sided p from R values between any two neighbours of which the truth lies as likely.

    p = 2 (1 + number of values on the rarer side of 0) / (R + 1). 0 lies outside the interval exactly where p < 0.05.
    All three are None where R is too small for that.
    """
    total = len(likely) + 1
    rank = math.ceil(LEVEL * total / 2) - 1  # so many values must lie on either side of what is not rejected
    if rank < 1:
        return None, None, None
    ordered = np.sort(likely.round(12))  # what is 0 but for rounding is 0
    p = 2 * (1 + min((ordered <= 0).sum(), (ordered >= 0).sum())) / total
    return float(ordered[rank - 1]), float(ordered[-rank]), min(1.0, float(p))


def sign_flip(
    row: Sequence[np.ndarray], baseline: Sequence[np.ndarray], codes: Sequence[np.ndarray]
) -> tuple[float, np.ndarray]:
    """The difference, and the mean difference over every subset of the G clusters but the empty one, (2^G - 1,).

    To change the places of the rows in a subset turns the difference to 0 or beyond where the subset's mean has the
    other sign. Exact where, under the null, a cluster is as likely to speak for one row as for the other.
    """
    num_clusters = max(int(own.max()) for own in codes) + 1
    parts = np.zeros(num_clusters)  # of the difference; they add up to it
    shares = np.zeros(num_clusters)  # of the videos, each split weighing the same
    for right, theirs, own in zip(row, baseline, codes, strict=True):
        weight = 1 / (len(codes) * len(own))
        parts += weight * np.bincount(own, right.mean(0) - theirs.mean(0), num_clusters)
        shares += weight * np.bincount(own, minlength=num_clusters)
    difference, size = np.zeros(1), np.zeros(1)
    for part, share in zip(parts, shares, strict=True):
        difference, size = np.concatenate([difference, difference + part]), np.concatenate([size, size + share])
    return float(parts.sum()), difference[1:] / size[1:]


def bootstrap(
    row: Sequence[np.ndarray],
    baseline: Sequence[np.ndarray],
    codes: Sequence[np.ndarray],
    replicates: int,
    paired: bool = False,
) -> tuple[float, np.ndarray]:
    """The difference, and what it is in each of the replicates, (R,).

    Taken as they are, drawn deviations have (G - 1)/G of the true variance for G clusters and (S - 1)/S for S seeds,
    and the noise of single networks on single clusters, which makes seeds differ, counts twice. So a cluster's
    deviation is divided by sqrt(1 - its share of the split), those of the seeds are scaled to their variance without
    that noise, and a replicate is divided by sqrt(chi²/df), as Student's t is, with the degrees of freedom of Welch and
    Satterthwaite; G clusters of unequal sizes count as 1 / (sum of squared shares) equal ones. Rejected at a nominal
    5 % where the rows do not differ, in percent (1,000 to 1,500 data sets each, clusters of 4 to 39 videos):

        seeds, sd between them    as they are, G = 20, 30, 100    corrected
        1                          7.0    5.7    5.0              6.1    5.7    4.9
        3, none                    1.5    1.5    1.8              4.1    3.6    3.6
        3, 5 points                9.5   10.2   15.4              7.1    5.2    5.2
        5, 5 points                6.8    7.1    8.8              5.1    5.7    4.9

    Where rows share their networks, seeds that are drawn for each row apart count as noise what both rows owe to how
    good a seed's networks are: with 3 seeds and 60 clusters that rejects less than 1 %, pairs of seeds 7 to 8 %.
    """
    rng = np.random.default_rng(0)
    (means, own), (their_means, theirs) = (_deviations(right, codes) for right in (row, baseline))
    deviations, moved = own.mean(0) - theirs.mean(0), np.zeros(replicates)
    num_clusters = len(deviations)
    # Clusters of equal deviations are drawn together: of a million videos few differ.
    values, counts = np.unique(deviations, return_counts=True)
    step = max(1, CHUNK // len(values))
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        drawn = rng.multinomial(num_clusters, counts / num_clusters, size)
        moved[start : start + size] = (drawn - counts) @ values
    shares = sum(np.bincount(own, minlength=num_clusters) / (len(codes) * len(own)) for own in codes)
    alike = 1 / float((shares**2).sum())  # so many clusters of equal sizes
    variances = [(float((deviations**2).sum()), max(1.0, alike - len(codes)))]
    parts = [(means - their_means, own - theirs)] if paired else [(means, own), (their_means, theirs)]
    for of_seeds, of_clusters in parts:
        num_seeds = len(of_seeds)
        if num_seeds > 1:
            apart = of_seeds - of_seeds.mean()
            squares = float((apart**2).sum())
            noise = float(((of_clusters - of_clusters.mean(0)) ** 2).sum())
            variance = max(0.0, squares - noise) / (num_seeds * (num_seeds - 1))
            if variance:
                apart *= num_seeds * math.sqrt(variance / squares)
                moved += apart[rng.integers(num_seeds, size=(replicates, num_seeds))].mean(1)
                variances.append((variance, num_seeds - 1))
    total = sum(variance for variance, _ in variances)
    if total:
        freedom = total**2 / sum(variance**2 / of for variance, of in variances)
        moved *= np.sqrt(freedom / rng.chisquare(freedom, replicates))
    difference = float(means.mean() - their_means.mean())
    return difference, difference + moved


def _deviations(row: Sequence[np.ndarray], codes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each seed, (S,), and by how much each cluster once more would move it, (S, G).

    To first order: a replicate's share of right videos is a ratio, which no cluster of a split drawn would make 0/0.
    """
    num_clusters = max(int(own.max()) for own in codes) + 1
    means, deviations = np.zeros(len(row[0])), np.zeros((len(row[0]), num_clusters))
    for right, own in zip(row, codes, strict=True):
        mean = right.mean(1)
        sizes = np.bincount(own, minlength=num_clusters)
        hits = np.stack([np.bincount(own, seed, num_clusters) for seed in right])
        rest = np.maximum(1 - sizes / len(own), 1e-12)
        deviations += (hits - sizes * mean[:, None]) / (len(codes) * len(own) * np.sqrt(rest))
        means += mean / len(codes)
    return means, deviations
