"""Comparisons of rows: against slow, independent computations, under a simulated null, and as records of a folder."""

import functools
import itertools
import json

import numpy as np
import pytest
from scipy.stats import binom, norm, permutation_test, t

from experiments.records.files import read_records
from experiments.tables.comparisons import read_comparisons
from experiments.tables.render import to_latex, to_markdown
from experiments.tables.rows import BASELINES, pairs
from experiments.tables.significance import compare, holm, judge
from experiments.tables.table import tables
from experiments.tables.update import update_tables
from experiments.tables.write import README_END, README_START, fill_readme

RNG_SEEDS = range(3)


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


@pytest.mark.parametrize("num_values", [63, 127, 999, 10_000])
def test_interval_and_p_agree(num_values):
    rng = np.random.default_rng(num_values)
    excluded = 0
    for shift in np.linspace(-3, 3, 61):
        low, high, p = judge(rng.normal(shift, 1, num_values))
        assert (p < 0.05) == (low > 0 or high < 0)
        excluded += p < 0.05
    assert 10 < excluded < 51
    assert judge(np.zeros(num_values)) == (0, 0, 1)


def test_bootstrap_of_one_seed_is_that_of_a_loop_over_clusters_but_for_its_corrections():
    rng = np.random.default_rng(1)
    num_clusters = 30
    row, baseline, clusters = simulate(rng, np.full(num_clusters, 12), effect=0.2)
    members = [np.flatnonzero(clusters == cluster) for cluster in range(num_clusters)]
    drawn = []
    for _ in range(4000):
        videos = np.concatenate([members[cluster] for cluster in rng.integers(num_clusters, size=num_clusters)])
        drawn.append(row[0, videos].mean() - baseline[0, videos].mean())
    deviation = np.std(drawn) * np.sqrt(num_clusters / (num_clusters - 1))
    outcome = compare([row], [baseline], [clusters], 40_000)
    half = t.ppf(0.975, num_clusters - 1) * deviation
    assert (outcome.high - outcome.low) / 2 == pytest.approx(half, rel=0.05)
    assert outcome.p == pytest.approx(2 * t.sf(outcome.difference / deviation, num_clusters - 1), abs=0.005)


@pytest.mark.parametrize(("sizes", "num_splits"), [([30, 20, 11, 10, 8, 7, 5, 4, 3, 2, 2], 2), ([20, 20], 12)])
def test_bootstrap_of_clusters_of_several_splits_has_the_interval_of_students_t(sizes, num_splits):
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
    outcome = compare(row, baseline, clusters, 40_000)
    half = t.ppf(0.975, 1 / squares - num_splits) * np.sqrt(variance)
    assert (outcome.high - outcome.low) / 2 == pytest.approx(half, rel=0.02)


def test_bootstrap_adds_the_variance_of_seeds_without_the_noise_that_clusters_have_shown():
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
    outcome = compare([row], [baseline], [clusters], 40_000)
    assert (outcome.high - outcome.low) / 2 == pytest.approx(t.ppf(0.975, freedom) * np.sqrt(total), rel=0.06)


def test_bootstrap_in_pieces_and_of_a_cluster_per_video_is_that_of_a_normal_variable(monkeypatch):
    rng = np.random.default_rng(3)
    row, baseline = rng.random((1, 5000)) < 0.62, rng.random((1, 5000)) < 0.6
    monkeypatch.setattr("experiments.tables.significance.CHUNK", 1000)
    outcome = compare([row], [baseline], [np.arange(5000)])
    apart = row[0].astype(float) - baseline[0]
    half = norm.ppf(0.975) * apart.std() / np.sqrt(5000)
    assert (outcome.high - outcome.low) / 2 == pytest.approx(half, rel=0.05)


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


@pytest.mark.parametrize(("num_clusters", "num_seeds", "seed_effect"), [(20, 3, 0.2), (60, 1, 0.0), (60, 3, 0.3)])
def test_bootstrap_rejects_about_5_percent_where_rows_do_not_differ(num_clusters, num_seeds, seed_effect):
    count = rejected(
        400,
        lambda rng: rng.integers(4, 40, num_clusters),
        seed=num_clusters,
        test=lambda *of: compare(*of, replicates=399),
        num_seeds=num_seeds,
        seed_effect=seed_effect,
    )
    assert within(count, 400, 0.04, 0.065)


