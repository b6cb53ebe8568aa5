"""What many tests need: small videos, records, networks and runs. Each is made in one line; a test says what differs.

A section a subject. Everything here is deterministic and takes milliseconds.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from torch import Tensor, nn

from datamodules.datasets import rendering
from experiments.records.record import Code, Data, Family, Protocol, Record, RunRow, Videos
from experiments.settings.compose import compose
from vidfusion.classifier import VideoClassifier
from vidfusion.settings import TrainingConfig

# A folder with `data` (real clips with manifests) and `lists` (official lists), or none: see tests/README.md.
REAL = Path(os.environ.get("VIDFUSION_REAL", "nowhere"))

# -- videos ------------------------------------------------------------------------------------------------------------


def scrolling(frames: int = 5, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """Pictures of random squares that scroll by one pixel a frame: uint8 (frames, height, width, 3), RGB."""
    picture = np.random.default_rng(seed).integers(0, 256, (height // 8 + frames, width // 8, 3), dtype=np.uint8)
    picture = picture.repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([picture[start : start + height] for start in range(frames)])


def write_video(
    path: Path,
    pictures: np.ndarray,
    rate: int = 25,
    codec: str = "mpeg4",
    *,
    matrix: Sequence[int] = (),
    times: Sequence[int] = (),
    settings: Mapping[str, str] | None = None,
    **options: str,
) -> Path:
    """Encode pictures, uint8 (frames, height, width, 3), RGB; the codec `ffv1` loses nothing. Folders are made.

    matrix: how a player shows it, a display matrix of nine numbers
    times: when each frame is shown, in milliseconds, where that is not at the rate
    settings, options: of the codec and of the container
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name(f"plain{path.suffix}")  # some names mean something to FFmpeg's writers
    settings = {"preset": "ultrafast"} if settings is None and codec == "libx264" else dict(settings or {})
    with av.open(str(plain), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, options=settings)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if matrix:
            stream.set_display_matrix(matrix)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return plain.rename(path)


def write_clip(
    path: Path, frames: int, codec: str = "mpeg4", size: tuple[int, int] = (48, 64), seed: int = 0, **how: Any
) -> Path:
    """A colour pattern that moves by two pixels a frame, at 25 frames per second; each frame differs."""
    height, width = size
    noise = np.random.default_rng(seed).integers(0, 256, (height + 2 * frames, width, 3), dtype=np.uint8)
    pattern = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1), None, 0, 255, cv2.NORM_MINMAX)
    pictures = np.stack([pattern[2 * number : 2 * number + height] for number in range(frames)])
    return write_video(path, pictures, codec=codec, **{"settings": {}} | how)


def write_manifest(root: Path, *rows: str) -> None:
    """Write `manifest.csv`; a row is `path,label,group,split`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "manifest.csv").write_text("\n".join(["path,label,group,split", *rows]) + "\n")


def touch(root: Path, *paths: str) -> None:
    """Make empty files and the folders that they are in."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def folder_of_videos(root: Path, classes: tuple[str, ...] = ("left", "right"), each: int = 3) -> Path:
    """A data set for `dataset=folder`: moving noise of 24 frames; `each` videos a class to train on, one to test."""
    for label, name in enumerate(classes):
        for number in range(each + 1):
            picture = np.random.default_rng([label, number]).integers(0, 256, (48, 48, 3), dtype=np.uint8)
            moving = np.stack([np.roll(picture, (2 * label - 1) * time, axis=1) for time in range(24)])
            path = root / ("test" if number == each else "train") / name / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            rendering.write_video(path, moving, 25)
    return root


# -- networks ----------------------------------------------------------------------------------------------------------


# A Lightning trainer that says and keeps nothing.
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
}


def network(
    preset: str, *words: str, classes: int = 5, device: str = "cpu", training: dict | None = None, **clip: int
) -> VideoClassifier:
    """The network of `strategy=PRESET` and further words, with weights of a fixed draw; `clip` changes its clip."""
    run = compose([f"strategy={preset}", *words])
    torch.manual_seed(0)
    with torch.device(device):
        shape = run.clip_shape()._replace(**clip)
        return run.strategy_class(run.model, shape, classes, TrainingConfig(**training or {}))


def clips_of(model: VideoClassifier, count: int = 2, device: str = "cpu") -> dict[str, Tensor]:
    """What `forward` takes, random: by modality (count, channels, frames, side, side), of the network's precision."""
    clip, generator = model.clip, torch.Generator().manual_seed(1)
    shapes = {"rgb": (count, 3, clip.frames), "flow": (count, 2, clip.flow_frames)}
    dtype = next(model.parameters()).dtype
    sizes = {name: (*shapes[name], clip.crop, clip.crop) for name in model.modalities}
    if device == "meta":
        return {name: torch.empty(size, device=device) for name, size in sizes.items()}
    return {name: torch.randn(size, generator=generator, dtype=dtype) for name, size in sizes.items()}


def one_hot(*labels: int, classes: int = 5) -> Tensor:
    """Targets (N, classes) of samples with one label each."""
    return torch.eye(classes, dtype=torch.bool)[list(labels)]


def parameters(module: nn.Module) -> int:
    """How many weights and biases it has."""
    return sum(parameter.numel() for parameter in module.parameters())


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
        code=Code(code, "abc", {"torch": "2.14.1"}, shared=code),
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
    names, target = [row.name for row in record.rows], labelled(labels)
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
        save_scores(folder / "validation.npz", names, known, labelled(own), f"held out {record.id}", groups)
    return record


def labelled(labels):
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
    logits = rng.normal(size=(len(labels), clips, len(CLASSES))) + 1.5 * labelled(labels)[:, None]
    return softmax(logits).astype(np.float32)


def softmax(logits):
    """Probabilities of the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


# -- runs --------------------------------------------------------------------------------------------------------------


def small_run(folder: Path) -> list[str]:
    """Settings of a run of seconds: 150 generated videos of 32 pixels and 6 steps. All it makes lies in `folder`."""
    return [
        f"data.root={folder}/data", f"data.stores={folder}/stores", f"results={folder}/results",
        "data.families=[motion]", "data.clips.motion=1", "data.size=32", "data.frames=24",
        "training.steps=6", "training.batch_size=8", "training.warmup=2", "sampling.test_clips=2",
    ]  # fmt: skip


def quiet_environment(home: Path) -> dict[str, str]:
    """The environment of a process that sees no W&B account, setting or log of the user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return {**kept, "HOME": str(home), "NETRC": str(home / "none"), "WANDB_MODE": "offline"}


def record_in(folder: Path) -> dict[str, Any]:
    """What the record in a run's folder says."""
    return json.loads((folder / "record.json").read_text())


def weights_in(folder: Path, name: str = "last.ckpt") -> dict[str, Any]:
    """The weights of a checkpoint in a run's folder, as tensors by name."""
    return torch.load(folder / name, weights_only=True)["state_dict"]
