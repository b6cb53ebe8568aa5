"""How large a frame store will be."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from datamodules.decode.frames import pick_frames
from datamodules.decode.info import VideoInfo, read_header
from datamodules.errors import DataError
from datamodules.store.jobs import Job
from datamodules.store.tracks import Track
from datamodules.store.writing import Encoder

KEEP_FREE = 10**9  # bytes of the disk that a build leaves free
SAMPLED_HEADERS = 1000  # videos whose headers say how many frames to expect
SAMPLED_VIDEOS, SAMPLED_FRAMES = 5, 6  # what is encoded to say how large JPEGs will be


def announce_build(
    folder: Path, jobs: Sequence[Job], tracks: Sequence[Track], whole: float, missing: float, max_store: float
) -> None:
    """Say what a build takes, given the bytes of the whole store and of what is missing.

    Refuse a store of more than `max_store` GB, or more to write than the disk has free.
    """
    free = max(0, free_bytes(folder) - KEEP_FREE)
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


def expected_bytes(
    jobs: Sequence[Job], root: Path, files: Sequence[str], tracks: Sequence[Track]
) -> tuple[float, float]:
    """About what all tracks of these files take, and what the jobs are to write."""
    headers = {}
    for path in spread(files, SAMPLED_HEADERS):
        headers[path] = None
        with suppress(DataError):
            headers[path] = read_header(root / path)
    size = {track.name: _bytes_per_video(track, root, headers) for track in tracks}
    missing = sum(len(job.files) * size[track.name] for job in jobs for track in job.tracks)
    return len(files) * sum(size.values()), missing


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the disk where a folder is, or will be."""
    return shutil.disk_usage(next(parent for parent in folder.absolute().parents if parent.is_dir())).free


def spread(files: Sequence[str], number: int) -> list[str]:
    """At most `number` of the files, evenly spread."""
    return [files[place * len(files) // number] for place in range(number)] if len(files) > number else list(files)


def _bytes_per_video(track: Track, root: Path, headers: Mapping[str, VideoInfo | None]) -> float:
    """About what a video takes in a track, by the headers; for JPEG, tried on the first frames of a few."""
    readable = {path: info for path, info in headers.items() if info is not None}
    rows, tried, sizes = 0, [], {(info.height, info.width) for info in readable.values()}
    for path, info in readable.items():
        with suppress(DataError):
            rows += len(track.frames_of(path, info)[0])
    for path in spread(list(readable), SAMPLED_VIDEOS) if track.encoding == "jpeg" else ():
        encoder = Encoder(track)
        with suppress(DataError):
            for _, frame in pick_frames(root / path, readable[path], range(SAMPLED_FRAMES)):
                tried += [sum(map(len, row.parts)) for row in encoder([frame])]
    # Videos of several sizes may share a shard, which is then stored enlarged.
    raw = track.row_bytes(*sizes.pop()) if len(sizes) == 1 else math.prod(track.row)
    return rows * (sum(tried) / len(tried) if tried else raw) / max(1, len(headers))