def test_pairs_of_seeds_reject_about_7_percent_where_rows_of_the_same_networks_do_not_differ_and_find_what_does():
    def share(paired, num_sets, **settings):
        test = functools.partial(compare, replicates=399, paired=paired)
        settings |= {"num_seeds": 3, "seed_effect": 0.2, "network_effect": 0.6}
        return rejected(num_sets, lambda rng: rng.integers(4, 40, 60), seed=60, test=test, **settings)

    assert within(share(True, 300), 300, 0.04, 0.085)
    assert share(False, 100) <= 3
    assert share(True, 100, effect=0.7) >= 65
    assert share(False, 100, effect=0.7) <= 30


def compare_by_videos(row, baseline, clusters):
    """A bootstrap that takes each video for a cluster."""
    return compare(row, baseline, [np.arange(len(own)) for own in clusters], replicates=399)


def test_sign_flip_of_7_groups_rejects_about_5_percent_and_a_bootstrap_over_videos_far_more():
    exact = rejected(500, lambda _: np.full(7, 60), seed=7)
    assert within(exact, 500, 6 / 128, 6 / 128)
    videos = rejected(500, lambda _: np.full(7, 60), seed=7, test=compare_by_videos)
    assert within(videos, 500, 0.24, 0.30)


@pytest.mark.parametrize(("num_clusters", "effect"), [(7, 1.5), (40, 0.7)])
def test_real_differences_are_found(num_clusters, effect):
    settings = {"num_seeds": 3, "effect": effect, "seed_effect": 0.1}
    assert rejected(50, lambda _: np.full(num_clusters, 30), seed=1, **settings) >= 40


def test_holm_by_hand():
    # in order .01 .02 .03 .04: times 4, 3, 2, 1 is .04 .06 .06 .04, none below the one before
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


# -- records -----------------------------------------------------------------------------------------------------------

NUM_VIDEOS = 120


def make_run(results, name, right, *, clusters=24, seed=0, split=1, unscored=(), **changes):
    """Write a run whose two-clip videos are right where `right` (N,) says so, but for those that have no scores."""
    num_videos = len(right)
    record = {
        "format": 1, "kind": "run", "id": f"{name}-s{seed}-{split}", "strategy": name, "dataset": "shapes",
        "split": split, "seed": seed, "settings": name, "recipe": "quick", "size": "tiny", "clip": "native",
        "selection": "last checkpoint", "pretrained": "none", "given": [], "num_classes": 3, "families": {},
        "protocol": {"text": "even clips"}, "command": f"python experiments/run.py strategy={name}",
        "videos": {"expected": num_videos, "scored": num_videos, "undecodable": 0, "truncated": 0, "padded_clips": 0},
        "rows": [
            {
                "name": name, "metrics": {"test/video_hit1": float(np.mean(right))}, "families": {}, "parameters": 1,
                "macs_per_clip": 1, "macs_training": 1, "frames_per_clip": 1, "frames_per_video": 2,
            }
        ],
        "seconds": {"train": 1.0}, "memory_mb": 1, "code": {"hash": name, "commit": "abc"}, "device": "cpu",
        "data": {"fingerprint": f"f{split}", "classes": ["a", "b", "c"]},
    } | changes  # fmt: skip
    # A video of labels 0 and 1 is right with either; class 2 is always wrong.
    scores = np.zeros((num_videos, 2, 1, 3), np.float32)
    scores[np.arange(num_videos), 0, 0, np.where(right, np.arange(num_videos) % 2, 2)] = 1
    scores[:, 1] = 1 / 3
    scores[list(unscored)] = np.nan
    folder = results / "runs" / record["id"]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "scores.npz",
        rows=np.array([name]),
        videos=np.array([f"{split}/{video}.mp4" for video in range(num_videos)]),
        clusters=np.array([f"{split}/{video % clusters}" for video in range(num_videos)]),
        video=np.arange(num_videos).repeat(2),
        clip=np.tile([0, 1], num_videos),
        center=np.zeros(2 * num_videos),
        target=np.tile([True, True, False], (2 * num_videos, 1)),
        scores=scores.reshape(2 * num_videos, 1, 3),
    )
    (folder / "record.json").write_text(json.dumps(record))


