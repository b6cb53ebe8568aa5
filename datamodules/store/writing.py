"""Writing one shard of one track, row by row, so that memory does not grow with the length of a video."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib.metadata import version
from typing import NamedTuple

import av
import cv2
import numpy as np

from datamodules.decode.info import VideoInfo
from datamodules.errors import DataError
from datamodules.files import file_digest, replaced, write_atomically
from datamodules.flow import FlowEstimator, quantise, resize, resize_flow
from datamodules.store.jobs import Job
from datamodules.store.shards import SUMS, StoredVideo
from datamodules.store.tracks import Track


class _Row(NamedTuple):
    """A row as it is stored: the array's bytes, or each JPEG file; and the mean of a field."""

    parts: list[np.ndarray]
    mean: Sequence[float] | None = None


class Encoder:
    """Turns the frames of one piece of a video into rows of a track."""

    def __init__(self, track: Track, single: bool = False, own: tuple[int, int] | None = None) -> None:
        """`single`: the piece has one frame only. Then it has one field, without motion.

        `own`: the size of the frames, where rows keep it, see `Track.keeps`.
        """
        self.track, self.own = track, own
        self.estimator = FlowEstimator(track.flow, track.backward) if track.flow is not None and not single else None

    def at_once(self, frame: np.ndarray) -> int:
        """How many frames of this size are best encoded together."""
        return self.estimator.at_once(frame) if self.estimator else 1

    def __call__(self, frames: Sequence[np.ndarray]) -> list[_Row]:
        """The next frames -> their rows. There is none for a frame that no field leads to."""
        flow, height, width = self.track.flow, self.track.height, self.track.width
        if flow is None:
            return [_Row(self._parts(frame if self.own else resize(frame, height, width))) for frame in frames]
        if self.estimator is None:
            fields = [np.zeros((*frame.shape[:2], 2), np.float32) for frame in frames]
        else:
            fields = self.estimator.several(frames)
        return [self._field(field, flow.bound) for field in fields]

    def _field(self, field: np.ndarray, bound: float) -> _Row:
        resized = resize_flow(field, self.track.height, self.track.width)
        return _Row(self._parts(field if self.own else quantise(resized, bound)), cv2.mean(resized)[:2])

    def _parts(self, row: np.ndarray) -> list[np.ndarray]:
        size, values = self.own or self.track.row[:2], np.float32 if self.own and self.track.flow else np.uint8
        assert row.shape == (*size, self.track.row[2]) and row.dtype == values, f"{row.shape} {row.dtype}"
        if self.track.encoding == "raw":
            return [np.ascontiguousarray(row).ravel()]
        # OpenCV's order of colours is BGR; the components of a field are a grey picture each.
        pictures = [row[..., ::-1]] if self.track.pictures == 1 else [row[..., 0], row[..., 1]]
        settings = [cv2.IMWRITE_JPEG_QUALITY, self.track.quality]
        return [cv2.imencode(".jpg", np.ascontiguousarray(picture), settings)[1].ravel() for picture in pictures]


class MixedSizes(Exception):
    """The videos of a shard differ in size, so that their rows cannot be kept as they are."""


class ShardWriter:
    """One shard of one track, as a context manager: at its end the shard gets its name; after an error it is gone.

    Its rows are of one size. Where the first video that has rows is kept as it is, that is its size. A video of another
    size then raises MixedSizes, and the shard must be written again with `keep=False`.
    """

    def __init__(self, job: Job, track: Track, keep: bool = True) -> None:
        self.track, self.stem, self.keep = track, job.folder / track.name / f"{job.number:05d}", keep
        self.own: tuple[int, int] | None = None  # the size of the rows where videos are kept as they are
        self.stem.parent.mkdir(exist_ok=True)
        self.temporary = self.stem.with_suffix(f".{uuid.uuid4().hex}.tmp")
        self.file = self.temporary.open("wb")
        if track.encoding == "raw":
            self._write_header(0)
        self.videos: list[dict] = []
        self.rows = 0  # written, of all videos so far
        self.ends = [0]  # of every picture written
        self.means: list[Sequence[float]] = []  # one per row of a flow track
        self.flow_seconds = 0.0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is None:
                self._commit()
        finally:
            with suppress(OSError):  # what is left in the buffer may not fit on the disk
                self.file.close()
            self.temporary.unlink(missing_ok=True)

    @contextmanager
    def video(self, path: str, info: VideoInfo) -> Iterator[_VideoRows]:
        """Take the frames of the next video. After an error of the file none of its rows stays.

        An error of this track alone, such as frames too small for flow, is noted and leaves other tracks alone.
        """
        first_row, begin = self.rows, self.file.tell()
        rows = _VideoRows(self, path, info)
        try:
            yield rows
        except BaseException:
            self._take_back(first_row, begin)
            raise
        if rows.error is None:
            self._note(path, rows.stored(), self.rows - first_row)
        else:
            self._take_back(first_row, begin)
            self.no_video(path, rows.error)

    def _take_back(self, first_row: int, begin: int) -> None:
        self.file.seek(begin)
        self.file.truncate()
        self.rows = first_row
        del self.means[first_row:]
        del self.ends[first_row * self.track.pictures + 1 :]

    def take_size(self, height: int, width: int) -> None:
        """Note the size of the frames that come next; upright ones, which a header need not say."""
        own = (height, width) if self.keep and self.track.keeps(height, width) else None
        if self.rows and self.own not in (None, own):
            raise MixedSizes
        self.own = self.own if self.rows else own

    def no_video(self, path: str, error: str) -> None:
        """Note that the next video has no rows, and why."""
        self._note(path, StoredVideo(0, 0, 0.0, error if path in error else f"{path}: {error}"), 0)

    def write(self, row: _Row) -> None:
        """Add a row."""
        for part in row.parts:
            self.file.write(part)
            self.ends.append(self.ends[-1] + len(part))
        self.rows += 1
        if row.mean is not None:
            self.means.append(row.mean)

    def _note(self, path: str, video: StoredVideo, rows: int) -> None:
        self.videos.append({"path": path, "rows": rows, **video.as_json()})

    def _commit(self) -> None:
        if self.track.encoding == "raw":
            self.file.seek(0)
            self._write_header(self.rows)
        self.file.close()
        for suffix in (".json", SUMS):  # of a shard that was not whole
            self.stem.with_suffix(suffix).unlink(missing_ok=True)
        rows, *_ = self.track.suffixes
        files = {suffix: self.stem.with_suffix(suffix) for suffix in self.track.suffixes}
        os.replace(self.temporary, files[rows])
        arrays = {
            ".offsets.npy": np.array(self.ends, np.int64),
            ".means.npy": np.array(self.means, np.float32).reshape(-1, 2),
        }
        for suffix in arrays.keys() & files.keys():
            with replaced(files[suffix]) as file:
                np.save(file, arrays[suffix])
        size, versions = files[rows].stat().st_size, _versions()
        said = {"bytes": size, "flow_seconds": self.flow_seconds, "versions": versions, "videos": self.videos}
        text = json.dumps(said, indent=1).encode()
        sums = {file.name: file_digest(file) for suffix, file in files.items() if suffix != ".json"}
        sums[files[".json"].name] = sha256(text).hexdigest()
        write_atomically(self.stem.with_suffix(SUMS), "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
        write_atomically(files[".json"], text)  # last: from now on the shard counts

    def _write_header(self, rows: int) -> None:
        """The .npy header for so many rows, which numpy pads so that its length never changes."""
        size, values = self.own or self.track.row[:2], "<f4" if self.own and self.track.flow else "|u1"
        header = {"descr": values, "fortran_order": False, "shape": (rows, *size, self.track.row[2])}
        np.lib.format.write_array_header_1_0(self.file, header)


class _VideoRows:
    """The rows of one video in one shard. `numbers` are the frames that it takes, in order.

    `error` says why this track cannot hold the video, although its file decodes.
    """

    def __init__(self, shard: ShardWriter, path: str, info: VideoInfo) -> None:
        self.shard, self.info = shard, info
        self.error: str | None = None
        self.numbers: list[int] = []
        self.taken = 0
        try:
            frames, self.piece = shard.track.frames_of(path, info)
            self.numbers = frames.tolist()
        except DataError as problem:
            self.error = str(problem)

    def add(self, number: int, frame: np.ndarray) -> None:
        """Frame `number` of the video. All of `numbers` must come, in order; others are passed over."""
        shard = self.shard
        while self.error is None and self.taken < len(self.numbers) and self.numbers[self.taken] == number:
            if self.taken % self.piece == 0:
                shard.take_size(*frame.shape[:2])
                self.encoder, self.waiting = Encoder(shard.track, self.piece == 1, shard.own), []
            self.taken += 1
            self.waiting.append(frame)
            if len(self.waiting) < self.encoder.at_once(frame) and self.taken % self.piece:
                continue
            started = time.thread_time()  # not process_time: a decoder may have threads of its own
            try:
                rows = self.encoder(self.waiting)
            except DataError as problem:
                self.error = str(problem)
                return
            self.waiting = []
            shard.flow_seconds += (time.thread_time() - started) * (shard.track.flow is not None)
            for row in rows:
                shard.write(row)

    def stored(self) -> StoredVideo:
        """What is stored of the video, once all frames have come."""
        assert self.taken == len(self.numbers)
        stored, info, track = len(self.numbers), self.info, self.shard.track
        rate = track.rate(info)
        return StoredVideo(
            stored,
            info.header_frames,
            rate or info.fps,
            decoded=info.frames if info.frames != stored else None,
            piece=self.piece if track.sample is not None else None,
            corrupt=info.corrupt,
            drift=info.drift,
            times=info.times if rate is None else None,
        )


def _versions() -> str:
    """What decides on a store's content, and the torch beside it."""
    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"PyAV {av.__version__}, libavcodec {ffmpeg}, OpenCV {cv2.__version__}, torch {version('torch')}"
