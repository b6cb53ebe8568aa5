"""What a data set is to the rest of the suite: two lists of labelled videos, read from official files."""

from __future__ import annotations

import csv
import errno
import os
import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from itertools import compress, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Optional

import numpy as np

from datamodules.flow import FlowConfig

if TYPE_CHECKING:
    from datamodules.store import Sample, StoredVideo


class DataError(ValueError):
    """Something is wrong with the data on disk or its settings; the message says what, where and what to do."""


@dataclass(frozen=True)
class Video:
    """One labelled video.

    `path` is relative to the data root, with forward slashes, and is the video's identity everywhere. `labels` are
    class indices (one, or several for Sports-1M). Videos of one `group` share actor, scene or source and must not
    be split between training and validation.
    """

    path: str
    labels: tuple[int, ...]
    group: str


class Ragged:
    """N rows of unequal lengths in two arrays: `values`, one row after the other, and `starts` (N + 1,), where each
    begins and the last one ends."""

    def __init__(self, values: np.ndarray, starts: np.ndarray) -> None:
        assert starts[0] == 0 and starts[-1] == len(values)
        self.values, self.starts = values, starts

    @classmethod
    def of(cls, rows: Iterable[bytes], dtype: str = "u1") -> Ragged:
        """Of the bytes of each row."""
        rows = list(rows)
        values = np.frombuffer(b"".join(rows), dtype)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows)) // values.itemsize
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.starts[row] : self.starts[row + 1]]

    def rows(self, chosen: np.ndarray | slice = slice(None)) -> Iterator[bytes]:
        """The bytes of all rows, or of those at some indices or where an array of bools is true, in their order."""
        size, whole = self.values.itemsize, self.values.tobytes()
        begins, ends = ((size * part[chosen]).tolist() for part in (self.starts[:-1], self.starts[1:]))
        return (whole[begin:end] for begin, end in zip(begins, ends, strict=True))

    def take(self, chosen: np.ndarray | slice) -> Ragged:
        """The rows at some indices or where an array of bools is true, in their order."""
        return Ragged.of(self.rows(chosen), self.values.dtype.str)


class VideoArray(Sequence[Video]):
    """Many videos in a few NumPy arrays, of which one becomes a `Video` when it is asked for.

    A million `Video`s take 0.3 GB, and as much again in every process that loads clips: what a process reads of them it
    also writes to, since Python counts references in the objects themselves. Arrays, of 0.07 GB, stay shared.
    `paths` and `groups` hold UTF-8 bytes, `labels` class indices.
    """

    def __init__(self, paths: Ragged, labels: Ragged, groups: Ragged) -> None:
        assert len(paths) == len(labels) == len(groups)
        self.paths, self.labels, self.groups = paths, labels, groups

    @classmethod
    def of(cls, videos: Sequence[Video]) -> VideoArray:
        """Of any videos; of an array itself."""
        if isinstance(videos, cls):
            return videos
        paths, groups = (
            Ragged.of(map(os.fsencode, names)) for names in ([v.path for v in videos], [v.group for v in videos])
        )
        return cls(paths, Ragged.of((np.array(v.labels, "i4").tobytes() for v in videos), "i4"), groups)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | slice | np.ndarray) -> Video | VideoArray:
        """One video; or those of a slice, at some indices or where an array of bools is true, in their order."""
        if isinstance(index, slice | np.ndarray):
            chosen = np.arange(len(self))[index]
            return VideoArray(*(part.take(chosen) for part in (self.paths, self.labels, self.groups)))
        index = range(len(self))[index]
        path, labels, group = self.paths[index], self.labels[index], self.groups[index]
        return Video(_text(path.tobytes()), tuple(labels.tolist()), _text(group.tobytes()))

    def __iter__(self) -> Iterator[Video]:
        labels, starts = self.labels.values.tolist(), self.labels.starts.tolist()
        for number, (path, group) in enumerate(zip(self.paths.rows(), self.groups.rows(), strict=True)):
            yield Video(_text(path), tuple(labels[starts[number] : starts[number + 1]]), _text(group))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")  # file names need not be UTF-8


def select(videos: Sequence[Video], keep: np.ndarray) -> Sequence[Video]:
    """The videos where `keep`, (N,) bool, is true: an array of an array, else a list."""
    if not isinstance(videos, VideoArray):
        return list(compress(videos, keep))
    return videos if keep.all() else videos[keep]


