"""`run.py --ensemble`: members, mistakes, and folds for an SVM."""

import dataclasses
import json
import shlex

import numpy as np
import pytest

from experiments.launch.ensemble import run_ensemble
from experiments.launch.sweep import Swept
from experiments.records.files import read_records
from experiments.run import main
from experiments.tables.table import tables
from experiments.tables.update import update
from tests.factories import CLASSES, random_scores, record_of, save_run

VIDEOS, CLIPS = 40, 3
LABELS = np.arange(VIDEOS) % 6
STREAMS = ["two_stream_spatial", "two_stream_temporal"]


def make_run(results, name="c3d", *, rows=(), held_out=None, **changes):
    """A finished run with random scores, which held out videos of these labels; returns its id."""
    record = record_of(name, rows=rows, **changes)
    scores = np.stack([random_scores(f"{row.name}{record.seed}", LABELS) for row in record.rows])
    known = held_out if held_out is None else np.stack([random_scores(row.name, held_out) for row in record.rows])
    return save_run(results, record, scores, LABELS, held_out=None if known is None else (known, held_out)).id


def make_two_stream(results, **changes):
    return make_run(results, "two_stream", rows=[*STREAMS, "two_stream"], **changes)


def ensembles(results):
    return [record for record in read_records(results)[0] if record.kind == "ensemble"]


def test_any_runs_and_rows_can_be_named(tmp_path):
    first, second = make_run(tmp_path), make_run(tmp_path, seed=1)
    stream = f"{make_two_stream(tmp_path)}/two_stream_temporal"
    words = [f"members=[{first},{second},{stream}]", "fuse=mean", f"results={tmp_path}"]
    assert main(["--ensemble", "mine", *words]) == 0
    (record,) = ensembles(tmp_path)
    expected = np.mean([random_scores(of, LABELS).mean(1) for of in ("c3d0", "c3d1", "two_stream_temporal0")], axis=0)
    assert record.rows[0].metrics["test/video_hit1"] == pytest.approx(np.mean(expected.argmax(1) == LABELS))
    assert (record.seed, record.rows[0].parameters) == ("0+1", 3 * 123_456)
    assert "| mine " in (tmp_path / "table.md").read_text()
    for line in (record.command, f"x x --ensemble pair 'members=[c3d,{stream}]' fuse=mean"):
        before = len(ensembles(tmp_path))
        assert main([*shlex.split(line)[2:], f"results={tmp_path}"]) == 0
        assert len(ensembles(tmp_path)) == before + (" pair " in line), "the row beside a run is that of runs alike"


