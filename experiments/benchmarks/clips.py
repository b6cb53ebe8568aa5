"""What `benchmark.py frames` measures: clips per second from stores and files, the loader, a loader's memory.

Every source draws clips by the same rules as the training (`TrainClips`) and makes a batch of them as the training
does. Only where the frames come from differs.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from datamodules.datamodule import VideoDataModule
from datamodules.datasets.rendering import write_video
from datamodules.loading import TrainClips
from experiments.benchmarks.readers import EXACT, Files, probed, readers
from experiments.benchmarks.report import Report, check_words, count
from experiments.settings.compose import compose, parse
from experiments.settings.presets import did_you_mean
from experiments.settings.schema import RunConfig

SLOT = 0.3  # seconds of processor time that each source gets at least before the next one's turn
COPIED = 2**27  # bytes of the array that is copied to see how fast this machine copies
SETTLING = 1.0  # seconds after which a loading process has filled its queue and waits
BATCHES = 200  # of each pass of the loader
GENERATED = (8, 200)  # videos, and frames of each
STORES = {"raw": "raw store", "jpeg": "JPEG store"}  # by data.encoding
WORDS = ("dataset", "batch", "repeats", "clips", "parts", "results")

Counts = dict[str, int]  # the words batch, repeats and clips
Key = tuple[int, int, int]  # of TrainClips: epoch, video, draw
Part = tuple[list[dict[str, Any]], dict[str, str], str]  # rows, columns and notes of a table

SOURCES_NOTES = """\
- Per second of processor time, of all threads. Of exact: times the rate of exact decoding, in each repeat.
- Same clips: equal to exact decoding to the last bit. Differ by: mean absolute difference of the worst clip, 0 to 255.
- JPEG changes pixels. A decoder that seeks may return other frames."""
LOADER_NOTES = """\
- Clips per second that the training's loader delivers from the raw store to a step that does nothing.
- Of copying: their bytes as a share of what one thread copies from memory to memory in that time."""
MEMORY_NOTES = "- Of a loading process that waits. Own: shared with no other process."


def measure_frames(settings: list[str]) -> int:
    """Measure, print and write how fast clips come, as the words ask for. Returns 0."""
    with tempfile.TemporaryDirectory() as temporary:
        run, parts, counts = frames_plan(settings, Path(temporary))
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        report = Report("frames", settings, run)
        for name in parts:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            report.add(name, *PARTS[name](run, counts))
    return 0


def frames_plan(settings: list[str], temporary: Path) -> tuple[RunConfig, list[str], Counts]:
    """The run whose data are loaded, the parts, and how many of everything. Makes videos if none are given.

    Raises ValueError for a word or value that does not exist.
    """
    given = parse(settings)
    check_words(given, WORDS)
    for key in ("data.encoding", "trainer.workers", "sampling.train_clips"):
        if key in given:
            raise ValueError(f"{key}: several are measured; leave it out")
    for key in ("data.store_fps", "sampling.flow_frames"):
        if key in given:
            raise ValueError(f"{key}: stores are compared with files, frame by frame; leave it out")
    defaults = {"batch": "16", "repeats": "5", "clips": "50000"}
    counts = {word: count(word, given.pop(word, default)) for word, default in defaults.items()}
    parts = given.pop("parts", ",".join(PARTS)).split(",")
    for name in parts:
        if name not in PARTS:
            raise ValueError(f"parts={name}: no such part. {did_you_mean(name, list(PARTS))}")
    if "dataset" not in given and "data.root" not in given:
        make_videos(temporary / "videos", *GENERATED)
        given["data.root"] = str(temporary / "videos")
    clip = {"sampling.frames": "16", "sampling.resize": "[128,171]", "sampling.crop": "112"}
    words = {"strategy": "c3d", "dataset": "folder", "data.stores": str(temporary / "stores"), **clip, **given}
    run = compose([f"{key}={value}" for key, value in words.items()])
    run.trainer.accelerator = "cpu"  # nothing is asked of a network
    return run, parts, counts


def open_data(
    run: RunConfig, batch_size: int, *, encoding: str = "raw", workers: int = 0, num_clips: int = 1
) -> VideoDataModule:
    """A run's data, prepared, with at least so many training clips in an epoch."""

    def opened(train_clips: int) -> VideoDataModule:
        data = VideoDataModule(
            dataclasses.replace(run.data, encoding=encoding),
            dataclasses.replace(run.sampling, train_clips=train_clips),
            batch_size=batch_size,
            test_batch_size=batch_size,
            workers=workers,
            seed=run.seed,
        )
        data.prepare_data()
        data.setup()
        return data

    data = opened(1)
    videos = len(data.train_clips.videos)
    return data if num_clips <= videos else opened(-(-num_clips // videos))


# -- clips per second of one core --------------------------------------------------------------------------------------


def compare_sources(run: RunConfig, counts: Counts) -> Part:
    """Clips per second of processor time from each source, in turn. Every repeat draws other clips.

    Processor time counts all threads: a rate is that of one core, whatever else runs.
    """
    batch_size = counts["batch"]
    stored = {encoding: open_data(run, batch_size, encoding=encoding) for encoding in STORES}
    found, absent = readers()
    sources = {STORES[encoding]: data.train_clips for encoding, data in stored.items()}
    sources |= {name: from_files(stored["raw"], reader) for name, reader in found.items()}
    for video in stored["raw"].train_clips.videos:
        probed(stored["raw"].dataset.folder() / video.path)  # a run knows it from its store: not to be timed
    videos = len(stored["raw"].train_clips.videos)
    first = {name: clips.__getitems__(random_keys(videos, batch_size, 0, 0))["rgb"] for name, clips in sources.items()}
    rates: dict[str, list[float]] = defaultdict(list)
    for repeat in range(1, counts["repeats"] + 1):
        for name, clips in sources.items():
            rates[name].append(_rate(clips, videos, batch_size, repeat))
    rows = []
    for name, measured in rates.items():
        apart = (first[name].float() - first[EXACT]).abs().flatten(1).mean(1)
        row = {"source": name, "clips_per_second": median(measured), "repeats": measured}
        row["of_exact"] = median(rate / exact for rate, exact in zip(measured, rates[EXACT], strict=True))
        rows.append({**row, "same": (apart == 0).float().mean().item(), "differ": apart.max().item()})
    rows += [{"source": name, "error": why} for name, why in absent.items()]
    columns = {
        "From": "{source}",
        "Clips/s": "{clips_per_second:.1f}",
        "Of exact": "{of_exact:.2f}",
        "Same clips": "{same:.0%}",
        "Differ by": "{differ:.2f}",
    }
    return rows, columns, SOURCES_NOTES


def _rate(clips: TrainClips, videos: int, batch_size: int, repeat: int) -> float:
    spent = 0.0
    for number in itertools.count():
        keys = random_keys(videos, batch_size, repeat, number)
        began = time.process_time()
        clips.__getitems__(keys)
        spent += time.process_time() - began
        if spent >= SLOT:
            return (number + 1) * batch_size / spent
    raise AssertionError("counting does not end")


def random_keys(num_videos: int, batch_size: int, repeat: int, number: int) -> list[Key]:
    """The clips of a batch: the same for the same repeat and number."""
    videos = np.random.default_rng([repeat, number]).integers(num_videos, size=batch_size).tolist()
    return [(repeat, video, number * batch_size + draw) for draw, video in enumerate(videos)]


def from_files(data: VideoDataModule, reader: Any) -> TrainClips:
    """The training clips, read from the files."""
    files = Files(data.dataset.folder(), data.store, reader)
    return TrainClips(data.train_clips.videos, files, data.spec, data.num_classes, data.dataset.mirror, data.seed)


# -- the loader --------------------------------------------------------------------------------------------------------


def compare_loaders(run: RunConfig, counts: Counts) -> Part:
    """Clips per second from the training's loader if nothing else is done with them, and as a share of copying."""
    batch_size, loaders = counts["batch"], {}
    for workers in (0, 1, 2):
        clips = (BATCHES + 1) * batch_size  # the first batch waits for the workers to start: it is not timed
        loaders[workers] = open_data(run, batch_size, workers=workers, num_clips=clips).train_dataloader()
    rates: dict[int, list[float]] = defaultdict(list)
    copied = []
    for _ in range(counts["repeats"]):
        for workers, loader in loaders.items():
            rates[workers].append(_pass(loader))
            copied.append(_copying())
    copied_clips = median(copied) / (3 * run.sampling.frames * run.sampling.crop**2)
    rows = [
        {"workers": workers, "clips_per_second": rate, "of_copying": rate / copied_clips, "repeats": rates[workers]}
        for workers, rate in ((workers, median(measured)) for workers, measured in rates.items())
    ]
    columns = {"Workers": "{workers}", "Clips/s": "{clips_per_second:.0f}", "Of copying": "{of_copying:.1%}"}
    return rows, columns, LOADER_NOTES


def _pass(loader: DataLoader) -> float:
    batches = iter(loader)
    next(batches)
    began, clips = time.perf_counter(), 0
    for loaded in itertools.islice(batches, BATCHES):
        clips += len(loaded["target"])
    return clips / (time.perf_counter() - began)


def _copying() -> float:
    """Bytes per second that one thread copies, of more than the caches hold."""
    source, target = np.ones(COPIED, np.uint8), np.ones(COPIED, np.uint8)
    began = time.perf_counter()
    np.copyto(target, source)
    return COPIED / (time.perf_counter() - began)


# -- memory ------------------------------------------------------------------------------------------------------------


def watch_memory(run: RunConfig, counts: Counts) -> Part:
    """Memory of a loading process after a tenth of `clips` from the raw store, and after all of them."""
    batch_size, num_clips = counts["batch"], counts["clips"]
    data = open_data(run, batch_size, workers=1, num_clips=num_clips + 4 * batch_size)
    loader = data.train_dataloader()
    batches = iter(loader)
    seen, rows = len(next(batches)["target"]), []
    (worker,) = loader._iterator._workers
    for goal in (num_clips // 10, num_clips):
        while seen < goal:
            seen += len(next(batches)["target"])
        time.sleep(SETTLING)
        rows.append({"clips": seen, **memory_of(worker.pid)})
    columns = {"After clips": "{clips:,}", "Resident MiB": "{resident:.1f}", "Own MiB": "{own:.1f}"}
    return rows, columns, MEMORY_NOTES


def memory_of(process: int) -> dict[str, float]:
    """MiB that a process holds (`resident`), and what no other process shares of it (`own`). Linux only."""
    sizes: Counter[str] = Counter()
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, _ = line.split()
        sizes[name.rstrip(":")] += int(size)
    own = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return {"resident": sizes["Rss"] / 1024, "own": own / 1024}


PARTS = {"sources": compare_sources, "loader": compare_loaders, "memory": watch_memory}


def make_videos(root: Path, num_videos: int, num_frames: int) -> None:
    """H.264 videos of 320x240 pixels in the layout of a folder data set of two classes: clouds that drift."""
    for number in range(num_videos):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        cloud = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
        frames = np.stack([np.roll(cloud, (time, 2 * time), (0, 1)) for time in range(num_frames)])
        split = "test" if number == 0 else "train"
        path = root / split / ("Clouds", "More")[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames, 25)