@dataclass
class VideoLists:
    """One split of a data set.

    `files` names every file that a frame store of the data set holds, over all splits, so that one store serves them
    all. `families` maps a family of classes to its class names; accuracy is also reported per family. `chance` gives
    the accuracy of a guess within a family where it is not 1 / classes. `notes` are facts counted while reading that
    a reader of the results should know. `listed` has for `train` and `test` how many videos of each class the official
    lists name, (C,), where not all of them need to be there.
    """

    classes: tuple[str, ...]
    train: Sequence[Video]
    test: Sequence[Video]
    files: Sequence[str]
    families: dict[str, tuple[str, ...]] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    listed: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class Listing:
    """What the official files say, before any of it is compared with the disk.

    `splits` holds (train, test) of every split by its number; `unused` are listed files of no split, which the frame
    store holds all the same.
    """

    classes: Sequence[str]
    splits: Mapping[int, tuple[list[Video], list[Video]]]
    unused: Sequence[str] = ()
    families: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass
class Dataset:
    """Settings that every data set has; a data set is a subclass that adds its own and reads its lists.

    root:        folder that holds the videos
    split:       which official split, from 1
    validation:  share of the training groups held out for validation, 0 to below 1 (0: train on the whole list)
    folds:       parts of whole groups that the training list falls into (0: none), of which `fold`, from 0, is held out
                 for validation; networks trained without each in turn give every training video a score
    mirror:      whether a mirrored video keeps its label; if not, no flip in training or at test
    stores:      folder of the frame stores
    max_store:   largest frame store that a run builds by itself, in GB (10^9 bytes)
    encoding:    stored frames are `raw`, or `jpeg` at about a seventh of the size, decoded whenever they are read
    quality:     of JPEG, 1 to 100, of frames and of flow
    store_fps:   frames per second of the stored frames: frame i is that of the video nearest to the time i / store_fps,
                 and everything after, such as `sampling.stride`, counts stored frames (null: all frames of the video)
    undecodable: `error` refuses to train while a training video cannot be decoded or is cut short; `skip` trains on
                 the others. Undecodable test videos always count as wrong, those cut short are scored on the frames
                 they have, and both are always reported.
    flow:        how optical flow is computed and stored

    `LAYOUT` shows the tree that the data set must have on disk; error messages and the README quote it. `MAY_BE_SHOWN`
    says whether its frames may be shown to others, which the terms of research data sets of other people's videos do
    not allow.
    """

    LAYOUT: ClassVar[str] = ""
    MAY_BE_SHOWN: ClassVar[bool] = False

    root: str = "???"
    split: int = 1
    validation: float = 0.0
    folds: int = 0
    fold: int = 0
    mirror: bool = True
    stores: str = "data/stores"
    max_store: float = 20.0
    encoding: Literal["raw", "jpeg"] = "raw"
    quality: int = 95
    store_fps: Optional[float] = None  # noqa: UP045 - OmegaConf resolves these at run time on Python 3.10 too
    undecodable: Literal["error", "skip"] = "error"
    flow: FlowConfig = field(default_factory=FlowConfig)

    def prepare(self, workers: int) -> None:
        """Make the videos, where the data set is a generated one. Others need nothing: they are downloaded by hand."""

    def outline(self, root: Path) -> tuple[Dataset, float] | None:
        """Of a generated data set that is not made yet, a stand-in below `root` with the same lists, whose files are
        links to a few videos; and the seconds that one of these took. None for all others."""
        return None

    def listed(self) -> Listing:
        """Parse the official files. Raises DataError. A data set defines this, or `read` if it does both at once."""
        lists = self.read()
        return Listing(lists.classes, {self.split: (lists.train, lists.test)}, lists.files, lists.families)

    def read(self) -> VideoLists:
        """The lists of `split`, every video of which is on disk. Raises DataError."""
        listing = self.listed()
        lists = choose_split(self, listing.classes, listing.splits, unused=listing.unused, families=listing.families)
        lists.notes += self.remarks(lists)
        return lists

    def remarks(self, lists: VideoLists) -> list[str]:
        """Facts to count in the lists that a reader of the results should know."""
        return []

    def report(self, lists: VideoLists, stored: Mapping[str, StoredVideo]) -> None:
        """Say what there is of the lists, once the frame store is built, where a data set may lack some of it."""

    def sample(self) -> Sample | None:
        """The part of each video that is stored; None for whole videos."""
        return None

    def cluster(self, video: Video) -> str:
        """What makes videos alike wherever they are listed: confidence intervals resample whole clusters."""
        return video.group

    def folder(self) -> Path:
        """The folder that the paths of `read` are relative to."""
        return Path(self.root)


def read_lines(path: Path) -> list[tuple[str, str]]:
    """(`<file>:<number>`, text) of every line that is not blank, without the line end and outer spaces."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, and the lists beside it need it; copy it there") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    lines = enumerate(map(str.strip, text.splitlines()), start=1)
    return [(f"{path}:{number}", line) for number, line in lines if line]


def existing_root(data: Dataset) -> Path:
    """The folder of the videos, or a DataError that shows what must lie there."""
    root = data.folder()
    if not root.is_dir():
        raise DataError(f"data.root={data.root}: no such folder; expected\n{data.LAYOUT}")
    return root


def find_lists(data: Dataset, lists: str | None, pattern: str, subfolders: Sequence[str]) -> Path:
    """The folder with files like `pattern`: `lists`, or by default the root or the first of its `subfolders`."""
    root = existing_root(data)
    candidates = [Path(lists)] if lists is not None else [root, *(root / name for name in subfolders)]
    for folder in candidates:
        if any(folder.glob(pattern)):
            return folder
    searched = ", ".join(map(str, candidates))
    raise DataError(f"no official lists ({pattern}) in {searched}; unpack them there or set data.lists\n{data.LAYOUT}")


def choose_split(
    data: Dataset,
    classes: Sequence[str],
    splits: Mapping[int, tuple[list[Video], list[Video]]],
    *,
    unused: Iterable[str] = (),
    families: Mapping[str, Sequence[str]] | None = None,
) -> VideoLists:
    """Check the parsed (train, test) lists of every split against the disk and keep those of `data.split`.

    `unused` are listed files of no split, which the frame store holds all the same. Families lose the classes that
    this copy of the data set does not have. Raises DataError.
    """
    if data.split not in splits:
        found = ", ".join(map(str, sorted(splits))) or "none"
        raise DataError(f"data.split={data.split}: the lists have the splits {found}; choose one of these")
    listed = {video.path for train, test in splits.values() for video in [*train, *test]} | set(unused)
    located = locate(data, listed)
    train, test = ([replace(v, path=located[v.path]) for v in videos] for videos in splits[data.split])
    kept = {family: tuple(c for c in members if c in classes) for family, members in (families or {}).items()}
    lists = VideoLists(
        classes=tuple(classes),
        train=train,
        test=test,
        files=sorted(set(located.values())),
        families={family: members for family, members in kept.items() if members},
    )
    check_lists(lists, f"data.root={data.root}, split {data.split}")
    return lists


def locate(data: Dataset, listed: Iterable[str]) -> dict[str, str]:
    """The path on disk of every listed path, see `search`. Raises DataError if some are missing."""
    located, missing, outside = search(data, listed)
    if outside:
        raise DataError(
            f"listed path {outside[0]!r} leaves data.root={data.root}; list paths relative to it, without .."
        )
    if missing:
        counts = f"{len(missing)} of {len(missing) + len(located)} listed videos are missing"
        raise DataError(f"data.root={data.root}: {counts}, first {missing[0]}; complete the folder\n{data.LAYOUT}")
    return located


def search(data: Dataset, listed: Iterable[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """(the path on disk of the listed paths that are found; those missing; those that lead out of the root).

    All are relative to the root, and sorted by the listed path. Capitals may differ from the list's: copies of UCF101
    have both HandstandPushups and HandStandPushups. Each folder is read once, because a call per file is slow on
    network disks.
    """
    root = existing_root(data)

    @cache
    def names_in(folder: str) -> dict[str, str]:
        try:
            found = sorted(os.listdir(root / folder))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                return {}
            raise
        return {name.lower(): name for name in found} | {name: name for name in found}

    @cache
    def on_disk(path: str) -> str | None:
        folder, slash, name = path.rpartition("/")
        real = on_disk(folder) if folder else ""
        if real is None:
            return None
        found = names_in(real).get(name) or names_in(real).get(name.lower())
        return found and f"{real}{slash}{found}"

    located, missing, outside = {}, [], []
    for path in sorted(set(listed)):
        inside = posixpath.normpath(path)
        if inside.startswith(("/", "../")) or inside in ("..", "."):
            outside.append(path)
        elif (found := on_disk(inside)) is None:
            missing.append(path)
        else:
            located[path] = found
    return located, missing, outside


def check_lists(lists: VideoLists, source: str) -> None:
    """Raise DataError unless both lists have videos, each once, in one list only, with labels of a class."""
    last = len(lists.classes) - 1
    paths = {}
    for name, videos in (("train", VideoArray.of(lists.train)), ("test", VideoArray.of(lists.test))):
        if not videos:
            raise DataError(f"{source}: the {name} list has 0 videos, expected at least 1")
        paths[name] = set(videos.paths.rows())
        if len(paths[name]) < len(videos):
            path, times = Counter(videos.paths.rows()).most_common(1)[0]
            raise DataError(
                f"{source}: the {name} list has {_text(path)} {times} times, expected once; remove the copies"
            )
        labels, starts = videos.labels.values, videos.labels.starts
        if (empty := np.diff(starts) == 0).any():
            path = videos[int(empty.argmax())].path
            raise DataError(f"{source}: {path} of the {name} list has 0 labels, expected at least 1")
        if (wrong := (labels < 0) | (labels > last)).any():
            video = videos[int(np.searchsorted(starts, wrong.argmax(), side="right")) - 1]
            raise DataError(f"{source}: {video.path} has labels {video.labels}, expected 0 to {last}")
    if shared := paths["train"] & paths["test"]:
        first = _text(min(shared))
        raise DataError(
            f"{source}: {len(shared)} videos are in both the train and the test list, first {first}; keep one"
        )


def check_apart(auxiliary: Dataset, its_lists: VideoLists, data: Dataset, lists: VideoLists) -> None:
    """Raise DataError if a data set that is trained on beside another has some of its videos, of either list."""
    if auxiliary.folder().resolve() != data.folder().resolve():
        return
    paths, own = ({video.path for video in [*both.train, *both.test]} for both in (its_lists, lists))
    if paths & own:
        raise DataError(
            f"auxiliary_data.root={auxiliary.root}: {len(paths & own)} of its {len(paths)} videos are those of "
            f"data.root={data.root}, first {min(paths & own)}; train on another data set beside it, or on none"
        )


def check_file(data: Dataset) -> Path:
    """The CSV beside the stores in which `experiments/check.py` says what it found: a row per video."""
    return Path(data.stores) / f"{data.folder().absolute().name}-check.csv"


def known_bad(data: Dataset) -> dict[str, str]:
    """What is wrong with each video, by its path, that crashed or hung a decoder when the data set was checked.

    Such a file must not be opened again. One that has changed since it was checked is not among them. Raises DataError.
    """
    path = check_file(data)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["status"] in ("crash", "hang")]
        return {
            row["path"]: row["message"]
            for row in rows
            if is_unchanged(data.folder() / row["path"], int(row["size"]), int(row["modified"]), row["sha256"])
        }
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError, csv.Error):
        raise DataError(f"{path}: not a table of experiments/check.py; delete it, or check the data set anew") from None


def is_unchanged(file: Path, size: int, modified: int, sha256: str) -> bool:
    """Whether a file is still the one of this size and this time (in nanoseconds) or content."""
    try:
        found = file.stat()
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != size:
        return False
    return found.st_mtime_ns == modified or (bool(sha256) and content_hash(file) == sha256)


def content_hash(file: Path, each_part: Callable[[], object] = lambda: None) -> str:
    """SHA-256 of what is in a file, in hex; `each_part` is called after every MB."""
    digest = sha256()
    with file.open("rb") as stream:
        while part := stream.read(2**20):
            digest.update(part)
            each_part()
    return digest.hexdigest()


def hold_out(data: Dataset, videos: Sequence[Video]) -> tuple[Sequence[Video], Sequence[Video]]:
    """Split a training list into (train, validation) as the data set's settings say. Raises DataError."""
    if not data.folds:
        if data.fold:
            raise DataError(f"data.fold={data.fold}: there are no folds; set data.folds, such as 5, or data.fold=0")
        return hold_out_groups(videos, data.validation)
    if data.validation:
        raise DataError(
            f"data.folds={data.folds} and data.validation={data.validation:g} both hold out groups; set one to 0"
        )
    return hold_out_fold(videos, data.folds, data.fold)


