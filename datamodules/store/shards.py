"""The files of a track: shards of 16 videos, and the index that is merged from them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datamodules.clips import Rate, Timeline
from datamodules.decode.damage import is_damaged, is_truncated
from datamodules.files import file_digest
from datamodules.store.tracks import Track
from datamodules.videos import encoded_path

FORMAT = 3  # of the files in a store; part of its key
SHARD = 16  # videos per shard: the unit of work, and all that a killed build loses per worker; part of the format
INDEX = "index.npy"
SHARDS = "shards.npy"
SUMS = ".sha256"  # suffix of a shard's checksums


@dataclass(frozen=True)
class StoredVideo:
    """One video of a store; `error` says why it has no frame, None for a video that decodes.

    frames:        stored, 0 where there is an error
    header_frames: that the file's header promises, 0 where it does not say
    fps:           frames per second of the stored frames, 0 where the file does not say; on average if that varies
    decoded:       frames of the file that decode, where that is not the number stored
    piece:         frames of each of the pieces that the stored frames fall into, where a sample is stored
    corrupt:       frames of the file that the decoder marks as damaged
    drift:         the largest difference between a frame's time in the file and its number / fps, in seconds
    times:         of stored frames whose rate varies: the seconds at which each is shown, (frames,)
    """

    frames: int
    header_frames: int
    fps: float
    error: str | None = field(default=None, compare=False)
    decoded: int | None = None
    piece: int | None = None
    corrupt: int = 0
    drift: float = 0.0
    times: np.ndarray | None = field(default=None, compare=False)

    @property
    def rate(self) -> Rate:
        """What clips follow: the frames' own times where the rate varies, else frames per second."""
        return self.fps if self.times is None else Timeline(self.times)

    @property
    def last_second(self) -> float:
        """When the last stored frame is shown; its number if the file does not say its frame rate."""
        return (self.frames - 1) / (self.fps or 1) if self.times is None else float(self.times[-1])

    @property
    def truncated(self) -> bool:
        """Whether it decodes, but to clearly fewer frames than its header promises."""
        return self.frames > 0 and is_truncated(self.decoded or self.frames, self.header_frames)

    @property
    def damaged(self) -> bool:
        """Whether it decodes, but the decoder made up a part of half of the frames or more."""
        return self.frames > 0 and is_damaged(self.decoded or self.frames, self.corrupt)

    def damage(self, path: str) -> str | None:
        """What is wrong with it in one line that names the file; None for a whole video."""
        decoded = self.decoded or self.frames
        if self.truncated:
            return f"{path}: {decoded} frames decode of {self.header_frames} that its header promises"
        if self.damaged:
            return f"{path}: {self.corrupt} of {decoded} frames are damaged"
        return self.error

    def as_json(self) -> dict:
        """What a shard's .json says of it."""
        said = {"frames": self.frames, "header_frames": self.header_frames, "fps": self.fps, "error": self.error}
        more = {name: getattr(self, name) for name in ("decoded", "piece", "corrupt", "drift")}
        said |= {name: value for name, value in more.items() if value}
        return said if self.times is None else said | {"times": self.times.round(6).tolist()}


# The index of a track.


def index_type(longest_path: int) -> np.dtype:
    """A video's entry in the index: the fields of `StoredVideo`, and where its rows are.

    path:    relative to the data root, UTF-8
    decoded: number of the file's frames that decode
    piece:   0 where whole videos are stored
    shard:   number of the shard that has it; start, rows: the first of its rows there, and how many
    """
    numbers = [(name, "<i8") for name in ("decoded", "piece", "corrupt", "shard", "start", "rows")]
    path = ("path", f"S{max(longest_path, 1)}")
    return np.dtype(
        [path, ("frames", "<i8"), ("header_frames", "<i8"), ("fps", "<f8"), ("drift", "<f8"), ("timed", "?"), *numbers]
    )


def read_shard(folder: Path, track: Track, number: int) -> dict | None:
    """What a shard's .json says; None where the shard is missing or not whole (a power cut can leave it so)."""
    try:
        said = json.loads(shard_file(folder, track, number, ".json").read_text("utf-8"))
        whole = shard_file(folder, track, number, track.suffixes[0]).stat().st_size == said["bytes"]
        return said if whole else None
    except (OSError, json.JSONDecodeError):
        return None


def merge_shards(folder: Path, track: Track, num_videos: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The index of a track and a summary of its shards; None where a shard is missing.

    The summary holds the size of each shard's files, the seconds that its flow took, and what versions built it.
    """
    entries, shards = [], []
    for number in range(-(-num_videos // SHARD)):
        said, start = read_shard(folder, track, number), 0
        if said is None:
            return None
        for entry in said["videos"]:
            entries.append((
                encoded_path(entry["path"]), entry["frames"], entry["header_frames"], entry["fps"],
                entry.get("drift", 0.0), "times" in entry, entry.get("decoded", entry["frames"]), entry.get("piece", 0),
                entry.get("corrupt", 0), number, start, entry["rows"],
            ))  # fmt: skip
            start += entry["rows"]
        sizes = [shard_file(folder, track, number, suffix).stat().st_size for suffix in track.suffixes]
        shards.append((sizes, said["flow_seconds"], said["versions"].encode()))
    entries.sort()
    index = np.array(entries, index_type(max(len(entry[0]) for entry in entries)))
    versions = ("versions", f"S{max(len(shard[2]) for shard in shards)}")
    return index, np.array(shards, [("bytes", "<i8", (len(track.suffixes),)), ("flow_seconds", "<f8"), versions])


def read_shards(folder: Path, track: Track) -> np.ndarray | None:
    """What the merged index says of a track's shards; None where there is none, or where it is not what lies there."""
    place = folder / track.name
    try:
        shards = np.load(place / SHARDS)
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(place)}
        for number, expected in enumerate(shards["bytes"].tolist()):
            if [sizes.get(f"{number:05d}{suffix}") for suffix in track.suffixes] != expected:
                return None
        return shards if np.load(place / INDEX, mmap_mode="r").dtype.names == index_type(1).names else None
    except (OSError, EOFError, ValueError, IndexError):
        return None


def damaged_files(folder: Path, track: Track, number: int) -> list[Path]:
    """The files of a shard that differ from their checksums, which were written with them.

    They lie beside the shard as `sha256sum` writes and checks them.
    """
    sums = shard_file(folder, track, number, SUMS)
    try:
        known = dict(reversed(line.split("  ", 1)) for line in sums.read_text().splitlines())
    except (OSError, ValueError):
        return [sums]
    files = [shard_file(folder, track, number, suffix) for suffix in track.suffixes]
    return [file for file in files if not file.is_file() or known.get(file.name) != file_digest(file)]


def shard_file(folder: Path, track: Track, number: int, suffix: str) -> Path:
    """One file of a shard."""
    return folder / track.name / f"{number:05d}{suffix}"
