"""Frame store: decode every video once, memory-map it ever after. This file reads it, `building.py` builds it.

    <stores>/<name>-<key>/rgb-36x36/00012.npy             uint8 (rows, H, W, 3): the frames of 16 videos
                                    00012.json            which rows are whose, and what each video is
                                    index.npy  shards.npy what the .json of all shards say, to be memory-mapped
                          rgb-36x36-jpeg95/00012.jpegs    the same as JPEG files, one after another
                                           00012.offsets.npy  int64: where each begins, and the end of the last
                          flow-36x36-dis-medium-b4/00012.npy        uint8 (rows, H, W, 2), see flow.quantise
                                                   00012.means.npy  float32 (rows, 2)
                          flow-36x36-dis-medium-field/00012.ranges.npy   float32 (rows, 2, 2), see flow.quantise_field
                          backward_flow-36x36-dis-medium-b4/        the same of backward flow
                          listing                         a digest of the videos' sizes and times, see `listing_of`
                          lock                            empty; see `building.claim`

A shard counts only once its .json is there, and that is written last; the index is derived from the shards and counts
only while their files have the sizes that it says. So whatever stops a build, what remains is whole shards, and shards
made in different places can be copied together. No file names a place: a store can be moved.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np

from datamodules.decode import DecodeError, VideoInfo, is_truncated
from datamodules.flow import FlowConfig, dequantise_field
from datamodules.lists import DataError

FORMAT = 2  # of the files in a store; part of its key
SHARD = 16  # videos per shard: the unit of work, and all that a killed build loses per worker; part of the format
INDEX = "index.npy"
SHARDS = "shards.npy"
LISTING = "listing"


@dataclass(frozen=True)
class Sample:
    """A part of each video: at most `clips` pieces of `seconds` each, which `seed` and the video's path choose.

    From a piece's first frame to its last one it is `seconds`, to the nearest frame: half a second at 30 frames per
    second is 16 frames, of which the first and the last are late fusion's two (Karpathy et al. 2014, section 3). So a
    clip of `seconds` fits into a piece at any frame rate if `sampling.fps` sets its own. Pieces do not overlap, and all
    ways of placing them are equally likely. A video that is too short for so many has as many as fit, and one shorter
    than a piece is a single piece. Karpathy et al. (section 4.1) take at most 100 half-second clips of each video.
    """

    clips: int
    seconds: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clips < 1 or not 0 < self.seconds < float("inf"):
            raise DataError(
                f"data.clips_per_video={self.clips}, data.clip_seconds={self.seconds}: expected 1 clip or more of "
                "above 0 s, or data.clips_per_video=0 for whole videos"
            )

    def pieces(self, path: str, num_frames: int, fps: float) -> tuple[np.ndarray, int]:
        """First frames of a video's pieces, in order, and the frames in each, all equally many."""
        length = min(int(self.seconds * fps + 0.5) + 1, num_frames)
        count = min(self.clips, num_frames // length)
        # Each piece shrunk to one frame, any choice of frames is possible; then they are given their length back. Drawn
        # from a hash, because the streams of NumPy's generators may change from version to version.
        places = num_frames - count * (length - 1)
        draws = hashlib.shake_256(f"{self.seed} ".encode() + _encoded(path)).digest(8 * places)
        starts = np.sort(np.argsort(np.frombuffer(draws, "<u8"), kind="stable")[:count])
        return starts + (length - 1) * np.arange(count), length


@dataclass(frozen=True)
class Track:
    """One kind of array in a store: RGB frames, or the flow between them where `flow` is given, forward or backward.

    Row i of flow leads from frame i to frame i + 1, of backward flow from frame i + 1 to frame i.

    encoding, quality: rows are stored `raw`, or as `jpeg` of this quality, 1 to 100
    fps:    of the stored frames: frame i is that of the video nearest to the time i / fps (None: the video's own)
    sample: which part of each video is stored (None: all of it)
    """

    height: int
    width: int
    flow: FlowConfig | None = None
    backward: bool = False
    encoding: str = "raw"
    quality: int = 95
    fps: float | None = None
    sample: Sample | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise DataError(f"data.quality={self.quality}: expected a JPEG quality of 1 to 100")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise DataError(f"data.store_fps={self.fps}: expected a number of frames per second above 0")

    @property
    def kind(self) -> str:
        """`rgb`, `flow` or `backward_flow`."""
        if self.flow is None:
            return "rgb"
        return "backward_flow" if self.backward else "flow"

    @property
    def name(self) -> str:
        """Its folder: everything that changes its content."""
        parts = [self.kind, f"{self.height}x{self.width}"]
        if self.flow is not None:
            parts += [self.flow.method, *([self.flow.preset] if self.flow.method == "dis" else [])]
            parts.append("field" if self.flow.range == "field" else f"b{self.flow.bound:g}")
        if self.encoding == "jpeg":
            parts.append(f"jpeg{self.quality}")
        if self.fps is not None:
            parts.append(f"{self.fps:.9g}fps")
        if self.sample is not None:
            parts.append(f"{self.sample.clips}x{self.sample.seconds:.9g}s-seed{self.sample.seed}")
        return "-".join(parts)

    @property
    def row(self) -> tuple[int, int, int]:
        """The shape of one row of its arrays: a frame or a field."""
        return self.height, self.width, 3 if self.flow is None else 2

    @property
    def pictures(self) -> int:
        """JPEG files per row: one in colour, or one in grey for each component of a field."""
        return 1 if self.flow is None else 2

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How the names of a shard's files end: first the rows, last what says that the shard is whole."""
        rows = (".jpegs", ".offsets.npy") if self.encoding == "jpeg" else (".npy",)
        means = (".means.npy",) if self.flow is not None else ()
        ranges = (".ranges.npy",) if self.flow is not None and self.flow.range == "field" else ()
        return (*rows, *means, *ranges, ".json")

    @property
    def settings(self) -> dict:
        """What a record says of it."""
        said: dict = {"height": self.height, "width": self.width}
        if self.flow is not None:
            said["flow"] = asdict(self.flow)
        if self.encoding == "jpeg":
            said |= {"encoding": "jpeg", "quality": self.quality}
        if self.fps is not None:
            said["fps"] = self.fps
        if self.sample is not None:
            said["sample"] = asdict(self.sample)
        return said

    def frames_of(self, path: str, info: VideoInfo) -> tuple[np.ndarray, int]:
        """Which frames of a video are stored, in order, one perhaps several times; and how many make one piece.

        Raises DataError where that takes a frame rate and the video does not say its own.
        """
        if (self.fps is not None or self.sample is not None) and not info.fps:
            raise DataError(
                f"{path}: does not say its frame rate, which this frame store needs to choose frames; re-encode it, "
                "or set data.store_fps=null and store whole videos (data.clips_per_video=0)"
            )
        frames = np.arange(info.frames)
        if self.fps is not None:
            step = info.fps / self.fps
            frames = np.floor(np.arange(int(info.frames / step) + 2) * step + 0.5).astype(np.int64)
            frames = frames[frames < info.frames]
        if self.sample is None:
            return frames, len(frames)
        starts, length = self.sample.pieces(path, len(frames), self.fps or info.fps)
        return frames[(starts[:, None] + np.arange(length)).ravel()], length


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


class StoredVideos(Mapping[str, StoredVideo]):
    """What each file of a store is, by its path relative to the data root: a view of a track's index.

    `known_bad` gives errors of files which are then as if they had not been decoded.
    """

    def __init__(self, folder: Path, track: Track, index: Path | np.ndarray, known_bad: Mapping[str, str]) -> None:
        self._folder, self._track, self._index, self._known_bad = folder, track, index, dict(known_bad)

    @property
    def rows(self) -> np.ndarray:
        """One entry per video in the order of the paths, with the fields of `index_type`."""
        return _loaded(self._index)

    def __getitem__(self, path: str) -> StoredVideo:
        if path in self._known_bad:
            return StoredVideo(0, 0, 0.0, self._known_bad[path])
        _, frames, header_frames, fps, decoded, piece, shard, _, _ = _entry(self.rows, path)
        error = None if frames else self._error(path, shard)
        return StoredVideo(frames, header_frames, fps, error, None if decoded == frames else decoded, piece or None)

    def _error(self, path: str, shard: int) -> str:
        said = _read_json(_shard_file(self._folder, self._track, shard, ".json"))
        return next(entry["error"] for entry in said["videos"] if entry["path"] == path)

    def __iter__(self) -> Iterator[str]:
        return (path.decode("utf-8", "surrogateescape") for path in self.rows["path"])

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class FrameStore:
    """A finished store. Cheap to pickle: it holds paths and numbers; each process opens its own memory maps.

    tracks:       those that it was opened with, by kind
    indices:      of each track's videos, see `index_type`: a file, or the array where the store cannot be written to
    flow_seconds: CPU seconds that computing the flow took when it was built, 0 without flow
    videos:       what each file is, by its path relative to the data root
    """

    folder: Path
    tracks: dict[str, Track]
    indices: dict[str, Path | np.ndarray]
    flow_seconds: float
    known_bad: Mapping[str, str] = field(default_factory=dict)
    videos: Mapping[str, StoredVideo] = field(init=False)

    def __post_init__(self) -> None:
        kind = next(iter(self.tracks))
        self.videos = StoredVideos(self.folder, self.tracks[kind], self.indices[kind], self.known_bad)

    @property
    def settings(self) -> dict:
        """The tracks' settings by kind, for the record."""
        return {kind: track.settings for kind, track in self.tracks.items()}

    def rgb(self, path: str) -> np.ndarray | Jpegs:
        """All frames of a video, uint8 (n, H, W, 3), to be indexed. Raises DecodeError if there are none.

        Raw ones are a read-only view of a memory map; of JPEG only what is asked for is decoded.
        """
        return self._rows(*self._find("rgb", path))

    def flow(self, path: str, backward: bool = False) -> tuple[np.ndarray | Jpegs | Fields, np.ndarray]:
        """Flow of a video: fields (n, H, W, 2), to be indexed; and their means.

        Field i is the motion from frame i to frame i + 1, or with `backward` from frame i + 1 to frame i. They are
        uint8, see `flow.dequantise`; or those stored each in its own range float32, in pixels of the stored frame.
        There are as many as frames less one, but one, without motion, for a single frame; so in each piece where a
        sample is stored.

        The means, float32 (n, 2), are the mean displacement (x, y) of each whole field before it was quantised, in
        pixels of the stored frame: what mean subtraction (Simonyan & Zisserman, NIPS 2014, sec. 3.1) needs.
        """
        track, shard, start, count = self._find("backward_flow" if backward else "flow", path)
        fields, here = self._rows(track, shard, start, count), slice(start, start + count)
        if track.flow is not None and track.flow.range == "field":
            fields = Fields(fields, self._array(track, shard, ".ranges.npy")[here])
        return fields, self._array(track, shard, ".means.npy")[here]

    def _find(self, kind: str, path: str) -> tuple[Track, int, int, int]:
        """A track; the shard that has its rows of a video, the first of them, and their number."""
        assert kind in self.tracks, f"the store was opened without {kind}"
        _, frames, _, _, _, _, shard, start, rows = _entry(_loaded(self.indices[kind]), path)
        if not frames or path in self.known_bad:
            raise DecodeError(self.videos[path].error)
        return self.tracks[kind], shard, start, rows

    def _rows(self, track: Track, shard: int, start: int, count: int) -> np.ndarray | Jpegs:
        if track.encoding == "raw":
            return self._array(track, shard, ".npy")[start : start + count]
        begin, end = start * track.pictures, (start + count) * track.pictures
        offsets = self._array(track, shard, ".offsets.npy")[begin : end + 1]
        return Jpegs(_shard_file(self.folder, track, shard, ".jpegs"), offsets, track.row)

    def _array(self, track: Track, shard: int, suffix: str) -> np.ndarray:
        return _memory_map(_shard_file(self.folder, track, shard, suffix))


class Jpegs:
    """Rows stored as JPEG: like a read-only array uint8 (n, H, W, C), of which an index decodes the rows it names.

    `offsets` in the file: where each JPEG begins, and the end of the last; a row has one of three colours, or two of
    one.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, file: Path, offsets: np.ndarray, row: tuple[int, int, int]) -> None:
        self._file, self._offsets, self._pictures = file, offsets, 1 if row[2] == 3 else 2
        self.shape = ((len(offsets) - 1) // self._pictures, *row)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice | np.ndarray | tuple) -> np.ndarray:
        """`key`: as of an array; where it is a tuple, its first entry names the rows and the others slice each."""
        chosen, *window = key if isinstance(key, tuple) else (key,)
        numbers = np.arange(len(self))[chosen]
        decode = cache(lambda number: self._decode(number)[tuple(window)])  # a clip may repeat frames
        if numbers.ndim == 0:
            return decode(int(numbers))
        if not numbers.size:
            return np.empty((0, *self.shape[1:]), np.uint8)[(slice(None), *window)]
        return np.stack([decode(number) for number in numbers.tolist()])

    def _decode(self, number: int) -> np.ndarray:
        first = number * self._pictures
        if self._pictures == 1:
            return self._picture(first, cv2.IMREAD_COLOR_RGB)
        return np.stack([self._picture(first + part, cv2.IMREAD_GRAYSCALE) for part in range(2)], axis=-1)

    def _picture(self, number: int, mode: int) -> np.ndarray:
        data = _memory_map(self._file)[self._offsets[number] : self._offsets[number + 1]]
        picture = cv2.imdecode(data, mode) if data.size else None
        if picture is None or picture.shape[:2] != self.shape[1:3]:
            raise DataError(
                f"{self._file}: the JPEG at byte {self._offsets[number]} is damaged; delete this file to build it again"
            )
        return picture


class Fields:
    """Flow stored in each field's own range: like a read-only array float32 (n, H, W, 2) of displacements in pixels."""

    dtype = np.dtype(np.float32)

    def __init__(self, stored: np.ndarray | Jpegs, ranges: np.ndarray) -> None:
        self._stored, self._ranges, self.shape = stored, ranges, stored.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice | np.ndarray | tuple) -> np.ndarray:
        """As of `Jpegs`."""
        return dequantise_field(self._stored[key], self._ranges[key[0] if isinstance(key, tuple) else key])


