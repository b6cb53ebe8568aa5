"""The lecture's claims: each is judged by the rows it names, on equal terms, and by nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.launch.grid import read_points
from experiments.tables.claims import FAILS, HOLDS, NOT_COMPARED, NOT_RUN, UNTOLD, Claim, Claims, read_claims, verdict
from experiments.tables.comparisons import CHANCE, Comparison, Seeds
from experiments.tables.ensembles import read_ensembles
from experiments.tables.update import update
from tests.factories import CLASSES, record_of, save_run

LABELS = np.repeat(np.arange(6), 20)


def make_run(results, name, right, **changes):
    """A run whose videos are right where `right` says so, and else take the next class of the same family."""
    other = np.where(LABELS % 3 == 2, LABELS - 2, LABELS + 1)
    scores = np.eye(len(CLASSES))[np.where(right, LABELS, other)][None, :, None].repeat(2, 2)
    return save_run(results, record_of(name, **changes), scores, LABELS, groups=20)


def claims_of(results, *claims, monkeypatch):
    monkeypatch.setattr("experiments.tables.claims.read_claims", lambda: Claims([], list(claims)))
    sections = [section for section in update(results).sections if "claims" in section.title]
    return [dict(zip(section.columns, row, strict=True)) for section in sections for row in section.rows]


def test_every_claim_is_about_rows_that_its_sweeps_fill():
    claims, names = read_claims(), set(read_ensembles())
    for run in read_points("claims", []):
        streams = run.strategy_class.streams
        names |= {f"{run.strategy}_{stream}" for stream in streams} | {run.strategy}
    for claim in claims.claims:
        assert {claim.row, *claim.than} - {CHANCE} <= names, claim.says


def test_claims_about_generated_videos_are_left_out_on_others(capsys):
    points = read_points("claims", ["dataset=ucf101"])
    assert {run.dataset for run in points} == {"ucf101"}
    assert "claims: shift is about generated" in capsys.readouterr().err


def test_claims_on_several_splits_leave_generated_sweeps_their_own():
    splits = {(run.sweep, run.data.split) for run in read_points("claims", ["data.split=1,2"])}
    assert splits == {("fusion", 1), ("fusion", 2), ("two_stream_svm", 1), ("two_stream_svm", 2), ("shift", 1)}


@pytest.mark.parametrize(
    ("intervals", "margin", "expected"),
    [
        ([(0.01, 0.2)], 0, HOLDS),
        ([(-0.04, 0.2)], -0.05, HOLDS),
        ([(0.01, 0.2), (-0.1, 0.1)], 0, UNTOLD),
        ([(0.01, 0.2), (-0.2, -0.1)], 0, FAILS),
        ([(-0.2, -0.06)], -0.05, FAILS),
        ([(None, None)], 0, UNTOLD),
    ],
)
def test_a_claim_holds_where_every_interval_says_so(intervals, margin, expected):
    found = [
        Comparison("a", "b", {}, "c", "t interval", 20, None, 0.0, low, high, None, Seeds(1, 1), False)
        for low, high in intervals
    ]
    assert verdict(found, margin) == expected


def test_a_claim_within_a_family_counts_its_videos_and_classes_only(tmp_path, monkeypatch):
    legs, video = LABELS < 3, np.arange(len(LABELS))
    make_run(tmp_path, "c3d", legs | (video % 5 == 0))  # all of legs; of arms a fifth
    make_run(tmp_path, "late_fusion", ~legs)
    claims = [
        Claim("in legs", "c3d", ["late_fusion", CHANCE], "legs"),
        Claim("in arms", "c3d", ["late_fusion"], "arms"),
        Claim("over all", "c3d", ["late_fusion"]),
        Claim("of rows that are not there", "c3d", ["slow_fusion"]),
        Claim("of a family that these data lack", "c3d", ["late_fusion"], "heads"),
    ]
    legs_row, arms_row, all_row, missing = claims_of(tmp_path, *claims, monkeypatch=monkeypatch)
    assert legs_row["Difference"] == "+100.0 [100.0, 100.0], +66.7 [66.7, 66.7]" and legs_row["Verdict"] == HOLDS
    assert arms_row["Difference"].startswith("-80.0") and arms_row["Verdict"] == FAILS
    assert all_row["Difference"].startswith("+10.0")
    assert (missing["Difference"], missing["Verdict"]) == ("—", NOT_RUN)
    for path in tmp_path.glob("runs/*/scores.npz"):
        path.unlink()
    assert claims_of(tmp_path, *claims, monkeypatch=monkeypatch)[0] == legs_row, "from records alone"


def test_a_claim_compares_rows_on_equal_terms_only(tmp_path, monkeypatch):
    claim = Claim("more", "c3d", ["late_fusion"])
    make_run(tmp_path, "c3d", LABELS < 3)
    make_run(tmp_path, "late_fusion", LABELS < 2, given=["training.steps=5"], settings="fewer", id="fewer")
    assert claims_of(tmp_path, claim, monkeypatch=monkeypatch) == []
    make_run(tmp_path, "late_fusion", LABELS < 1)
    (line,) = claims_of(tmp_path, claim, monkeypatch=monkeypatch)
    assert line["Difference"].startswith("+33.3")


def test_records_without_the_classes_of_a_family_are_not_compared(tmp_path, monkeypatch, capsys):
    for name in ("c3d", "late_fusion"):
        record = record_of(name)
        make_run(tmp_path, name, LABELS < 3, data=replace(record.data, families={}))
    claims = Claim("more", "c3d", ["late_fusion"], "legs"), Claim("more", "c3d", ["late_fusion"])
    line, _ = claims_of(tmp_path, *claims, monkeypatch=monkeypatch)
    assert line["Verdict"] == NOT_COMPARED and "does not say which classes are of legs" in capsys.readouterr().err
