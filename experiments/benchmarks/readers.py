"""Ways of reading some frames of a video file."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

import av
import numpy as np

from datamodules.decode.frames import iter_frames
from datamodules.decode.info import probe
from datamodules.flow import resize
from datamodules.store.reading import FrameStore

# Yields the frames at ascending indices, uint8 (H, W, 3).
Reader = Callable[[Path, list[int]], Iterator[np.ndarray]]

EXACT = "exact decoding"
probed = lru_cache(maxsize=None)(probe)  # the number of frames is known before clips are loaded


def exact(path: Path, indices: list[int]) -> Iterator[np.ndarray]:
    """From the first frame on, as the frame store is built."""
    wanted = set(indices)
    frames = zip(range(indices[-1] + 1), iter_frames(path, probed(path)), strict=False)
    return (frame for number, frame in frames if number in wanted)


def with_pyav(path: Path, indices: list[int]) -> Iterator[np.ndarray]:
    """From the first frame on. Only the wanted ones become pictures, as in video toolboxes."""
    wanted = set(indices)
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in zip(range(indices[-1] + 1), container.decode(video=0), strict=False):
            if number in wanted:
                yield frame.to_ndarray(format="rgb24")


def with_decord(path: Path, indices: list[int]) -> Iterator[np.ndarray]:
    """By decord's random access, as in video toolboxes."""
    decord = importlib.import_module("decord")
    yield from decord.VideoReader(str(path), num_threads=1).get_batch(indices).asnumpy()


def with_torchcodec(path: Path, indices: list[int]) -> Iterator[np.ndarray]:
    """By TorchCodec's random access in its default mode, which scans the file first."""
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    yield from decoder.get_frames_at(indices).data.numpy()


def readers() -> tuple[dict[str, Reader], dict[str, str]]:
    """The readers that work here, by name, and why others do not."""
    found: dict[str, Reader] = {EXACT: exact, "PyAV, sequential": with_pyav}
    absent = {}
    for name, package, reader in (
        ("decord, random access", "decord", with_decord),
        ("TorchCodec, random access", "torchcodec.decoders", with_torchcodec),
    ):
        try:
            importlib.import_module(package)
        except ImportError:
            absent[name] = "not installed"
        except (OSError, RuntimeError):
            absent[name] = "installed, but it finds no FFmpeg libraries"
        else:
            found[name] = reader
    return found, absent


class _File:
    """Frames of a file that are read when they are asked for: indexed as a stored video is."""

    def __init__(self, read: Callable[[list[int]], Iterator[np.ndarray]], size: Sequence[int]) -> None:
        self._read, self._size = read, size

    def __getitem__(self, key: tuple[np.ndarray, slice, slice]) -> np.ndarray:
        indices, *window = key
        wanted = np.unique(indices).tolist()
        frames = list(self._read(wanted))  # all before the first is resized: meanwhile a decoder would go on
        cut = {number: resize(frame, *self._size)[tuple(window)] for number, frame in zip(wanted, frames, strict=True)}
        return np.stack([cut[number] for number in indices.tolist()])


class Files:
    """Stands in for a frame store, and reads the files instead."""

    def __init__(self, root: Path, store: FrameStore, reader: Reader) -> None:
        self.root, self.videos, self.reader = root, store.videos, reader
        self.size = store.tracks["rgb"].row[:2]

    def rgb(self, path: str) -> _File:
        """The frames of one video."""
        return _File(partial(self.reader, self.root / path), self.size)
