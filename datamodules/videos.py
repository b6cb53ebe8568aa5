"""Videos, many of them in a few arrays, and the lists that data sets consist of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np


@dataclass(frozen=True)
class Video:
    """One labelled video.

    `path` is relative to the data root, with forward slashes. It identifies the video everywhere. `labels` are class
    indices: one, or several in Sports-1M. Videos of one `group` share an actor, a scene or a source. Training and
    validation must not share a group.
    """

    path: str
    labels: tuple[int, ...]
    group: str


class Ragged:
    """N rows of unequal lengths in two arrays.

    `values` holds the rows one after another. `starts` (N + 1,) says where each row begins and where the last one ends.
    """

    def __init__(self, values: np.ndarray, starts: np.ndarray) -> None:
        assert starts[0] == 0 and starts[-1] == len(values)
        self.values, self.starts = values, starts

    @classmethod
    def of(cls, rows: Iterable[bytes], dtype: str = "u1") -> Ragged:
        """Make it from the bytes of each row."""
        rows = list(rows)
        values = np.frombuffer(b"".join(rows), dtype)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows)) // values.itemsize
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.starts[row] : self.starts[row + 1]]

    def rows(self, chosen: np.ndarray | slice = slice(None)) -> Iterator[bytes]:
        """The bytes of every row, or of the rows at some indices or where a bool array is true."""
        size, whole = self.values.itemsize, self.values.tobytes()
        begins, ends = ((size * part[chosen]).tolist() for part in (self.starts[:-1], self.starts[1:]))
        return (whole[begin:end] for begin, end in zip(begins, ends, strict=True))

    def take(self, chosen: np.ndarray | slice) -> Ragged:
        """The rows at some indices, or where a bool array is true."""
        return Ragged.of(self.rows(chosen), self.values.dtype.str)


class VideoArray(Sequence[Video]):
    """Many videos in a few NumPy arrays. An item becomes a `Video` when it is asked for.

    A million `Video` objects take 0.3 GB in every loading process: Python writes reference counts into them, so their
    memory is not shared. These arrays take 0.07 GB once. `paths` and `groups` hold UTF-8 bytes, `labels` class indices.
    """

    def __init__(self, paths: Ragged, labels: Ragged, groups: Ragged) -> None:
        assert len(paths) == len(labels) == len(groups)
        self.paths, self.labels, self.groups = paths, labels, groups

    @classmethod
    def of(cls, videos: Sequence[Video]) -> VideoArray:
        """Make it from any videos; an array is returned as it is."""
        if isinstance(videos, cls):
            return videos
        paths, groups = (
            Ragged.of(map(encoded_path, names)) for names in ([v.path for v in videos], [v.group for v in videos])
        )
        return cls(paths, Ragged.of((np.array(v.labels, "i4").tobytes() for v in videos), "i4"), groups)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | slice | np.ndarray) -> Video | VideoArray:
        """One video, or an array of those of a slice, at some indices or where a bool array is true."""
        if isinstance(index, slice | np.ndarray):
            chosen = np.arange(len(self))[index]
            return VideoArray(*(part.take(chosen) for part in (self.paths, self.labels, self.groups)))
        index = range(len(self))[index]
        path, labels, group = self.paths[index], self.labels[index], self.groups[index]
        return Video(decoded_path(path.tobytes()), tuple(labels.tolist()), decoded_path(group.tobytes()))

    def __iter__(self) -> Iterator[Video]:
        labels, starts = self.labels.values.tolist(), self.labels.starts.tolist()
        for number, (path, group) in enumerate(zip(self.paths.rows(), self.groups.rows(), strict=True)):
            yield Video(decoded_path(path), tuple(labels[starts[number] : starts[number + 1]]), decoded_path(group))


def encoded_path(path: str) -> bytes:
    """A path as bytes. File names on disk need not be UTF-8."""
    return path.encode("utf-8", "surrogateescape")


def decoded_path(name: bytes) -> str:
    """The path that `encoded_path` encoded."""
    return name.decode("utf-8", "surrogateescape")


def select(videos: Sequence[Video], keep: np.ndarray) -> Sequence[Video]:
    """The videos where `keep`, (N,) bool, is true. An array gives an array, any other sequence a list."""
    if not isinstance(videos, VideoArray):
        return list(compress(videos, keep))
    return videos if keep.all() else videos[keep]


def label_sets(owners: np.ndarray, labels: np.ndarray, num_owners: int) -> Ragged:
    """The labels of each owner, sorted and without repeats, from pairs (P,), (P,) in any order."""
    pairs = np.unique(owners.astype(np.int64) << 32 | labels)
    return Ragged((pairs & (2**32 - 1)).astype(np.int32), np.searchsorted(pairs >> 32, np.arange(num_owners + 1)))


@dataclass
class Listing:
    """What the official files say, before any of it is compared with the disk.

    splits:     (train, test) videos by the number of the split
    unused:     listed files of no split; the frame store holds them too
    families:   class names by family of classes
    validation: videos by the number of the split, where the data set itself holds some out
    rates:      frames per second by path, of videos that do not say them
    notes:      facts that a reader of the results should know
    """

    classes: Sequence[str]
    splits: Mapping[int, tuple[list[Video], list[Video]]]
    unused: Sequence[str] = ()
    families: Mapping[str, Sequence[str]] = field(default_factory=dict)
    validation: Mapping[int, list[Video]] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def sides(self, number: int) -> dict[str, list[Video]]:
        """The videos of one split: `train`, `test` and, if the data set has its own, `validation`."""
        train, test = self.splits[number]
        own = self.validation.get(number)
        return {"train": train, "test": test} | ({"validation": own} if own else {})

    def paths(self) -> set[str]:
        """All listed paths."""
        videos = [videos for number in self.splits for videos in self.sides(number).values()]
        return {video.path for side in videos for video in side} | set(self.unused)


@dataclass
class Split:
    """The training and test videos of one split, all of which are on disk.

    files:      every file that the frame store of the data set holds, over all splits, so one store serves them all
    families:   class names by family; accuracy is also reported per family
    chance:     accuracy of a guess within a family, where it is not 1 / classes
    notes:      facts that a reader of the results should know
    listed:     for `train` and `test`, how many videos of each class the official lists name, (C,), where some of
                them may be missing
    validation: videos that the data set itself holds out for validation
    rates:      frames per second by path, of videos that do not say them
    """

    classes: tuple[str, ...]
    train: Sequence[Video]
    test: Sequence[Video]
    files: Sequence[str]
    families: dict[str, tuple[str, ...]] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    listed: dict[str, tuple[int, ...]] = field(default_factory=dict)
    validation: Sequence[Video] = ()
    rates: dict[str, float] = field(default_factory=dict)
