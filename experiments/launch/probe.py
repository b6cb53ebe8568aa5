"""What a point takes, measured by two short runs of it on few videos."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from experiments.launch.few_videos import with_datasets, with_lists
from experiments.records.files import read_record
from experiments.settings.schema import RunConfig
from experiments.training.train import run_point

FIRST = 2  # steps, and test videos, of the first run: it also pays what only a start costs
SECONDS = 5.0  # that the additional steps, and test videos, of the second run should take
LEAST, MOST = 4, 100  # additional steps, and test videos, of the second run


class Measured(NamedTuple):
    """What a point takes.

    start, step, video:  seconds of its start and end, of a training step, of a test video
    steps:               of the whole training
    memory, gpu_memory:  bytes; `gpu_whole` is all that the GPU has
    checkpoint, video_bytes: bytes on the disk, of the checkpoint and all else, and of a test video's scores
    """

    start: float
    step: float
    video: float
    steps: int
    memory: int
    gpu_memory: int
    gpu_whole: int
    checkpoint: int
    video_bytes: float


def probe(scratch: Path, run: RunConfig) -> Measured | str:
    """Run a point twice in this process, the second time for longer. What it takes, or why it fails."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            return _measure(run, folder)
    except Exception as error:
        return first_line(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name if it has none."""
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _measure(run: RunConfig, folder: Path) -> Measured:
    first, wall = _short_run(run, FIRST, FIRST, folder)
    steps, videos = (
        FIRST + min(MOST, max(LEAST, int(SECONDS * FIRST / first["seconds"][part]))) for part in ("train", "test")
    )
    second, _ = _short_run(run, steps, videos, folder)
    step = _each(first["seconds"]["train"], second["seconds"]["train"], steps)
    video = _each(first["seconds"]["test"], second["seconds"]["test"], videos)
    files = [path for path in (folder / "runs" / second["id"]).rglob("*") if path.is_file()]
    sizes = {path.name: path.stat().st_size for path in files}
    on_gpu = run.trainer.accelerator != "cpu" and torch.cuda.is_available()
    devices, budget = run.trainer.devices, run.training.multiply_adds
    macs_per_step = second["rows"][-1]["macs_training"] * devices / steps
    return Measured(
        start=max(0.0, wall - FIRST * (step + video)),
        step=step,
        video=video / devices,
        steps=max(1, round(budget / macs_per_step)) if budget else run.training.steps,
        memory=second["memory_mb"] * 2**20 * devices,
        gpu_memory=torch.cuda.max_memory_reserved() if on_gpu else 0,
        gpu_whole=torch.cuda.mem_get_info()[1] if on_gpu else 0,
        checkpoint=sum(size for name, size in sizes.items() if name != "scores.npz"),
        video_bytes=sizes["scores.npz"] / videos,
    )


def _short_run(run: RunConfig, steps: int, videos: int, results: Path) -> tuple[dict[str, Any], float]:
    """Train for some steps on one device and test on some videos. The record, and the seconds of all this."""
    main, *others = run.datasets()
    lists = main.read()
    main = with_lists(main, replace(lists, test=lists.test[:videos]))
    usual = {"multiply_adds": 0.0, "schedule": "constant", "warmup": 0, "select": "last"}
    batch_size = run.training.batch_size // run.trainer.devices
    short = replace(
        run,
        results=str(results),
        training=replace(run.training, steps=steps, batch_size=batch_size, **usual),
        trainer=replace(run.trainer, devices=1),
        wandb=replace(run.wandb, mode="disabled"),
    )
    short = with_datasets(short, [main, *others])
    began = time.monotonic()
    run_point(short)
    seconds = time.monotonic() - began
    record = read_record(short.folder)
    assert record is not None, "run_point writes a record or raises"
    return record, seconds


def _each(first: float, second: float, number: int) -> float:
    """Seconds of one step or video, from the seconds of FIRST and of `number`."""
    return (second - first) / (number - FIRST) if second > first else second / number
