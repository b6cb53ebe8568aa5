"""What many tests need: small videos, records, networks and runs. Each is made in one line; a test says what differs.

A section a subject. Everything here is deterministic and takes milliseconds.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from datamodules.datasets.rendering import write_video
from experiments.records.record import Code, Data, Family, Protocol, Record, RunRow, Videos

# A folder with `data` (real clips with manifests) and `lists` (official lists), or none: see tests/README.md.
REAL = Path(os.environ.get("VIDFUSION_REAL", "nowhere"))

# -- videos ------------------------------------------------------------------------------------------------------------


def folder_of_videos(root: Path, classes: tuple[str, ...] = ("left", "right"), each: int = 3) -> Path:
    """A data set for `dataset=folder`: moving noise of 24 frames; `each` videos a class to train on, one to test."""
    for label, name in enumerate(classes):
        for number in range(each + 1):
            picture = np.random.default_rng([label, number]).integers(0, 256, (48, 48, 3), dtype=np.uint8)
            moving = np.stack([np.roll(picture, (2 * label - 1) * time, axis=1) for time in range(24)])
            path = root / ("test" if number == each else "train") / name / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, moving, 25)
    return root


# -- networks ----------------------------------------------------------------------------------------------------------


# -- records and scores ------------------------------------------------------------------------------------------------

CLASSES = ("walk", "run", "jump", "wave", "bow", "clap")
FAMILIES = {"legs": ["walk", "run", "jump"], "arms": ["wave", "bow", "clap"]}


def row_of(name="slow_fusion", hit1=0.5, **metrics):
    """One row of a record, with Video Hit@1 `hit1`."""
    values = {"clip_hit1": hit1 - 0.05, "video_hit1": hit1, "video_hit5": 0.8, "class_accuracy": hit1}
    values |= {"scored_video_hit1": hit1 + 0.1, "scored_video_hit5": 0.9}
    return RunRow(
        name=name,
        metrics={f"test/{key}": value for key, value in values.items()} | {"train/clip_hit1": 0.9} | metrics,
        families={family: Family(20, hit1 + 0.2, 0.99) for family in FAMILIES},
        parameters=123_456,
        macs_per_clip=1_234_567,
        macs_training=123_456_789_012,
        frames_per_clip=10,
        clips_per_video=10.0,
        frames_per_video=100.0,
    )


def record_of(strategy="slow_fusion", hit1=0.5, *, rows=(), code="c0de", fingerprint="", classes=CLASSES, **changes):
    """The record of a finished run: rows that are `rows`, or named so, or one of the strategy's name."""
    split = changes.get("split", 1)
    fingerprint = fingerprint or f"f{split}"
    record = Record(
        id="", kind="run", sweep="fusion", strategy=strategy, dataset="shapes", split=1, seed=0, recipe="quick",
        command=f"python experiments/run.py strategy={strategy}", settings=f"{strategy}-settings", size="tiny",
        clip="native", selection="last checkpoint", pretrained="none", given=[], num_classes=len(classes),
        families={family: len(members) for family, members in FAMILIES.items()}, chance={},
        protocol=Protocol("even", "center", "10 clips x 1 view"), videos=Videos(100, 100, 0, 0, 0),
        rows=[row if isinstance(row, RunRow) else row_of(row, hit1) for row in rows or (strategy,)],
        seconds={"train": 40.1, "waiting": 1.0, "test": 5.2, "flow": 0.0}, memory_mb=900, device="cpu", config={},
        code=Code(code, "abc", {"torch": "2.14.1"}),
        data=Data(fingerprint=fingerprint, files="aa11", classes=list(classes), families=FAMILIES, training_videos=60),
    )  # fmt: skip
    record = replace(record, **changes)
    place = f"{record.split}{record.clip}{record.kind}"
    record.id = record.id or f"{strategy}-{record.dataset}-s{record.seed}-{place}-{code}{fingerprint}"
    return record


def save_record(results, record):
    """Write a record into its folder; returns the folder."""
    folder = results / "runs" / record.id
    folder.mkdir(parents=True, exist_ok=True)
    record.write(folder / "record.json")
    return folder


def save_run(results, record, scores, labels, *, groups=7, shift=0.0, held_out=None):
    """Write a record and its scores (rows, videos, clips, classes), which give its Video Hit@1; returns the record.

    `labels` holds one class per video, or a bool array (videos, classes). Clips are 1 s apart, `shift` later than
    usual. `held_out` are scores and labels of videos that the run left out of training.
    """
    names, target = [row.name for row in record.rows], one_hot(labels)
    scored = len(target) - int(np.isnan(scores).any((0, 2, 3)).sum())
    record.videos = Videos(len(target), scored, len(target) - scored, 0, 0)
    for row, own in zip(record.rows, scores, strict=True):
        mean = own.astype(np.float64).mean(1)
        right = target[np.arange(len(target)), mean.argmax(1)] & ~np.isnan(mean).any(1)
        row.metrics["test/video_hit1"] = float(right.mean())
    folder = save_record(results, record)
    save_scores(folder / "scores.npz", names, scores, target, f"test{record.split}", groups, shift)
    if held_out is not None:
        known, own = held_out
        save_scores(folder / "validation.npz", names, known, one_hot(own), f"held out {record.id}", groups)
    return record


def one_hot(labels):
    """Bool labels (videos, classes) of one class per video; those that are so already stay."""
    labels = np.asarray(labels)
    return labels if labels.ndim == 2 else np.eye(len(CLASSES), dtype=bool)[labels]


def save_scores(path, rows, scores, target, prefix, groups=7, shift=0.0):
    """Write scores (rows, videos, clips, classes) and labels (videos, classes) as a run does."""
    _, videos, clips, classes = scores.shape
    np.savez(
        path,
        rows=np.array(rows),
        videos=np.array([f"{prefix}/{index}.mp4" for index in range(videos)]),
        clusters=np.array([f"{prefix}/{index % groups}" for index in range(videos)]),
        video=np.arange(videos).repeat(clips),
        clip=np.tile(np.arange(clips), videos),
        center=(np.tile(np.arange(clips), videos) + 0.5 + shift).astype(np.float32),
        target=target.repeat(clips, axis=0),
        scores=scores.transpose(1, 2, 0, 3).reshape(videos * clips, len(rows), classes).astype(np.float32),
    )


def random_scores(name, labels, clips=3):
    """Probabilities (videos, clips, CLASSES) that favour the label a little; the same for the same name."""
    rng = np.random.default_rng(list(name.encode()))
    logits = rng.normal(size=(len(labels), clips, len(CLASSES))) + 1.5 * one_hot(labels)[:, None]
    return softmax(logits).astype(np.float32)


def softmax(logits):
    """Probabilities of the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


# -- runs --------------------------------------------------------------------------------------------------------------