def make_runs(results, rates, *, seeds=1, splits=1, **settings):
    """Runs of these rows with a share of right videos each; returns what is right by row, split and seed."""
    made = {}
    for name, rate in rates.items():
        for split, seed in itertools.product(range(1, splits + 1), range(seeds)):
            rng = np.random.default_rng([*name.encode(), split, seed])
            made[name, split, seed] = rng.random(NUM_VIDEOS) < rate
            make_run(results, name, made[name, split, seed], split=split, seed=seed, **settings)
    return made


def section_of(results):
    update_tables(results)
    return tables(read_records(results), [], read_comparisons(results))[0]


def cells(section, name):
    (place,) = (place for place, column in enumerate(section.columns) if column.startswith(name))
    return {row[0]: row[place] for row in section.rows}


def test_table_shows_difference_interval_mark_and_how(tmp_path):
    made = make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9, "slow_fusion": 0.42}, seeds=3, splits=2)
    section = section_of(tmp_path)
    shown = cells(section, "Difference to single_frame")
    assert shown["chance"] == shown["single_frame"] == "—"
    rows = {name: [np.stack([made[name, split, seed] for seed in range(3)]) for split in (1, 2)] for name, *_ in made}
    clusters = [np.array([f"{split}/{video % 24}" for video in range(NUM_VIDEOS)]) for split in (1, 2)]
    csv = {line["strategy"]: line for line in section.csv}
    expected = {name: compare(rows[name], rows["single_frame"], clusters) for name in ("c3d", "slow_fusion")}
    for name, outcome in expected.items():
        points = [round(100 * value, 1) for value in (outcome.difference, outcome.low, outcome.high)]
        mark = " *" * (name == "c3d")
        assert shown[name] == f"{points[0]:+.1f} [{points[1]:.1f}, {points[2]:.1f}]{mark}"
        assert [csv[name][key] for key in ("difference", "low", "high", "p", "clusters", "method")] == [
            *outcome[3:],
            48,
            "cluster bootstrap",
        ]
    assert csv["c3d"]["p_holm"] == pytest.approx(2 * expected["c3d"].p)
    assert csv["slow_fusion"]["p_holm"] == pytest.approx(expected["slow_fusion"].p)
    by_split = [rows["c3d"][split].mean() for split in (0, 1)]
    assert csv["c3d"]["test/video_hit1_split_sd"] == pytest.approx(np.std(by_split, ddof=1))
    by_seed = np.mean([split.mean(1) for split in rows["c3d"]], axis=0)
    assert csv["c3d"]["test/video_hit1_sd"] == pytest.approx(np.std(by_seed, ddof=1))
    assert cells(section, "Spread over splits")["c3d"] == f"{100 * np.std(by_split, ddof=1):.1f}"
    fact = section.facts[-1]
    assert "Difference to single_frame, " in fact and "correction for 2 comparisons" in fact
    assert "48 groups of test videos, 10,000 replicates, and of the seeds of each row (3, of the baseline 3)" in fact
    readme = fill_readme(f"{README_START}{README_END}", [section])
    assert shown["c3d"] in readme and fact.replace("<", "&lt;") in readme and "± sample standard deviation" in readme


