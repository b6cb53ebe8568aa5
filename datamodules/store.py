"""Frame store: decode every video once, memory-map it ever after.

    <stores>/<name>-<key>/rgb-36x36/00012.npy                    uint8 (rows, H, W, 3): the frames of 16 videos
                                    00012.json                   which rows are whose, and what each video is
                          flow-36x36-dis-medium-b4/00012.npy     uint8 (rows, H, W, 2), see flow.quantise
                                                   00012.means.npy  float32 (rows, 2)
                                                   00012.json
                          backward_flow-36x36-dis-medium-b4/     the same of backward flow, only where it is asked for

A shard counts only once its .json is there, and that is written last: whatever stops a build, what remains is whole
shards, and starting again makes the others. Builders of the same store do not disturb each other: every file is
written under a name of its own and moved into place, and both write the same frames.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from tqdm import tqdm

from datamodules.decode import DecodeError, expected_frames, is_truncated, iter_frames, probe
from datamodules.flow import FlowConfig, FlowEstimator, quantise, resize, resize_flow
from datamodules.lists import DataError

FORMAT = 1  # of the files in a store; part of its key
SHARD = 16  # videos per shard: the unit of work, and all that a killed build loses per worker
KEEP_FREE = 10**9  # bytes of the disk that a build leaves free
LEFTOVER = 3600  # seconds without a write after which a temporary file is a dead builder's


@dataclass(frozen=True)
class Track:
    """One kind of array in a store: RGB frames, or the flow between them where `flow` is given, forward or backward.

    Row i of flow leads from frame i to frame i + 1, of backward flow from frame i + 1 to frame i.
    """

    height: int
    width: int
    flow: FlowConfig | None = None
    backward: bool = False

    @property
    def kind(self) -> str:
        """`rgb`, `flow` or `backward_flow`."""
        if self.flow is None:
            return "rgb"
        return "backward_flow" if self.backward else "flow"

    @property
    def name(self) -> str:
        """Its folder: everything that changes its content."""
        size = f"{self.height}x{self.width}"
        if self.flow is None:
            return f"{self.kind}-{size}"
        return f"{self.kind}-{size}-{self.flow.method}-{self.flow.preset}-b{self.flow.bound:g}"

    @property
    def row(self) -> tuple[int, int, int]:
        """The shape of one row of its arrays: a frame or a field."""
        return self.height, self.width, 3 if self.flow is None else 2


@dataclass(frozen=True)
class StoredVideo:
    """One video of a store; `error` says why it has no frame, None for a video that decodes."""

    frames: int
    header_frames: int
    fps: float
    error: str | None = field(default=None, compare=False)  # names the data root, which may move

    @property
    def truncated(self) -> bool:
        """Whether it decodes, but to clearly fewer frames than its header promises."""
        return self.frames > 0 and is_truncated(self.frames, self.header_frames)

    def damage(self, path: str) -> str | None:
        """What is wrong with it in one line that names the file; None for a whole video."""
        if self.truncated:
            return f"{path}: {self.frames} frames decode of {self.header_frames} that its header promises"
        return self.error


@dataclass(frozen=True)
class Rows:
    """Where a video lies in a track: `count` rows of a shard's array from `start` on."""

    array: Path
    start: int
    count: int


