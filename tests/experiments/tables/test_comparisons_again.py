"""When comparisons are made again, and when they stay."""

import json

import numpy as np
import pytest

from experiments.tables.comparisons import read_comparisons
from experiments.tables.update import update
from tests.experiments.tables.compared_rows import NUM_VIDEOS, cells, folder_of, make_run, make_runs, section_of, stored


def test_compared_once_again_when_a_member_changes_and_the_same_every_time(tmp_path, monkeypatch, capsys):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6}, seeds=2)
    update(tmp_path)
    before = stored(tmp_path)
    (path,) = before
    monkeypatch.setattr("experiments.tables.comparing.compare_rows", lambda *_: pytest.fail("it is up to date"))
    update(tmp_path)
    monkeypatch.undo()
    path.write_text(json.dumps(json.loads(before[path]) | {"code": "earlier", "p": 0.5}))
    update(tmp_path)
    assert stored(tmp_path) == before and capsys.readouterr().err == ""

    make_run(tmp_path, "c3d", np.ones(NUM_VIDEOS, bool), seed=1)
    update(tmp_path)
    assert json.loads(stored(tmp_path)[path])["difference"] > json.loads(before[path])["difference"]
    make_run(tmp_path, "c3d", np.ones(NUM_VIDEOS, bool), seed=2)  # the row is another one now
    update(tmp_path)
    assert len(stored(tmp_path)) == 1 and path not in stored(tmp_path)


def test_stays_without_scores_until_a_record_changes(tmp_path, capsys):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6, "late_fusion": 0.7})
    section = section_of(tmp_path)
    before = stored(tmp_path)
    for path in tmp_path.glob("runs/*/scores.npz"):
        path.unlink()
    assert section_of(tmp_path) == section and stored(tmp_path) == before
    record = folder_of(tmp_path, "c3d") / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"memory_mb": 7}))
    again = section_of(tmp_path)
    assert cells(again)["c3d"] == "—" and "[" in cells(again)["late_fusion"]
    assert again.facts[-1].endswith(" Not compared, for lack of comparable scores: c3d.")
    assert [json.loads(text)["row"] for text in stored(tmp_path).values()] == ["late_fusion"]
    assert "not compared" in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_what_cannot_be_made_again_stays_when_its_row_has_become_another_one(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6})
    update(tmp_path)
    before = stored(tmp_path)
    scores = folder_of(tmp_path, "c3d") / "scores.npz"
    scores.rename(tmp_path / "elsewhere.npz")
    make_run(tmp_path, "c3d", np.ones(NUM_VIDEOS, bool), seed=1)
    update(tmp_path)
    assert stored(tmp_path) == before
    (tmp_path / "elsewhere.npz").rename(scores)
    update(tmp_path)
    assert len(after := stored(tmp_path)) == 1 and not after.keys() & before.keys()


def test_a_file_of_another_shape_is_made_again(tmp_path):
    make_runs(tmp_path, {"single_frame": 0.4, "c3d": 0.6})
    update(tmp_path)
    ((path, content),) = stored(tmp_path).items()
    path.write_bytes(b'{"p": 0.5}')
    assert read_comparisons(tmp_path)[0] == {}
    update(tmp_path)
    assert stored(tmp_path) == {path: content}
