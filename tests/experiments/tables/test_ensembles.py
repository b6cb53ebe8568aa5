"""Ensembles of runs made by hand; expected numbers are worked out here in NumPy, not by the code under test."""

import json
import re
import shutil

import numpy as np
import pytest

from experiments.records.files import read_records
from experiments.records.record import Ensemble
from experiments.run import main
from experiments.tables.derive import derive
from experiments.tables.update import update
from tests.factories import random_scores, record_of, save_run

VIDEOS, CLIPS = 40, 3
LABELS = np.arange(VIDEOS) % 6
STREAMS = ["two_stream_spatial", "two_stream_temporal"]
FOUR = ["single_frame", "early_fusion", "late_fusion", "slow_fusion"]


def make_run(results, name, *, scores=None, shift=0.0, clips=CLIPS, **changes):
    """A finished run with random scores; returns its id."""
    scores = random_scores(name, LABELS, clips) if scores is None else scores
    return save_run(results, record_of(name, **changes), scores[None], LABELS, shift=shift).id


def make_two_stream(results, held_out=None, **changes):
    """A run of two streams, which held out videos of these labels."""
    scores = np.stack([random_scores(name, LABELS) for name in STREAMS])
    if held_out is not None:
        held_out = np.stack([random_scores(f"{name} held out", held_out) for name in STREAMS]), held_out
    return save_run(results, record_of("two_stream", rows=STREAMS, **changes), scores, LABELS, held_out=held_out).id


def ensembles(results):
    return [record for record in read_records(results)[0] if record.kind == "ensemble"]


def load(results, record):
    with np.load(results / "runs" / record.id / "scores.npz") as saved:
        return dict(saved)


def hits(scores, labels, k):
    """Share of samples whose label is among the k best; a sample without scores is a miss."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.mean((best == labels[:, None]).any(1) & ~np.isnan(scores).any(1))


def test_cnn_average_is_the_mean_of_four_at_both_levels(tmp_path):
    """Two videos cannot be decoded: they stay without scores and count as wrong."""
    scores = {name: random_scores(name, LABELS) for name in FOUR}
    for name, own in scores.items():
        own[[4, 9]] = np.nan
        make_run(tmp_path, name, scores=own, shift=0.25 * (name == "late_fusion"))
    update(tmp_path)
    (record,) = ensembles(tmp_path)
    average = np.mean([own.astype(np.float64) for own in scores.values()], axis=0)
    (row,) = record.rows
    for k in (1, 5):
        assert row.metrics[f"test/clip_hit{k}"] == pytest.approx(hits(average.reshape(-1, 6), LABELS.repeat(CLIPS), k))
        assert row.metrics[f"test/video_hit{k}"] == pytest.approx(hits(average.mean(1), LABELS, k))
    assert row.metrics["test/scored_video_hit1"] * 38 == pytest.approx(row.metrics["test/video_hit1"] * VIDEOS)
    right = (average.mean(1).argmax(1) == LABELS) & ~np.isin(np.arange(VIDEOS), [4, 9])
    assert row.families["arms"].video_hit1 == pytest.approx(right[LABELS > 2].mean())
    saved = load(tmp_path, record)
    assert np.allclose(saved["scores"][:, 0].reshape(VIDEOS, CLIPS, 6), average, atol=1e-6, equal_nan=True)
    assert saved["rows"].tolist() == ["cnn_average"] and saved["videos"][3] == "test1/3.mp4"
    assert record.ensemble.clips == {"fused": True, "apart": 0.25, "reason": ""}
    assert (row.parameters, row.macs_per_clip, row.frames_per_video) == (4 * 123_456, 4 * 1_234_567, 400)
    assert row.metrics["train/clip_hit1"] is None
    assert record.seconds == {"train": 160.4, "waiting": 4, "test": 20.8, "flow": 0}


@pytest.mark.parametrize(
    ("odd", "apart", "reason"),
    [
        ({"shift": 0.5}, 0.5, "the members' clips of test1/0.mp4 are 0.5 s apart, neighbouring ones 1 s"),
        ({"clips": 1}, None, "the members have 3 and 1 clips of test1/0.mp4"),
    ],
)
def test_clips_that_are_not_aligned_are_not_fused(tmp_path, odd, apart, reason):
    for name in FOUR:
        make_run(tmp_path, name, **(odd if name == "late_fusion" else {}))
    update(tmp_path)
    (record,) = ensembles(tmp_path)
    assert record.ensemble.clips == {"fused": False, "apart": apart, "reason": reason}
    clips = [random_scores(name, LABELS, odd.get("clips", CLIPS) if name == "late_fusion" else CLIPS) for name in FOUR]
    average = np.mean([scores.astype(np.float64).mean(1) for scores in clips], axis=0)
    metrics = record.rows[0].metrics
    assert metrics["test/clip_hit1"] is None and metrics["test/scored_clip_hit5"] is None
    assert metrics["test/video_hit1"] == pytest.approx(hits(average, LABELS, 1))
    saved = load(tmp_path, record)
    assert np.allclose(saved["scores"][:, 0], average, atol=1e-6) and np.isnan(saved["center"]).all()
    text = (tmp_path / "table.md").read_text()
    assert re.search(r"^\| cnn_average +\| native, 40 frames +\| +— \|", text, re.M) and reason in text


def test_clips_that_the_ends_hold_back_are_aligned_while_nearer_than_halfway(tmp_path):
    """Late fusion's first and last clips lie further inside: 0.4 s of the second between neighbours."""
    members = [(make_run(tmp_path, name), name) for name in FOUR]
    path = tmp_path / "runs" / members[2][0] / "scores.npz"
    saved = dict(np.load(path))
    for move, is_fused in ((0.4, True), (0.6, False)):
        centers = np.tile(np.array([0.5 + move, 1.5, 2.5 - move], dtype=np.float32), VIDEOS)
        np.savez(path, **saved | {"center": centers})
        clips = derive(tmp_path, Ensemble("mine", members)).ensemble.clips
        assert clips["fused"] == is_fused and clips["apart"] == pytest.approx(move)


