"""Ensembles of runs made by hand; expected numbers are worked out here in NumPy, not by the code under test."""

import dataclasses
import json
import re
import shlex
import shutil

import numpy as np
import pytest
from scipy.optimize import minimize

from experiments.launch.ensemble import run_ensemble
from experiments.launch.sweep import run_all  # noqa: F401 - imported now, or it would keep what a test puts in its parts' place
from experiments.records.files import read_records
from experiments.run import main
from experiments.tables.ensembles import Ensemble, read_ensembles
from experiments.tables.published import read_published
from experiments.tables.render import to_markdown
from experiments.tables.rows import ORDER
from experiments.tables.score_fusion import derive
from experiments.tables.table import tables
from experiments.tables.update import update_tables

CLASSES = ["walk", "run", "jump", "wave", "bow", "clap"]
FAMILIES = {"legs": ["walk", "run", "jump"], "arms": ["wave", "bow", "clap"]}
VIDEOS, CLIPS = 40, 3
STREAMS = ["two_stream_spatial", "two_stream_temporal"]
FOUR = ["single_frame", "early_fusion", "late_fusion", "slow_fusion"]
LABELS = np.arange(VIDEOS) % 6


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def draw(name, labels, clips=CLIPS):
    """Random probabilities (videos, clips, classes) that favour the label a little; the same for the same name."""
    rng = np.random.default_rng(list(name.encode()))
    return softmax(rng.normal(size=(len(labels), clips, 6)) + 1.5 * np.eye(6)[labels][:, None]).astype(np.float32)


def save_scores(path, rows, scores, labels, prefix, shift=0.0):
    """`scores` (videos, rows, clips, classes); clips of a video are 1 s apart."""
    videos, _, clips, _ = scores.shape
    np.savez_compressed(
        path,
        rows=np.array(rows),
        videos=np.array([f"{prefix}/{index}.mp4" for index in range(videos)]),
        clusters=np.array([f"group{index % 7}" for index in range(videos)]),
        video=np.arange(videos).repeat(clips),
        clip=np.tile(np.arange(clips), videos),
        center=(np.tile(np.arange(clips), videos) + 0.5 + shift).astype(np.float32),
        target=np.eye(6, dtype=bool)[labels].repeat(clips, axis=0),
        scores=scores.transpose(0, 2, 1, 3).reshape(videos * clips, len(rows), 6),
    )


def make_run(
    results,
    strategy,
    *,
    rows=(),
    seed=0,
    split=1,
    clips=CLIPS,
    shift=0.0,
    scores=None,
    held_out=None,
    data=(),
    **changes,
):
    """Write a finished run; `held_out` are the labels of videos that it left out of training. Returns its id."""
    rows = list(rows) or [strategy]
    data = {"fingerprint": f"f{split}", "files": "aa11", "classes": CLASSES, "families": FAMILIES} | dict(data)
    record = {
        "format": 1, "kind": "run", "sweep": "fusion", "strategy": strategy, "dataset": "shapes", "split": split,
        "command": f"python experiments/run.py strategy={strategy} seed={seed}", "seed": seed, "settings": strategy,
        "recipe": "quick", "size": "tiny", "clip": "native", "selection": "last checkpoint", "pretrained": "none",
        "given": [], "num_classes": 6, "families": {"legs": 3, "arms": 3}, "chance": {},
        "protocol": {"test_sampling": "even", "test_views": "center", "text": "even clips x center view"},
        "videos": {"expected": VIDEOS, "scored": VIDEOS, "undecodable": 0, "truncated": 0, "padded_clips": 0},
        "rows": [
            {
                "name": row, "metrics": {"test/clip_hit1": 0.5, "test/video_hit1": 0.5, "train/clip_hit1": 0.9},
                "families": {name: {"videos": 20, "video_hit1": 0.5, "train_clip_hit1": 0.9} for name in FAMILIES},
                "parameters": 1000 + index, "macs_per_clip": 20_000, "macs_training": 3_000_000,
                "frames_per_clip": 10 * index + 1, "clips_per_video": float(clips), "frames_per_video": 30.0,
            }
            for index, row in enumerate(rows)
        ],
        "seconds": {"train": 10.0, "waiting": 1.0, "test": 2.0, "flow": 4.0 * (strategy == "two_stream")},
        "memory_mb": 900,
        "code": {"hash": "c0de", "commit": "abc", "versions": {}}, "device": "cpu",
        "data": {**data, "training_videos": 60, "notes": []}, "config": {},
    } | changes  # fmt: skip
    record["id"] = f"{strategy}-shapes-s{seed}-{split}{record['clip']}{record['kind']}"
    folder = results / "runs" / record["id"]
    folder.mkdir(parents=True, exist_ok=True)
    if scores is None:
        scores = np.stack([draw(f"{row}{seed}{split}", LABELS, clips) for row in rows], 1)
    save_scores(folder / "scores.npz", rows, scores, LABELS, f"test{split}", shift)
    if held_out is not None:
        known = np.stack([draw(f"{record['id']}{row}", held_out, clips) for row in rows], 1)
        save_scores(folder / "validation.npz", rows, known, held_out, f"held out {record['kind']} {seed}")
    (folder / "record.json").write_text(json.dumps(record))
    return record["id"]


