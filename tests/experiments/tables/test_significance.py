"""Comparisons of rows against slow, independent computations, and under a simulated null."""

import functools
import itertools

import numpy as np
import pytest
from scipy.stats import binom, permutation_test, t

from experiments.tables.holm import holm
from experiments.tables.significance import compare

RNG_SEEDS = range(2)


def simulate(rng, sizes, num_seeds=1, seed_effect=0.0, cluster_effect=0.5, effect=0.0, network_effect=0.0):
    """Two rows (S, N) and the cluster of each video: right with a probability that depends on the cluster, the video,
    how this row does on this cluster, how good this training was, for the row or for both (`network_effect`), and
    `effect` for the first row. All on the scale of logits."""
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    shared = 0.4 + rng.normal(0, 0.7, len(sizes))[clusters] + rng.normal(0, 1.5, len(clusters))
    if network_effect:
        shared = shared + rng.normal(0, network_effect, (num_seeds, 1))
    rows = []
    for shift in (effect, 0.0):
        own = shared + shift + rng.normal(0, cluster_effect, len(sizes))[clusters]
        logits = own + rng.normal(0, seed_effect, (num_seeds, 1))
        rows.append(rng.random(logits.shape) < 1 / (1 + np.exp(-logits)))
    return *rows, clusters


def published(row, baseline):
    """The mean over splits of the mean over videos, by loops over single networks."""
    means = [np.mean([split[seed].mean() for split in row]) for seed in range(len(row[0]))]
    theirs = [np.mean([split[seed].mean() for split in baseline]) for seed in range(len(baseline[0]))]
    return np.mean(means) - np.mean(theirs)


# -- arrays ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_clusters", [7, 25])
def test_difference_is_the_published_quantity_and_each_split_weighs_the_same(num_clusters):
    rng = np.random.default_rng(0)
    sizes = [rng.integers(1, 9, num_clusters), rng.integers(20, 30, num_clusters)]
    parts = [simulate(rng, own, num_seeds=2) for own in sizes]
    row, baseline, clusters = zip(*parts, strict=True)
    baseline = [split[:1] for split in baseline]  # other numbers of seeds may be compared
    outcome = compare(row, baseline, clusters)
    assert outcome.difference == pytest.approx(published(row, baseline))
    assert outcome.low < outcome.difference < outcome.high
    assert outcome.clusters == num_clusters  # those of the second split are the first one's again
    mirrored = compare(baseline, row, clusters)
    assert mirrored.difference == pytest.approx(-outcome.difference)
    assert outcome == compare(row, baseline, clusters)


