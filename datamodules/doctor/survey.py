"""What the lists say, against what is on disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datamodules.datasets.base import Dataset
from datamodules.datasets.folder import is_video
from datamodules.datasets.official_lists import search
from datamodules.doctor.examine import Finding
from datamodules.doctor.words import number_of
from datamodules.videos import VideoLists

# The lists.


@dataclass
class Entry:
    """Where the lists have one file: `sides` is `train` or `test` by the number of the split; empty if unused."""

    path: str
    labels: tuple[int, ...] = ()
    group: str = ""
    sides: dict[int, str] = field(default_factory=dict)


@dataclass
class Survey:
    """What the lists say, against what is on disk.

    absent:   the findings of the paths that are missing or lead out of the root
    extra:    videos on disk that no list has
    problems: of the lists themselves, one line each
    lists:    by the number of the split, with the paths on disk
    """

    classes: Sequence[str]
    entries: dict[str, Entry]
    absent: dict[str, Finding]
    extra: list[str]
    problems: list[str]
    lists: dict[int, VideoLists]

    def labels(self, entry: Entry) -> list[str]:
        """The names of an entry's classes."""
        known = range(len(self.classes))
        return [self.classes[label] if label in known else str(label) for label in entry.labels]


def survey_lists(data: Dataset) -> Survey:
    """Read all lists of a data set and look which of its files are there. Raises DataError if they cannot be read."""
    listing = data.listed()
    listed = {video.path for both in listing.splits.values() for videos in both for video in videos}
    located, missing, outside = search(data.folder(), data.LAYOUT, listed | set(listing.unused))
    absent = {path: Finding("missing", "no such file") for path in missing}
    absent |= {path: Finding("outside", f"it leaves data.root={data.root}") for path in outside}
    entries = {path: Entry(path) for path in sorted({*located.values(), *absent})}
    problems, lists = [], {}
    last = len(listing.classes) - 1
    for number, both in sorted(listing.splits.items()):
        sides = dict(zip(("train", "test"), both, strict=True))
        sides = {side: [replace(v, path=located.get(v.path, v.path)) for v in videos] for side, videos in sides.items()}
        lists[number] = VideoLists(tuple(listing.classes), sides["train"], sides["test"], [])
        for side, videos in sides.items():
            where = f"split {number}: the {side} list has"
            if not videos:
                problems.append(f"{where} no video")
            again = sorted(path for path, times in Counter(video.path for video in videos).items() if times > 1)
            problems += _counted(f"{where} {{}} more than once", again)
            wrong = [v.path for v in videos if not v.labels or min(v.labels) < 0 or max(v.labels) > last]
            problems += _counted(f"{where} {{}} without a label of 0 to {last}", wrong)
            for video in videos:
                entry = entries[video.path]
                entry.labels, entry.group, entry.sides[number] = video.labels, video.group, side
        shared = sorted({v.path for v in sides["train"]} & {v.path for v in sides["test"]})
        problems += _counted(f"split {number}: both lists have {{}}", shared)
    on_disk = set(_videos_below(data.folder()))
    return Survey(listing.classes, entries, absent, sorted(on_disk - set(entries)), problems, lists)


def _counted(sentence: str, paths: Sequence[str]) -> list[str]:
    """The sentence about so many videos, if there are some, with the first of them."""
    return [f"{sentence.format(number_of(len(paths), 'video'))}, first {paths[0]}"] if paths else []


def _videos_below(root: Path) -> Iterator[str]:
    """Every video in a folder, relative to it; linked folders too, once each, for links may lead in a circle."""
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        found = os.stat(folder)
        if (found.st_dev, found.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        yield from (Path(folder, name).relative_to(root).as_posix() for name in names if is_video(name))