@lru_cache(maxsize=256)  # each keeps a file open, and systems allow a process about 1,000
def _memory_map(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r").view(np.ndarray)  # slices of a plain array are faster to make
    return np.memmap(path, np.uint8, "r").view(np.ndarray)


def _loaded(index: Path | np.ndarray) -> np.ndarray:
    return _memory_map(index) if isinstance(index, Path) else index


def _entry(index: np.ndarray, path: str) -> tuple:
    """A video's entry. Raises KeyError."""
    paths, wanted = index["path"], _encoded(path)
    place = bisect_left(paths, wanted)
    if place == len(paths) or paths[place] != wanted:
        raise KeyError(path)
    return index[place].item()


def store_folder(root: Path, files: Sequence[str], stores: Path, name: str, listing: str | None = None) -> Path:
    """The folder of the store of these files: `<stores>/<name>-<key>`.

    The key covers each file's relative path, size, first and last 64 KB, and not where the data lies: the same data
    have the same store on every machine, and a file that changes has another. A finished store remembers its files'
    sizes and times (`listing_of`): while they stay, no file is read.
    """
    files = sorted(set(files))
    listing = listing or listing_of(root, files)
    for folder in stores.glob(f"{glob.escape(name)}-*"):
        if folder.name.rpartition("-")[0] == name and _read_text(folder / LISTING) == listing:
            return folder
    key = hashlib.sha256(f"format {FORMAT}".encode())
    for path in files:
        size, file = _size(root / path), root / path
        key.update(b"\n%s %s " % (_encoded(path), str(size).encode()))
        if size is not None:
            with file.open("rb") as stream:
                key.update(stream.read(65536))
                stream.seek(max(0, size - 65536))
                key.update(stream.read())
    return stores / f"{name}-{key.hexdigest()[:8]}"


def listing_of(root: Path, files: Sequence[str]) -> str:
    """A digest of the files' paths, sizes and times of change, which no program can set back."""
    digest = hashlib.sha256(f"format {FORMAT}".encode())
    for path in files:
        try:
            found = os.stat(root / path)
            known = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        except OSError:
            known = "absent"
        digest.update(b"\n%s %s" % (_encoded(path), known.encode()))
    return digest.hexdigest()


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")  # a name on disk need not be UTF-8


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
        said = _read_json(_shard_file(folder, track, number, ".json"))
        whole = _shard_file(folder, track, number, track.suffixes[0]).stat().st_size == said["bytes"]
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
                _encoded(entry["path"]), entry["frames"], entry["header_frames"], entry["fps"], decoded,
                entry.get("piece", 0), number, start, entry["rows"],
            ))  # fmt: skip
            start += entry["rows"]
        sizes = [_shard_file(folder, track, number, suffix).stat().st_size for suffix in track.suffixes]
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