@pytest.mark.parametrize("seed", RNG_SEEDS)
def test_sign_flip_of_clusters_of_equal_size_is_that_of_scipy(seed):
    row, baseline, clusters = simulate(np.random.default_rng(seed), np.full(8, 30), num_seeds=2, effect=0.5)
    means = [np.array([of.mean(0)[clusters == cluster].mean() for cluster in range(8)]) for of in (row, baseline)]
    expected = permutation_test(
        means, lambda a, b, axis: (a - b).mean(axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    outcome = compare([row], [baseline], [clusters])
    assert outcome.p == pytest.approx(expected.pvalue)
    assert (outcome.method, outcome.draws) == ("exact sign-flip", 2**8)


def sign_flip_by_hand(parts, shares, difference):
    """p of the sum of `parts` if `difference` were true, which each cluster has in its share."""
    parts = parts - difference * shares
    sums = [np.dot(signs, parts) for signs in itertools.product((1, -1), repeat=len(parts))]
    return np.mean(np.abs(sums) >= abs(parts.sum()) - 1e-12)


@pytest.mark.parametrize("seed", RNG_SEEDS)
def test_sign_flip_interval_holds_what_the_enumerated_test_does_not_reject(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 60, 7)
    row, baseline, clusters = simulate(rng, sizes, num_seeds=3, effect=0.3 * seed)
    parts = np.array([(row.mean(0) - baseline.mean(0))[clusters == cluster].sum() for cluster in range(7)])
    parts, shares = parts / len(clusters), sizes / len(clusters)
    outcome = compare([row], [baseline], [clusters])
    assert outcome.p == pytest.approx(sign_flip_by_hand(parts, shares, 0))
    for edge, outwards in ((outcome.low, -1), (outcome.high, 1)):
        assert sign_flip_by_hand(parts, shares, edge - outwards * 1e-6) >= 0.05
        assert sign_flip_by_hand(parts, shares, edge + outwards * 1e-6) < 0.05


def test_few_groups_have_no_p_and_six_can_have_one():
    row, baseline = np.ones((1, 60), bool), np.zeros((1, 60), bool)
    few = compare([row], [baseline], [np.arange(60) % 5])
    assert (few.method, few.difference, few.low, few.high, few.p) == ("too few groups", 1, None, None, None)
    six = compare([row], [baseline], [np.arange(60) % 6])
    assert (six.method, six.p) == ("exact sign-flip", 2 / 64)


@pytest.mark.parametrize(
    ("sizes", "num_splits"), [([12] * 30, 1), ([30, 20, 11, 10, 8, 7, 5, 4, 3, 2, 2], 2), ([20, 20], 12)], ids=str
)
def test_t_interval_of_clusters_of_several_splits(sizes, num_splits):
    rng = np.random.default_rng(4)
    parts = [simulate(rng, np.array(sizes), effect=0.2) for _ in range(num_splits)]
    row, baseline, clusters = zip(*parts, strict=True)
    clusters = [own + 100 * split for split, own in enumerate(clusters)]  # no split has those of another
    variance = squares = 0.0
    for right, theirs, own in zip(row, baseline, clusters, strict=True):
        apart = right[0].astype(float) - theirs[0]
        for cluster in np.unique(own):
            share = np.mean(own == cluster)
            part = np.sum(apart[own == cluster] - apart.mean()) / len(own) / num_splits
            variance, squares = variance + part**2 / (1 - share), squares + (share / num_splits) ** 2
    outcome = compare(row, baseline, clusters)
    half = t.ppf(0.975, 1 / squares - num_splits) * np.sqrt(variance)
    assert (outcome.high - outcome.low) / 2 == pytest.approx(half)
    p = 2 * t.sf(abs(outcome.difference) / np.sqrt(variance), 1 / squares - num_splits)
    assert (outcome.method, outcome.draws, outcome.p) == ("t interval", None, pytest.approx(p))


def test_seeds_add_their_variance_without_the_noise_that_clusters_have_shown():
    rng = np.random.default_rng(2)
    num_clusters, num_seeds = 40, 4
    row, baseline, clusters = simulate(rng, np.full(num_clusters, 10), num_seeds, seed_effect=0.4)
    of_clusters = [
        np.array([[seed[clusters == cluster].mean() for cluster in range(num_clusters)] for seed in of])
        for of in (row, baseline)
    ]
    parts = [((of_clusters[0] - of_clusters[1]).mean(0).var(ddof=1) / num_clusters, num_clusters - 1)]
    for of in of_clusters:  # (S, G), two-way analysis of variance with one value a cell
        rest = of - of.mean(0) - of.mean(1)[:, None] + of.mean()
        noise = (rest**2).sum() / ((num_clusters - 1) * (num_seeds - 1)) / (num_clusters * num_seeds)
        parts.append((of.mean(1).var(ddof=1) / num_seeds - noise, num_seeds - 1))
    assert all(variance > 0 for variance, _ in parts)
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / of for variance, of in parts)
    outcome = compare([row], [baseline], [clusters])
    assert (outcome.high - outcome.low) / 2 == pytest.approx(t.ppf(0.975, freedom) * np.sqrt(total))


@pytest.mark.parametrize(("share", "p"), [(0, 1), (1, 0)])
def test_rows_that_differ_alike_in_every_cluster_have_no_width(share, p):
    outcome = compare([np.full((1, 50), bool(share))], [np.zeros((1, 50), bool)], [np.arange(50) % 25])
    assert outcome[3:] == (share, share, share, p)


def rejected(num_sets, sizes_of, seed, test=compare, **settings):
    """How many of so many simulated pairs of rows are called different."""
    rng = np.random.default_rng(seed)
    count = 0
    for _ in range(num_sets):
        row, baseline, clusters = simulate(rng, sizes_of(rng), **settings)
        count += test([row], [baseline], [clusters]).p < 0.05
    return count


def within(count, num_sets, lowest, highest):
    """Whether a count could well be that of a rate in this range."""
    return binom.ppf(0.001, num_sets, lowest) <= count <= binom.ppf(0.999, num_sets, highest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_clusters", "num_seeds", "seed_effect"), [(20, 1, 0.0), (30, 3, 0.0), (20, 3, 0.3), (100, 5, 0.3)]
)
def test_about_5_percent_are_rejected_where_rows_do_not_differ(num_clusters, num_seeds, seed_effect):
    settings = {"seed": [num_clusters, num_seeds], "num_seeds": num_seeds, "seed_effect": seed_effect}
    count = rejected(600, lambda rng: rng.integers(4, 40, num_clusters), **settings)
    assert within(count, 600, 0.035, 0.065)


@pytest.mark.slow
def test_pairs_of_seeds_reject_about_10_percent_where_rows_of_the_same_networks_do_not_differ_and_find_what_does():
    def share(paired, num_sets, **settings):
        test = functools.partial(compare, paired=paired)
        settings |= {"num_seeds": 3, "seed_effect": 0.2, "network_effect": 0.6}
        return rejected(num_sets, lambda rng: rng.integers(4, 40, 60), seed=60, test=test, **settings)

    assert within(share(True, 300), 300, 0.05, 0.11)
    assert share(False, 100) <= 3
    assert share(True, 100, effect=0.7) >= 65
    assert share(False, 100, effect=0.7) <= 30


@pytest.mark.slow
def test_sign_flip_of_7_groups_rejects_about_5_percent():
    assert within(rejected(500, lambda _: np.full(7, 60), seed=7), 500, 0.03, 6 / 128)


@pytest.mark.parametrize(("num_clusters", "effect"), [(7, 1.5), (40, 0.7)])
def test_real_differences_are_found(num_clusters, effect):
    settings = {"num_seeds": 3, "effect": effect, "seed_effect": 0.1}
    assert rejected(50, lambda _: np.full(num_clusters, 30), seed=1, **settings) >= 40


def test_holm_by_hand():
    # in order .01 .02 .03 .04: times 4, 3, 2, 1 is .04 .06 .06 .04, none below the one before
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []
