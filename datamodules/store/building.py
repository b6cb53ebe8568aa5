"""Building a frame store: in parallel, resumable after a kill at any moment, by any number of builders.

The unit of work is a shard. The tracks that it lacks are decoded in one pass, written under temporary names and moved
into place. A builder claims a shard by a lock that dies with its process. So builders of one store share the shards, on
one machine or on several that share its disk. The index is derived from the shards at the end.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from datamodules.decode.frames import pick_frames
from datamodules.decode.images import images_in
from datamodules.decode.info import VideoInfo, probe
from datamodules.decode.seek import frame_index, seek_frames
from datamodules.errors import DataError, DecodeError
from datamodules.files import replaced, write_atomically
from datamodules.flow import FlowEstimator
from datamodules.processes import Launcher, WorkerDied, in_processes
from datamodules.progress import Progress
from datamodules.store.jobs import INDEX_CLAIM, Job, claim, missing_tracks, shard_jobs
from datamodules.store.key import LISTING, listing_of, store_folder
from datamodules.store.reading import FrameStore, open_store
from datamodules.store.shards import INDEX, SHARDS, merge_shards, read_shards
from datamodules.store.size import announce_build, expected_bytes, free_bytes
from datamodules.store.tracks import Track
from datamodules.store.writing import MixedSizes, ShardWriter


def build_store(
    root: Path, files: Sequence[str], stores: Path, name: str, tracks: Sequence[Track],
    known_bad: Mapping[str, str] | None = None, *, workers: int, max_store: float,
) -> FrameStore:  # fmt: skip
    """Open the store of `files` with the tracks asked for, one of each kind at most, after `build_tracks`."""
    folder = build_tracks(root, files, stores, name, tracks, known_bad, workers=workers, max_store=max_store)
    return open_store(folder, tracks, known_bad)


def build_tracks(
    root: Path, files: Sequence[str], stores: Path, name: str, tracks: Sequence[Track],
    known_bad: Mapping[str, str] | None = None, *, workers: int, max_store: float, launcher: Launcher = in_processes,
) -> Path:  # fmt: skip
    """Make what is missing of some tracks of the store of `files` (paths relative to `root`); the store's folder.

    Every video is decoded once for all tracks that lack it, by `workers` processes, which `launcher` starts. A video
    that cannot be decoded is recorded with its error and does not stop the build. Those of `known_bad`, by path, are
    recorded with theirs and never opened. Raises DataError if the store would be larger than `max_store` GB (10^9
    bytes) or than the free disk. Raises it too if the store cannot be written or a worker dies; starting again
    continues.
    """
    files, known_bad = sorted(set(files)), known_bad or {}
    readable = [path for path in files if (root / path).is_file() or images_in(root / path)]
    if not readable:
        raise DataError(f"{root}: holds none of the {len(files)} videos listed, such as {files[0]}; set data.root")
    listing = listing_of(root, files)  # before any file is read, so that a change meanwhile is noticed
    folder = store_folder(root, files, stores, name, listing)
    unmerged = [track for track in tracks if read_shards(folder, track) is None]
    jobs = map(missing_tracks, shard_jobs(root, folder, files, unmerged, known_bad) if unmerged else [])
    jobs, needed = [job for job in jobs if job.tracks], 0.0
    if jobs:
        for track in tracks:
            if track.flow is not None:
                FlowEstimator(track.flow)  # says now that this OpenCV lacks the method
        readable = [path for path in readable if path not in known_bad]
        whole, needed = expected_bytes(jobs, root, readable, tracks)
        announce_build(folder, jobs, tracks, whole, needed, max_store)
    try:
        if jobs:
            _build(jobs, folder, workers, launcher)
        for track in unmerged:
            _write_index(folder, track, len(files))
    except OSError as error:
        raise DataError(
            f"{folder}: cannot write the frame store: {error.strerror or error}; about {needed / 1e9:.2f} GB are "
            f"needed, {free_bytes(folder) / 1e9:.2f} GB are free; make room and start again to continue, or point "
            "data.stores to a folder that you may write to"
        ) from error
    with suppress(OSError):  # a store that is only read may be on a read-only disk
        known = folder / LISTING
        if not known.exists() or known.read_text() != listing:
            write_atomically(known, listing)
    return folder


def _build(jobs: list[Job], folder: Path, workers: int, launcher: Launcher) -> None:
    """Make the missing shards: first those that no other builder is at, then what the others have left undone."""
    started, videos, undecodable = time.monotonic(), sum(len(job.files) for job in jobs), 0
    folder.mkdir(parents=True, exist_ok=True)
    with Progress(videos, "decode") as progress:
        busy = []
        for function in (build_shard, finish_shard):
            for job, errors in _results(launcher, function, jobs, workers):
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


def _results(
    launcher: Launcher, function: Callable[[Job], int | None], jobs: list[Job], workers: int
) -> Iterator[tuple[Job, int | None]]:
    """Each job with its result. Raises DataError with the files that were under way if a worker dies."""
    try:
        with closing(launcher(function, jobs, workers)) as results:
            yield from results
    except WorkerDied as error:
        doing = [f"{job.files[0]} to {job.files[-1]}" for job in jobs if job.is_under_way()]
        raise DataError(
            f"{jobs[0].folder}: a worker process died (killed, out of memory, or a decoder crashed on a damaged video) "
            f"within {str(error) or ' or '.join(doing) or 'its start'}; finished shards are kept: start again to "
            "continue, with fewer workers if memory ran out"
        ) from error


def build_shard(job: Job, wait: bool = False) -> int | None:
    """Decode the videos of one shard into all its missing tracks; the number of undecodable ones.

    None, having done nothing, if another builder is at it; with `wait`, that one's work is awaited and used.
    """
    cv2.setNumThreads(1)
    if any(track.flow is not None and track.flow.method == "tvl1_torch" for track in job.tracks):
        import torch

        torch.set_num_threads(1)
    for place, setting in ((job.root, "data.root"), (job.folder, "data.stores")):
        if not place.is_dir():
            raise DataError(f"{place} is not there on {socket.gethostname()}; {setting} must be on a shared disk")
    with claim(job.folder, job.number, job.leftovers, wait) as claimed:
        if not claimed:
            return None
        missing = missing_tracks(job)
        try:
            return _write_shard(missing)
        except MixedSizes:
            return _write_shard(missing, keep=False)


def finish_shard(job: Job) -> int | None:
    """`build_shard` of a shard that another builder is at, or was until it died."""
    return build_shard(job, wait=True)


def _write_shard(job: Job, keep: bool = True) -> int:
    """Write one shard of all the job's tracks; the number of undecodable videos. `keep`: see `ShardWriter`."""
    with ExitStack() as stack:
        shards = [stack.enter_context(ShardWriter(job, track, keep)) for track in job.tracks]
        return sum([_store_video(job, path, shards) for path in job.files]) if shards else 0


def _store_video(job: Job, path: str, shards: list[ShardWriter]) -> bool:
    """Decode one video into all shards; whether one of them cannot hold it."""
    try:
        _decode_video(job, path, shards)
    except DataError as problem:
        error = str(problem).replace(f"{job.root}{os.sep}", "")  # the data may be moved
        for shard in shards:
            shard.no_video(path, error)
    return any(shard.videos[-1]["error"] for shard in shards)


def _decode_video(job: Job, path: str, shards: list[ShardWriter]) -> None:
    file = job.root / path
    if path in job.known_bad:
        raise DataError(job.known_bad[path])
    if not file.is_file() and not images_in(file):  # a pipe would be waited for
        raise DataError(f"{path}: there is no such file; fetch it, or take it off the list")
    index = frame_index(file) if all(shard.track.sample is not None for shard in shards) else None
    if index is not None:
        with suppress(DecodeError):  # the file is not as its packets say: only a decode of all frames is exact
            _fill(shards, path, index.info, partial(seek_frames, file, index))
            return
    info = probe(file)
    _fill(shards, path, info, partial(pick_frames, file, info))


def _fill(shards: list[ShardWriter], path: str, info: VideoInfo, frames: Callable[[np.ndarray], Iterable]) -> None:
    """Give all shards their frames of a video; `frames` takes sorted numbers and yields (number, frame)."""
    with ExitStack() as stack:
        videos = [stack.enter_context(shard.video(path, info)) for shard in shards]
        numbers = np.array(sorted({number for video in videos for number in video.numbers}))
        for number, frame in frames(numbers) if len(numbers) else ():
            for video in videos:
                video.add(number, frame)


def _write_index(folder: Path, track: Track, num_videos: int) -> None:
    """Merge what the .json of all shards say, which are whole by now."""
    with claim(folder, INDEX_CLAIM, "[a-z]*.tmp", wait=True):
        merged = merge_shards(folder, track, num_videos)
        if merged is None:
            raise DataError(
                f"{folder / track.name}: on {socket.gethostname()} shards are missing that were built; all machines "
                "that build must see one data.stores on a shared disk"
            )
        for name, array in zip((INDEX, SHARDS), merged, strict=True):
            with replaced(folder / track.name / name) as file:
                np.save(file, array)
