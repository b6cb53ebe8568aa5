"""Reading a frame store, whose arrays are memory-mapped.

    <stores>/<name>-<key>/rgb-36x36/00012.npy             uint8 (rows, H, W, 3): the frames of 16 videos. Those of small
                                                          videos keep their size if all of the 16 have one, and
                                                          flow is float32 then, see `Track.keeps`.
                                    00012.json            which rows are whose; what each video is.
                                    index.npy  shards.npy what all the .json say. They are memory-mapped.
                          rgb-36x36-jpeg95/00012.jpegs    the same as JPEG files, one after another.
                                           00012.offsets.npy  int64, where each begins and the last ends.
                          flow-36x36-dis-medium-b4/00012.npy        uint8 (rows, H, W, 2), see flow.quantise.
                                                   00012.means.npy  float32 (rows, 2).
                          backward_flow-36x36-dis-medium-b4/        the same of backward flow.
                          listing                         a digest of the videos' sizes and times, see `listing_of`.
                          lock                            empty, see `jobs.claim`.

A shard counts only once its .json is there, which is written last. So whatever stops a build, whole shards remain. The
index is derived from the shards. It counts only while their files have the sizes that it says, so shards made in
different places can be copied together. No file names a place: a store can be moved.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np

from datamodules.errors import DataError, DecodeError
from datamodules.flow import quantise, resize, resize_flow
from datamodules.store.shards import INDEX, StoredVideo, read_shards
from datamodules.store.tracks import Track
from datamodules.videos import decoded_path, encoded_path


class StoredVideos(Mapping[str, StoredVideo]):
    """What each file of a store is, by its path relative to the data root: a view of the tracks' indices.

    A video that one of the tracks cannot hold counts as not decoded. So do those of `known_bad`, which gives errors.
    """

    def __init__(self, store: FrameStore) -> None:
        self._store = store

    def __getitem__(self, path: str) -> StoredVideo:
        store = self._store
        if path in store.known_bad:
            return StoredVideo(0, 0, 0.0, store.known_bad[path])
        for kind in store.tracks:
            found, said = _entry(store.index(kind), path), {}
            if found["timed"] or not found["frames"]:  # the index has neither times nor errors
                said = _said(store.file(kind, found["shard"], ".json"))[path]
            if not found["frames"]:
                return StoredVideo(0, 0, 0.0, said["error"])
        names = ("frames", "header_frames", "corrupt", "drift")
        return StoredVideo(
            fps=found["fps"] or store.rates.get(path, 0.0),
            **{name: found[name] for name in names},
            decoded=None if found["decoded"] == found["frames"] else found["decoded"],
            piece=found["piece"] or None,
            times=np.array(said["times"]) if found["timed"] else None,
        )

    def __iter__(self) -> Iterator[str]:
        return (decoded_path(path) for path in self._store.index(next(iter(self._store.tracks)))["path"])

    def __len__(self) -> int:
        return len(self._store.index(next(iter(self._store.tracks))))


@dataclass
class FrameStore:
    """A finished store. Cheap to pickle: it holds paths and numbers; each process opens its own memory maps.

    tracks:       those that it was opened with, by kind
    flow_seconds: CPU seconds that computing the flow took when it was built, 0 without flow
    versions:     of the libraries that built the tracks; several where shards were built by several
    rates:        frames per second of videos that do not say them, by path
    videos:       what each file is, by its path relative to the data root
    """

    folder: Path
    tracks: dict[str, Track]
    flow_seconds: float
    versions: tuple[str, ...] = ()
    known_bad: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    videos: Mapping[str, StoredVideo] = field(init=False)

    def __post_init__(self) -> None:
        self.videos = StoredVideos(self)
        # As text: to join paths would take longer than to cut a small clip.
        self._places = {kind: str(self.folder / track.name) for kind, track in self.tracks.items()}

    @property
    def settings(self) -> dict:
        """The tracks' settings by kind, for the record."""
        return {kind: track.settings for kind, track in self.tracks.items()}

    def index(self, kind: str) -> np.ndarray:
        """What a track holds of each video, sorted by path, see `index_type`."""
        return _memory_map(f"{self._places[kind]}/{INDEX}")

    def rgb(self, path: str) -> np.ndarray | LazyRows:
        """All frames of a video, uint8 (n, H, W, 3), to be indexed. Raises DecodeError if there are none.

        Raw ones are a read-only view of a memory map. Of JPEG, and of small frames, only what is asked for is made.
        """
        return self._rows("rgb", *self._find("rgb", path))

    def flow(self, path: str, backward: bool = False) -> tuple[np.ndarray | LazyRows, np.ndarray]:
        """Flow of a video: fields (n, H, W, 2), to be indexed, and their means.

        Field i is the motion from frame i to frame i + 1, or with `backward` from frame i + 1 to frame i. It is uint8,
        as `flow.quantise` gives it. There is one field less than frames, but one without motion for a single frame. The
        same holds for each piece where a sample is stored.

        The means, float32 (n, 2), are the mean displacement (x, y) of each whole field before it was quantised, in
        pixels of the stored frame. Mean subtraction needs them (Simonyan & Zisserman, NIPS 2014, section 3.1).
        """
        kind = "backward_flow" if backward else "flow"
        shard, start, count = self._find(kind, path)
        means = _memory_map(self.file(kind, shard, ".means.npy"))
        return self._rows(kind, shard, start, count), means[start : start + count]

    def file(self, kind: str, shard: int, suffix: str) -> str:
        """One file of a shard of a track."""
        return f"{self._places[kind]}/{shard:05d}{suffix}"

    def _find(self, kind: str, path: str) -> tuple[int, int, int]:
        """The shard that has a track's rows of a video, the first of them, and their number."""
        assert kind in self.tracks, f"the store was opened without {kind}"
        found = _entry(self.index(kind), path)
        if not found["frames"] or path in self.known_bad:
            raise DecodeError(self.videos[path].error)
        return found["shard"], found["start"], found["rows"]

    def _rows(self, kind: str, shard: int, start: int, count: int) -> np.ndarray | LazyRows:
        track = self.tracks[kind]
        if track.encoding == "raw":
            rows = _memory_map(self.file(kind, shard, ".npy"))[start : start + count]
            return rows if rows.shape[1:] == track.row else Enlarged(rows, track)
        begin, end = start * track.pictures, (start + count) * track.pictures
        offsets = _memory_map(self.file(kind, shard, ".offsets.npy"))[begin : end + 1]
        return Jpegs(self.file(kind, shard, ".jpegs"), offsets, track.row)


