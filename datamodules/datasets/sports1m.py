"""Sports-1M (Karpathy et al., CVPR 2014): 1.13 million YouTube videos of 487 sports, about 5 % of them of several.

The official release is lists of addresses. Many videos are gone, and no two copies of the data set are alike. A run
uses the videos that are there, and says how many there are of each class.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from datamodules.datasets.base import Dataset
from datamodules.datasets.official_lists import find_lists, read_lines
from datamodules.errors import DataError
from datamodules.files import write_csv
from datamodules.videos import Ragged, Split, VideoArray, label_sets

if TYPE_CHECKING:
    from datamodules.store.shards import StoredVideo

ID_LENGTH = 11  # of a YouTube video's id: letters, digits, - and _
LINE = re.compile(rb"https?://www\.youtube\.com/watch\?v=([\w-]{11})[ \t]+(\d{1,9}(?:,\d{1,9})*)\s*")
EXPECTED = "https://www.youtube.com/watch?v=<id of 11 characters> <label>,<label>,..."
# Endings of what downloaders leave beside a video under its id: parts, descriptions, pictures, subtitles, sound.
NO_VIDEO = frozenset(
    b"part ytdl tmp temp json xml html txt description jpg jpeg png webp vtt srt ass lrc m4a mp3 aac opus ogg".split()
)


@dataclass
class Sports1M(Dataset):
    """Sports-1M as its authors publish it; each video is a group of its own.

    A video that both lists of a split name is only tested, with the labels of both lists. The official cross-validation
    has such videos, because it was drawn for each label apart. A network must not be tested on what it was trained on.

    lists:           folder of the official lists; by default the root, or the `sports-1m-dataset` in it
    partition:       `original`, which is one split, or `cross-validation`, whose split k, 1 to 10, is the official
                     fold k - 1 (sports0 to sports9)
    clips_per_video: number of random pieces of each video that are stored, at most; its clips lie in them (0: the
                     whole video is stored). Karpathy et al. 2014 have 100.
    clip_seconds:    length of each of these pieces; a longer clip is padded as `sampling.short` says
    """

    LAYOUT: ClassVar[str] = """\
data/sports1m/                           data.root
    any/folders/UDqivjS-lpI.mp4          videos by their YouTube id, with any extension, as many as there are
    sports-1m-dataset/                   the official lists, unpacked; elsewhere: data.lists
        labels.txt
        original/train_partition.txt     and test_partition.txt
        cross-validation/                sports0_train.txt, sports0_test.txt and so on to sports9"""

    root: str = "data/sports1m"
    undecodable: Literal["error", "skip"] = "skip"
    lists: str | None = None
    partition: Literal["original", "cross-validation"] = "original"
    clips_per_video: int = 0
    clip_seconds: float = 0.5

    def read(self) -> Split:
        """Parse the lists of one split and keep the videos that are there. Raises DataError."""
        root = self.folder()
        folder = find_lists(root, self.LAYOUT, self.lists, "labels.txt", ["sports-1m-dataset"])
        classes = read_classes(folder / "labels.txt")
        train, test = (read_list(folder / name, len(classes)) for name in self._list_names())
        train, test, num_shared = keep_apart(train, test)
        found, num_copies = find_videos(root, {*train.ids.tolist(), *test.ids.tolist()})
        notes, present = [], {}
        for name, listed in (("train", train), ("test", test)):
            present[name] = listed.present(found)
            notes.append(f"{len(present[name])} of {len(listed.ids)} listed {name} videos are there")
            if not present[name]:
                raise DataError(
                    f"data.root={self.root}: none of the {len(listed.ids)} videos of the {name} list is there, such as "
                    f"{listed.ids[0].decode()}.mp4; expected\n{self.LAYOUT}"
                )
        if untrained := np.flatnonzero(count_labels(present["train"].labels, len(classes)) == 0).tolist():
            notes.append(
                f"{len(untrained)} of {len(classes)} classes have no training video, first {classes[untrained[0]]}"
            )
        if num_shared:
            notes.append(f"{num_shared} videos of both lists are tested with the labels of both and not trained on")
        if num_copies:
            notes.append(f"{num_copies} files are further copies of a video; of each the first path counts")
        files = sorted(map(os.fsdecode, found.values()))
        listed = {
            name: tuple(count_labels(part.labels, len(classes)).tolist())
            for name, part in (("train", train), ("test", test))
        }
        return Split(classes, present["train"], present["test"], files, notes=notes, listed=listed)

    def _list_names(self) -> tuple[str, str]:
        last = {"original": 1, "cross-validation": 10}[self.partition]
        if not 1 <= self.split <= last:
            raise DataError(f"data.split={self.split}: data.partition={self.partition} has the splits 1 to {last}")
        if self.partition == "original":
            return "original/train_partition.txt", "original/test_partition.txt"
        fold = f"cross-validation/sports{self.split - 1}"
        return f"{fold}_train.txt", f"{fold}_test.txt"

    def report(self, split: Split, stored: Mapping[str, StoredVideo]) -> None:
        """Print how many videos are there and decode. Write the counts of each class to a CSV file in `stores`.

        A video of several classes counts in each of them. `undecodable` and `cut_short` are among the `found`.
        """
        num_classes = len(split.classes)
        columns: dict[str, Sequence] = {"label": range(num_classes), "class": split.classes}
        broken = 0
        for name, videos in (("train", VideoArray.of(split.train)), ("test", VideoArray.of(split.test))):
            states = [stored[os.fsdecode(path)] for path in videos.paths.rows()]
            found = count_labels(videos.labels, num_classes)
            columns |= {
                f"{name}_listed": split.listed[name],
                f"{name}_found": found,
                f"{name}_missing": split.listed[name] - found,
            }
            for state, chosen in (
                ("undecodable", np.array([not video.frames for video in states])),
                ("cut_short", np.array([video.truncated for video in states])),
            ):
                columns[f"{name}_{state}"] = count_labels(videos.labels.take(chosen), num_classes)
                broken += int(chosen.sum())
        path = Path(self.stores) / f"{self.folder().resolve().name}-{self.partition}-{self.split}.csv"
        print(f"{'; '.join(split.notes)}; {broken} of them do not decode whole. Per class: {path}", flush=True)
        try:
            write_csv(path, [columns, *zip(*columns.values(), strict=True)])
        except OSError as error:  # a store may be read only
            print(f"{path}: not written ({error.strerror})", flush=True)


class Listed(NamedTuple):
    """The videos of one official list: ids (N,) as bytes, and the labels of each."""

    ids: np.ndarray
    labels: Ragged

    def present(self, found: Mapping[bytes, bytes]) -> VideoArray:
        """Those that are found, by their paths."""
        paths = [found.get(name) for name in self.ids.tolist()]
        chosen = np.array([path is not None for path in paths], bool)
        ids = np.ascontiguousarray(self.ids[chosen])
        groups = Ragged(ids.view("u1"), ID_LENGTH * np.arange(len(ids) + 1))
        return VideoArray(Ragged.of(filter(None, paths)), self.labels.take(chosen), groups)


def count_labels(labels: Ragged, num_classes: int) -> np.ndarray:
    """How many videos have each label, (C,)."""
    return np.bincount(labels.values, minlength=num_classes)


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names from `labels.txt`: line n is the name of label n - 1."""
    numbers: dict[str, int] = {}
    for label, (where, name) in enumerate(read_lines(path)):
        if where != f"{path}:{label + 1}":
            raise DataError(f"{path}:{label + 1}: the line is empty, expected the name of label {label}")
        if name in numbers:
            raise DataError(f"{where}: {name!r} is the name of label {numbers[name]} already, expected another")
        numbers[name] = label
    return tuple(numbers)


