"""Building a frame store (`store.py`): in parallel, resumable after a kill at any moment, by any number of builders.

The unit of work is a shard: the tracks that it lacks are decoded in one pass, written under temporary names and moved
into place. A builder claims a shard by a lock that dies with its process, so that builders of the same store, on one
machine or on several that share its disk, take the shards in turn. The index is derived from the shards at the end.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from datamodules.decode.frames import iter_frames
from datamodules.decode.info import probe
from datamodules.decode.seek import frame_index, seek_frames
from datamodules.errors import DataError, DecodeError
from datamodules.files import replaced
from datamodules.flow import FlowEstimator
from datamodules.processes import Launcher, WorkerDied, in_processes
from datamodules.store.jobs import INDEX_CLAIM, Job, claim, is_under_way, missing_jobs
from datamodules.store.key import LISTING, listing_of, store_folder
from datamodules.store.reading import FrameStore, open_store
from datamodules.store.shards import INDEX, SHARDS, merge_shards, read_shard, read_shards
from datamodules.store.size import announce_build
from datamodules.store.tracks import Track
from datamodules.store.writing import ShardWriter


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
    jobs = missing_jobs(root, folder, files, unmerged, known_bad or {})
    if jobs:
        for track in tracks:
            if track.flow is not None:
                FlowEstimator(track.flow)  # says now that this OpenCV has not the method
        announce_build(jobs, root, _readable(root, files, known_bad or {}), tracks, folder, max_store)
        _build(jobs, folder, workers, launcher)
    for track in unmerged:
        with suppress(OSError) if not jobs else _named_errors(folder):  # a store to be read may be on a read-only disk
            _write_index(folder, track, len(files))
    with suppress(OSError):
        if not (folder / LISTING).exists() or (folder / LISTING).read_text() != listing:
            with replaced(folder / LISTING) as file:
                file.write(listing.encode())
    return folder


def _checked_listing(root: Path, files: Sequence[str]) -> str:
    if not any((root / path).is_file() for path in files):
        raise DataError(f"{root}: holds none of the {len(files)} videos listed, such as {files[0]}; set data.root")
    return listing_of(root, files)


def _readable(root: Path, files: Sequence[str], known_bad: Mapping[str, str]) -> list[str]:
    return [path for path in files if path not in known_bad and (root / path).is_file()]


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
                    try:
                        for job, errors in results:
                            if errors is None:
                                busy.append(job)
                                continue
                            undecodable += errors
                            progress.update(len(job.files))
                    except WorkerDied as error:
                        doing = [f"{job.files[0]} to {job.files[-1]}" for job in jobs if is_under_way(job)]
                        raise WorkerDied(str(error) or " or ".join(doing) or "its start") from error
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
            writers = [stack.enter_context(ShardWriter(job, track)) for track in tracks]
            for path in job.files if tracks else ():
                undecodable += _build_video(job, path, writers)
            for writer in writers:
                writer.commit()
        return undecodable


def finish_shard(job: Job) -> int | None:
    """`build_shard` of a shard that another builder is at, or was until it died."""
    return build_shard(job, wait=True)


def _build_video(job: Job, path: str, writers: list[ShardWriter]) -> bool:
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


def _seek_video(file: Path, path: str, writers: list[ShardWriter]) -> bool:
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


def _write_index(folder: Path, track: Track, num_videos: int) -> None:
    """Merge what the .json of all shards say, which are whole by now."""
    with claim(folder, INDEX_CLAIM, "[a-z]*.tmp", wait=True):
        merged = merge_shards(folder, track, num_videos)
        assert merged is not None, "another process took shards away"
        for name, array in zip((INDEX, SHARDS), merged, strict=True):
            with replaced(folder / track.name / name) as file:
                np.save(file, array)
