"""What a data set is to the rest of the suite: two lists of labelled videos, read from official files."""

from __future__ import annotations

import csv
import errno
import os
import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Literal

from datamodules.flow import FlowConfig


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


@dataclass
class VideoLists:
    """One split of a data set.

    `files` names every file that a frame store of the data set holds, over all splits, so that one store serves them
    all. `families` maps a family of classes to its class names; accuracy is also reported per family. `chance` gives
    the accuracy of a guess within a family where it is not 1 / classes. `notes` are facts counted while reading that
    a reader of the results should know.
    """

    classes: tuple[str, ...]
    train: list[Video]
    test: list[Video]
    files: list[str]
    families: dict[str, tuple[str, ...]] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


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
    undecodable: `error` refuses to train while a training video cannot be decoded or is cut short; `skip` trains on
                 the others. Undecodable test videos always count as wrong, those cut short are scored on the frames
                 they have, and both are always reported.
    flow:        how optical flow is computed and stored

    `LAYOUT` shows the tree that the data set must have on disk; error messages and the README quote it.
    """

    LAYOUT: ClassVar[str] = ""

    root: str = "???"
    split: int = 1
    validation: float = 0.0
    folds: int = 0
    fold: int = 0
    mirror: bool = True
    stores: str = "data/stores"
    max_store: float = 20.0
    undecodable: Literal["error", "skip"] = "error"
    flow: FlowConfig = field(default_factory=FlowConfig)

    def prepare(self, workers: int) -> None:
        """Make the videos, where the data set is a generated one. Others need nothing: they are downloaded by hand."""

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
    for name, videos in (("train", lists.train), ("test", lists.test)):
        if not videos:
            raise DataError(f"{source}: the {name} list has 0 videos, expected at least 1")
        path, times = Counter(video.path for video in videos).most_common(1)[0]
        if times > 1:
            raise DataError(f"{source}: the {name} list has {path} {times} times, expected once; remove the copies")
        for video in videos:
            if not video.labels:
                raise DataError(f"{source}: {video.path} of the {name} list has 0 labels, expected at least 1")
            if min(video.labels) < 0 or max(video.labels) > last:
                raise DataError(f"{source}: {video.path} has labels {video.labels}, expected 0 to {last}")
    shared = sorted({video.path for video in lists.train} & {video.path for video in lists.test})
    if shared:
        raise DataError(
            f"{source}: {len(shared)} videos are in both the train and the test list, first {shared[0]}; keep one"
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


def hold_out(data: Dataset, videos: Sequence[Video]) -> tuple[list[Video], list[Video]]:
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


def hold_out_groups(videos: Sequence[Video], share: float, seed: int = 0) -> tuple[list[Video], list[Video]]:
    """Split a training list into (train, validation) by whole groups, both in the list's order.

    Every class gives `share` of its groups, rounded, but at least one and never its last; a class with one group
    gives none. A group of several classes is held out only if all of them can spare it. Which groups: those with the
    smallest hash of (seed, group), whatever the order of the list. Raises DataError.
    """
    if not 0 <= share < 1:
        raise DataError(f"data.validation={share}: expected a share of at least 0 and below 1")
    if share == 0:
        return list(videos), []
    labels = _labels_of_groups(videos)
    num_groups = Counter(label for members in labels.values() for label in members)
    spare = {label: min(total - 1, max(1, round(share * total))) for label, total in num_groups.items()}
    held_out = set()
    for group in _by_hash(labels, seed):
        if all(spare[label] > 0 for label in labels[group]):
            held_out.add(group)
            for label in labels[group]:
                spare[label] -= 1
    if not held_out:
        raise DataError(
            f"data.validation={share}: none of {len(labels)} groups can be held out, because each is the only one of "
            "one of its classes; set data.validation=0 or give finer groups"
        )
    train = [video for video in videos if video.group not in held_out]
    return train, [video for video in videos if video.group in held_out]


def hold_out_fold(videos: Sequence[Video], folds: int, fold: int) -> tuple[list[Video], list[Video]]:
    """Split a training list into (train, validation) by whole groups, both in the list's order; every group is in the
    validation of exactly one fold.

    Each class is spread evenly over the folds: of groups with one class each, the folds have equally many, or one more.
    A class of fewer groups than folds is in the validation of some only. Raises DataError where a class would be left
    with nothing to train on, as one with a single group would.
    """
    labels = _labels_of_groups(videos)
    if not 2 <= folds <= len(labels):
        raise DataError(f"data.folds={folds}: expected 0, or 2 to {len(labels)}, the groups of the training list")
    if not 0 <= fold < folds:
        raise DataError(f"data.fold={fold}: expected 0 to {folds - 1} with data.folds={folds}")
    fold_of: dict[str, int] = {}
    counts = [Counter[int]() for _ in range(folds)]  # groups of each class in each fold
    sizes = [0] * folds
    for group in _by_hash(labels):
        # Where its classes have the fewest groups; of several such folds the smallest.
        chosen = min(range(folds), key=lambda f: (sum(counts[f][label] for label in labels[group]), sizes[f], f))
        fold_of[group] = chosen
        counts[chosen].update(labels[group])
        sizes[chosen] += 1
    for group, own in labels.items():
        for label in own:
            if sum(count[label] > 0 for count in counts) == 1:
                raise DataError(
                    f"data.folds={folds}: all groups of a class are in one fold, among them {group!r}; every class "
                    "needs 2 groups or more, so give finer groups or set data.folds=0"
                )
    train = [video for video in videos if fold_of[video.group] != fold]
    return train, [video for video in videos if fold_of[video.group] == fold]


def _labels_of_groups(videos: Sequence[Video]) -> dict[str, set[int]]:
    labels: dict[str, set[int]] = {}
    for video in videos:
        labels.setdefault(video.group, set()).update(video.labels)
    return labels


def _by_hash(groups: Iterable[str], seed: int = 0) -> list[str]:
    """Groups in an order that does not depend on that of the list."""
    return sorted(groups, key=lambda group: sha256(f"{seed} {group}".encode()).digest())