@pytest.mark.parametrize(
    ("seeds", "clusters", "said"),
    [
        (1, 24, "24 groups of test videos, 10,000 replicates, which speaks of the trained networks (seeds: 1, of the"),
        (
            2,
            8,
            "Exact sign-flip over 8 groups of test videos, 256 patterns, which speaks of the trained networks (seeds",
        ),
        (2, 6, "only, and marks nothing, since no p can be below 0.031 before the correction"),
        (2, 5, "5 groups of test videos are too few groups for an interval or a mark"),
    ],
)
def test_facts_say_of_what_a_comparison_speaks(tmp_path, seeds, clusters, said):
    make_runs(tmp_path, {"single_frame": 0.1, "c3d": 0.9, "early_fusion": 0.95}, seeds=seeds, clusters=clusters)
    section = section_of(tmp_path)
    assert said in section.facts[-1]
    shown = cells(section, "Difference")
    assert shown["c3d"].endswith(" *") == (clusters > 6)
    assert ("[" in shown["c3d"]) == (clusters > 5)


def test_a_video_without_scores_is_wrong(tmp_path):
    right = np.ones(NUM_VIDEOS, bool)
    make_run(tmp_path, "single_frame", right)
    make_run(tmp_path, "c3d", right, unscored=range(30))
    update_tables(tmp_path)
    (found,) = read_comparisons(tmp_path).values()
    assert found["difference"] == pytest.approx(-0.25)


def test_baseline_is_fixed_by_name_whatever_came_out(tmp_path):
    for count in range(1, len(BASELINES) + 1):
        names = [*reversed(BASELINES[-count:]), "c3d"]
        make_runs(tmp_path, dict.fromkeys(names, 0.5))
        found = pairs(read_records(tmp_path))
        assert {baseline.name for _, baseline in found} == {BASELINES[-count]}
        assert {row.name for row, _ in found} == set(names) - {BASELINES[-count]}
    assert pairs([record for record in read_records(tmp_path) if record["strategy"] == "c3d"]) == []


@pytest.mark.parametrize(
    ("odd", "seeds"),
    [({"clip": "lecture"}, 3), ({"pretrained": "imagenet"}, 3), ({"given": ["model.backbone=resnet18"]}, 3), ({}, 1)],
    ids=str,
)
def test_of_several_baselines_the_plainest_is_taken_and_then_the_most_complete(tmp_path, odd, seeds):
    make_runs(tmp_path, {"single_frame": 0.5, "c3d": 0.5}, seeds=2)
    for seed in range(seeds):
        make_run(
            tmp_path, "single_frame", np.ones(NUM_VIDEOS, bool), id=f"odd-{seed}", seed=seed, settings="odd", **odd
        )
    found = pairs(read_records(tmp_path))
    assert {baseline.runs[0][0]["id"] for _, baseline in found} == {"single_frame-s0-1"}
    assert {row.runs[0][0]["id"] for row, _ in found} == {"odd-0", "c3d-s0-1"}


def test_tests_with_other_settings_are_neither_baseline_nor_compared(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9})
    section = section_of(tmp_path)
    again = {"kind": "test", "settings": "again", "test": {"changed": {"sampling.test_clips": 3}, "run": "any"}}
    for name in ("single_frame", "c3d"):
        make_run(tmp_path, name, np.zeros(NUM_VIDEOS, bool), id=f"{name}-again", **again)
    shown, before = (cells(of, "Difference to single_frame") for of in (section_of(tmp_path), section))
    changed = {f"{name} (sampling.test_clips=3)": "—" for name in ("single_frame", "c3d")}
    assert shown == before | changed
    assert section_of(tmp_path).facts[-1] == section.facts[-1]
    for seed in range(3):  # more seeds do not make it the baseline, nor does being the only one of its name
        make_run(tmp_path, "single_frame", np.zeros(NUM_VIDEOS, bool), id=f"again-{seed}", seed=seed, **again)
    assert cells(section_of(tmp_path), "Difference to single_frame")["c3d"] == before["c3d"]
    (tmp_path / "runs" / "single_frame-s0-1" / "record.json").unlink()
    assert pairs(read_records(tmp_path)) == []


