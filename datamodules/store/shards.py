"""The files of a track: shards of 16 videos, and the index that is merged from them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datamodules.decode.info import is_truncated
from datamodules.store.tracks import Track
from datamodules.videos import encoded_path

FORMAT = 2  # of the files in a store; part of its key
SHARD = 16  # videos per shard: the unit of work, and all that a killed build loses per worker; part of the format
INDEX = "index.npy"
SHARDS = "shards.npy"


@dataclass(frozen=True)
class StoredVideo:
    """One video of a store; `error` says why it has no frame, None for a video that decodes.

    frames:        stored, 0 where there is an error
    header_frames: that the file's header promises, 0 where it does not say
    fps:           frames per second of the stored frames, 0 where the file does not say
    decoded:       frames of the file that decode, where that is not the number stored
    piece:         frames of each of the pieces that the stored frames fall into, where a sample is stored
    """

    frames: int
    header_frames: int
    fps: float
    error: str | None = field(default=None, compare=False)
    decoded: int | None = None
    piece: int | None = None

    @property
    def truncated(self) -> bool:
        """Whether it decodes, but to clearly fewer frames than its header promises."""
        return self.frames > 0 and is_truncated(self.decoded or self.frames, self.header_frames)

    def damage(self, path: str) -> str | None:
        """What is wrong with it in one line that names the file; None for a whole video."""
        if self.truncated:
            decoded = self.decoded or self.frames
            return f"{path}: {decoded} frames decode of {self.header_frames} that its header promises"
        return self.error


# The index of a track.


def index_type(longest_path: int) -> np.dtype:
    """A video's entry in the index: the fields of `StoredVideo`, and where its rows are.

    path:    relative to the data root, UTF-8
    decoded: number of the file's frames that decode
    piece:   0 where whole videos are stored
    shard:   number of the shard that has it; start, rows: the first of its rows there, and how many
    """
    numbers = [(name, "<i8") for name in ("decoded", "piece", "shard", "start", "rows")]
    path = ("path", f"S{max(longest_path, 1)}")
    return np.dtype([path, ("frames", "<i8"), ("header_frames", "<i8"), ("fps", "<f8"), *numbers])


def read_shard(folder: Path, track: Track, number: int) -> dict | None:
    """What a shard's .json says; None where the shard is missing or not whole (a power cut can leave it so)."""
    try:
        said = read_json(shard_file(folder, track, number, ".json"))
        whole = shard_file(folder, track, number, track.suffixes[0]).stat().st_size == said["bytes"]
        return said if whole else None
    except (OSError, json.JSONDecodeError):
        return None


def merge_shards(folder: Path, track: Track, num_videos: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The index of a track, and the size of each shard's files with the seconds that its flow took; None where a shard
    is missing."""
    entries, shards = [], []
    for number in range(-(-num_videos // SHARD)):
        said, start = read_shard(folder, track, number), 0
        if said is None:
            return None
        for entry in said["videos"]:
            decoded = entry.get("decoded", entry["frames"])
            entries.append((
                encoded_path(entry["path"]), entry["frames"], entry["header_frames"], entry["fps"], decoded,
                entry.get("piece", 0), number, start, entry["rows"],
            ))  # fmt: skip
            start += entry["rows"]
        sizes = [shard_file(folder, track, number, suffix).stat().st_size for suffix in track.suffixes]
        shards.append((sizes, said["flow_seconds"]))
    entries.sort()
    index = np.array(entries, index_type(max(len(entry[0]) for entry in entries)))
    return index, np.array(shards, [("bytes", "<i8", (len(track.suffixes),)), ("flow_seconds", "<f8")])


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


def shard_file(folder: Path, track: Track, number: int, suffix: str) -> Path:
    """One file of a shard."""
    return folder / track.name / f"{number:05d}{suffix}"


def read_json(path: Path) -> dict:
    """The content of a JSON file."""
    return json.loads(path.read_text("utf-8"))
