"""How fast clips come from frame stores and from video files, and what the processes hold that load them.

What `benchmark.py frames` measures. Everything that cuts a clip draws it by the same rules as training does
(`TrainClips`), and makes a batch of it as training does; only where the frames come from differs.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from datamodules.datamodule import VideoDataModule
from datamodules.datasets.rendering import write_video
from datamodules.decode import random_access
from datamodules.decode.frames import iter_frames
from datamodules.decode.info import VideoInfo, probe
from datamodules.decode.opening import opened
from datamodules.decode.random_access import frames_at
from datamodules.flow import resize
from datamodules.loading import TrainClips, collate
from datamodules.store.reading import FrameStore
from experiments import ROOT
from experiments.settings.schema import RunConfig

SLOT = 0.3  # seconds of processor time that each source gets at least before the next one's turn
COPIED = 2**27  # bytes of the array that is copied to see how fast this machine copies
SETTLING = 1.0  # seconds after which a loading process has filled its queue and waits
STORES = {"raw": "raw store", "jpeg": "JPEG store"}  # by data.encoding
EXACT, BARE = "files, exact decoding", "bare sequential decoding"

Key = tuple[int, int, int]  # of TrainClips: epoch, video, draw


# -- where frames come from ------------------------------------------------------------------------------------------


class Reader(NamedTuple):
    """A way of reading some frames of a file: `read(path, info, indices)` yields them in the order of ascending
    `indices`, uint8 (H, W, 3)."""

    name: str
    read: Callable[[Path, VideoInfo, list[int]], Iterable[np.ndarray]]


def read_exactly(path: Path, info: VideoInfo, indices: list[int]) -> Iterable[np.ndarray]:
    """From the first frame on, as the frame store is built."""
    wanted = set(indices)
    return (frame for number, frame in _until(path, info, indices) if number in wanted)


def decode_only(path: Path, info: VideoInfo, indices: list[int]) -> None:
    """What `read_exactly` decodes, and nothing else."""
    for _ in _until(path, info, indices):
        pass


def _until(path: Path, info: VideoInfo, indices: list[int]) -> Iterable[tuple[int, np.ndarray]]:
    return zip(range(indices[-1] + 1), iter_frames(path, info), strict=False)


def read_by_seeking(path: Path, info: VideoInfo, indices: list[int]) -> Iterable[np.ndarray]:
    """With decord's random access, as video toolboxes do."""
    return frames_at(path, indices)


def read_with_pyav(path: Path, info: VideoInfo, indices: list[int]) -> Iterable[np.ndarray]:
    """From the first frame on, only the wanted ones turned into pictures, as toolboxes do."""
    wanted = set(indices)
    with opened(path) as (container, stream):
        for number, frame in zip(range(indices[-1] + 1), container.decode(stream), strict=False):
            if number in wanted:
                yield frame.to_ndarray(format="rgb24")


