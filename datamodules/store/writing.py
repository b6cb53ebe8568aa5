"""Writing one shard of one track, row by row."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import NamedTuple

import cv2
import numpy as np

from datamodules.decode.info import VideoInfo
from datamodules.files import replaced
from datamodules.flow import FlowEstimator, quantise, quantise_field, resize, resize_flow
from datamodules.store.jobs import Job
from datamodules.store.shards import StoredVideo
from datamodules.store.tracks import Track


class _Row(NamedTuple):
    """A row as it is stored: the array's bytes or each JPEG file; of a field its mean and, per component, its range."""

    parts: list[np.ndarray]
    mean: Sequence[float] | None = None
    ranges: np.ndarray | None = None


class Encoder:
    """Turns the frames of one piece of a video into rows of a track."""

    def __init__(self, track: Track, single: bool = False) -> None:
        """`single`: the piece has one frame only. Then it has one field, without motion."""
        self.track, self.single = track, single
        self.estimator = FlowEstimator(track.flow, track.backward) if track.flow is not None and not single else None

    def __call__(self, frame: np.ndarray) -> _Row | None:
        """The next frame -> its row; None for the frame that no field leads to."""
        flow, height, width = self.track.flow, self.track.height, self.track.width
        if flow is None:
            return _Row(self._parts(resize(frame, height, width)))
        if self.estimator is None:
            motion = np.zeros(self.track.row, np.float32)
        elif (motion := self.estimator(frame)) is not None:
            motion = resize_flow(motion, height, width)
        else:
            return None
        mean = cv2.mean(motion)[:2]
        if flow.range == "field":
            row, ranges = quantise_field(motion)
            return _Row(self._parts(row), mean, ranges)
        return _Row(self._parts(quantise(motion, flow.bound)), mean)

    def _parts(self, row: np.ndarray) -> list[np.ndarray]:
        assert row.shape == self.track.row and row.dtype == np.uint8, f"{row.shape} {row.dtype}"
        if self.track.encoding == "raw":
            return [np.ascontiguousarray(row).ravel()]
        # OpenCV's order of colours is BGR; the components of a field are a grey picture each.
        pictures = [row[..., ::-1]] if self.track.pictures == 1 else [row[..., 0], row[..., 1]]
        settings = [cv2.IMWRITE_JPEG_QUALITY, self.track.quality]
        return [cv2.imencode(".jpg", np.ascontiguousarray(picture), settings)[1].ravel() for picture in pictures]


class ShardWriter:
    """Writes one shard of one track row by row, so that memory does not grow with the length of a video."""

    def __init__(self, job: Job, track: Track) -> None:
        self.track, self.stem = track, job.folder / track.name / f"{job.number:05d}"
        self.temporary = self.stem.with_suffix(f".{uuid.uuid4().hex}.tmp")
        self.file = self.temporary.open("wb")
        if track.encoding == "raw":
            self._write_header(0)
        self.videos: list[dict] = []
        self.rows = 0  # written, of all videos so far
        self.ends = [0]  # of every picture written
        self.means: list[Sequence[float]] = []  # one per row of a flow track, and so the ranges
        self.ranges: list[np.ndarray] = []
        self.flow_seconds = 0.0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what is left in the buffer may not fit on the disk
            self.file.close()
        self.temporary.unlink(missing_ok=True)  # after `commit` it has its final name

    def start_video(self) -> None:
        """The rows that follow are of the next video."""
        self.first_row, self.begin = self.rows, self.file.tell()

    def take_back(self) -> None:
        """Remove what was written of this video."""
        self.file.seek(self.begin)
        self.file.truncate()
        self.rows = self.first_row
        for per_row in (self.means, self.ranges):
            del per_row[self.rows :]
        del self.ends[self.rows * self.track.pictures + 1 :]

    def expect(self, path: str, info: VideoInfo) -> None:
        """What `add` will be given. Raises DataError where it cannot be known which frames to store."""
        self.info = info
        frames, self.piece = self.track.frames_of(path, info)
        self.frames, self.taken = frames.tolist(), 0

    def add(self, number: int, frame: np.ndarray) -> None:
        """Frame `number` of the video, of which every one to be stored is offered in order."""
        while self.taken < len(self.frames) and self.frames[self.taken] == number:
            if self.taken % self.piece == 0:
                self.encoder = Encoder(self.track, single=self.piece == 1)
            self.taken += 1
            started = time.thread_time()  # not process_time: decord decodes the next frame in a thread of its own
            row = self.encoder(frame)
            self.flow_seconds += (time.thread_time() - started) * (self.track.flow is not None)
            if row is not None:
                self._write(row)

    def end_video(self, path: str, error: str | None) -> None:
        """All rows of this video are written, or `error` says why there is none."""
        if error is not None:  # it may have broken off after some rows
            self.take_back()
            video = StoredVideo(0, 0, 0.0, error)
        else:
            assert self.taken == len(self.frames)
            stored, decoded = len(self.frames), self.info.frames
            fps = self.info.fps if self.track.fps is None else self.track.fps
            video = StoredVideo(
                stored,
                self.info.header_frames,
                fps,
                decoded=decoded if decoded != stored else None,
                piece=self.piece if self.track.sample is not None else None,
            )
        said = {name: value for name, value in asdict(video).items() if name == "error" or value is not None}
        self.videos.append({"path": path, "rows": self.rows - self.first_row, **said})

    def commit(self) -> None:
        """Give the shard its name; it counts from then on."""
        if self.track.encoding == "raw":
            self.file.seek(0)
            self._write_header(self.rows)
        self.file.close()
        for suffix in (".json", ".sha256"):  # of a shard that was not whole
            self.stem.with_suffix(suffix).unlink(missing_ok=True)
        rows, *_ = self.track.suffixes
        os.replace(self.temporary, self.stem.with_suffix(rows))
        arrays = {
            ".offsets.npy": np.array(self.ends, np.int64),
            ".means.npy": np.array(self.means, np.float32).reshape(-1, 2),
            ".ranges.npy": np.array(self.ranges, np.float32).reshape(-1, 2, 2),
        }
        for suffix in self.track.suffixes:
            if suffix in arrays:
                with replaced(self.stem.with_suffix(suffix)) as file:
                    np.save(file, arrays[suffix])
        size = self.stem.with_suffix(rows).stat().st_size
        said = {"bytes": size, "flow_seconds": self.flow_seconds, "videos": self.videos}
        with replaced(self.stem.with_suffix(".json")) as file:
            file.write(json.dumps(said, indent=1).encode())

    def _write(self, row: _Row) -> None:
        for part in row.parts:
            self.file.write(part)
            self.ends.append(self.ends[-1] + len(part))
        self.rows += 1
        if row.mean is not None:
            self.means.append(row.mean)
        if row.ranges is not None:
            self.ranges.append(row.ranges)

    def _write_header(self, rows: int) -> None:
        """The .npy header for so many rows, which numpy pads so that its length never changes."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, *self.track.row)}
        np.lib.format.write_array_header_1_0(self.file, header)