@pytest.mark.parametrize("shared", [True, False])
def test_seeds_are_paired_where_rows_share_trained_networks_in_each_and_never_by_number_alone(tmp_path, shared):
    made = make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6}, seeds=3)
    fused = []
    for seed in range(3):
        right = made["single_frame", 1, seed] | made["c3d", 1, seed]
        member = f"single_frame-s{seed if shared or seed < 2 else 0}-1"  # seed 2 has a network of another seed
        members = [[member, "single_frame"], [f"c3d-s{seed}-1", "c3d"]]
        make_run(tmp_path, "fused", right, seed=seed, ensemble={"of": {"members": members}, "text": "mean"})
        fused.append(right)
    section = section_of(tmp_path)
    found = {of["row"]: of for of in read_comparisons(tmp_path).values()}
    assert (found["fused"]["paired"], found["c3d"]["paired"]) == (shared, False)
    baseline = np.stack([made["single_frame", 1, seed] for seed in range(3)])
    groups = np.array([f"1/{video % 24}" for video in range(NUM_VIDEOS)])
    outcome = compare([np.stack(fused)], [baseline], [groups], paired=shared)
    assert (found["fused"]["low"], found["fused"]["p"]) == (outcome.low, outcome.p)
    apart, together = "of the seeds of each row (3, of the baseline 3)", "of the seeds, in pairs (3), since both"
    assert apart in section.facts[-1] and (together in section.facts[-1]) == shared


def test_rows_of_one_run_are_paired(tmp_path):
    names = ["two_stream_spatial", "two_stream"]
    for seed in range(2):
        make_run(tmp_path, "two_stream", np.random.default_rng(seed).random(NUM_VIDEOS) < 0.5, seed=seed)
        folder = tmp_path / "runs" / f"two_stream-s{seed}-1"
        record, saved = json.loads((folder / "record.json").read_text()), dict(np.load(folder / "scores.npz"))
        record["rows"] = [record["rows"][0] | {"name": name} for name in names]
        (folder / "record.json").write_text(json.dumps(record))
        scores = np.concatenate([saved["scores"][:, :, [2, 0, 1]], saved["scores"]], 1)
        np.savez(folder / "scores.npz", **saved | {"rows": np.array(names), "scores": scores})
    update_tables(tmp_path)
    (found,) = read_comparisons(tmp_path).values()
    assert (found["row"], found["baseline"], found["paired"]) == ("two_stream_spatial", "two_stream", True)


def test_only_rows_of_the_same_splits_and_data_are_compared(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.5, "c3d": 0.5}, splits=3)
    make_runs(tmp_path, {"early_fusion": 0.5})
    make_run(tmp_path, "single_frame", np.ones(NUM_VIDEOS, bool), seed=9)  # less complete than the baseline
    make_run(tmp_path, "late_fusion", np.ones(NUM_VIDEOS, bool), dataset="zoo")
    ((row, baseline),) = pairs(read_records(tmp_path))
    assert (row.name, baseline.name, len(baseline.runs)) == ("c3d", "single_frame", 3)
    shown = cells(section_of(tmp_path), "Difference to single_frame")
    alone = {"single_frame (split 1 only)", "early_fusion (split 1 only)"}
    assert {name for name, cell in shown.items() if cell == "—"} == {"chance", "single_frame"} | alone


def stored(results):
    return {path: path.read_bytes() for path in (results / "comparisons").glob("*")}


def test_compared_once_again_when_a_member_changes_and_the_same_every_time(tmp_path, monkeypatch, capsys):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6}, seeds=2)
    update_tables(tmp_path)
    before = stored(tmp_path)
    (path,) = before
    monkeypatch.setattr("experiments.tables.compare_rows.compare_rows", lambda *_: pytest.fail("it is up to date"))
    update_tables(tmp_path)
    monkeypatch.undo()
    path.write_text("{")
    update_tables(tmp_path)
    assert stored(tmp_path) == before
    path.write_text(json.dumps(json.loads(before[path]) | {"code": "earlier", "p": 0.5}))
    update_tables(tmp_path)
    assert stored(tmp_path) == before

    make_run(tmp_path, "c3d", np.ones(NUM_VIDEOS, bool), seed=1)
    update_tables(tmp_path)
    assert json.loads(stored(tmp_path)[path])["difference"] > json.loads(before[path])["difference"]
    make_run(tmp_path, "c3d", np.ones(NUM_VIDEOS, bool), seed=2)  # the row is another one now
    update_tables(tmp_path)
    assert len(stored(tmp_path)) == 1 and path not in stored(tmp_path)
    assert capsys.readouterr().err == ""