def test_scores_that_name_no_clusters_are_not_fused_and_the_tables_are_written_all_the_same(tmp_path, capsys):
    for name in FOUR:
        path = tmp_path / "runs" / make_run(tmp_path, name) / "scores.npz"
        saved = dict(np.load(path))
        del saved["clusters"]
        np.savez(path, **saved)
    assert all(path.exists() for path in update(tmp_path).paths)
    assert ensembles(tmp_path) == []
    said = capsys.readouterr().err
    assert re.search(r"^cnn_average-\S+: not derived: \S+ does not say which videos are alike: run that", said, re.M)


# -- which runs --------------------------------------------------------------------------------------------------------


def test_only_runs_that_are_alike_are_fused_and_never_fewer(tmp_path):
    members = [(make_run(tmp_path, name), name) for name in FOUR[:3]]
    for change in ({"clip": "lecture"}, {"seed": 1}, {"split": 2}, {"given": ["training.steps=7"], "id": "given"}):
        make_run(tmp_path, "slow_fusion", **change)
    make_run(tmp_path, "slow_fusion", fingerprint="other")
    make_run(tmp_path, "slow_fusion", given=None, id="an old record")
    update(tmp_path)
    assert ensembles(tmp_path) == []
    members.append((make_run(tmp_path, "slow_fusion"), "slow_fusion"))
    update(tmp_path)
    (record,) = ensembles(tmp_path)
    assert record.ensemble.of.members == members


def test_row_stands_with_its_members_and_says_what_was_fused(tmp_path):
    for name in (*FOUR, "c3d"):
        make_run(tmp_path, name, dataset="sports1m")
    section = update(tmp_path).sections[0]
    assert [row[0] for row in section.rows] == ["chance", *FOUR, "cnn_average", "c3d"]
    row = dict(zip(section.columns, section.rows[5], strict=True))
    assert (row["Parameters"], row["Training Clip Hit@1"], row["Seeds"]) == ("493,824", "—", "1")
    assert row["Published Video Hit@1 [protocol]"].startswith("63.9 [")
    assert section.notes[-1].startswith(
        "cnn_average: mean of the class probabilities of single_frame, early_fusion, late_fusion and slow_fusion; their"
    )
    assert "sums over the members" in section.notes[-1]