class LazyRows:
    """Like a read-only array uint8 (n, H, W, C), of which an index makes the rows it names."""

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.shape = shape

    def _row(self, number: int) -> np.ndarray:
        """Make one row, uint8 (H, W, C). Each kind of rows defines it."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice | np.ndarray | tuple) -> np.ndarray:
        """`key`: as of an array; where it is a tuple, its first entry names the rows and the others slice each."""
        chosen, *window = key if isinstance(key, tuple) else (key,)
        numbers = np.arange(len(self))[chosen]
        row = cache(lambda number: self._row(number)[tuple(window)])  # a clip may repeat frames
        if numbers.ndim == 0:
            return row(int(numbers))
        if not numbers.size:
            return np.empty((0, *self.shape[1:]), np.uint8)[(slice(None), *window)]
        return np.stack([row(number) for number in numbers.tolist()])


class Enlarged(LazyRows):
    """Raw rows of a small video, stored as they are: frames uint8 (n, h, w, 3), or fields float32 (n, h, w, 2)."""

    def __init__(self, rows: np.ndarray, track: Track) -> None:
        super().__init__((len(rows), *track.row))
        self._rows, self._flow = rows, track.flow

    def _row(self, number: int) -> np.ndarray:
        _, height, width, _ = self.shape
        if self._flow is None:
            return resize(self._rows[number], height, width)
        return quantise(resize_flow(self._rows[number], height, width), self._flow.bound)


class Jpegs(LazyRows):
    """Rows stored as JPEG, in colour, or two in grey for a field.

    `offsets` in the file: where each JPEG begins, and the end of the last.
    """

    def __init__(self, file: str, offsets: np.ndarray, row: tuple[int, int, int]) -> None:
        self._file, self._offsets, self._pictures = file, offsets, 1 if row[2] == 3 else 2
        super().__init__(((len(offsets) - 1) // self._pictures, *row))

    def _row(self, number: int) -> np.ndarray:
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


@lru_cache(maxsize=256)  # each keeps a file open, and systems allow a process about 1,000
def _memory_map(path: str) -> np.ndarray:
    if path.endswith(".npy"):
        return np.load(path, mmap_mode="r").view(np.ndarray)  # slices of a plain array are faster to make
    return np.memmap(path, np.uint8, "r").view(np.ndarray)


@lru_cache(maxsize=64)
def _said(file: str) -> dict[str, dict]:
    """What a shard's .json says of its videos, by path."""
    return {entry["path"]: entry for entry in json.loads(Path(file).read_text("utf-8"))["videos"]}


def _entry(index: np.ndarray, path: str) -> dict:
    """A video's entry, with the fields of `index_type`. Raises KeyError."""
    paths, wanted = index["path"], encoded_path(path)
    place = bisect_left(paths, wanted)
    if place == len(paths) or paths[place] != wanted:
        raise KeyError(path)
    return dict(zip(index.dtype.names, index[place].item(), strict=True))


def open_store(folder: Path, tracks: Sequence[Track], known_bad: Mapping[str, str] | None = None) -> FrameStore:
    """Open a store with these tracks, one of each kind at most.

    `known_bad` gives an error for each file that is not to be used, though it may be stored. Raises DataError where
    shards are missing, or the tracks are not those of the same videos.
    """
    assert len({track.kind for track in tracks}) == len(tracks) > 0, "one track of each kind at most"
    flow_seconds, versions = 0.0, set()
    for track in tracks:
        shards = read_shards(folder, track)
        if shards is None:
            raise DataError(f"{folder / track.name}: shards are missing; build it again, which makes only these")
        flow_seconds += float(shards["flow_seconds"].sum())
        versions |= {said.decode() for said in shards["versions"].tolist()}
    kinds = {track.kind: track for track in tracks}
    store = FrameStore(folder, kinds, flow_seconds, tuple(sorted(versions)), known_bad or {})
    _check_agreement(store)
    return store


def _check_agreement(store: FrameStore) -> None:
    """Raise DataError unless all tracks hold the same videos, but for those that one of them cannot hold."""
    first, *others = map(store.index, store.tracks)
    for other in others:
        path = "which videos there are" if len(first) != len(other) else ""
        for name in ("path", "frames", "header_frames", "fps", "decoded", "piece", "drift") if not path else ():
            differ = (first[name] != other[name]) & (first["frames"] > 0) & (other["frames"] > 0)
            path = path or (decoded_path(first["path"][differ.argmax()]) if differ.any() else "")
        if path:
            raise DataError(f"{store.folder}: its tracks disagree on {path}; delete this folder to build it again")