@dataclass
class FrameStore:
    """A finished store. Cheap to pickle: it holds paths and numbers; each process opens its own memory maps.

    videos:       what each file is, by its path relative to the data root
    flow_seconds: CPU seconds that computing the flow took when it was built, 0 without flow
    settings:     the tracks' settings by kind, for the record
    """

    folder: Path
    videos: dict[str, StoredVideo]
    rows: dict[str, dict[str, Rows]]  # by the track's kind, then by path
    flow_seconds: float
    settings: dict

    def rgb(self, path: str) -> np.ndarray:
        """All frames of a video, uint8 (n, H, W, 3), a read-only view of a memory map. Raises DecodeError if none."""
        return _view(self._find("rgb", path))

    def flow(self, path: str, backward: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Flow of a video: fields, uint8 (max(n - 1, 1), H, W, 2), see `flow.dequantise`; and their means.

        Field i is the motion from frame i to frame i + 1, or with `backward` from frame i + 1 to frame i.

        The means, float32 (max(n - 1, 1), 2), are the mean displacement (x, y) of each whole field before it was
        quantised, in pixels of the stored frame: what mean subtraction (Simonyan & Zisserman, NIPS 2014, sec. 3.1)
        needs. A video of one frame has one field without motion.
        """
        rows = self._find("backward_flow" if backward else "flow", path)
        return _view(rows), _view(Rows(rows.array.with_suffix(".means.npy"), rows.start, rows.count))

    def _find(self, kind: str, path: str) -> Rows:
        assert kind in self.rows, f"the store was opened without {kind}"
        if self.videos[path].error:
            raise DecodeError(self.videos[path].error)
        return self.rows[kind][path]


def _view(rows: Rows) -> np.ndarray:
    return _memory_map(rows.array)[rows.start : rows.start + rows.count]


@lru_cache(maxsize=256)  # each keeps a file open, and systems allow a process about 1,000
def _memory_map(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r").view(np.ndarray)  # slices of a plain array are faster to make


def store_folder(root: Path, files: Sequence[str], stores: Path, name: str) -> Path:
    """The folder of the store of these files: `<stores>/<name>-<key>`.

    The key covers each file's relative path, size, first and last 64 KB, and not where the data lies: the same data
    have the same store on every machine, and a file that changes has another.
    """
    key = hashlib.sha256(f"format {FORMAT}".encode())
    for path in sorted(set(files)):
        file = root / path
        key.update(f"\n{path} {file.stat().st_size if file.is_file() else None} ".encode())
        if file.is_file():
            with file.open("rb") as stream:
                key.update(stream.read(65536))
                stream.seek(max(0, file.stat().st_size - 65536))
                key.update(stream.read())
    return stores / f"{name}-{key.hexdigest()[:8]}"


def build_store(
    root: Path,
    files: Sequence[str],
    stores: Path,
    name: str,
    tracks: Sequence[Track],
    *,
    workers: int,
    max_store: float,
) -> FrameStore:
    """Open the store of `files` (paths relative to `root`), after making what is missing of the tracks asked for.

    Every video is decoded once for all tracks that lack it, in `workers` processes. A video that cannot be decoded is
    recorded with its error and does not stop the build. Raises DataError if the store would be larger than `max_store`
    GB (10^9 bytes) or than the free disk, if it cannot be written, or if a worker dies; starting again continues.
    """
    assert len({track.kind for track in tracks}) == len(tracks) > 0, "one track of each kind at most"
    files = sorted(set(files))
    if not any((root / path).is_file() for path in files):
        raise DataError(f"{root}: holds none of the {len(files)} videos listed, such as {files[0]}; set data.root")
    folder = store_folder(root, files, stores, name)
    shards = [files[start : start + SHARD] for start in range(0, len(files), SHARD)]
    jobs = [
        _Job(root, folder, number, tuple(shard), missing)
        for number, shard in enumerate(shards)
        if (missing := tuple(track for track in tracks if _read_index(folder, track, number) is None))
    ]
    if jobs:
        _check_room(jobs, root, files, tracks, folder, max_store)
        _build(jobs, tracks, len(files), folder, workers)
    return _open(folder, len(shards), tracks)


def _open(folder: Path, num_shards: int, tracks: Sequence[Track]) -> FrameStore:
    store = FrameStore(folder, {}, {}, 0.0, {})
    for track in tracks:
        kind = track.kind
        store.settings[kind] = {"height": track.height, "width": track.width}
        if track.flow is not None:
            store.settings[kind]["flow"] = asdict(track.flow)
        store.rows[kind] = {}
        for number in range(num_shards):
            index, array, start = _read_index(folder, track, number), _array_path(folder, track, number), 0
            store.flow_seconds += index["flow_seconds"]
            for entry in index["videos"]:
                path = entry.pop("path")
                store.rows[kind][path] = Rows(array, start, entry.pop("rows"))
                start += store.rows[kind][path].count
                video = StoredVideo(**entry)
                if store.videos.setdefault(path, video) != video:
                    raise DataError(f"{folder}: its tracks disagree on {path}; delete this folder to build it again")
    return store


def _array_path(folder: Path, track: Track, number: int) -> Path:
    return folder / track.name / f"{number:05d}.npy"


def _read_index(folder: Path, track: Track, number: int) -> dict | None:
    """What the shard's .json says; None where the shard is missing or not whole (a power cut can leave it so)."""
    array = _array_path(folder, track, number)
    try:
        index = json.loads(array.with_suffix(".json").read_text("utf-8"))
        return index if array.stat().st_size == index["bytes"] else None
    except (OSError, json.JSONDecodeError):
        return None


# Building. From here on the code runs once per store.


@dataclass(frozen=True)
class _Job:
    """One shard and the tracks of it that are missing."""

    root: Path
    folder: Path
    number: int
    files: tuple[str, ...]
    tracks: tuple[Track, ...]


def _check_room(
    jobs: list[_Job], root: Path, files: Sequence[str], tracks: Sequence[Track], folder: Path, max_store: float
) -> None:
    """Refuse a store larger than `max_store` GB as a whole, or whose missing part is larger than the free disk."""
    frames = {path: expected_frames(root / path) for path in files}
    whole = sum(frames.values()) * sum(math.prod(track.row) for track in tracks)
    missing = sum(sum(frames[path] for path in job.files) * math.prod(t.row) for job in jobs for t in job.tracks)
    free = shutil.disk_usage(next(parent for parent in folder.absolute().parents if parent.exists())).free - KEEP_FREE
    options = "lower sampling.resize, or point data.stores to a larger disk"
    if whole > max_store * 1e9:
        raise DataError(
            f"{folder}: this frame store takes about {whole / 1e9:.2f} GB, data.max_store is {max_store:g}; "
            f"raise data.max_store, {options}"
        )
    if missing > free:
        raise DataError(
            f"{folder}: this frame store needs about {missing / 1e9:.2f} GB more and its disk has {free / 1e9:.2f} GB "
            f"to spare; {options}"
        )


def _build(jobs: list[_Job], tracks: Sequence[Track], num_videos: int, folder: Path, workers: int) -> None:
    todo = sum(len(job.files) for job in jobs)
    names = ", ".join(track.name for track in tracks)
    print(f"Building frame store {folder} ({names}): {todo} of {num_videos} videos to decode", flush=True)
    started, undecodable = time.monotonic(), 0
    context = multiprocessing.get_context("spawn")  # a forked copy of a process that runs threads may hang
    pool = ProcessPoolExecutor(max(1, workers), context, initializer=_start_worker)
    try:
        for track in tracks:
            (folder / track.name).mkdir(parents=True, exist_ok=True)
            _remove_leftovers(folder / track.name)
        futures = [pool.submit(_build_shard, job) for job in jobs]
        with tqdm(total=num_videos, initial=num_videos - todo, desc="decode", unit="video", disable=None) as progress:
            for future in as_completed(futures):
                videos, errors = future.result()
                undecodable += errors
                progress.update(videos)
    except BrokenProcessPool as error:
        doing = [f"{job.files[0]} to {job.files[-1]}" for job in jobs if _under_way(job)]
        raise DataError(
            f"{folder}: a worker process died (killed, out of memory, or a decoder crashed on a damaged video) within "
            f"{' or '.join(doing) or 'its start'}; finished shards are kept: start again to continue, with fewer "
            "workers if memory ran out"
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder}: cannot write the frame store: {error.strerror or error}; point data.stores to a folder that "
            "you may write to, on a disk with room"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    seconds = time.monotonic() - started
    print(f"Built frame store {folder} in {seconds:.0f} s; {undecodable} videos cannot be decoded", flush=True)


def _under_way(job: _Job) -> bool:
    array = _array_path(job.folder, job.tracks[0], job.number)
    return any(array.parent.glob(f"{array.stem}.*.tmp"))


def _remove_leftovers(folder: Path) -> None:
    for temporary in folder.glob("*.tmp"):
        with suppress(FileNotFoundError):  # another builder may clean up too
            if time.time() - temporary.stat().st_mtime > LEFTOVER:
                temporary.unlink()


def _start_worker() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A killed parent cannot stop its workers, and they would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _build_shard(job: _Job) -> tuple[int, int]:
    """Decode the videos of one shard into all its missing tracks; the number of videos, and of undecodable ones."""
    undecodable = 0
    with ExitStack() as stack:
        writers = [stack.enter_context(_ShardWriter(job, track)) for track in job.tracks]
        for path in job.files:
            for writer in writers:
                writer.start_video()
            try:
                info = probe(job.root / path)
                for frame in iter_frames(job.root / path, info):
                    for writer in writers:
                        writer.add(frame)
                video = StoredVideo(info.frames, info.header_frames, info.fps)
            except DataError as error:
                video = StoredVideo(0, 0, 0.0, str(error))
                undecodable += 1
            for writer in writers:
                writer.end_video(path, video)
        for writer in writers:
            writer.commit()
    return len(job.files), undecodable


class _ShardWriter:
    """Writes one shard of one track row by row, so that memory does not grow with the length of a video."""

    def __init__(self, job: _Job, track: Track) -> None:
        self.track = track
        self.array = _array_path(job.folder, track, job.number)
        self.temporary = self.array.with_suffix(f".{uuid.uuid4().hex}.tmp")
        self.file = self.temporary.open("wb")
        self.header = self._write_header(0)
        self.videos: list[dict] = []
        self.rows = 0  # written, of all videos so far
        self.means: list[Sequence[float]] = []  # one per row of a flow track
        self.flow_seconds = 0.0

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.temporary.unlink(missing_ok=True)  # after `commit` it has its final name

    def start_video(self) -> None:
        self.first_row = self.rows
        self.estimator = self.track.flow and FlowEstimator(self.track.flow, self.track.backward)

    def add(self, frame: np.ndarray) -> None:
        if self.estimator is None:
            self._write_row(resize(frame, self.track.height, self.track.width))
            return
        started = time.thread_time()  # not process_time: decord decodes the next frame in a thread of its own
        if (field := self.estimator(frame)) is not None:
            self._write_field(resize_flow(field, self.track.height, self.track.width))
        self.flow_seconds += time.thread_time() - started

    def end_video(self, path: str, video: StoredVideo) -> None:
        if video.error:  # it may have broken off after some rows
            self.rows = self.first_row
            del self.means[self.rows :]
            self.file.seek(self.header + self.rows * math.prod(self.track.row))
            self.file.truncate()
        elif self.estimator and video.frames == 1:  # a still picture does not move
            self._write_field(np.zeros(self.track.row, np.float32))
        self.videos.append({"path": path, "rows": self.rows - self.first_row, **asdict(video)})

    def commit(self) -> None:
        self.file.seek(0)
        assert self._write_header(self.rows) == self.header
        self.file.close()
        os.replace(self.temporary, self.array)
        if self.track.flow:
            with _replaced(self.array.with_suffix(".means.npy")) as file:
                np.save(file, np.array(self.means, np.float32).reshape(-1, 2))
        index = {"bytes": self.array.stat().st_size, "flow_seconds": self.flow_seconds, "videos": self.videos}
        with _replaced(self.array.with_suffix(".json")) as file:
            file.write(json.dumps(index, indent=1).encode())

    def _write_field(self, field: np.ndarray) -> None:
        self.means.append(cv2.mean(field)[:2])
        self._write_row(quantise(field, self.track.flow.bound))

    def _write_row(self, row: np.ndarray) -> None:
        assert row.shape == self.track.row and row.dtype == np.uint8, f"{row.shape} {row.dtype}"
        self.file.write(np.ascontiguousarray(row))
        self.rows += 1

    def _write_header(self, rows: int) -> int:
        """The .npy header for so many rows; numpy pads it so that its length, which is returned, never changes."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, *self.track.row)}
        np.lib.format.write_array_header_1_0(self.file, header)
        return self.file.tell()


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only once it is whole."""
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