def make_two_stream(results, **settings):
    return make_run(results, "two_stream", rows=["two_stream_spatial", "two_stream_temporal", "two_stream"], **settings)


def ensembles(results):
    return [record for record in read_records(results) if record["kind"] == "ensemble"]


def load(results, record):
    with np.load(results / "runs" / record["id"] / "scores.npz") as saved:
        return {name: saved[name] for name in saved}


def hits(scores, labels, k):
    """Share of samples whose label is among the k best; a sample without scores is a miss."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.mean((best == labels[:, None]).any(1) & ~np.isnan(scores).any(1))


def test_cnn_average_is_the_mean_of_four_at_both_levels(tmp_path):
    for name in FOUR:
        make_run(tmp_path, name, shift=0.25 * (name == "late_fusion"))
    update_tables(tmp_path)
    (record,) = ensembles(tmp_path)
    average = np.mean([draw(f"{name}01", LABELS).astype(np.float64) for name in FOUR], axis=0)
    metrics = record["rows"][0]["metrics"]
    for k in (1, 5):
        clips = hits(average.reshape(-1, 6), LABELS.repeat(CLIPS), k)
        assert metrics[f"test/clip_hit{k}"] == pytest.approx(clips)
        assert metrics[f"test/video_hit{k}"] == pytest.approx(hits(average.mean(1), LABELS, k))
    right = average.mean(1).argmax(1) == LABELS
    assert record["rows"][0]["families"]["arms"]["video_hit1"] == pytest.approx(right[LABELS > 2].mean())
    saved = load(tmp_path, record)
    assert np.allclose(saved["scores"][:, 0].reshape(VIDEOS, CLIPS, 6), average, atol=1e-6)
    assert saved["rows"].tolist() == ["cnn_average"] and saved["videos"][3] == "test1/3.mp4"
    assert record["ensemble"]["clips"] == {"fused": True, "apart": 0.25, "reason": ""}
    row = record["rows"][0]
    assert (row["parameters"], row["macs_per_clip"], row["frames_per_video"]) == (4000, 80_000, 120)
    assert row["metrics"]["train/clip_hit1"] is None
    assert record["seconds"] == {"train": 40, "waiting": 4, "test": 8, "flow": 0}


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
    update_tables(tmp_path)
    (record,) = ensembles(tmp_path)
    assert record["ensemble"]["clips"] == {"fused": False, "apart": apart, "reason": reason}
    clips = [draw(f"{name}01", LABELS, odd.get("clips", CLIPS) if name == "late_fusion" else CLIPS) for name in FOUR]
    average = np.mean([scores.astype(np.float64).mean(1) for scores in clips], axis=0)
    metrics = record["rows"][0]["metrics"]
    assert metrics["test/clip_hit1"] is None and metrics["test/scored_clip_hit5"] is None
    assert metrics["test/video_hit1"] == pytest.approx(hits(average, LABELS, 1))
    saved = load(tmp_path, record)
    assert np.allclose(saved["scores"][:, 0], average, atol=1e-6) and np.isnan(saved["center"]).all()
    text = (tmp_path / "table.md").read_text()
    assert re.search(r"^\| cnn_average +\| native, 4 frames +\| +— \|", text, re.M) and reason in text


def test_clips_that_the_ends_hold_back_are_aligned_while_nearer_than_halfway(tmp_path):
    """Late fusion's first and last clips lie further inside: 0.4 s of the second between neighbours."""
    for name in FOUR:
        make_run(tmp_path, name)
    path = tmp_path / "runs/late_fusion-shapes-s0-1nativerun/scores.npz"
    saved = dict(np.load(path))
    for move, fused in ((0.4, True), (0.6, False)):
        centers = np.tile(np.array([0.5 + move, 1.5, 2.5 - move], dtype=np.float32), VIDEOS)
        np.savez(path, **saved | {"center": centers})
        record = derive(tmp_path, Ensemble("mine", [(f"{name}-shapes-s0-1nativerun", name) for name in FOUR]))
        assert record["ensemble"]["clips"]["fused"] == fused
        assert record["ensemble"]["clips"]["apart"] == pytest.approx(move)