def open_store(
    folder: Path, num_videos: int, tracks: Sequence[Track], known_bad: Mapping[str, str] | None = None
) -> FrameStore:
    """Open a store of so many videos with these tracks, one of each kind at most.

    `known_bad` gives an error for each file that is not to be used, though it may be stored. Raises DataError where
    shards are missing, or the tracks are not those of the same videos.
    """
    assert len({track.kind for track in tracks}) == len(tracks) > 0, "one track of each kind at most"
    indices: dict[str, Path | np.ndarray] = {}
    flow_seconds = 0.0
    for track in tracks:
        index: Path | np.ndarray = folder / track.name / INDEX
        shards = read_shards(folder, track)
        if shards is None:  # a store of old on a disk that cannot be written to
            merged = merge_shards(folder, track, num_videos)
            if merged is None:
                raise DataError(f"{folder / track.name}: shards are missing; build it again, which makes only these")
            index, shards = merged
        indices[track.kind] = index
        flow_seconds += float(shards["flow_seconds"].sum())
    store = FrameStore(folder, {track.kind: track for track in tracks}, indices, flow_seconds, known_bad or {})
    _check_agreement(store)
    return store


def _check_agreement(store: FrameStore) -> None:
    first, *others = map(_loaded, store.indices.values())
    for other in others:
        for name in ("path", "frames", "header_frames", "fps", "decoded", "piece"):
            if len(first) != len(other) or (differ := first[name] != other[name]).any():
                path = first["path"][differ.argmax()].decode() if len(first) == len(other) else "which videos there are"
                raise DataError(f"{store.folder}: its tracks disagree on {path}; delete this folder to build it again")


def _shard_file(folder: Path, track: Track, number: int, suffix: str) -> Path:
    return folder / track.name / f"{number:05d}{suffix}"


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
