"""Which class was answered for which, counted from scores."""

import numpy as np
import pytest

from experiments.records.record import Record
from experiments.report import confusions as module
from experiments.report.confusions import accuracy, confusion_of, confusions
from experiments.tables.rows import make_rows
from tests.factories import CLASSES, random_scores, record_of, save_run

LABELS = np.arange(30) % len(CLASSES)


def counted(results, *records):
    saved = [Record.read(results / "runs" / record.id / "record.json") for record in records]
    (row,) = make_rows(saved)
    return confusion_of(row, confusions(results, saved), len(CLASSES))


def test_counts_are_those_of_the_scores_over_all_seeds(tmp_path):
    scores = [random_scores(f"c3d{seed}", LABELS) for seed in range(2)]
    scores[0][4, 1] = np.nan
    records = [save_run(tmp_path, record_of("c3d", seed=seed), own[None], LABELS) for seed, own in enumerate(scores)]
    wanted = np.zeros((6, 7), int)
    for own in scores:
        for label, clips in zip(LABELS, own, strict=True):
            wanted[label, 6 if np.isnan(clips).any() else clips.astype(float).mean(0).argmax()] += 1
    found = counted(tmp_path, *records)
    assert {(a, b): n for a, b, n in found} == {(a, b): wanted[a, b] for a, b in np.argwhere(wanted)}
    hits = [record.rows[0].metrics["test/video_hit1"] for record in records]
    assert sum(n for a, b, n in found if a == b) == pytest.approx(30 * sum(hits))
    assert accuracy(found, 6)[0] == wanted[0, 0] / 10


def test_a_video_of_several_classes_is_right_in_all_or_in_none(tmp_path):
    labels = np.zeros((2, 6), bool)
    labels[:, [0, 2]] = True
    scores = np.eye(6)[[2, 5]][:, None]  # right, wrong
    record = save_run(tmp_path, record_of("c3d"), scores[None], labels)
    assert counted(tmp_path, record) == [(0, 0, 1), (0, 5, 1), (2, 2, 1), (2, 5, 1)]


def test_scores_are_read_once_and_again_when_they_change(tmp_path, monkeypatch):
    record = save_run(tmp_path, record_of("c3d"), random_scores("c3d", LABELS)[None], LABELS)
    first = counted(tmp_path, record)
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_answers", None)
        assert counted(tmp_path, record) == first
    save_run(tmp_path, record, random_scores("other", LABELS)[None], LABELS)
    assert counted(tmp_path, record) != first
    (tmp_path / "confusions.json").write_text('{"c3d": [1, {"c3d": [[0, -1, 2]]}]}')
    assert counted(tmp_path, record) != first, "what is no count is counted again"


def test_a_row_needs_the_scores_of_all_its_runs(tmp_path):
    records = [
        save_run(tmp_path, record_of("c3d", seed=seed), random_scores("c3d", LABELS)[None], LABELS) for seed in (0, 1)
    ]
    (tmp_path / "runs" / records[1].id / "scores.npz").unlink()
    assert counted(tmp_path, *records) == []


def test_rare_mistakes_are_counted_together(tmp_path, monkeypatch):
    record = save_run(tmp_path, record_of("c3d"), random_scores("c3d", LABELS)[None], LABELS)
    whole = counted(tmp_path, record)
    monkeypatch.setattr(module, "MOST", 8)
    short = counted(tmp_path, record)
    assert len(short) < len(whole) and accuracy(short, 6) == accuracy(whole, 6)
    assert max(given for _, given, _ in short) == 7