def test_scores_that_name_no_clusters_are_not_fused_and_the_tables_are_written_all_the_same(tmp_path, capsys):
    for name in FOUR:
        make_run(tmp_path, name)
    for path in tmp_path.glob("runs/*/scores.npz"):
        saved = dict(np.load(path))
        del saved["clusters"]
        np.savez(path, **saved)
    assert all(path.exists() for path in update_tables(tmp_path))
    assert ensembles(tmp_path) == []
    said = capsys.readouterr().err
    assert re.search(r"^cnn_average-\S+: not derived: \S+ does not say which videos are alike: run that", said, re.M)


def test_undecodable_videos_stay_without_scores_and_count_as_wrong(tmp_path):
    for name in FOUR:
        scores = draw(f"{name}01", LABELS)[:, None]
        scores[[4, 9]] = np.nan
        make_run(tmp_path, name, scores=scores)
    update_tables(tmp_path)
    (record,) = ensembles(tmp_path)
    average = np.mean([draw(f"{name}01", LABELS).mean(1) for name in FOUR], axis=0)
    average[[4, 9]] = np.nan
    metrics = record["rows"][0]["metrics"]
    assert metrics["test/video_hit1"] == pytest.approx(hits(average, LABELS, 1))
    assert metrics["test/scored_video_hit1"] * (VIDEOS - 2) == pytest.approx(metrics["test/video_hit1"] * VIDEOS)
    missing = np.isnan(load(tmp_path, record)["scores"]).any((1, 2)).reshape(VIDEOS, CLIPS)
    assert missing.all(1).nonzero()[0].tolist() == missing.any(1).nonzero()[0].tolist() == [4, 9]


def test_only_runs_that_are_alike_are_fused_and_never_fewer(tmp_path):
    for name in FOUR[:3]:
        make_run(tmp_path, name)
    make_run(tmp_path, "slow_fusion", clip="lecture")
    make_run(tmp_path, "slow_fusion", seed=1)
    make_run(tmp_path, "slow_fusion", split=2)
    update_tables(tmp_path)
    assert ensembles(tmp_path) == []
    for change in ({"given": ["training.steps=7"]}, {"data": {"fingerprint": "other"}}):
        make_run(tmp_path, "slow_fusion", **change)
        update_tables(tmp_path)
        assert ensembles(tmp_path) == []
    make_run(tmp_path, "slow_fusion")
    update_tables(tmp_path)
    (record,) = ensembles(tmp_path)
    assert record["ensemble"]["of"]["members"] == [[f"{name}-shapes-s0-1nativerun", name] for name in FOUR]


def test_seeds_and_splits_have_ensembles_of_their_own_that_one_row_averages(tmp_path):
    for name in FOUR:
        for seed in (0, 1):
            make_run(tmp_path, name, seed=seed)
            make_run(tmp_path, name, seed=seed, split=2)
    update_tables(tmp_path)
    found = ensembles(tmp_path)
    assert sorted((record["seed"], record["split"]) for record in found) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    (section,) = (section for section in tables(read_records(tmp_path), []) if section.csv)
    (line,) = (line for line in section.csv if line["strategy"] == "cnn_average")
    assert line["seeds"] == 2 and line["row_splits"] == "1,2"
    values = [record["rows"][0]["metrics"]["test/video_hit1"] for record in found]
    assert line["test/video_hit1"] == pytest.approx(np.mean(values))


def test_row_stands_with_its_members_and_says_what_was_fused(tmp_path):
    for name in (*FOUR, "c3d"):
        make_run(tmp_path, name, dataset="sports1m")
    update_tables(tmp_path)
    section = tables(read_records(tmp_path), read_published())[0]
    assert [row[0] for row in section.rows] == ["chance", *FOUR, "cnn_average", "c3d"]
    row = dict(zip(section.columns, section.rows[5], strict=True))
    assert (row["Parameters"], row["Training Clip Hit@1"], row["Seeds"]) == ("4,000", "—", "1")
    assert row["Published Video Hit@1 [protocol]"].startswith("63.9 [")
    assert section.notes[-1].startswith(
        "cnn_average: mean of the class probabilities of single_frame, early_fusion, late_fusion and slow_fusion; their"
    )
    assert "sums over the members" in section.notes[-1]


