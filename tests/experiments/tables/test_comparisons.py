"""Comparisons as files of a folder of results: what is compared, and what the table says of it."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.records.files import read_records
from experiments.records.record import Ensemble, Fused, NetworkTest
from experiments.tables.baselines import BASELINES, pairs
from experiments.tables.comparisons import read_comparisons, update_comparisons
from experiments.tables.render import to_latex, to_markdown
from experiments.tables.significance import compare
from experiments.tables.table import tables
from experiments.tables.update import update
from experiments.tables.write import README_END, README_START, fill_readme
from tests.experiments.tables.compared_rows import (
    NUM_VIDEOS,
    cells,
    folder_of,
    groups_of,
    make_run,
    make_runs,
    pairs_of,
    section_of,
    stored,
)
from tests.factories import record_of

# -- what the table shows ----------------------------------------------------------------------------------------------


def test_table_shows_difference_interval_mark_and_how(tmp_path):
    made = make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9, "slow_fusion": 0.42}, seeds=3, splits=2)
    section = section_of(tmp_path)
    shown = cells(section)
    assert shown["chance"] == shown["single_frame"] == "—"
    rows = {name: [np.stack([made[name, split, seed] for seed in range(3)]) for split in (1, 2)] for name, *_ in made}
    csv = {line["strategy"]: line for line in section.csv}
    names = ("c3d", "slow_fusion")
    expected = {name: compare(rows[name], rows["single_frame"], [groups_of(1), groups_of(2)]) for name in names}
    for name, outcome in expected.items():
        points = [round(100 * value, 1) for value in (outcome.difference, outcome.low, outcome.high)]
        assert shown[name] == f"{points[0]:+.1f} [{points[1]:.1f}, {points[2]:.1f}]" + " *" * (name == "c3d")
        found = [csv[name][key] for key in ("difference", "low", "high", "p", "clusters", "method")]
        assert found == [*outcome[3:], 48, "t interval"]
    assert csv["c3d"]["p_holm"] == pytest.approx(2 * expected["c3d"].p)
    assert csv["slow_fusion"]["p_holm"] == pytest.approx(expected["slow_fusion"].p)
    by_split = [rows["c3d"][split].mean() for split in (0, 1)]
    assert csv["c3d"]["test/video_hit1_split_sd"] == pytest.approx(np.std(by_split, ddof=1))
    assert cells(section, "Spread over splits")["c3d"] == f"{100 * np.std(by_split, ddof=1):.1f}"
    fact = section.facts[-1]
    assert "Difference to single_frame, " in fact and "correction for 2 comparisons" in fact
    assert "T interval over 48 groups of test videos, and of the seeds of each row (3, of the baseline 3)" in fact
    readme = fill_readme(f"{README_START}{README_END}", [section])
    assert "± sample standard deviation" in readme and "Difference" not in readme
    assert f" {shown['c3d']} |" in to_markdown([section])
    latex = shown["c3d"].replace("[", "{[}").replace("]", "{]}").replace("*", "$*$")
    assert f" & {latex} \\\\" in to_latex([section])


@pytest.mark.parametrize(
    ("seeds", "groups", "said"),
    [
        (1, 24, "24 groups of test videos, which speaks of the trained networks (seeds: 1, of the baseline 1) only"),
        (2, 8, "Exact sign-flip over 8 groups of test videos, 256 patterns, which speaks of the trained networks (see"),
        (2, 6, "only, and marks nothing, since no p can be below 0.031 before the correction"),
        (2, 5, "5 groups of test videos are too few groups for an interval or a mark"),
    ],
)
def test_facts_say_of_what_a_comparison_speaks(tmp_path, seeds, groups, said):
    make_runs(tmp_path, {"single_frame": 0.1, "c3d": 0.9, "early_fusion": 0.95}, seeds=seeds, groups=groups)
    section = section_of(tmp_path)
    assert said in section.facts[-1]
    shown = cells(section)
    assert shown["c3d"].endswith(" *") == (groups > 6)
    assert ("[" in shown["c3d"]) == (groups > 5)


# -- what is compared --------------------------------------------------------------------------------------------------


def test_baseline_is_fixed_by_name_whatever_came_out(tmp_path):
    for count in range(1, len(BASELINES) + 1):
        names = [*reversed(BASELINES[-count:]), "c3d"]
        make_runs(tmp_path, dict.fromkeys(names, 0.5))
        found = pairs_of(tmp_path)
        assert {baseline.name for _, baseline, _ in found} == {BASELINES[-count]}
        assert {row.name for row, _, _ in found} == set(names) - {BASELINES[-count]}
    assert pairs([record for record in read_records(tmp_path)[0] if record.strategy == "c3d"]) == []


SIDE_RUNS = {
    "fewer steps": {"given": ["training.steps=100"]},
    "another rate, a sweep of its own": {"given": ["training.lr=0.0005"], "sweep": "mine"},
    "another clip": {"clip": "lecture"},
    "a pretrained one": {"given": ["model.backbone=resnet18"], "pretrained": "ImageNet"},
    "other code": {"code": "d00d"},
    "no sweep": {"sweep": ""},
    "another split": {"split": 2},
    "other data": {"fingerprint": "changed"},
    "another recipe": {"recipe": "modern"},
    "another test": {"kind": "test", "test": NetworkTest("any", "last.ckpt", {"sampling.test_clips": 3})},
}


@pytest.mark.parametrize("side", SIDE_RUNS)
@pytest.mark.parametrize("names", [("single_frame",), ("slow_fusion",), ("single_frame", "slow_fusion")], ids=str)
def test_a_later_run_changes_no_number_of_rows_that_it_is_not_part_of(tmp_path, side, names):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9, "early_fusion": 0.6}, seeds=3)
    before = section_of(tmp_path)
    lines = {tuple(line["runs"].split(",")): line for line in before.csv if "runs" in line}
    for name in names:
        settings = f"{name}-{side}"
        make_run(tmp_path, name, np.zeros(NUM_VIDEOS, bool), id=settings, settings=settings, **SIDE_RUNS[side])
    sections = update(tmp_path).sections
    after = {tuple(line["runs"].split(",")): line for section in sections for line in section.csv if "runs" in line}
    assert after.keys() > lines.keys()
    for runs, line in lines.items():
        place = ("splits", "strategy", "baseline")  # labels may have to say more
        assert {k: v for k, v in after[runs].items() if k not in place} == {
            k: v for k, v in line.items() if k not in place
        }
    ours = [section for section in sections if section.csv]
    titles = [section.title for section in ours]
    labels = [(section.title, row[0]) for section in ours for row in section.rows]
    assert len(set(titles)) == len(titles) and len(set(labels)) == len(labels)
    assert not any(record.id in label for record in read_records(tmp_path)[0] for _, label in labels)


@pytest.mark.parametrize("side", ["settings", "files"])
def test_a_run_on_other_data_of_one_split_leaves_rows_of_several_splits_whole(tmp_path, side):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9}, splits=2)
    lines = section_of(tmp_path).rows
    record = record_of("c3d", fingerprint="other", classes=("a", "b", "c"))
    changed = {"given": ["data.validation=0.2"]} if side == "settings" else {}
    data = replace(record.data, files="bb22", families={}) if side == "files" else replace(record.data, families={})
    make_run(tmp_path, "c3d", np.zeros(NUM_VIDEOS, bool), id="c3d-side", fingerprint="other", data=data, **changed)
    sections = [section for section in update(tmp_path).sections if section.csv]
    assert lines in [section.rows for section in sections] and len(sections) == 2


def test_side_runs_are_labelled_by_what_differs_and_compared_with_their_own_baseline(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9})
    given = ["training.lr=0.0005", "training.steps=100"]
    for name, rate in (("single_frame", 0.2), ("c3d", 0.3)):
        right = np.arange(NUM_VIDEOS) < rate * NUM_VIDEOS
        make_run(tmp_path, name, right, id=f"{name}-side", settings=f"{name}-side", given=given, sweep="")
    section = section_of(tmp_path)
    labels = [row[0] for row in section.rows]
    assert labels[1:] == [
        *("single_frame", "single_frame (lr=0.0005, steps=100)", "c3d", "c3d (lr=0.0005, steps=100)"),
    ]
    shown = cells(section)
    assert shown["c3d (lr=0.0005, steps=100)"].startswith("+10.0") and shown["single_frame"] == "—"
    assert "Baseline of c3d (lr=0.0005, steps=100): single_frame (lr=0.0005, steps=100)" in section.facts[-1]
    assert "correction for 1 comparison;" not in section.facts[-1]


def test_a_run_without_a_sweep_has_a_sweeps_baseline_and_moves_no_correction(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9})
    before = {line["strategy"]: line for line in section_of(tmp_path).csv}
    make_runs(tmp_path, {"slow_fusion": 0.8}, sweep="")
    after = {line["strategy"]: line for line in section_of(tmp_path).csv}
    assert after["slow_fusion"]["baseline"] == "single_frame"
    assert after["slow_fusion"]["p_holm"] == after["slow_fusion"]["p"]  # a contest of one
    assert after["c3d"] == before["c3d"]


def test_half_a_seed_changes_no_row(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9}, seeds=3)
    make_run(tmp_path, "single_frame", np.zeros(NUM_VIDEOS, bool), split=2)
    rows = [(row[0], row[section_of(tmp_path).columns.index("Seeds")]) for row in section_of(tmp_path).rows[1:]]
    assert rows == [
        ("single_frame (split 1 only)", "3"),
        ("single_frame (split 2 only)", "1"),
        ("c3d (split 1 only)", "3"),
    ]


def test_tests_with_other_settings_are_neither_baseline_nor_compared(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.9})
    section = section_of(tmp_path)
    again = {"kind": "test", "settings": "again", "test": NetworkTest("any", "last.ckpt", {"sampling.test_clips": 3})}
    wrong = np.zeros(NUM_VIDEOS, bool)
    for name in ("single_frame", "c3d"):
        make_run(tmp_path, name, wrong, id=f"{name}-again", **again)
    shown, before = cells(section_of(tmp_path)), cells(section)
    assert shown == before | {f"{name} (sampling.test_clips=3)": "—" for name in ("single_frame", "c3d")}
    assert section_of(tmp_path).facts[-1] == section.facts[-1]
    for seed in range(3):  # more seeds do not make it the baseline, nor does being the only one of its name
        make_run(tmp_path, "single_frame", wrong, id=f"again-{seed}", seed=seed, **again)
    assert cells(section_of(tmp_path))["c3d"] == before["c3d"]
    (folder_of(tmp_path, "single_frame-shapes") / "record.json").unlink()
    assert pairs_of(tmp_path) == []


@pytest.mark.parametrize("shared", [True, False])
def test_seeds_are_paired_where_rows_share_trained_networks_in_each_and_never_by_number_alone(tmp_path, shared):
    made = make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6}, seeds=3)
    ids = {(record.strategy, record.seed): record.id for record in read_records(tmp_path)[0]}
    fused = []
    for seed in range(3):
        right = made["single_frame", 1, seed] | made["c3d", 1, seed]
        member = ids["single_frame", seed if shared or seed < 2 else 0]  # seed 2 has a network of another seed
        of = Ensemble("fused", [(member, "single_frame"), (ids["c3d", seed], "c3d")])
        ensemble = Fused(of=of, text="mean", level="clip", clips={}, code="", inputs={})
        make_run(tmp_path, "fused", right, seed=seed, ensemble=ensemble)
        fused.append(right)
    update_comparisons(tmp_path, pairs_of(tmp_path))
    found = {of.row: of for of in read_comparisons(tmp_path)[0].values()}
    assert (found["fused"].paired, found["c3d"].paired) == (shared, False)
    baseline = np.stack([made["single_frame", 1, seed] for seed in range(3)])
    outcome = compare([np.stack(fused)], [baseline], [groups_of(1)], paired=shared)
    assert (found["fused"].low, found["fused"].p) == (outcome.low, outcome.p)
    facts = tables(read_records(tmp_path)[0], [], read_comparisons(tmp_path)[0])[0].facts
    apart, together = "of the seeds of each row (3, of the baseline 3)", "of the seeds, in pairs (3), since both"
    assert apart in facts[-1] and (together in facts[-1]) == shared


def test_only_rows_of_the_same_splits_and_data_are_compared(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.5, "c3d": 0.5}, splits=3)
    make_runs(tmp_path, {"early_fusion": 0.5})
    make_run(tmp_path, "single_frame", np.ones(NUM_VIDEOS, bool), seed=9)  # less complete than the baseline
    make_run(tmp_path, "late_fusion", np.ones(NUM_VIDEOS, bool), dataset="zoo")
    found = {(row.name, baseline.name, len(baseline.runs)) for row, baseline, _ in pairs_of(tmp_path)}
    assert found == {("c3d", "single_frame", 3), ("early_fusion", "single_frame", 1)}
    shown = cells(section_of(tmp_path))
    assert {name for name, cell in shown.items() if cell == "—"} == {
        *("chance", "single_frame", "single_frame (split 1 only)"),
    }


@pytest.mark.parametrize(
    ("name", "videos", "said"),
    [("c3d", slice(None, None, -1), "scores of other videos or labels"), ("single_frame", slice(None), "does not say")],
    ids=["other videos", "no groups"],
)
def test_other_test_videos_or_none_that_are_grouped_are_refused(tmp_path, capsys, name, videos, said):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6})
    path = folder_of(tmp_path, name) / "scores.npz"
    saved = dict(np.load(path))
    if name == "single_frame":
        del saved["clusters"]
    np.savez(path, **saved | {"videos": saved["videos"][videos]})
    update(tmp_path)
    assert stored(tmp_path) == {}
    assert said in capsys.readouterr().err