def test_stays_without_scores_until_a_record_changes(tmp_path, capsys):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6, "late_fusion": 0.7})
    section = section_of(tmp_path)
    before = stored(tmp_path)
    for path in tmp_path.glob("runs/*/scores.npz"):
        path.unlink()
    assert section_of(tmp_path) == section and stored(tmp_path) == before
    record = tmp_path / "runs" / "c3d-s0-1" / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"memory_mb": 7}))
    shown = cells(section_of(tmp_path), "Difference")
    assert shown["c3d"] == "—" and "[" in shown["late_fusion"]
    facts = tables(read_records(tmp_path), [], read_comparisons(tmp_path))[0].facts
    assert facts[-1].endswith(" Not compared, for lack of comparable scores: c3d.") and "Not" not in section.facts[-1]
    assert [json.loads(text)["row"] for text in stored(tmp_path).values()] == ["late_fusion"]
    assert "not compared" in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_what_cannot_be_made_again_stays_when_its_row_has_become_another_one(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6})
    update_tables(tmp_path)
    before = stored(tmp_path)
    scores = tmp_path / "runs" / "c3d-s0-1" / "scores.npz"
    scores.rename(tmp_path / "elsewhere.npz")
    make_run(tmp_path, "c3d", np.ones(NUM_VIDEOS, bool), seed=1)
    update_tables(tmp_path)
    assert stored(tmp_path) == before
    (tmp_path / "elsewhere.npz").rename(scores)
    update_tables(tmp_path)
    assert len(after := stored(tmp_path)) == 1 and not after.keys() & before.keys()


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"p": 0.5}'])
def test_a_file_of_another_shape_is_as_good_as_none(tmp_path, text):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6})
    update_tables(tmp_path)
    ((path, content),) = stored(tmp_path).items()
    path.write_text(text)
    assert read_comparisons(tmp_path) == {}
    update_tables(tmp_path)
    assert stored(tmp_path) == {path: content}


def test_facts_say_where_a_bootstrap_can_mark_nothing(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9})
    assert "marks nothing" not in section_of(tmp_path).facts[-1]
    (found,) = read_comparisons(tmp_path).items()
    for draws, said in ((39, True), (40, False)):
        comparisons = {found[0]: found[1] | {"draws": draws}}
        (section,) = tables(read_records(tmp_path), [], comparisons)[:1]
        assert ("marks nothing, since no p can be below 0.05 before" in section.facts[-1]) == said


def test_runs_without_scores_have_a_table_without_differences(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6})
    for path in tmp_path.glob("runs/*/scores.npz"):
        path.unlink()
    section = section_of(tmp_path)
    assert not any("Difference" in text for text in (*section.columns, *section.facts))


def test_other_test_videos_are_refused(tmp_path, capsys):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6})
    path = tmp_path / "runs" / "c3d-s0-1" / "scores.npz"
    saved = dict(np.load(path))
    np.savez(path, **saved | {"videos": saved["videos"][::-1]})
    update_tables(tmp_path)
    assert stored(tmp_path) == {}
    assert "scores of other videos or labels" in capsys.readouterr().err
    del saved["clusters"]
    for name in ("single_frame", "c3d"):
        np.savez(tmp_path / "runs" / f"{name}-s0-1" / "scores.npz", **saved | {"rows": np.array([name])})
    update_tables(tmp_path)
    assert "does not say which videos are alike: run that point again" in capsys.readouterr().err


def test_markdown_and_latex_hold_the_marks(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9})
    section = section_of(tmp_path)
    shown = cells(section, "Difference")["c3d"]
    assert f" {shown} |" in to_markdown([section])
    latex = shown.replace("[", "{[}").replace("]", "{]}").replace("*", "$*$")
    assert f" & {latex} \\\\" in to_latex([section])
