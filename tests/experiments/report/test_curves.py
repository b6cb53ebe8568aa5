"""Curves: read from what trainings left, whole or not, and drawn."""

import os

import pytest

from experiments.report import curves
from experiments.report.curves import learning_charts, read_curves
from experiments.tables.rows import make_rows
from tests.experiments.report.small_results import make_results, write_curves


def hits(folder):
    steps, values = read_curves(folder)["train/clip_hit1"]
    return dict(zip(steps.tolist(), values.tolist(), strict=True))


def test_a_run_that_went_on_takes_the_place_of_what_came_after_its_checkpoint(tmp_path):
    write_curves(tmp_path, 9, epochs=4)
    write_curves(tmp_path, 10, epochs=5, start=2).write_text("epoch,step,train/clip_hit1\n2,29,0.7\n3,39,0.8\n")
    assert hits(tmp_path) == {9: 0.0, 19: 0.1, 29: 0.7, 39: 0.8}


def test_a_run_from_the_start_takes_the_place_of_all(tmp_path):
    write_curves(tmp_path, 0, epochs=9)
    write_curves(tmp_path, 1).write_text("epoch,step,train/clip_hit1\n0,14,0.5\n")
    assert hits(tmp_path) == {14: 0.5}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"epoch,step\n0,9\n",
        b"a,b\n1,2\n",
        b"step,train/loss\n-1,2\n",
        b"step,train/loss\n9,nan\n",
    ],
)
def test_a_file_without_curves_gives_none(tmp_path, content):
    write_curves(tmp_path).write_bytes(content)
    assert read_curves(tmp_path) == {}


def test_odd_places_and_long_files_do_no_harm(tmp_path, monkeypatch):
    write_curves(tmp_path, "x")
    (tmp_path / "curves" / "version_1").mkdir()
    os.mkfifo(tmp_path / "curves" / "version_1" / "metrics.csv")  # to open it would wait for ever
    assert read_curves(tmp_path) == {}
    monkeypatch.setattr(curves, "LARGEST", 200)
    write_curves(tmp_path, 2, epochs=10_000)
    assert 1 < len(hits(tmp_path)) < 10


def test_each_seed_is_thin_and_their_mean_is_thick(tmp_path):
    records = make_results(tmp_path, ["c3d"])
    write_curves(tmp_path / "runs" / records[1].id, epochs=3)
    rows = {row.name: row for row in make_rows(records)}
    (chart,) = learning_charts(tmp_path, rows).rows
    kinds = [(line.kind, line.mean) for line in chart.hits]
    assert kinds == [(of, mean) for of in ("training", "validation") for mean in (False, False, True)]
    assert [len(line.points.split()) for line in chart.hits[:3]] == [5, 3, 3]
    assert chart.text.startswith("2 runs; at the end: training Hit@1 30.0, validation Hit@1 15.0, training loss 2.70")