def read_with_torchcodec(path: Path, info: VideoInfo, indices: list[int]) -> Iterable[np.ndarray]:
    """With TorchCodec's random access in its default mode, which scans the file first."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    return decoder.get_frames_at(indices).data.numpy()


def readers() -> tuple[list[Reader], dict[str, str]]:
    """The ways of reading files that can be tried here, and why others cannot."""
    found = [Reader(EXACT, read_exactly)]
    absent = {"torchvision": "has no video reader any more"}
    if random_access.decord is None:
        absent["decord, random access"] = "not installed"
    else:
        found.append(Reader("decord, random access", read_by_seeking))
    found.append(Reader("PyAV, sequential", read_with_pyav))
    try:
        import torchcodec.decoders  # noqa: F401 - only to see whether it loads
    except ImportError:
        absent["TorchCodec"] = "not installed"
    except (OSError, RuntimeError):
        absent["TorchCodec"] = "installed, but it finds no FFmpeg libraries"
    else:
        found.append(Reader("TorchCodec, random access", read_with_torchcodec))
    return found, absent


class _File:
    """Frames of a file that are read when they are asked for: indexed as a stored video is."""

    def __init__(self, read: Callable[[list[int]], Iterable[np.ndarray]], size: Sequence[int]) -> None:
        self._read, self._size = read, size

    def __getitem__(self, key: tuple[np.ndarray, slice, slice]) -> np.ndarray:
        indices, *window = key
        wanted = np.unique(indices).tolist()
        frames = list(self._read(wanted))  # all before the first is resized: meanwhile a decoder would go on
        cut = {number: resize(frame, *self._size)[tuple(window)] for number, frame in zip(wanted, frames, strict=True)}
        return np.stack([cut[number] for number in indices.tolist()])


class _Files:
    """Takes the place of a frame store, and reads the files instead."""

    def __init__(self, root: Path, store: FrameStore, reader: Reader) -> None:
        self.root, self.videos, self.reader = root, store.videos, reader
        self.size = store.tracks["rgb"].row[:2]

    def rgb(self, path: str) -> _File:
        file = self.root / path
        return _File(partial(self.reader.read, file, probed(file)), self.size)


probed = lru_cache(maxsize=None)(probe)  # the number of frames is known before clips are loaded


# -- clips per second of one core ------------------------------------------------------------------------------------


class Source(NamedTuple):
    """What is timed: `load(plan(keys))` without `plan`, for the keys of a batch."""

    name: str
    load: Callable[[Any], Any]
    plan: Callable[[list[Key]], Any] = list


def compare_sources(run: RunConfig, batch_size: int, repeats: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Clips per second of processor time from each source, in turn: every repeat has clips of its own.

    Processor time counts all threads, so that a rate is that of one core, whatever else runs. In each repeat every
    source loads the same first batch; the fast ones, which a single batch says little of, load more. `same` is the
    share of the clips of a batch that are those of exact decoding to the last bit, `differ` by how much the worst one
    differs, in mean absolute difference of 0 to 255.
    """
    stored = {encoding: open_data(run, batch_size, encoding=encoding) for encoding in STORES}
    clips = {STORES[encoding]: data.train_clips for encoding, data in stored.items()}
    raw = stored["raw"]
    found, absent = readers()
    for reader in found:
        clips[reader.name] = _from_files(raw, reader)
    sources = [Source(name, partial(_batch, drawn)) for name, drawn in clips.items()]
    asked: list[tuple[Path, VideoInfo, list[int]]] = []

    def note(path: Path, info: VideoInfo, indices: list[int]) -> Iterable[np.ndarray]:
        asked.append((path, info, indices))
        return itertools.repeat(np.zeros((*raw.store.tracks["rgb"].row[:2], 3), np.uint8), len(indices))

    def plan(keys: list[Key]) -> list[tuple[Path, VideoInfo, list[int]]]:
        asked.clear()
        _batch(noted, keys)
        return list(asked)

    def decode_all(files: list[tuple[Path, VideoInfo, list[int]]]) -> None:
        for file in files:
            decode_only(*file)

    noted = _from_files(raw, Reader("", note))
    sources.insert(3, Source(BARE, decode_all, plan))

    draw = partial(_random_keys, len(raw.train_clips.videos), batch_size)
    plan(draw(0, 0))  # counts the frames of files
    first = {source.name: source.load(source.plan(draw(0, 0))) for source in sources}  # also wakes everything up
    rates: dict[str, list[float]] = {source.name: [] for source in sources}
    for repeat in range(1, repeats + 1):
        for source in sources:
            rates[source.name].append(_rate(source, partial(draw, repeat), batch_size))
    rows = []
    for name, measured in rates.items():
        ratios = [rate / exact for rate, exact in zip(measured, rates[EXACT], strict=True)]
        row = {"source": name, "clips_per_second": median(measured), "of_exact": median(ratios), "repeats": measured}
        if first[name] is not None:
            pairs = zip(first[name]["rgb"], first[EXACT]["rgb"], strict=True)
            apart = [(one.float() - other).abs().mean().item() for one, other in pairs]
            row |= {"same": sum(not difference for difference in apart) / batch_size, "differ": max(apart)}
        rows.append(row)
    return rows, absent


