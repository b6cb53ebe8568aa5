"""Building a frame store (`store.py`): in parallel, resumable after a kill at any moment, by any number of builders.

The unit of work is a shard: the tracks that it lacks are decoded in one pass, written under temporary names and moved
into place. A builder claims a shard by a lock that dies with its process, so that builders of the same store, on one
machine or on several that share its disk, take the shards in turn. The index is derived from the shards at the end.
"""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from datamodules.decode import DecodeError, VideoInfo, frame_index, header, iter_frames, probe, seek_frames
from datamodules.flow import FlowEstimator, quantise, quantise_field, resize, resize_flow
from datamodules.lists import DataError
from datamodules.processes import die_with_parent, ray_cluster
from datamodules.store import (
    INDEX,
    LISTING,
    SHARD,
    SHARDS,
    FrameStore,
    StoredVideo,
    Track,
    listing_of,
    merge_shards,
    open_store,
    read_shard,
    read_shards,
    store_folder,
)

try:
    import fcntl
except ImportError:  # not on Windows: there, builders of the same store repeat each other's work, unharmed
    fcntl = None

_INDEX_CLAIM = 10**9  # in place of a shard's number
KEEP_FREE = 10**9  # bytes of the disk that a build leaves free
SAMPLED_HEADERS = 1000  # videos whose headers say how many frames to expect
SAMPLED_VIDEOS, SAMPLED_FRAMES = 5, 6  # what is encoded to say how large JPEGs will be


@dataclass(frozen=True)
class Job:
    """One shard and the tracks of it that are missing, or that are asked for. Paths are absolute."""

    root: Path
    folder: Path
    number: int
    files: tuple[str, ...]
    tracks: tuple[Track, ...]
    known_bad: Mapping[str, str] = field(default_factory=dict)


# Yields each job and its result as it is done: (function, jobs, number of workers) -> (job, function(job)).
Launcher = Callable[[Callable[[Job], Any], Sequence[Job], int], Iterator[tuple[Job, Any]]]


class WorkerDied(Exception):
    """A worker process ended in the middle of a job."""


