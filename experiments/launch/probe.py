"""What a point takes: measured by two short runs of it on a data set in small."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from datamodules.dataset_store import prepare_tracks
from datamodules.datasets.base import Dataset
from datamodules.datasets.moving_shapes import CLASSES, MovingShapes
from datamodules.errors import DataError
from datamodules.holdout import hold_out
from datamodules.known_bad import known_bad
from datamodules.processes import available_cores
from datamodules.store.key import store_folder
from datamodules.store.shards import read_shards
from datamodules.store.size import expected_bytes, spread
from datamodules.store.tracks import Track
from datamodules.videos import Split, Video
from experiments.records.files import read_record
from experiments.records.record import Record
from experiments.settings.schema import RunConfig
from experiments.training.train import run_point

FEW = 8  # videos that stand for all
LISTED = 20_000  # videos of a list at most: enough for the steps of a probe
FIRST = 2  # steps, and test videos, of the first run: it also pays what only a start costs
SECONDS = 5.0  # that the additional steps, and test videos, of the second run should take
LEAST, MOST = 4, 100  # additional steps, and test videos, of the second run


class Small(NamedTuple):
    """A data set with a few videos, which stands for the whole one, and what the whole one has and needs.

    data:              the same data set with a few videos, in temporary folders
    stores:            the folder of frame stores of the whole
    test, validation:  videos of the whole
    seconds, missing:  time and bytes to make what is not there of its videos and its frame store
    notes:             a line for each thing to make
    """

    data: Dataset
    stores: str
    test: int
    validation: int
    seconds: float
    missing: float
    notes: list[str]


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


# -- a data set in small -----------------------------------------------------------------------------------------------


def shrink(data: Dataset, tracks: Sequence[Track], scratch: Path) -> Small:
    """Decode a few videos of a data set into a frame store below `scratch`. Raises DataError.

    Of a generated data set that is not made yet, a small one is made there. Nothing is written elsewhere.
    """
    began, source, scale = time.monotonic(), data, 1.0
    if made := isinstance(data, MovingShapes) and not data.folder().is_dir():
        source, scale = _generate_few(data, scratch / "videos")
    seconds = scale * (time.monotonic() - began) if made else 0.0
    lists, root, stores = source.read(), source.folder(), Path(data.stores)
    files = sorted(set(lists.files) - known_bad(data.folder(), stores).keys())
    few = spread([path for path in files if (root / path).is_file()], FEW)
    if not few:
        raise DataError(f"{root}: holds none of the {len(files)} videos listed, such as {files[0]}; set data.root")
    train, validation = hold_out(data, lists.train)
    here = {"stores": str(scratch / "stores"), "max_store": 1e9, "undecodable": "skip"}
    stand_ins = Split(lists.classes, _listed(train, few), _listed(spread(lists.test, LISTED), few), few)
    small = _with_lists(replace(source, **here, validation=0.0, folds=0, fold=0), stand_ins)

    began = time.monotonic()
    folder, _ = prepare_tracks(small, list(tracks), 1, max_store=math.inf, lists=stand_ins, launcher=_in_this_process)
    decoding = time.monotonic() - began
    written = sum(file.stat().st_size for track in tracks for file in (folder / track.name).iterdir())
    store = store_folder(root, lists.files, stores, root.name)
    built = not made and all(read_shards(store, track) is not None for track in tracks)
    whole, name, number = (
        scale * expected_bytes([], root, files, tracks)[0],
        data.folder().name,
        round(scale * len(files)),
    )
    notes = [f"Videos of {name}: {number} to generate."] if made else []
    if built:
        notes.append(f"Frame store of {name}: it is there.")
    else:
        seconds += decoding * whole / written / available_cores()
        notes.append(f"Frame store of {name}: {number} videos to decode, {whole / 1e9:.2f} GB.")
        if whole > data.max_store * 1e9:
            remedy = "build it with experiments/prepare.py, or set data.encoding=jpeg"
            notes.append(f"WARNING: this is more than data.max_store; {remedy}.")
    test, held_out = round(scale * len(lists.test)), round(scale * len(validation))
    return Small(small, data.stores, test, held_out, seconds, 0.0 if built else whole, notes)


def _generate_few(data: MovingShapes, root: Path) -> tuple[Dataset, float]:
    """The same data set with one video of each class and split; how many times as many the whole one has."""
    source = replace(data, root=str(root), clips={family: min(1, clips) for family, clips in data.clips.items()})
    source.prepare(available_cores())
    classes = {family: len(CLASSES[family]) for family in data.families}
    return source, sum(data.clips[family] * number for family, number in classes.items()) / sum(classes.values())


def _listed(videos: Sequence[Video], few: Sequence[str]) -> list[Video]:
    """The videos under the paths of a few of them, in turn."""
    return [replace(video, path=few[number % len(few)]) for number, video in enumerate(videos[:LISTED])]


def _in_this_process(function: Callable[[Any], Any], jobs: Sequence[Any], _: int) -> Iterator[tuple[Any, Any]]:
    for job in jobs:
        yield job, function(job)


def _with_lists(data: Dataset, lists: Split) -> Dataset:
    data = copy.copy(data)
    data.read = partial(_given, lists)
    return data


def with_datasets(run: RunConfig, datasets: list[Dataset]) -> RunConfig:
    """The same run on other data sets."""
    run = replace(run, data=datasets[0])
    run.datasets = partial(_given, datasets)
    return run


def _given(value: Any) -> Any:
    return value


# -- short runs, in a process of their own -----------------------------------------------------------------------------


def probe(scratch: Path, run: RunConfig) -> Measured | str:
    """Run a point twice in this process, the second time for longer. What it takes, or why it fails."""
    with (
        tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        try:
            return _measure(run, Path(folder))
        except Exception as error:
            return first_line(error)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name if it has none."""
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _measure(run: RunConfig, folder: Path) -> Measured:
    first, wall = _short_run(run, FIRST, FIRST, folder)
    steps, videos = (
        FIRST + min(MOST, max(LEAST, int(SECONDS * FIRST / first.seconds[part]))) for part in ("train", "test")
    )
    second, _ = _short_run(run, steps, videos, folder)
    step = _each(first.seconds["train"], second.seconds["train"], steps)
    video = _each(first.seconds["test"], second.seconds["test"], videos)
    sizes = {path.name: path.stat().st_size for path in (folder / "runs" / second.id).rglob("*") if path.is_file()}
    on_gpu = run.trainer.accelerator != "cpu" and torch.cuda.is_available()
    devices, budget = run.trainer.devices, run.training.multiply_adds
    macs_per_step = second.rows[-1].macs_training * devices / steps
    return Measured(
        start=max(0.0, wall - FIRST * (step + video)),
        step=step,
        video=video / devices,
        steps=max(1, round(budget / macs_per_step)) if budget else run.training.steps,
        memory=second.memory_mb * 2**20 * devices,
        gpu_memory=torch.cuda.max_memory_reserved() if on_gpu else 0,
        gpu_whole=torch.cuda.mem_get_info()[1] if on_gpu else 0,
        checkpoint=sum(size for name, size in sizes.items() if name != "scores.npz"),
        video_bytes=sizes["scores.npz"] / videos,
    )


def _short_run(run: RunConfig, steps: int, videos: int, results: Path) -> tuple[Record, float]:
    """Train for some steps on one device and test on some videos. The record, and the seconds of all this."""
    main, *others = run.datasets()
    lists = main.read()
    usual = {"multiply_adds": 0.0, "schedule": "constant", "warmup": 0, "select": "last"}
    batch_size = run.training.batch_size // run.trainer.devices
    short = replace(
        run,
        results=str(results),
        training=replace(run.training, steps=steps, batch_size=batch_size, **usual),
        trainer=replace(run.trainer, devices=1),
        wandb=replace(run.wandb, mode="disabled"),
    )
    short = with_datasets(short, [_with_lists(main, replace(lists, test=lists.test[:videos])), *others])
    began = time.monotonic()
    run_point(short)
    seconds = time.monotonic() - began
    record = read_record(short.folder)
    assert record is not None, "run_point writes a record or raises"
    return record, seconds


def _each(first: float, second: float, number: int) -> float:
    """Seconds of one step or video, from the seconds of FIRST and of `number`."""
    return (second - first) / (number - FIRST) if second > first else second / number