def _rate(source: Source, draw: Callable[[int], list[Key]], batch_size: int) -> float:
    spent = 0.0
    for number in itertools.count():
        work = source.plan(draw(number))
        began = time.process_time()
        source.load(work)
        spent += time.process_time() - began
        if spent >= SLOT:
            return (number + 1) * batch_size / spent
    raise AssertionError("counting does not end")


def _random_keys(num_videos: int, batch_size: int, repeat: int, number: int) -> list[Key]:
    videos = np.random.default_rng([repeat, number]).integers(num_videos, size=batch_size).tolist()
    return [(repeat, video, number * batch_size + draw) for draw, video in enumerate(videos)]


def _batch(clips: TrainClips, keys: list[Key]) -> dict[str, torch.Tensor]:
    return collate([clips[key] for key in keys])


def _from_files(data: VideoDataModule, reader: Reader) -> TrainClips:
    files = _Files(data.dataset.folder(), data.store, reader)
    return TrainClips(data.train_clips.videos, files, data.spec, data.num_classes, data.dataset.mirror, data.seed)


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


# -- the loader ------------------------------------------------------------------------------------------------------


def compare_loaders(run: RunConfig, batch_size: int, repeats: int, num_batches: int) -> list[dict[str, Any]]:
    """Clips per second of time from the training's loader where nothing else is done with them, and as a share of the
    bytes that this machine copies in one thread in that time; loaders and copying in turn."""
    loaders: dict[tuple[str, int], DataLoader] = {}
    batches = {"raw": num_batches, "jpeg": -(-num_batches // 10)}  # for about equally long
    for encoding, workers in itertools.product(batches, (0, 1, 2)):
        clips = (batches[encoding] + 1) * batch_size  # the first batch waits for the workers to begin, and is not timed
        data = open_data(run, batch_size, encoding=encoding, workers=workers, num_clips=clips)
        loaders[encoding, workers] = data.train_dataloader()
    clip_bytes = 3 * run.sampling.frames * run.sampling.crop**2
    rates: dict[tuple[str, int], list[float]] = {name: [] for name in loaders}
    shares: dict[tuple[str, int], list[float]] = {name: [] for name in loaders}
    copied = []
    copy = _Copy()
    for _ in range(repeats):
        for name, loader in loaders.items():
            rates[name].append(_pass(loader, batches[name[0]]))
            copied.append(copy.rate())
            shares[name].append(rates[name][-1] * clip_bytes / copied[-1])
    return [
        {
            "encoding": encoding,
            "workers": workers,
            "clips_per_second": median(rates[encoding, workers]),
            "of_no_workers": median(a / b for a, b in zip(rates[encoding, workers], rates[encoding, 0], strict=True)),
            "of_copying": median(shares[encoding, workers]),
            "copied_bytes_per_second": median(copied),
            "repeats": rates[encoding, workers],
        }
        for encoding, workers in loaders
    ]


def _pass(loader: DataLoader, num_batches: int) -> float:
    batches = iter(loader)
    next(batches)
    began, clips = time.perf_counter(), 0
    for batch in itertools.islice(batches, num_batches):
        clips += len(batch["target"])
    return clips / (time.perf_counter() - began)


class _Copy:
    """Copying of memory, of more than the caches hold."""

    def __init__(self) -> None:
        self.source, self.target = np.ones(COPIED, np.uint8), np.ones(COPIED, np.uint8)

    def rate(self) -> float:
        """Bytes per second in one thread."""
        began = time.perf_counter()
        np.copyto(self.target, self.source)
        return COPIED / (time.perf_counter() - began)


# -- memory ----------------------------------------------------------------------------------------------------------


def watch_memory(run: RunConfig, batch_size: int, num_clips: int) -> dict[str, Any]:
    """Memory of a loading process after a tenth of `num_clips` from the raw store and after all of them.

    `resident` is all that it holds, `own` what it shares with no other process: MiB, while it waits.
    """
    data = open_data(run, batch_size, workers=1, num_clips=num_clips + 4 * batch_size)
    loader = data.train_dataloader()
    batches = iter(loader)
    (worker,) = batches._workers
    seen, looks = 0, []
    for goal in (num_clips // 10, num_clips):
        while seen < goal:
            seen += len(next(batches)["target"])
        time.sleep(SETTLING)
        looks.append({"clips": seen, **memory_of(worker.pid)})
    first, last = looks
    growth = {name: last[name] / first[name] - 1 for name in ("resident", "own")}
    return {"looks": looks, "growth": growth}


def memory_of(process: int) -> dict[str, float]:
    """MiB that a process holds, `resident`, and of these what no other one does, `own`. Linux only."""
    sizes: Counter[str] = Counter()
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, _ = line.split()
        sizes[name.rstrip(":")] += int(size)
    own = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return {"resident": sizes["Rss"] / 1024, "own": own / 1024}


# -- start-up --------------------------------------------------------------------------------------------------------


def time_start(settings: list[str], repeats: int) -> dict[str, Any]:
    """Seconds from the start of `run.py` to the end of its first step, in fresh processes, and what importing takes.

    `imports` names packages with the seconds that their own modules took, the slowest first, and who asked for them.
    """
    with tempfile.TemporaryDirectory() as results:
        words = ["training.steps=1", "wandb.mode=disabled", *settings, f"results={results}"]
        _start(words)  # builds the store
        runs = [_start(words) for _ in range(repeats)]
    imports = packages(runs[-1][1])
    return {
        "seconds": median(seconds for seconds, _ in runs),
        "importing": median(sum(row["seconds"] for row in packages(lines)) / seconds for seconds, lines in runs),
        "imports": imports,
        "repeats": [seconds for seconds, _ in runs],
    }


def _start(words: list[str]) -> tuple[float, list[str]]:
    """Seconds until the run says that its first step is done, and what Python said of its imports."""
    command = [sys.executable, "-X", "importtime", str(ROOT / "experiments" / "run.py"), "--force", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
    seconds = None
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as process:
            for line in process.stdout:
                if ": step 1 of 1" in line:
                    seconds = time.perf_counter() - began
                    process.terminate()
                    break
        said.seek(0)
        lines = said.read().splitlines()
    if seconds is None:
        why = next((line for line in lines if line.startswith("error: ")), "it said no error")
        raise ValueError(
            f"{shlex.join(['run.py', *words])}: ended before its first step: {why.removeprefix('error: ')}"
        )
    return seconds, lines


def packages(lines: list[str]) -> list[dict[str, Any]]:
    """Of what `python -X importtime` says: each package's own seconds, and which package first imported it.

    A package that imports through importlib is not seen: its parent then is named.
    """
    own: Counter[str] = Counter()
    wanted_by: dict[str, str] = {}
    above: list[str] = []  # packages of the modules around the current one; Python names a module after what it imports
    for line in reversed(lines):
        if not line.startswith("import time:") or "imported package" in line:
            continue
        seconds, _, name = line.removeprefix("import time:").split("|")
        depth = (len(name) - len(name.lstrip()) - 1) // 2
        package = name.strip().partition(".")[0]
        del above[depth:]
        if outer := next((other for other in reversed(above) if other != package), ""):
            wanted_by[package] = outer  # the last one that is found is the first that was imported
        else:
            wanted_by.setdefault(package, "")
        above.append(package)
        own[package] += int(seconds)
    return [
        {"package": package, "seconds": microseconds / 1e6, "wanted_by": wanted_by[package]}
        for package, microseconds in own.most_common()
    ]


# -- videos to measure on --------------------------------------------------------------------------------------------


def make_videos(root: Path, num_videos: int, num_frames: int) -> None:
    """H.264 videos of 320x240 pixels in the layout of a folder data set: clouds that drift."""
    for number in range(num_videos):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        cloud = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
        frames = np.stack([np.roll(cloud, (time, 2 * time), (0, 1)) for time in range(num_frames)])
        split = "test" if number == 0 else "train"
        path = root / split / "Clouds" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames, 25)