@pytest.mark.parametrize(
    "text", [b"a: [", b"\xff", b"mine: {members: [c3d], fuse: mean}", b"mine: {fuse: max}", b"- 1"]
)
def test_a_bad_list_of_ensembles_is_named_and_the_tables_are_written(tmp_path, monkeypatch, text):
    make_run(tmp_path, "c3d")
    path = tmp_path / "ensembles.yaml"
    path.write_bytes(text)
    monkeypatch.setattr("experiments.tables.ensembles.ENSEMBLES", path)
    updated = update(tmp_path)
    assert len(updated.sections[0].rows) == 2
    assert updated.show() == 1 and str(path) in updated.problems[0] and "\n" not in updated.problems[0]


# -- when again --------------------------------------------------------------------------------------------------------


def test_derived_once_again_when_a_member_changes_and_the_same_every_time(tmp_path, capsys):
    for name in FOUR:
        make_run(tmp_path, name)
    update(tmp_path)
    (record,) = ensembles(tmp_path)
    path = tmp_path / "runs" / record.id / "record.json"
    before, table = path.read_bytes(), (tmp_path / "table.md").read_bytes()
    assert capsys.readouterr().out.count("derived from") == 1
    update(tmp_path)
    assert "derived" not in capsys.readouterr().out
    path.unlink()
    update(tmp_path)
    assert path.read_bytes() == before and (tmp_path / "table.md").read_bytes() == table

    capsys.readouterr()
    make_run(tmp_path, "c3d")  # no member
    make_run(tmp_path, "late_fusion", scores=random_scores("other", LABELS))
    update(tmp_path)
    assert capsys.readouterr().out.count("derived from") == 1
    (again,) = ensembles(tmp_path)
    assert again.id == record.id and again.rows != record.rows
    plain = again.plain()
    plain["ensemble"]["code"] = "earlier"
    path.write_text(json.dumps(plain))
    update(tmp_path)
    assert ensembles(tmp_path) == [again]


def test_committed_records_stay_without_scores_until_a_member_changes(tmp_path, capsys):
    members = {name: make_run(tmp_path, name) for name in FOUR}
    run_id = make_two_stream(tmp_path)
    folds = [make_two_stream(tmp_path, LABELS[fold::2], kind="fold", split=fold) for fold in range(2)]
    derive(tmp_path, Ensemble("two_stream_svm", [(run_id, row) for row in STREAMS], "svm", folds={run_id: folds}))
    update(tmp_path)
    for path in tmp_path.glob("runs/*/*.npz"):
        path.unlink()
    for fold in folds:
        shutil.rmtree(tmp_path / "runs" / fold)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert main(["--table", f"results={tmp_path}"]) == 0
    (tmp_path / "report.html").unlink()  # the command's, which `update` does not make
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before

    left = {"cnn_average", "two_stream_svm"}
    assert {record.strategy for record in ensembles(tmp_path)} == left
    for member, name in ((run_id, "two_stream_svm"), (members["slow_fusion"], "cnn_average")):
        path = tmp_path / "runs" / member / "record.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"memory_mb": 1}))
        assert main(["--table", f"results={tmp_path}"]) == 0
        assert re.search(rf"^{name}-shapes-s0-\w+: removed: ", capsys.readouterr().err, re.M)
        left = left - {name}
        assert {record.strategy for record in ensembles(tmp_path)} == left


def test_an_ensemble_whose_members_are_no_longer_alike_goes(tmp_path, capsys):
    members = {name: make_run(tmp_path, name) for name in FOUR}
    update(tmp_path)
    make_run(tmp_path, "late_fusion", fingerprint="other", id=members["late_fusion"])
    update(tmp_path)
    assert ensembles(tmp_path) == []
    assert "no longer alike" in capsys.readouterr().err
