"""Do two rows differ by more than chance? A 95 % interval and a p for the difference of their Video Hit@1.

Videos of one group (one person, one place, one source video) are alike. So the group is the unit that counts, not the
video. With 20 groups or more, the interval is Student's t interval: each group moves the difference by a little, and
the sum of these squares estimates its variance. The variance between seeds is added. Welch and Satterthwaite give the
degrees of freedom. With 6 to 19 groups the sign-flip test is exact: if the rows do not differ, each group is as likely
to speak for one row as for the other. p is the share of all patterns of signs whose sum is at least as extreme. Fewer
groups than 6 cannot give a p below 0.05, so they get none. Holm's correction keeps the chance of any false mark among
the comparisons of a section at 5 %.

Rejected at a nominal 5 % where the rows do not differ, in percent (1,000 simulated pairs of rows each):

    groups of 4 to 39 videos                     20     30    100
    1 seed                                      5.8    5.0    3.9
    3 seeds that do not differ                  4.7    4.3    3.6
    3 seeds, standard deviation of 5 points     4.9    4.5    4.9
    5 seeds that do not differ                  4.8    3.6    4.3
    5 seeds, standard deviation of 5 points     5.7    6.1    4.6

Sign-flip of 7 groups of 60 videos: 3.3 (at most 6/128 = 4.7). Rows that share their networks, 60 groups: 3 pairs of
seeds 10, 5 pairs 7, and 3 seeds that are not paired 0.8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.tables.holm import LEVEL

MIN_CLUSTERS = 20  # of a t interval

Splits = Sequence[np.ndarray]  # one array a split


class Outcome(NamedTuple):
    """A difference of two shares of right videos, -1 to 1, with a 95 % interval and a two-sided p that agree.

    `low`, `high` and `p` are None where there are too few clusters. `draws` is the number of patterns of signs.
    """

    method: str
    clusters: int
    draws: int | None
    difference: float
    low: float | None
    high: float | None
    p: float | None


def compare(row: Splits, baseline: Splits, clusters: Splits, paired: bool = False) -> Outcome:
    """The difference of two rows: the mean over splits of the mean over videos, averaged over seeds.

    Each list has one entry per split: of a row (S, N) bool, which of the N test videos each of its S seeds has right (S
    may differ between rows); of `clusters` (N,) the name of each video's group, which may occur in several splits.
    `paired`: each seed has the same place in both rows, and both rows hold the same trained networks there. Training
    these again would move both rows alike.
    """
    _, codes = np.unique(np.concatenate(clusters), return_inverse=True)
    num_clusters = int(codes.max()) + 1
    codes = np.split(codes, np.cumsum([len(names) for names in clusters])[:-1])
    if num_clusters >= MIN_CLUSTERS:
        return Outcome("t interval", num_clusters, None, *t_interval(row, baseline, codes, paired))
    difference, *judged = sign_flip(row, baseline, codes)
    method = "too few groups" if judged[-1] is None else "exact sign-flip"
    return Outcome(method, num_clusters, 2**num_clusters, difference, *judged)


# -- 6 to 19 clusters --------------------------------------------------------------------------------------------------


def sign_flip(row: Splits, baseline: Splits, codes: Splits) -> tuple[float, float | None, float | None, float | None]:
    """The difference, its 95 % interval and p by the exact sign-flip test.

    To flip the signs of a subset of the clusters turns the difference to 0 or beyond exactly where the mean over the
    subset has the other sign. So the means over all subsets but the empty one give p and the interval: the true
    difference lies as likely between any two neighbours among them (Hartigan 1969).
    """
    num_clusters = max(int(own.max()) for own in codes) + 1
    parts = np.zeros(num_clusters)  # of the difference, which is their sum
    shares = np.zeros(num_clusters)  # of the videos, each split weighing the same
    for right, theirs, own in zip(row, baseline, codes, strict=True):
        weight = 1 / (len(codes) * len(own))
        parts += weight * np.bincount(own, right.mean(0) - theirs.mean(0), num_clusters)
        shares += weight * np.bincount(own, minlength=num_clusters)
    sums, sizes = np.zeros(1), np.zeros(1)
    for part, share in zip(parts, shares, strict=True):
        sums, sizes = np.concatenate([sums, sums + part]), np.concatenate([sizes, sizes + share])
    return float(parts.sum()), *judge(sums[1:] / sizes[1:])


def judge(values: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """95 % interval and two-sided p from values (R,): the truth lies as likely between any two neighbours.

    p = 2 (1 + number of values on the rarer side of 0) / (R + 1). 0 lies outside the interval exactly where p < 0.05.
    All three are None where R is too small for that.
    """
    total = len(values) + 1
    rank = math.ceil(LEVEL * total / 2) - 1  # so many values lie beyond each end of the interval, with the end itself
    if rank < 1:
        return None, None, None
    ordered = np.sort(values.round(12))  # what is 0 but for rounding is 0
    p = 2 * (1 + min((ordered <= 0).sum(), (ordered >= 0).sum())) / total
    return float(ordered[rank - 1]), float(ordered[-rank]), min(1.0, float(p))


# -- 20 clusters and more ----------------------------------------------------------------------------------------------


def t_interval(row: Splits, baseline: Splits, codes: Splits, paired: bool) -> tuple[float, float, float, float]:
    """The difference, its 95 % interval and p by Student's t.

    The variance has a part of the clusters, and one of the seeds of each row (or of their pairs). The part of the seeds
    is what seeds differ by, less the noise of single networks on single clusters, which the part of the clusters holds
    already: a two-way analysis of variance with random effects.
    """
    from scipy.stats import t  # here: importing it takes a second, and most tables compare nothing new

    (means, own), (their_means, theirs) = (_influences(right, codes) for right in (row, baseline))
    difference = round(float(means.mean() - their_means.mean()), 12)  # what is 0 but for rounding is 0
    shares = sum(np.bincount(of, minlength=own.shape[1]) / (len(codes) * len(of)) for of in codes)
    equal_clusters = 1 / float((shares**2).sum())  # so many clusters of equal sizes
    influences = own.mean(0) - theirs.mean(0)
    variances = [(float((influences**2).sum()), max(1.0, equal_clusters - len(codes)))]
    parts = [(means - their_means, own - theirs)] if paired else [(means, own), (their_means, theirs)]
    variances += [_seed_variance(*part) for part in parts if len(part[0]) > 1]
    total = sum(variance for variance, _ in variances)
    if total == 0:  # every cluster and every seed has the same difference
        return difference, difference, difference, float(difference == 0)
    freedom = total**2 / sum(variance**2 / of for variance, of in variances)
    low, high = t.interval(1 - LEVEL, freedom, difference, math.sqrt(total))
    return difference, float(low), float(high), float(2 * t.sf(abs(difference) / math.sqrt(total), freedom))


def _influences(row: Splits, codes: Splits) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each seed, (S,), and by how much each cluster moves it, (S, G).

    A cluster's deviation from the mean is divided by sqrt(1 - its share of the split). Without that, the squares of G
    clusters add up to (G - 1)/G of the variance.
    """
    num_clusters = max(int(own.max()) for own in codes) + 1
    means, influences = np.zeros(len(row[0])), np.zeros((len(row[0]), num_clusters))
    for right, own in zip(row, codes, strict=True):
        mean = right.mean(1)
        sizes = np.bincount(own, minlength=num_clusters)
        hits = np.stack([np.bincount(own, seed, num_clusters) for seed in right])
        rest = np.maximum(1 - sizes / len(own), 1e-12)
        influences += (hits - sizes * mean[:, None]) / (len(codes) * len(own) * np.sqrt(rest))
        means += mean / len(codes)
    return means, influences


def _seed_variance(means: np.ndarray, influences: np.ndarray) -> tuple[float, int]:
    """The variance of a mean over S seeds that comes from the seeds alone, and its degrees of freedom."""
    squares = float(((means - means.mean()) ** 2).sum())
    noise = float(((influences - influences.mean(0)) ** 2).sum())
    freedom = len(means) - 1
    return max(0.0, squares - noise) / (len(means) * freedom), freedom
