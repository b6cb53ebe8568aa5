"""Tiny trainings whose checkpoints the tests of this folder put to use."""

import json
from pathlib import Path

import av
import numpy as np

SMALL = [
    "wandb.mode=disabled", "data.validation=0.2",
    "training.steps=4", "training.batch_size=4", "training.warmup=2", "sampling.test_clips=2",
]  # fmt: skip
CLASSES = ["läuft", "other", "some"]


def make_videos(root, classes=CLASSES, seed=0):
    """A folder of noise, 4 videos to train and 2 to test of each class."""
    rng = np.random.default_rng(seed)
    for split, number in (("train", 4), ("test", 2)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                with av.open(str(root / split / name / f"{name}{index}.mp4"), "w") as container:
                    stream = container.add_stream("libx264", rate=10)
                    stream.width, stream.height, stream.pix_fmt = 48, 36, "yuv420p"
                    for _ in range(24):
                        picture = rng.integers(0, 256, (36, 48, 3), np.uint8)
                        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
                    container.mux(stream.encode())


def folder_of(run):
    return Path(run.results) / "runs" / run.id


def checkpoint_of(run):
    return folder_of(run) / ("best.ckpt" if run.training.select == "best" else "last.ckpt")


def record_of(folder):
    return json.loads((folder / "record.json").read_text())


def new_record(results, before):
    new = set((results / "runs").iterdir()) - before
    (folder,) = (folder for folder in new if record_of(folder)["kind"] != "ensemble")
    return folder, record_of(folder)


def videos_of(run, folder):
    """The test videos of a run and their clips' scores (videos, clips, classes) as its own test saved them."""
    with np.load(folder / "scores.npz") as saved:
        names, scores = saved["videos"].tolist(), saved["scores"][:, -1]
    return [Path(run.data.root) / name for name in names], scores.reshape(len(names), -1, scores.shape[1])
