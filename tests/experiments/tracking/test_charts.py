"""What W&B shows of a finished run, read back from the log of an offline run."""

import json

import numpy as np
import pytest
import wandb

from experiments.records.record import Family, RunRow, Videos
from experiments.settings.schema import WandbConfig
from experiments.tracking.charts import confusion_matrix, log_record
from experiments.tracking.mirror import tracked_run
from tests.experiments.tracking.wandb_log import read_runs
from tests.factories import record_of

CLASSES = ["walk", "run", "jump"]


def track(folder, **settings):
    config = WandbConfig("offline", **settings)
    return tracked_run(config, run_id="early_fusion-toy-s0-abc123", group="toy", config={}, tags=[], folder=folder)


def row(name, clip_hit1):
    return RunRow(
        name=name,
        metrics={"test/clip_hit1": clip_hit1, "test/video_hit1": 0.5, "test/video_hit5": None},
        families={"motion": Family(252, 0.9, None)},
        parameters=1234,
        macs_per_clip=5678,
        macs_training=25000,
        frames_per_clip=10,
        clips_per_video=1.5,
        frames_per_video=15.0,
    )


def finished(*rows):
    seconds = {"train": 12.5, "test": 1.5}
    return record_of(id="the-record", rows=rows, seconds=seconds, videos=Videos(6, 6, 0, 0, 0), memory_mb=700)


SCORES = np.vstack([np.eye(3)[[0, 0, 1, 0]], np.full((1, 3), np.nan)])  # the last video cannot be decoded
TARGETS = np.eye(3, dtype=bool)[[0, 0, 1, 1, 0]]


def test_offline_run_reads_back_as_the_record_says(tmp_path):
    record = finished(row("spatial", 0.1), row("temporal", 0.2), row("fused", 0.4))
    with track(tmp_path) as logger:
        log_record(logger, record, CLASSES, SCORES, TARGETS, best={"val/video_hit1": 0.625})
    (back,) = read_runs(tmp_path)
    assert [back.summary[f"{name}/test/clip_hit1"] for name in ("spatial", "temporal")] == [0.1, 0.2]
    assert back.summary["spatial/model/parameters"] == 1234, "only the last row has the plain keys"
    ours = ("test/", "best/", "model/", "speed/", "record")
    assert {key: value for key, value in back.summary.items() if key.startswith(ours)} == {
        "test/clip_hit1": 0.4,
        "test/video_hit1": 0.5,
        "test/family/motion_video_hit1": 0.9,
        "best/val_video_hit1": 0.625,
        "model/parameters": 1234,
        "model/macs_per_clip": 5678,
        "model/macs_training": 25000,
        "model/frames_per_video": 15,
        "speed/train_seconds": 12.5,
        "speed/test_seconds": 1.5,
        "speed/train_macs_per_second": 2000,
        "speed/test_clips_per_second": 6,
        "speed/memory_mb": 700,
        "record": "the-record",
    }
    media = back.history[-2] | back.history[-1]

    def table(key):
        return json.loads((back.path.parent / "files" / media[f"{key}.path"]).read_text())["data"]

    assert table("per_class/table") == [["walk", 3, pytest.approx(2 / 3)], ["run", 2, 0.5], ["jump", 0, None]]
    assert table("confusion/pairs") == [["run", "walk", 1]]
    assert (back.path.parent / "files" / media["confusion/matrix.path"]).exists()
    assert len(list((tmp_path / "wandb" / "artifacts" / "staging").iterdir())) > 0  # not in HOME


def test_a_private_run_has_numbers_only(tmp_path):
    with track(tmp_path, private=True) as logger:
        log_record(logger, finished(row("early_fusion", 0.4)), CLASSES, SCORES, TARGETS)
    (back,) = read_runs(tmp_path)
    assert back.summary["test/clip_hit1"] == 0.4
    (logged,) = back.history
    own = {key for key in logged if not key.startswith("_")}
    assert own == {"test/clip_hit1", "test/video_hit1", "test/family/motion_video_hit1", "trainer/global_step"}
    assert not list((back.path.parent / "files").glob("*"))


def test_what_wandb_cannot_do_costs_one_line(tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise ValueError("an answer\nthat nobody expected")

    monkeypatch.setattr(wandb, "Table", broken)
    with track(tmp_path) as logger:
        log_record(logger, finished(row("early_fusion", 0.4)), CLASSES, SCORES, TARGETS)
        monkeypatch.setattr(wandb, "finish", broken)
    monkeypatch.undo()
    reason = "(an answer that nobody expected); the results here are whole"
    assert capsys.readouterr().out.splitlines() == [
        f"W&B: the summary or tables of the-record failed {reason}",
        f"W&B: the end of a run failed {reason}",
    ]


def test_confusion_of_several_labels():
    targets = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    scores = np.eye(3)[[0, 2, 2]]  # right as class 0; wrong for both its labels; right
    assert confusion_matrix(scores, targets).tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 1]]
    scores[2] = np.nan  # cannot be decoded: not predicted as the first class
    assert confusion_matrix(scores, targets).tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]
