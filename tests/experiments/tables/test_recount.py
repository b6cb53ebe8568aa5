"""Records and scores agree, or the record is named and left out; one bad file never stops the others."""

import csv
import json

import numpy as np
import pytest

from experiments.records.record import Ensemble
from experiments.run import main
from experiments.tables.comparisons import read_comparisons
from experiments.tables.derive import derive
from experiments.tables.recount import sound_records
from experiments.tables.table import tables
from experiments.tables.update import update
from experiments.tables.write import RENDERERS
from tests.factories import random_scores, record_of, save_record, save_run

LABELS = np.arange(30) % 6


def make_run(results, name, **changes):
    return save_run(results, record_of(name, **changes), random_scores(name, LABELS)[None], LABELS)


def rows_of(results):
    return [line["strategy"] for line in csv.DictReader((results / "table.csv").read_text().splitlines())]


def rewrite(path, **changes):
    saved = dict(np.load(path))
    np.savez(path, **saved | changes)


def with_scores(saved, clips, scores):
    """The saved arrays with other scores of some clips."""
    changed = saved["scores"].copy()
    changed[clips] = scores
    return {"scores": changed}


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: with_scores(saved, slice(3), np.roll(saved["scores"][:3], 1, axis=2)),
        lambda saved: with_scores(saved, slice(-3, None), np.nan),
        lambda saved: {"rows": np.array(["other"])},
        lambda saved: {"target": saved["target"][:-1]},
        lambda saved: {"video": saved["video"][::-1]},
        lambda saved: {"scores": np.array([{}], dtype=object)},
        lambda saved: {"scores": saved["scores"] * 100},
        lambda saved: {"scores": saved["scores"].astype(complex)},
        lambda saved: with_scores(saved, slice(1), np.inf),
        None,
    ],
    ids=[
        "one video turned",
        "one without scores",
        "another row",
        "shape",
        "order",
        "pickle",
        "percent",
        "complex",
        "infinite",
        "cut short",
    ],
)
def test_a_run_that_its_scores_contradict_is_named_and_left_out(tmp_path, change, capsys):
    record, good = make_run(tmp_path, "c3d"), make_run(tmp_path, "slow_fusion")
    path = tmp_path / "runs" / record.id / "scores.npz"
    if change is None:
        path.write_bytes(path.read_bytes()[:100])
    else:
        rewrite(path, **change(dict(np.load(path))))
    assert main(["--table", f"results={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert str(path) in said and said.count("\n") == 1
    assert rows_of(tmp_path) == ["chance", "slow_fusion"]
    assert [of.id for of in sound_records(tmp_path)[0]] == [good.id]


def test_scores_are_recounted_once_and_again_when_they_or_the_record_change(tmp_path, monkeypatch):
    record = make_run(tmp_path, "c3d")
    asked = []
    monkeypatch.setattr("experiments.tables.recount.check_hits", lambda path, of: asked.append(of.id))
    for _ in range(3):
        sound_records(tmp_path)
    assert len(asked) == 1
    record.memory_mb += 1
    save_record(tmp_path, record)
    sound_records(tmp_path)
    rewrite(tmp_path / "runs" / record.id / "scores.npz")
    sound_records(tmp_path)
    assert len(asked) == 3
    for foreign in (b"\xff[[", b"[]", b'{"x": [[]]}'):
        (tmp_path / "recounted.json").write_bytes(foreign)
        sound_records(tmp_path)
    assert len(asked) == 6


def test_near_ties_may_fall_either_way(tmp_path):
    scores = np.full((1, 30, 1, 6), 1 / 6)
    record = save_run(tmp_path, record_of("c3d"), scores, LABELS)
    record.rows[0].metrics["test/video_hit1"] = 0.0
    save_record(tmp_path, record)
    assert sound_records(tmp_path)[1] == []


@pytest.mark.parametrize("text", [b"\xff\xfe", b"[" * 100_000, b"[]"], ids=lambda text: text[:9])
@pytest.mark.parametrize("where", ["runs/odd/record.json", "comparisons/odd.json"])
def test_one_bad_file_is_named_and_the_table_has_the_rest(tmp_path, capsys, where, text):
    make_run(tmp_path, "c3d")
    path = tmp_path / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    assert main(["--table", f"results={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert str(path) in said and said.count("\n") == 1 and "Traceback" not in said
    assert rows_of(tmp_path) == ["chance", "c3d"]
    assert path.read_bytes() == text, "it is left as it is"


def test_a_nan_is_neither_row_nor_baseline(tmp_path, capsys):
    record = make_run(tmp_path, "single_frame")
    make_run(tmp_path, "c3d")
    path = tmp_path / "runs" / record.id / "record.json"
    plain = json.loads(path.read_text())
    plain["rows"][0]["metrics"]["test/video_hit1"] = float("nan")
    path.write_text(json.dumps(plain))
    updated = update(tmp_path)
    assert [row[0] for row in updated.sections[0].rows] == ["chance", "c3d"]
    assert not any("Difference" in column for column in updated.sections[0].columns)
    assert "found 'nan'" in updated.problems[0]


def leaves(tree, path=()):
    """The place of every value of a JSON document; of a list, of its first only."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:1]) if isinstance(tree, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


ODD = [None, -1, 10**400, "x\n\ud800", {}]


@pytest.mark.slow
def test_whatever_stands_in_a_record_or_comparison_the_table_is_written(tmp_path):
    """Every value of a record and of a comparison is replaced in turn by odd ones."""
    members = [(make_run(tmp_path, name).id, name) for name in ("single_frame", "c3d")]
    derive(tmp_path, Ensemble("mine", members))
    update(tmp_path)
    for path in tmp_path.glob("runs/*/scores.npz"):
        path.unlink()
    (fused,) = (path for path in tmp_path.glob("runs/*/record.json") if "mine" in path.parent.name)
    (first,) = (path for path in tmp_path.glob("runs/*/record.json") if "single_frame" in str(path))
    (compared, *_) = tmp_path.glob("comparisons/*.json")
    for path in (fused, first, compared):
        content = path.read_bytes()
        for place in leaves(json.loads(content)):
            for odd in ODD:
                tree = json.loads(content)
                node = tree
                for key in place[:-1]:
                    node = node[key]
                if place:
                    node[place[-1]] = odd
                path.write_text(json.dumps(tree if place else odd))
                records, unsound = sound_records(tmp_path)
                comparisons, unreadable = read_comparisons(tmp_path)
                if not unsound and not unreadable:
                    for render in RENDERERS.values():
                        render(tables(records, [], comparisons)).encode()
        path.write_bytes(content)