def in_processes(function: Callable[[Job], Any], jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Any]]:
    """Run jobs in `workers` processes of this machine."""
    context = multiprocessing.get_context("spawn")  # a forked copy of a process that runs threads may hang
    pool = ProcessPoolExecutor(max(1, min(workers, len(jobs))), context, initializer=die_with_parent)
    try:
        futures = {pool.submit(function, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool as error:
        doing = [f"{job.files[0]} to {job.files[-1]}" for job in jobs if _under_way(job)]
        raise WorkerDied(" or ".join(doing) or "its start") from error
    finally:
        pool.shutdown(cancel_futures=True)


def on_ray(function: Callable[[Job], Any], jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Any]]:
    """Run jobs as tasks of one core each on the Ray cluster that RAY_ADDRESS names, or on a Ray of `workers` cores that
    is started here.

    The machines of a cluster must see the data root and the stores under the same paths, and have this package. Ray
    starts a task again where its machine is lost.
    """
    with ray_cluster(workers) as ray:
        try:
            task, waiting, running = ray.remote(num_cpus=1)(function), iter(jobs), {}
            while True:
                for job in itertools.islice(waiting, 1000 - len(running)):  # waiting for very many at once is slow
                    running[task.remote(job)] = job
                if not running:
                    break
                for done in ray.wait(list(running))[0]:
                    yield running.pop(done), ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise WorkerDied(f"Ray, which says {str(error).strip().splitlines()[0]}") from error


def _under_way(job: Job) -> bool:
    return any((job.folder / track.name).glob(f"{job.number:05d}.*.tmp") for track in job.tracks)


def build_store(
    root: Path,
    files: Sequence[str],
    stores: Path,
    name: str,
    tracks: Sequence[Track],
    *,
    workers: int,
    max_store: float,
    known_bad: Mapping[str, str] | None = None,
) -> FrameStore:
    """Open the store of `files` with the tracks asked for, one of each kind at most, after `build_tracks`."""
    folder = build_tracks(root, files, stores, name, tracks, workers=workers, max_store=max_store, known_bad=known_bad)
    return open_store(folder, len(set(files)), tracks, known_bad)


def build_tracks(
    root: Path,
    files: Sequence[str],
    stores: Path,
    name: str,
    tracks: Sequence[Track],
    *,
    workers: int,
    max_store: float,
    known_bad: Mapping[str, str] | None = None,
    launcher: Launcher = in_processes,
) -> Path:
    """Make what is missing of some tracks of the store of `files` (paths relative to `root`); the store's folder.

    Every video is decoded once for all tracks that lack it, by `workers` processes, which `launcher` starts. A video
    that cannot be decoded is recorded with its error and does not stop the build; those of `known_bad`, by path, are
    recorded with theirs and never opened. Raises DataError if the store would be larger than `max_store` GB (10^9
    bytes) or than the free disk, if it cannot be written, or if a worker dies; starting again continues.
    """
    files = sorted(set(files))
    listing = _checked_listing(root, files)  # before any file is read, so that a change meanwhile is noticed
    folder = store_folder(root, files, stores, name, listing)
    unmerged = [track for track in tracks if read_shards(folder, track) is None]
    jobs = _missing(root, folder, files, unmerged, known_bad or {})
    if jobs:
        for track in tracks:
            if track.flow is not None:
                FlowEstimator(track.flow)  # says now that this OpenCV has not the method
        _announce(jobs, root, _readable(root, files, known_bad or {}), tracks, folder, max_store)
        _build(jobs, folder, workers, launcher)
    for track in unmerged:
        with suppress(OSError) if not jobs else _named_errors(folder):  # a store to be read may be on a read-only disk
            _write_index(folder, track, len(files))
    with suppress(OSError):
        if not (folder / LISTING).exists() or (folder / LISTING).read_text() != listing:
            with replaced(folder / LISTING) as file:
                file.write(listing.encode())
    return folder


class StorePlan(NamedTuple):
    """What is missing of a store: a job for each shard that lacks some of the tracks; and about how many bytes all the
    tracks take, and what is missing of them."""

    folder: Path
    jobs: list[Job]
    whole: float
    missing: float


def plan_store(
    root: Path,
    files: Sequence[str],
    stores: Path,
    name: str,
    tracks: Sequence[Track],
    known_bad: Mapping[str, str] | None = None,
) -> StorePlan:
    """What `build_tracks` would build now, from the headers of the videos; nothing is decoded (but for JPEG, a few
    frames) or written. Raises DataError where none of the videos is there."""
    files = sorted(set(files))
    folder = store_folder(root, files, stores, name, _checked_listing(root, files))
    unmerged = [track for track in tracks if read_shards(folder, track) is None]
    jobs = _missing(root, folder, files, unmerged, known_bad or {})
    if not jobs:
        whole = sum(file.stat().st_size for track in tracks for file in (folder / track.name).iterdir())
        return StorePlan(folder, [], whole, 0.0)
    return StorePlan(folder, jobs, *_bytes(jobs, root, _readable(root, files, known_bad or {}), tracks))


def _checked_listing(root: Path, files: Sequence[str]) -> str:
    if not any((root / path).is_file() for path in files):
        raise DataError(f"{root}: holds none of the {len(files)} videos listed, such as {files[0]}; set data.root")
    return listing_of(root, files)


def _readable(root: Path, files: Sequence[str], known_bad: Mapping[str, str]) -> list[str]:
    return [path for path in files if path not in known_bad and (root / path).is_file()]


def _missing(
    root: Path, folder: Path, files: Sequence[str], unmerged: Sequence[Track], known_bad: Mapping[str, str]
) -> list[Job]:
    """A job for each shard that lacks some of these tracks, which have no merged index."""
    jobs = []
    for job in shard_jobs(root, folder, files, unmerged, known_bad) if unmerged else []:
        missing = tuple(track for track in unmerged if read_shard(folder, track, job.number) is None)
        if missing:
            jobs.append(replace(job, tracks=missing))
    return jobs


def shard_jobs(
    root: Path, folder: Path, files: Sequence[str], tracks: Sequence[Track], known_bad: Mapping[str, str]
) -> list[Job]:
    """A job for each shard of a store: all `tracks` of 16 of its files."""
    files, jobs = sorted(set(files)), []
    for number, start in enumerate(range(0, len(files), SHARD)):
        own = tuple(files[start : start + SHARD])
        bad = {path: known_bad[path] for path in own if path in known_bad}
        jobs.append(Job(root.absolute(), folder.absolute(), number, own, tuple(tracks), bad))
    return jobs


def _announce(
    jobs: list[Job], root: Path, files: Sequence[str], tracks: Sequence[Track], folder: Path, max_store: float
) -> None:
    """Say what a store takes; refuse more than `max_store` GB as a whole, or more to write than the disk has free."""
    whole, missing = _bytes(jobs, root, files, tracks)
    disk = next(parent for parent in folder.absolute().parents if parent.exists())
    free = max(0, shutil.disk_usage(disk).free - KEEP_FREE)
    options = "lower sampling.resize, set data.encoding=jpeg, or point data.stores to a larger disk"
    if whole > max_store * 1e9:
        raise DataError(
            f"{folder}: this frame store takes about {whole / 1e9:.2f} GB, data.max_store is {max_store:g}; build it "
            f"by `python experiments/prepare.py` and the same words, raise data.max_store, {options}"
        )
    if missing > free:
        raise DataError(
            f"{folder}: this frame store needs about {missing / 1e9:.2f} GB more and its disk has {free / 1e9:.2f} GB "
            f"to spare; {options}"
        )
    names, todo = ", ".join(track.name for track in tracks), sum(len(job.files) for job in jobs)
    print(
        f"Building frame store {folder} ({names}): {todo} videos to decode, about {missing / 1e9:.2f} GB, "
        f"{free / 1e9:.2f} GB free",
        flush=True,
    )


def _bytes(jobs: list[Job], root: Path, files: Sequence[str], tracks: Sequence[Track]) -> tuple[float, float]:
    """About what all tracks of these files take, and what the jobs are to write."""
    headers = {path: _header(root / path) for path in spread(files, SAMPLED_HEADERS)}
    size = {track.name: _bytes_per_video(track, root, headers) for track in tracks}
    missing = sum(len(job.files) * size[track.name] for job in jobs for track in job.tracks)
    return len(files) * sum(size.values()), missing


def spread(files: Sequence[str], number: int) -> list[str]:
    """At most so many of the files, evenly spread."""
    return [files[place * len(files) // number] for place in range(number)] if len(files) > number else list(files)


def _header(file: Path) -> VideoInfo | None:
    with suppress(DataError):
        return header(file)
    return None


def _bytes_per_video(track: Track, root: Path, headers: Mapping[str, VideoInfo | None]) -> float:
    """About what a video takes in a track, by their headers; for JPEG, tried on the first frames of a few."""
    readable = {path: info for path, info in headers.items() if info is not None}
    rows, tried = [], []
    for path, info in readable.items():
        with suppress(DataError):
            rows.append(len(track.frames_of(path, info)[0]))
    for path in spread(list(readable), SAMPLED_VIDEOS) if track.encoding == "jpeg" else ():
        encoder = _Encoder(track)
        with suppress(DataError):
            for _, frame in zip(range(SAMPLED_FRAMES), iter_frames(root / path, readable[path]), strict=False):
                if (row := encoder(frame)) is not None:
                    tried.append(sum(map(len, row.parts)))
    raw = math.prod(track.row)
    return (sum(tried) / len(tried) if tried else raw) * sum(rows) / max(1, len(headers))


def _build(jobs: list[Job], folder: Path, workers: int, launcher: Launcher) -> None:
    """Make the missing shards: first those that no other builder is at, then what the others have left undone."""
    started, videos, undecodable = time.monotonic(), sum(len(job.files) for job in jobs), 0
    with _named_errors(folder):
        for job in jobs:
            for track in job.tracks:
                (folder / track.name).mkdir(parents=True, exist_ok=True)
        # Where nobody looks at the bar, a line a minute.
        interval = 0.1 if sys.stderr.isatty() else 60
        with tqdm(total=videos, desc="decode", unit="video", mininterval=interval, maxinterval=interval) as progress:
            busy = []
            for function in (build_shard, finish_shard):
                with closing(launcher(function, jobs, workers)) as results:
                    for job, errors in results:
                        if errors is None:
                            busy.append(job)
                            continue
                        undecodable += errors
                        progress.update(len(job.files))
                if not busy:
                    break
                progress.write(f"Waiting for {len(busy)} shards that another process is at", sys.stderr)
                jobs, busy = busy, []
    seconds = time.monotonic() - started
    print(f"Built frame store {folder} in {seconds:.0f} s; {undecodable} videos cannot be decoded", flush=True)


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """Errors of the disk and of the processes as DataErrors that say what to do."""
    try:
        yield
    except WorkerDied as error:
        raise DataError(
            f"{folder}: a worker process died (killed, out of memory, or a decoder crashed on a damaged video) within "
            f"{error}; finished shards are kept: start again to continue, with fewer workers if memory ran out"
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder}: cannot write the frame store: {error.strerror or error}; point data.stores to a folder that "
            "you may write to, on a disk with room"
        ) from error


# What a worker does.


@contextmanager
def claim(folder: Path, number: int, leftovers: str, wait: bool) -> Iterator[bool]:
    """Hold a shard of a store against other processes; says whether it is held, at once or, with `wait`, when it is.

    A claim is a lock on byte `number` of the store's lock file, which the system frees when the process dies: what
    then lies in the tracks under names like `leftovers` is a dead builder's, and is removed. Where the disk has no
    locks, every claim is given, and builders may do the same work twice.
    """
    with (folder / "lock").open("ab") as file:
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
                for temporary in folder.glob(f"*/{leftovers}"):
                    temporary.unlink(missing_ok=True)
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError:
            pass
        yield True


def build_shard(job: Job, wait: bool = False) -> int | None:
    """Decode the videos of one shard into all its missing tracks; the number of undecodable ones.

    None, and nothing is done, where another builder is at it; with `wait` it is waited for, and its work is used.
    """
    cv2.setNumThreads(1)
    with claim(job.folder, job.number, f"{job.number:05d}.*.tmp", wait) as claimed:
        if not claimed:
            return None
        tracks = [track for track in job.tracks if read_shard(job.folder, track, job.number) is None]
        undecodable = 0
        with ExitStack() as stack:
            writers = [stack.enter_context(_ShardWriter(job, track)) for track in tracks]
            for path in job.files if tracks else ():
                undecodable += _build_video(job, path, writers)
            for writer in writers:
                writer.commit()
        return undecodable


def time_shard(job: Job) -> float:
    """Seconds that `build_shard` takes for a shard of a store that is not there yet."""
    started = time.monotonic()
    for track in job.tracks:
        (job.folder / track.name).mkdir(parents=True)
    build_shard(job)
    return time.monotonic() - started


def finish_shard(job: Job) -> int | None:
    """`build_shard` of a shard that another builder is at, or was until it died."""
    return build_shard(job, wait=True)


def _build_video(job: Job, path: str, writers: list[_ShardWriter]) -> bool:
    """Decode one video into all writers; whether it cannot be decoded."""
    error, file = job.known_bad.get(path), job.root / path
    for writer in writers:
        writer.start_video()
    try:
        if error is None:
            if not file.is_file():  # a pipe would be waited for
                raise DataError(f"{path}: there is no such file; fetch it, or take it off the list")
            if not _seek_video(file, path, writers):
                info = probe(file)
                for writer in writers:
                    writer.expect(path, info)
                last = max(writer.frames[-1] for writer in writers)
                for number, frame in zip(range(last + 1), iter_frames(file, info), strict=False):
                    for writer in writers:
                        writer.add(number, frame)
    except DataError as problem:
        error = str(problem).replace(f"{job.root}{os.sep}", "")  # the data may be moved
        error = error if path in error else f"{path}: {error}"
    for writer in writers:
        writer.end_video(path, error)
    return error is not None


def _seek_video(file: Path, path: str, writers: list[_ShardWriter]) -> bool:
    """Decode no more of a video than samples of it take; False, and nothing is done, where that might not be exact."""
    index = frame_index(file) if all(writer.track.sample is not None for writer in writers) else None
    if index is None:
        return False
    for writer in writers:
        writer.expect(path, index.info)
    try:
        for number, frame in seek_frames(file, index, np.unique(np.concatenate([w.frames for w in writers]))):
            for writer in writers:
                writer.add(number, frame)
    except DecodeError:
        for writer in writers:
            writer.take_back()
        return False
    return True


class _Row(NamedTuple):
    """A row as it is stored: the array's bytes or each JPEG file; of a field its mean and, per component, its range."""

    parts: list[np.ndarray]
    mean: Sequence[float] | None = None
    ranges: np.ndarray | None = None


class _Encoder:
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


class _ShardWriter:
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

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what is left in the buffer may not fit on the disk
            self.file.close()
        self.temporary.unlink(missing_ok=True)  # after `commit` it has its final name

    def start_video(self) -> None:
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
                self.encoder = _Encoder(self.track, single=self.piece == 1)
            self.taken += 1
            started = time.thread_time()  # not process_time: decord decodes the next frame in a thread of its own
            row = self.encoder(frame)
            self.flow_seconds += (time.thread_time() - started) * (self.track.flow is not None)
            if row is not None:
                self._write(row)

    def end_video(self, path: str, error: str | None) -> None:
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


def check_sums(job: Job) -> list[str]:
    """Compare the files of a shard with their SHA-256, or write these where there are none; the files that differ.

    They lie beside the shard as `sha256sum` writes and checks them.
    """
    damaged = []
    for track in job.tracks:
        stem = job.folder / track.name / f"{job.number:05d}"
        found = {f"{stem.name}{suffix}": _sha256(stem.with_suffix(suffix)) for suffix in track.suffixes}
        sums = stem.with_suffix(".sha256")
        if sums.exists():
            known = dict(reversed(line.split("  ", 1)) for line in sums.read_text().splitlines())
            damaged += [str(stem.parent / name) for name, digest in found.items() if known.get(name) != digest]
        else:
            with replaced(sums) as file:
                file.write("".join(f"{digest}  {name}\n" for name, digest in found.items()).encode())
    return damaged


def _sha256(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write_index(folder: Path, track: Track, num_videos: int) -> None:
    """Merge what the .json of all shards say, which are whole by now."""
    with claim(folder, _INDEX_CLAIM, "[a-z]*.tmp", wait=True):
        merged = merge_shards(folder, track, num_videos)
        assert merged is not None, "another process took shards away"
        for name, array in zip((INDEX, SHARDS), merged, strict=True):
            with replaced(folder / track.name / name) as file:
                np.save(file, array)


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only once it is whole."""
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