def test_derived_once_again_when_a_member_changes_and_the_same_every_time(tmp_path, capsys):
    for name in FOUR:
        make_run(tmp_path, name)
    update_tables(tmp_path)
    (record,) = ensembles(tmp_path)
    path = tmp_path / "runs" / record["id"] / "record.json"
    before, table = path.read_bytes(), (tmp_path / "table.md").read_bytes()
    assert capsys.readouterr().out.count("derived from") == 1
    update_tables(tmp_path)
    assert "derived" not in capsys.readouterr().out
    path.unlink()
    update_tables(tmp_path)
    assert path.read_bytes() == before and (tmp_path / "table.md").read_bytes() == table

    capsys.readouterr()
    make_run(tmp_path, "c3d")  # no member
    make_run(tmp_path, "late_fusion", scores=draw("other", LABELS)[:, None], memory_mb=901)
    update_tables(tmp_path)
    assert capsys.readouterr().out.count("derived from") == 1
    (again,) = ensembles(tmp_path)
    assert again["id"] == record["id"] and again["rows"] != record["rows"]
    path.write_text(json.dumps(again | {"ensemble": again["ensemble"] | {"code": "earlier"}}))
    update_tables(tmp_path)
    assert ensembles(tmp_path) == [again]


def test_committed_records_stay_without_scores_until_a_member_changes(tmp_path, capsys):
    for name in FOUR:
        make_run(tmp_path, name)
    run_id = make_two_stream(tmp_path)
    folds = [make_two_stream(tmp_path, kind="fold", split=fold, held_out=LABELS[fold::2]) for fold in range(2)]
    rename_held_out(tmp_path, folds)
    derive(tmp_path, Ensemble("two_stream_svm", [(run_id, row) for row in STREAMS], "svm", folds={run_id: folds}))
    update_tables(tmp_path)
    for path in tmp_path.glob("runs/*/*.npz"):
        path.unlink()
    for fold in folds:
        shutil.rmtree(tmp_path / "runs" / fold)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert main(["--table", f"results={tmp_path}"]) == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before

    left = {"cnn_average", "two_stream_svm"}
    assert {record["strategy"] for record in ensembles(tmp_path)} == left
    for member, name in ((run_id, "two_stream_svm"), ("slow_fusion-shapes-s0-1nativerun", "cnn_average")):
        path = tmp_path / "runs" / member / "record.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"memory_mb": 1}))
        assert main(["--table", f"results={tmp_path}"]) == 0
        assert re.search(rf"^{name}-shapes-s0-\w+: removed: ", capsys.readouterr().err, re.M)
        left = left - {name}
        assert {record["strategy"] for record in ensembles(tmp_path)} == left


def rename_held_out(results, folds):
    """Give each fold videos of its own names."""
    for fold in folds:
        path = results / "runs" / fold / "validation.npz"
        saved = dict(np.load(path))
        np.savez(path, **saved | {"videos": np.array([f"{fold}/{name}" for name in saved["videos"]])})


def test_an_ensemble_whose_members_are_no_more_alike_goes(tmp_path, capsys):
    for name in FOUR:
        make_run(tmp_path, name)
    update_tables(tmp_path)
    make_run(tmp_path, "late_fusion", data={"fingerprint": "other"})
    update_tables(tmp_path)
    assert ensembles(tmp_path) == []
    assert "no more alike" in capsys.readouterr().err


# -- the support vector machine ----------------------------------------------------------------------------------------


def features(names, labels):
    """Video scores of both streams, L2-normalised, side by side, and a constant for the bias."""
    parts = [draw(name, labels).astype(np.float64).mean(1) for name in names]
    parts = [part / np.sqrt((part**2).sum(1, keepdims=True)) for part in parts]
    return np.concatenate([*parts, np.ones((len(labels), 1))], axis=1)