def read_list(path: Path, num_classes: int) -> Listed:
    """A list of lines `<URL> <label>,<label>,...`, each video once. Raises DataError with the line at fault."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, and the lists beside it need it; copy it there") from None
    ids, labels, numbers = [], [], []
    for number, line in enumerate(lines, start=1):
        if match := LINE.fullmatch(line):
            ids.append(match[1])
            labels.append(match[2])
            numbers.append(number)
        elif line.strip():
            raise DataError(f"{path}:{number}: found {line[:100].decode('utf-8', 'replace')!r}, expected '{EXPECTED}'")
    if not ids:
        raise DataError(f"{path}: the list is empty, expected lines '{EXPECTED}'")
    if len(set(ids)) < len(ids):
        first: dict[bytes, int] = {}
        for name, number in zip(ids, numbers, strict=True):
            if name in first:
                raise DataError(f"{path}:{number}: {name.decode()} is in line {first[name]} too; keep one of the lines")
            first[name] = number
    owners = np.repeat(np.arange(len(ids)), [text.count(b",") + 1 for text in labels])
    values = np.fromstring(b",".join(labels), np.int64, sep=",")
    if (wrong := values >= num_classes).any():
        place = int(wrong.argmax())
        raise DataError(
            f"{path}:{numbers[owners[place]]}: label {values[place]}, expected 0 to {num_classes - 1}, the lines of "
            "labels.txt"
        )
    return Listed(np.array(ids, f"S{ID_LENGTH}"), label_sets(owners, values, len(ids)))


def keep_apart(train: Listed, test: Listed) -> tuple[Listed, Listed, int]:
    """(train, test, number of shared videos). Videos of both lists stay in `test` only, with the labels of both."""
    places = {name: place for place, name in enumerate(test.ids.tolist())}
    place = np.array([places.get(name, -1) for name in train.ids.tolist()], np.int64)  # in the test list
    shared = place >= 0
    if not shared.any():
        return train, test, 0
    theirs, added = (np.diff(part.labels.starts) for part in (test, train))
    owners = np.concatenate([np.repeat(np.arange(len(test.ids)), theirs), np.repeat(place, added)])
    labels = np.concatenate([test.labels.values, train.labels.values])[owners >= 0]
    both = label_sets(owners[owners >= 0], labels, len(test.ids))
    return Listed(train.ids[~shared], train.labels.take(~shared)), Listed(test.ids, both), int(shared.sum())


def find_videos(root: Path, wanted: Set[bytes]) -> tuple[dict[bytes, bytes], int]:
    """(path relative to `root` by wanted id, number of further files of these ids).

    It walks over all folders once, linked ones too. Of several files of one id the first path counts.
    """
    top = os.fsencode(root)
    found: dict[bytes, bytes] = {}
    num_copies = 0
    folders, entered = [b""], set()
    while folders:
        folder = folders.pop()
        status = os.stat(os.path.join(top, folder))
        if (status.st_dev, status.st_ino) in entered:  # links may lead round in a circle
            continue
        entered.add((status.st_dev, status.st_ino))
        with os.scandir(os.path.join(top, folder)) as entries:
            for entry in entries:
                name, _, ending = entry.name.partition(b".")
                if name in wanted and b"." not in ending and ending.lower() not in NO_VIDEO and _true(entry.is_file):
                    path = folder + entry.name
                    num_copies += name in found
                    found[name] = min(path, found.get(name, path))
                elif _true(entry.is_dir):
                    folders.append(folder + entry.name + b"/")
    return found, num_copies


def _true(test: Callable[[], bool]) -> bool:
    try:
        return test()
    except OSError:  # such as a link to itself
        return False
