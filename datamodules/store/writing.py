"""Writing one shard of one track, row by row, so that memory does not grow with the length of a video."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import NamedTuple

import cv2
import numpy as np

from datamodules.decode.info import VideoInfo
from datamodules.files import file_digest, replaced, write_atomically
from datamodules.flow import FlowEstimator, quantise, resize, resize_flow
from datamodules.store.jobs import Job
from datamodules.store.shards import StoredVideo
from datamodules.store.tracks import Track


class _Row(NamedTuple):
    """A row as it is stored: the array's bytes, or each JPEG file; and the mean of a field."""

    parts: list[np.ndarray]
    mean: Sequence[float] | None = None


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
        return _Row(self._parts(quantise(motion, flow.bound)), cv2.mean(motion)[:2])

    def _parts(self, row: np.ndarray) -> list[np.ndarray]:
        assert row.shape == self.track.row and row.dtype == np.uint8, f"{row.shape} {row.dtype}"
        if self.track.encoding == "raw":
            return [np.ascontiguousarray(row).ravel()]
        # OpenCV's order of colours is BGR; the components of a field are a grey picture each.
        pictures = [row[..., ::-1]] if self.track.pictures == 1 else [row[..., 0], row[..., 1]]
        settings = [cv2.IMWRITE_JPEG_QUALITY, self.track.quality]
        return [cv2.imencode(".jpg", np.ascontiguousarray(picture), settings)[1].ravel() for picture in pictures]


class ShardWriter:
    """One shard of one track, as a context manager: at its end the shard gets its name; after an error it is gone."""

    def __init__(self, job: Job, track: Track) -> None:
        self.track, self.stem = track, job.folder / track.name / f"{job.number:05d}"
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
        """Take the frames of the next video; after an error none of its rows stays.

        Raises DataError where the track cannot choose its frames.
        """
        first_row, begin = self.rows, self.file.tell()
        try:
            rows = _VideoRows(self, path, info)
            yield rows
            self._note(path, rows.stored(), self.rows - first_row)
        except BaseException:
            self.file.seek(begin)
            self.file.truncate()
            self.rows = first_row
            del self.means[first_row:]
            del self.ends[first_row * self.track.pictures + 1 :]
            raise

    def no_video(self, path: str, error: str) -> None:
        """Note that the next video has no rows, and why."""
        self._note(path, StoredVideo(0, 0, 0.0, error), 0)

    def write(self, row: _Row) -> None:
        """Add a row."""
        for part in row.parts:
            self.file.write(part)
            self.ends.append(self.ends[-1] + len(part))
        self.rows += 1
        if row.mean is not None:
            self.means.append(row.mean)

    def _note(self, path: str, video: StoredVideo, rows: int) -> None:
        said = {name: value for name, value in asdict(video).items() if name == "error" or value is not None}
        self.videos.append({"path": path, "rows": rows, **said})

    def _commit(self) -> None:
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
        }
        for suffix in arrays.keys() & set(self.track.suffixes):
            with replaced(self.stem.with_suffix(suffix)) as file:
                np.save(file, arrays[suffix])
        size = self.stem.with_suffix(rows).stat().st_size
        said = {"bytes": size, "flow_seconds": self.flow_seconds, "videos": self.videos}
        write_atomically(self.stem.with_suffix(".json"), json.dumps(said, indent=1))

    def _write_header(self, rows: int) -> None:
        """The .npy header for so many rows, which numpy pads so that its length never changes."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, *self.track.row)}
        np.lib.format.write_array_header_1_0(self.file, header)


class _VideoRows:
    """The rows of one video in one shard. `numbers` are the frames that it takes, in order."""

    def __init__(self, shard: ShardWriter, path: str, info: VideoInfo) -> None:
        self.shard, self.info = shard, info
        frames, self.piece = shard.track.frames_of(path, info)
        self.numbers, self.taken = frames.tolist(), 0

    def add(self, number: int, frame: np.ndarray) -> None:
        """Frame `number` of the video. All of `numbers` must come, in order; others are passed over."""
        shard = self.shard
        while self.taken < len(self.numbers) and self.numbers[self.taken] == number:
            if self.taken % self.piece == 0:
                self.encoder = Encoder(shard.track, single=self.piece == 1)
            self.taken += 1
            started = time.thread_time()  # not process_time: a decoder may have threads of its own
            row = self.encoder(frame)
            shard.flow_seconds += (time.thread_time() - started) * (shard.track.flow is not None)
            if row is not None:
                shard.write(row)

    def stored(self) -> StoredVideo:
        """What is stored of the video, once all frames have come."""
        assert self.taken == len(self.numbers)
        stored, info, track = len(self.numbers), self.info, self.shard.track
        return StoredVideo(
            stored,
            info.header_frames,
            info.fps if track.fps is None else track.fps,
            decoded=info.frames if info.frames != stored else None,
            piece=self.piece if track.sample is not None else None,
        )


def check_sums(job: Job) -> list[str]:
    """Compare the files of a shard with their SHA-256, or write these where there are none; the files that differ.

    The sums lie beside the shard as `sha256sum` writes and checks them.
    """
    damaged = []
    for track in job.tracks:
        stem = job.folder / track.name / f"{job.number:05d}"
        found = {f"{stem.name}{suffix}": file_digest(stem.with_suffix(suffix)) for suffix in track.suffixes}
        sums = stem.with_suffix(".sha256")
        if sums.exists():
            known = dict(reversed(line.split("  ", 1)) for line in sums.read_text().splitlines())
            damaged += [str(stem.parent / name) for name, digest in found.items() if known.get(name) != digest]
        else:
            write_atomically(sums, "".join(f"{digest}  {name}\n" for name, digest in found.items()))
    return damaged