def crammer_singer(known, labels, num_classes, cost):
    """Weights (classes, features) of least |W|^2 / 2 + C sum of slacks, by a general solver for smooth problems."""
    samples, size = known.shape
    wrong = ~np.eye(num_classes, dtype=bool)[labels]

    def weights(x):
        return x[: num_classes * size].reshape(num_classes, size)

    def margins(x):
        scores = known @ weights(x).T
        return (scores[np.arange(samples), labels][:, None] - scores - 1 + x[num_classes * size :, None])[wrong]

    def margins_jacobian(_):
        jacobian = np.zeros((samples, num_classes, num_classes * size + samples))
        for sample in range(samples):
            for label in range(num_classes):
                own = slice(labels[sample] * size, (labels[sample] + 1) * size)
                other = slice(label * size, (label + 1) * size)
                jacobian[sample, label, own] += known[sample]
                jacobian[sample, label, other] -= known[sample]
                jacobian[sample, label, num_classes * size + sample] = 1
        return jacobian[wrong]

    start = np.concatenate([np.zeros(num_classes * size), np.full(samples, 1.0)])
    gradient = np.concatenate([np.zeros(num_classes * size), np.full(samples, cost)])
    mask = np.concatenate([np.ones(num_classes * size), np.zeros(samples)])
    solved = minimize(
        lambda x: 0.5 * (mask * x) @ x + gradient @ x,
        start,
        jac=lambda x: mask * x + gradient,
        method="SLSQP",
        bounds=[(None, None)] * (num_classes * size) + [(0, None)] * samples,
        constraints={"type": "ineq", "fun": margins, "jac": margins_jacobian},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert solved.success
    return weights(solved.x)


def test_svm_is_that_of_crammer_and_singer(tmp_path):
    held_out = np.arange(18) % 3  # three of the six classes: the others cannot be chosen
    run_id = make_two_stream(tmp_path, held_out=held_out)
    update_tables(tmp_path)
    (record,) = ensembles(tmp_path)
    known = features([f"{run_id}{stream}" for stream in STREAMS], held_out)
    weights = crammer_singer(known, held_out, 3, cost=1.0)
    decisions = features([f"{stream}01" for stream in STREAMS], LABELS) @ weights.T
    saved = load(tmp_path, record)["scores"][:, 0]
    assert (saved[:, 3:] == 0).all()
    assert np.allclose(saved[:, :3], softmax(decisions), atol=2e-3)
    assert record["rows"][0]["metrics"]["test/video_hit1"] == pytest.approx(hits(saved, LABELS, 1))
    assert record["rows"][0]["metrics"]["test/clip_hit1"] is None
    assert record["ensemble"]["fit"] == {"videos": 18, "classes": 3, "scores": "softmax of decision values"}
    assert record["ensemble"]["level"] == "video"
    row = record["rows"][0]
    assert (row["parameters"], row["frames_per_clip"]) == (2001, 12)  # of the two streams
    assert record["seconds"] == {"train": 10, "waiting": 1, "test": 2, "flow": 4}  # of one run


def test_svm_of_two_classes(tmp_path):
    held_out = np.arange(20) % 2
    run_id = make_two_stream(tmp_path, held_out=held_out)
    update_tables(tmp_path)
    (record,) = ensembles(tmp_path)
    weights = crammer_singer(features([f"{run_id}{stream}" for stream in STREAMS], held_out), held_out, 2, cost=1.0)
    decisions = features([f"{stream}01" for stream in STREAMS], LABELS) @ weights.T
    assert np.allclose(load(tmp_path, record)["scores"][:, 0, :2], softmax(decisions), atol=2e-3)


def test_svm_never_sees_labels_of_the_test_and_leaves_out_what_has_no_score(tmp_path):
    run_id = make_two_stream(tmp_path, held_out=np.arange(30) % 6)
    path = tmp_path / "runs" / run_id / "scores.npz"
    saved = dict(np.load(path))
    of = Ensemble("mine", [(run_id, stream) for stream in STREAMS], "svm")
    before = derive(tmp_path, of)
    scores = load(tmp_path, before)["scores"]
    order = np.random.default_rng(0).permutation(VIDEOS)
    other = saved["target"].reshape(VIDEOS, CLIPS, 6)[order].reshape(-1, 6)
    np.savez(path, **saved | {"target": other})
    after = derive(tmp_path, of)
    assert np.array_equal(load(tmp_path, after)["scores"], scores)
    assert after["rows"][0]["metrics"] != before["rows"][0]["metrics"]

    gone = saved["scores"].copy()
    gone[saved["video"] == 5] = np.nan
    np.savez(path, **saved | {"scores": gone})
    held = tmp_path / "runs" / run_id / "validation.npz"
    validation = dict(np.load(held))
    validation["scores"][validation["video"] == 2] = np.nan
    np.savez(held, **validation)
    record = derive(tmp_path, of)
    found = load(tmp_path, record)["scores"]
    assert np.isnan(found).any((1, 2)).nonzero()[0].tolist() == [5]
    assert record["ensemble"]["fit"]["videos"] == 29


def test_a_held_out_video_of_several_labels_is_a_sample_of_each(tmp_path):
    held_out = np.arange(12) % 3
    run_id = make_two_stream(tmp_path, held_out=held_out)
    path = tmp_path / "runs" / run_id / "validation.npz"
    saved = dict(np.load(path))
    saved["target"][saved["video"] == 0, 1] = True
    np.savez(path, **saved)
    update_tables(tmp_path)
    (record,) = ensembles(tmp_path)
    known = features([f"{run_id}{stream}" for stream in STREAMS], held_out)
    weights = crammer_singer(np.concatenate([known, known[:1]]), np.append(held_out, 1), 3, cost=1.0)
    decisions = features([f"{stream}01" for stream in STREAMS], LABELS) @ weights.T
    assert np.allclose(load(tmp_path, record)["scores"][:, 0, :3], softmax(decisions), atol=2e-3)


def test_cost_is_a_setting(tmp_path, capsys):
    make_two_stream(tmp_path, held_out=np.arange(30) % 6)
    assert main(["--ensemble", "two_stream_svm", "cost=0.05", f"results={tmp_path}"]) == 0
    found = {record["ensemble"]["of"]["cost"]: load(tmp_path, record)["scores"] for record in ensembles(tmp_path)}
    assert set(found) == {0.05, 1.0} and not np.allclose(found[0.05], found[1.0])
    labels = [row[0] for row in tables(read_records(tmp_path), [])[0].rows if row[0].startswith("two_stream_svm")]
    assert len(set(labels)) == 2


def test_without_held_out_videos_the_table_lacks_the_row_and_the_command_says_why(tmp_path, capsys):
    make_two_stream(tmp_path)
    update_tables(tmp_path)
    assert ensembles(tmp_path) == [] and capsys.readouterr().err == ""
    assert main(["--ensemble", "two_stream_svm", f"results={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert "has no validation.npz" in said and "data.validation=0.2" in said and "fit=oof" in said


def test_out_of_fold_scores_come_from_runs_without_that_fold(tmp_path, monkeypatch, capsys):
    """The trainings themselves are stood in for: what is asked of them, and what becomes of their scores."""
    run_id = make_two_stream(tmp_path)

    @dataclasses.dataclass
    class Run:
        words: list
        results: str = str(tmp_path)

        def __post_init__(self):
            settings = dict(word.split("=") for word in self.words)
            self.fold = settings.get("data.fold")
            self.data = type("Data", (), {"validation": 0})
            self.folds = settings.get("data.folds")
            self.id = f"two_stream-shapes-s0-{self.fold}nativefold" if self.fold else run_id

    asked = []

    def train(name, runs, force):
        asked.extend(runs)
        for run in runs:
            fold = int(run.fold)
            assert make_two_stream(tmp_path, kind="fold", split=fold, held_out=LABELS[fold::3]) == run.id
        rename_held_out(tmp_path, [run.id for run in runs])
        return []

    monkeypatch.setattr("experiments.settings.compose.compose", Run)
    monkeypatch.setattr("experiments.records.provenance.code_hash", lambda run: "c0de")
    monkeypatch.setattr("experiments.records.make.command", lambda run: shlex.join(run.words))
    monkeypatch.setattr("experiments.launch.sweep.run_all", train)
    words = ["fit=oof", "folds=3", f"results={tmp_path}"]
    assert run_ensemble("two_stream_svm", words, dry_run=True, force=False) == 0
    said = capsys.readouterr().out
    assert "3 folds of 1 run, that is 3 trainings, of which 0 have been finished before" in said
    assert said.count("strategy=two_stream seed=0") == 3 and "data.folds=3 data.fold=2" in said and not asked
    assert run_ensemble("two_stream_svm", words, dry_run=False, force=False) == 0
    assert [(run.folds, run.fold) for run in asked] == [("3", "0"), ("3", "1"), ("3", "2")]
    (record,) = ensembles(tmp_path)
    assert record["ensemble"]["of"]["folds"] == {run_id: [run.id for run in asked]}
    assert record["ensemble"]["fit"]["videos"] == VIDEOS
    assert "for which 3 networks were trained" in record["ensemble"]["text"]
    assert set(record["ensemble"]["inputs"]) == {run_id, *(run.id for run in asked)}

    # The same by hand, from the scores that each fold's run gave to what it had not seen.
    parts = [[], []]
    for run in asked:
        saved = np.load(tmp_path / "runs" / run.id / "validation.npz")
        for part, stream in zip(parts, range(2), strict=True):
            part.append(saved["scores"][:, stream].astype(np.float64).reshape(-1, CLIPS, 6).mean(1))
    joined = [np.concatenate(part) for part in parts]
    known = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in joined], axis=1)
    labels = np.concatenate([LABELS[fold::3] for fold in range(3)])
    weights = crammer_singer(np.concatenate([known, np.ones((VIDEOS, 1))], axis=1), labels, 6, cost=1.0)
    decisions = features([f"{stream}01" for stream in STREAMS], LABELS) @ weights.T
    assert np.allclose(load(tmp_path, record)["scores"][:, 0], softmax(decisions), atol=2e-3)
    rows = [row[0] for section in tables(read_records(tmp_path), []) for row in section.rows]
    assert rows == ["chance", *STREAMS, "two_stream", "two_stream_svm"], "folds are no rows"

    make_two_stream(tmp_path, kind="fold", split=1, held_out=LABELS[::3], memory_mb=7)
    rename_held_out(tmp_path, [asked[1].id])
    update_tables(tmp_path)
    (again,) = ensembles(tmp_path)
    assert again["ensemble"]["fit"]["videos"] != VIDEOS, "a fold that was trained again is fitted on again"


# -- any list of runs --------------------------------------------------------------------------------------------------


def test_any_runs_and_rows_can_be_named(tmp_path, capsys):
    first, second = make_run(tmp_path, "c3d"), make_run(tmp_path, "c3d", seed=1)
    stream = f"{make_two_stream(tmp_path)}/two_stream_temporal"
    words = [f"members=[{first},{second},{stream}]", "fuse=mean", f"results={tmp_path}"]
    assert main(["--ensemble", "mine", *words]) == 0
    (record,) = ensembles(tmp_path)
    expected = np.mean([draw(name, LABELS).mean(1) for name in ("c3d01", "c3d11", "two_stream_temporal01")], axis=0)
    assert record["rows"][0]["metrics"]["test/video_hit1"] == pytest.approx(hits(expected, LABELS, 1))
    assert (record["seed"], record["rows"][0]["parameters"]) == ("0+1", 3001)
    assert "| mine " in (tmp_path / "table.md").read_text()
    for line in (record["command"], f"x x --ensemble pair 'members=[c3d,{stream}]' fuse=mean"):
        before = len(ensembles(tmp_path))
        assert main([*shlex.split(line)[2:], f"results={tmp_path}"]) == 0
        assert len(ensembles(tmp_path)) == before + (" pair " in line), "the row beside a run is that of runs alike"
    assert json.loads((tmp_path / "runs" / record["id"] / "record.json").read_text()) == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "kth"}, "do not share the dataset: shapes and kth"),
        ({"split": 2}, "do not share the split: 1 and 2"),
        ({"data": {"classes": [*CLASSES[:5], "hop"]}}, "do not share the classes: 6 and 6, only one has clap"),
        ({"data": {"classes": CLASSES[::-1]}}, "do not share the classes: 6 and 6, in another order"),
        ({"data": {"files": "bb22"}}, "do not share the test videos: their files have another content"),
        ("videos", "do not share the test videos: 40 and 40, only one has test1/7.mp4"),
        ("labels", "do not share the labels of test video test1/2.mp4"),
        ("scores", "has no scores.npz: run it again"),
        ("broken", "has no scores of c3d"),
        ("old", "is of an earlier version, run it again: python experiments/run.py strategy=c3d"),
    ],
    ids=str,
)
def test_runs_that_do_not_fit_together_are_refused(tmp_path, capsys, change, message):
    first = make_run(tmp_path, "slow_fusion")
    other = make_run(tmp_path, "c3d", **(change if isinstance(change, dict) else {}))
    path = tmp_path / "runs" / other / "scores.npz"
    saved = dict(np.load(path))
    if change == "videos":
        np.savez(path, **saved | {"videos": np.array([f"test1/{(i, 'x')[i == 7]}.mp4" for i in range(VIDEOS)])})
    elif change == "labels":
        np.savez(path, **saved | {"target": saved["target"] ^ (saved["video"] == 2)[:, None]})
    elif change == "scores":
        path.unlink()
    elif change == "broken":
        path.write_bytes(path.read_bytes()[:99])
    elif change == "old":
        record = path.with_name("record.json")
        record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "given"}))
    assert main(["--ensemble", "mine", f"members=[{first},{other}]", "fuse=mean", f"results={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert message in said and other in said and said.count("\n") == 1
    assert ensembles(tmp_path) == []


def test_members_must_have_held_out_the_same_videos(tmp_path, capsys):
    first = make_run(tmp_path, "slow_fusion", held_out=np.arange(12) % 6)
    other = make_run(tmp_path, "c3d", held_out=np.arange(18) % 6)
    assert main(["--ensemble", "mine", f"members=[{first},{other}]", "fuse=svm", f"results={tmp_path}"]) == 1
    assert "do not share the validation videos: 12 and 18" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mine", "--ensemble mine: give members= and fuse=, or a name of ensembles.yaml: cnn_average, two_stream_svm,"),
        ("mine members=[c3d] fuse=mean", "members=[c3d]: expected 2 or more"),
        ("mine members=[c3d,c3d] fuse=mean", "members=[c3d,c3d]: expected 2 or more, none twice"),
        ("mine members=[c3d,slow_fusion] fuse=max", "fuse=max: expected mean or svm"),
        ("mine member=[c3d,slow_fusion]", "member: no such setting of --ensemble. Did you mean members?"),
        ("mine members=[c3d,slow_fushion] fuse=mean", "no finished run fills slow_fushion; rows there: c3d,"),
        ("mine members=[c3d,single_frame] fuse=mean", "several runs fill single_frame ("),
        ("mine members=[c3d-shapes-s0-1nativerun/x,c3d] fuse=mean", "-1nativerun has no row x; it has c3d"),
        ("mine members=[c3d,slow_fusion] fuse=mean cost=2", "cost=2: a mean has nothing to fit"),
        ("mine members=[c3d,slow_fusion] fuse=svm cost=0", "cost=0: expected a number above 0"),
        ("mine members=[c3d,slow_fusion] fuse=svm fit=test", "fit=test: expected validation or oof"),
        ("mine members=[c3d,slow_fusion] fuse=svm folds=5", "folds=5: only fit=oof trains folds"),
        ("mine members=[c3d,slow_fusion] fuse=svm fit=oof folds=1", "folds=1: expected a whole number, 2 or more"),
        ("c3d members=[c3d,slow_fusion] fuse=mean", "--ensemble c3d: a run has a row of that name; choose another"),
        ("cnn_average fuse=svm", "fuse=svm: ensembles.yaml says what cnn_average is"),
        ("two_stream_svm", "no finished run fills two_stream_spatial, two_stream_temporal"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(tmp_path, capsys, words, message):
    for name in ("c3d", "slow_fusion", "single_frame"):
        make_run(tmp_path, name)
    record = json.loads((tmp_path / "runs/single_frame-shapes-s0-1nativerun/record.json").read_text())
    (tmp_path / "runs/again").mkdir()
    (tmp_path / "runs/again/record.json").write_text(json.dumps(record | {"id": "again"}))
    assert main(["--ensemble", *words.split(), f"results={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert ensembles(tmp_path) == []


def test_the_named_ensembles_and_their_members_have_a_place_in_the_table():
    for name, (members, fuse) in read_ensembles().items():
        assert fuse in ("mean", "svm") and {name, *members} <= set(ORDER)


def test_hand_crafted_systems_stand_in_the_literature_only(tmp_path):
    make_run(tmp_path, "c3d", dataset="ucf101")
    make_run(tmp_path, "slow_fusion", dataset="hmdb51")
    sections = tables(read_records(tmp_path), read_published())
    found = {section.title: {row[0] for row in section.rows} for section in sections if not section.csv}
    assert "feature_histograms" in found["The literature's numbers on sports1m"]
    assert {"feature_histograms", "idt", "idt_hybrid_encodings"} <= found["The literature's numbers on ucf101"]
    hand_crafted = {"idt", "idt_hybrid_encodings", "idt_stacked_fisher_vectors", "hmax"}
    assert hand_crafted <= found["The literature's numbers on hmdb51"]
    assert "No run of this suite" in to_markdown(sections)