def hold_out_groups(videos: Sequence[Video], share: float, seed: int = 0) -> tuple[Sequence[Video], Sequence[Video]]:
    """Split a training list into (train, validation) by whole groups, both in the list's order.

    Every class gives `share` of its groups, rounded, but at least one and never its last; a class with one group
    gives none. A group of several classes is held out only if all of them can spare it. Which groups: those with the
    smallest hash of (seed, group), whatever the order of the list. Raises DataError.
    """
    if not 0 <= share < 1:
        raise DataError(f"data.validation={share}: expected a share of at least 0 and below 1")
    if share == 0:
        return _split(videos, np.zeros(len(videos), bool))
    names, group_of, labels = _groups(videos)
    num_groups = Counter(label for own in labels for label in own)
    spare = {label: min(total - 1, max(1, round(share * total))) for label, total in num_groups.items()}
    held_out = np.zeros(len(names), bool)
    for group in _by_hash(names, seed):
        if all(spare[label] > 0 for label in labels[group]):
            held_out[group] = True
            for label in labels[group]:
                spare[label] -= 1
    if not held_out.any():
        raise DataError(
            f"data.validation={share}: none of {len(names)} groups can be held out, because each is the only one of "
            "one of its classes; set data.validation=0 or give finer groups"
        )
    return _split(videos, held_out[group_of])