def replace_scores(path, how):
    saved = dict(np.load(path))
    if how == "videos":
        np.savez(path, **saved | {"videos": np.array([f"test1/{(i, 'x')[i == 7]}.mp4" for i in range(VIDEOS)])})
    elif how == "labels":  # video 2 has its own and the next one, so that as many are right
        np.savez(path, **saved | {"target": saved["target"] | (saved["video"] == 2)[:, None] & (np.arange(6) == 3)})
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "kth"}, "do not share the dataset: shapes and kth"),
        ({"classes": [*CLASSES[:5], "hop"]}, "do not share the classes: 6 and 6, only one has clap"),
        ({"files": "bb22"}, "do not share the test videos: their files have another content"),
        ({"given": None}, "is of an earlier version, run it again: python experiments/run.py strategy=c3d"),
        ("videos", "do not share the test videos: 40 and 40, only one has test1/7.mp4"),
        ("labels", "do not share the labels of test video test1/2.mp4"),
        ("missing", "has no scores.npz: run it again"),
    ],
    ids=str,
)
def test_runs_that_do_not_fit_together_are_refused(tmp_path, capsys, change, message):
    first = make_run(tmp_path, "slow_fusion")
    files = change.pop("files", None) if isinstance(change, dict) else None
    other = make_run(tmp_path, **(change if isinstance(change, dict) else {}))
    path = tmp_path / "runs" / other / "scores.npz"
    if files:
        record = path.with_name("record.json")
        record.write_text(record.read_text().replace('"aa11"', f'"{files}"'))
    elif isinstance(change, str):
        replace_scores(path, change)
    assert main(["--ensemble", "mine", f"members=[{first},{other}]", "fuse=mean", f"results={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert message in said and other in said
    assert ensembles(tmp_path) == []


def test_members_must_have_held_out_the_same_videos(tmp_path, capsys):
    first = make_run(tmp_path, "slow_fusion", held_out=np.arange(12) % 6)
    other = make_run(tmp_path, held_out=np.arange(18) % 6)
    assert main(["--ensemble", "mine", f"members=[{first},{other}]", "fuse=svm", f"results={tmp_path}"]) == 1
    assert "do not share the validation videos: 12 and 18" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mine", "--ensemble mine: give members= and fuse=, or a name of ensembles.yaml: cnn_average, two_stream_svm,"),
        ("mine members=[c3d,c3d] fuse=mean", "members=[c3d,c3d]: expected 2 or more, none twice"),
        ("mine members=[c3d,slow_fushion] fuse=mean", "no finished run fills slow_fushion; rows there: c3d,"),
        ("mine members=[c3d,single_frame] fuse=mean", "several runs fill single_frame ("),
        ("mine members=[c3d,slow_fusion] fuse=mean cost=2", "fit=, cost=: a mean has nothing to fit"),
        ("mine members=[c3d,slow_fusion] fuse=svm cost=0", "cost=0: expected a number above 0"),
        ("mine members=[c3d,slow_fusion] fuse=svm folds=4", "folds=4: only fit=oof trains folds"),
        ("mine members=[c3d,slow_fusion] fuse=mean data.root=x", "data.root: belongs to the trainings of fit=oof"),
        ("mine members=[c3d,slow_fusion] fuse=svm fit=oof training.steps=7", "training.steps: no such setting"),
        ("c3d members=[c3d,slow_fusion] fuse=mean", "--ensemble c3d: a run has a row of that name; choose another"),
        ("team/avg members=[c3d,slow_fusion] fuse=mean", "--ensemble team/avg: expected a name"),
        ("cnn_average fuse=svm", "fuse=: ensembles.yaml says what cnn_average is"),
        ("two_stream_svm", "no finished run fills two_stream_spatial, two_stream_temporal"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(tmp_path, capsys, words, message):
    make_run(tmp_path, id="the_run")
    for change in ({}, {"id": "again"}):
        make_run(tmp_path, "single_frame", **change)
    make_run(tmp_path, "slow_fusion")
    assert main(["--ensemble", *words.split(), f"results={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert ensembles(tmp_path) == []


# -- the SVM -----------------------------------------------------------------------------------------------------------


def test_cost_is_a_setting(tmp_path):
    make_two_stream(tmp_path, held_out=np.arange(30) % 6)
    assert main(["--ensemble", "two_stream_svm", "cost=0.05", f"results={tmp_path}"]) == 0
    assert {record.ensemble.of.cost for record in ensembles(tmp_path)} == {0.05, 1.0}
    labels = [row[0] for row in tables(read_records(tmp_path)[0], [])[0].rows if row[0].startswith("two_stream_svm")]
    assert len(set(labels)) == 2


def test_without_held_out_videos_the_table_lacks_the_row_and_the_command_says_why(tmp_path, capsys):
    make_two_stream(tmp_path)
    update(tmp_path)
    assert ensembles(tmp_path) == [] and capsys.readouterr().err == ""
    assert main(["--ensemble", "two_stream_svm", f"results={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert "has no validation.npz" in said and "data.validation=0.2" in said and "fit=oof" in said


def test_out_of_fold_scores_come_from_runs_without_that_fold(tmp_path, monkeypatch, capsys):
    """The trainings themselves are stood in for: what is asked of them, and what becomes of their scores."""
    command = "python experiments/run.py strategy=two_stream wandb.entity=stranger wandb.private=true"
    command += " data.root=theirs data.stores=theirs data.lists=theirs model.weights=theirs trainer.workers=64"
    command += " seed=1 model.dropout=0.1"
    run_id = make_two_stream(tmp_path, command=command)
    asked = []

    def make_fold(fold):
        own = {"kind": "fold", "split": fold, "id": f"fold-{fold}", "held_out": LABELS[fold::3]}
        return make_two_stream(tmp_path, **own)

    @dataclasses.dataclass
    class Run:
        words: list
        results: str = str(tmp_path)

        def __post_init__(self):
            settings = dict(word.split("=") for word in self.words)
            self.fold, self.folds = settings.get("data.fold"), settings.get("data.folds")
            self.data = type("Data", (), {"validation": 0})
            self.id = f"fold-{self.fold}" if self.fold else run_id
            self.folder = tmp_path / "runs" / self.id

    def train(name, runs, force):
        asked.extend(runs)
        for run in runs:
            make_fold(int(run.fold))
        return Swept([], True)

    monkeypatch.setattr("experiments.settings.compose.compose", Run)
    monkeypatch.setattr("experiments.records.provenance.code_hash", lambda run: "c0de")
    monkeypatch.setattr("experiments.records.command.command", lambda run: shlex.join(run.words))
    monkeypatch.setattr("experiments.launch.sweep.run_all", train)
    words = ["fit=oof", "folds=3", f"results={tmp_path}", "data.root=mine", "trainer.workers=1"]
    assert run_ensemble("two_stream_svm", words, dry_run=True, force=False) == 0
    said = capsys.readouterr().out
    assert "3 folds of 1 run, that is 3 trainings, of which 0 have been finished before" in said
    assert said.count("strategy=two_stream") == 3 and "data.folds=3 data.fold=2" in said and not asked
    assert run_ensemble("two_stream_svm", words, dry_run=False, force=False) == 0
    assert [(run.folds, run.fold) for run in asked] == [("3", "0"), ("3", "1"), ("3", "2")]
    assert not [word for run in asked for word in run.words if "stranger" in word or "theirs" in word or "64" in word]
    kept = {"strategy=two_stream", "seed=1", "model.dropout=0.1", "wandb.private=true"}
    assert {*kept, "data.root=mine", "trainer.workers=1"} <= {*asked[0].words}, "the user's own places"
    (record,) = ensembles(tmp_path)
    assert record.ensemble.of.folds == {run_id: ["fold-0", "fold-1", "fold-2"]}
    assert record.ensemble.fit["videos"] == VIDEOS
    assert "for which 3 networks were trained" in record.ensemble.text
    assert set(record.ensemble.inputs) == {run_id, "fold-0", "fold-1", "fold-2"}
    rows = [row[0] for section in tables(read_records(tmp_path)[0], []) for row in section.rows]
    assert rows == ["chance", *STREAMS, "two_stream", "two_stream_svm"], "folds are no rows"

    path = tmp_path / "runs" / make_fold(1) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"memory_mb": 7}))
    update(tmp_path)
    (again,) = ensembles(tmp_path)
    assert again.ensemble.inputs != record.ensemble.inputs, "a fold that was trained again is fitted on again"