def hold_out_fold(videos: Sequence[Video], folds: int, fold: int) -> tuple[Sequence[Video], Sequence[Video]]:
    """Split a training list into (train, validation) by whole groups, both in the list's order; every group is in the
    validation of exactly one fold.

    Each class is spread evenly over the folds: of groups with one class each, the folds have equally many, or one more.
    A class of fewer groups than folds is in the validation of some only. Raises DataError where a class would be left
    with nothing to train on, as one with a single group would.
    """
    names, group_of, labels = _groups(videos)
    if not 2 <= folds <= len(names):
        raise DataError(f"data.folds={folds}: expected 0, or 2 to {len(names)}, the groups of the training list")
    if not 0 <= fold < folds:
        raise DataError(f"data.fold={fold}: expected 0 to {folds - 1} with data.folds={folds}")
    fold_of = np.empty(len(names), np.int64)
    counts = [Counter[int]() for _ in range(folds)]  # groups of each class in each fold
    sizes = [0] * folds
    for group in _by_hash(names):
        own = labels[group]
        # Where its classes have the fewest groups; of several such folds the smallest.
        chosen = min(range(folds), key=lambda f: (sum([counts[f][label] for label in own]), sizes[f], f))
        fold_of[group] = chosen
        counts[chosen].update(own)
        sizes[chosen] += 1
    for name, own in zip(names, labels, strict=True):
        for label in own:
            if sum(count[label] > 0 for count in counts) == 1:
                raise DataError(
                    f"data.folds={folds}: all groups of a class are in one fold, among them {_text(name)!r}; every "
                    "class needs 2 groups or more, so give finer groups or set data.folds=0"
                )
    return _split(videos, fold_of[group_of] == fold)


def _split(videos: Sequence[Video], held_out: np.ndarray) -> tuple[Sequence[Video], Sequence[Video]]:
    return select(videos, ~held_out), select(videos, held_out)


def _groups(videos: Sequence[Video]) -> tuple[list[bytes], np.ndarray, list[list[int]]]:
    """The groups' names in the list's order, the number of each video's group, (N,), and the labels of each group."""
    array = VideoArray.of(videos)
    numbers: dict[bytes, int] = {}
    group_of = np.fromiter((numbers.setdefault(name, len(numbers)) for name in array.groups.rows()), np.int64)
    sets = label_sets(np.repeat(group_of, np.diff(array.labels.starts)), array.labels.values, len(numbers))
    labels, starts = sets.values.tolist(), sets.starts.tolist()
    return list(numbers), group_of, [labels[start:end] for start, end in pairwise(starts)]


def label_sets(owners: np.ndarray, labels: np.ndarray, num_owners: int) -> Ragged:
    """The labels of each owner, sorted and each once, from pairs (P,), (P,) in any order."""
    pairs = np.unique(owners.astype(np.int64) << 32 | labels)
    return Ragged((pairs & (2**32 - 1)).astype(np.int32), np.searchsorted(pairs >> 32, np.arange(num_owners + 1)))


def _by_hash(groups: Sequence[bytes], seed: int = 0) -> list[int]:
    """Places of groups in an order that does not depend on that of the list."""
    digests = b"".join(sha256(b"%d %s" % (seed, group)).digest() for group in groups)
    words = np.frombuffer(digests, ">u8").reshape(-1, 4).astype(np.uint64)
    return np.lexsort(words.T[::-1]).tolist()
