"""What the lists say, compared with what is on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from datamodules.datasets.base import Dataset
from datamodules.datasets.official_lists import search
from datamodules.datasets.tree import videos_below
from datamodules.doctor.examine import Finding
from datamodules.text import number_of
from datamodules.videos import Split, Video


@dataclass
class Entry:
    """One listed file: `sides` has `train`, `test` or `validation` by the number of the split, if a split uses it."""

    path: str
    labels: tuple[int, ...] = ()
    group: str = ""
    sides: dict[int, str] = field(default_factory=dict)


@dataclass
class Survey:
    """The lists compared with the disk.

    absent:   findings of the listed paths that are missing or lead out of the root
    extra:    videos on disk that no list has
    problems: of the lists themselves, one line each
    splits:   by number, with the paths on disk
    """

    classes: Sequence[str]
    entries: dict[str, Entry]
    absent: dict[str, Finding]
    extra: list[str]
    problems: list[str]
    splits: dict[int, Split]

    def labels(self, entry: Entry) -> list[str]:
        """The names of an entry's classes."""
        known = range(len(self.classes))
        return [self.classes[label] if label in known else str(label) for label in entry.labels]


def survey_lists(data: Dataset) -> Survey:
    """Read all lists of a data set and look for their files on disk. Raises DataError if they cannot be read."""
    listing = data.listing()
    located, missing, outside = search(data.folder(), data.LAYOUT, listing.paths())
    absent = {path: Finding("missing", "no such file") for path in missing}
    absent |= {path: Finding("outside", f"it leaves data.root={data.root}") for path in outside}
    entries = {path: Entry(path) for path in sorted({*located.values(), *absent})}
    problems, splits = [], {}
    for number in sorted(listing.splits):
        sides = {
            side: [replace(video, path=located.get(video.path, video.path)) for video in videos]
            for side, videos in listing.sides(number).items()
        }
        splits[number] = Split(tuple(listing.classes), files=[], notes=list(listing.notes), **sides)
        problems += _problems(number, sides, len(listing.classes))
        for side, videos in sides.items():
            for video in videos:
                entry = entries[video.path]
                entry.labels, entry.group, entry.sides[number] = video.labels, video.group, side
    on_disk, _ = videos_below(data.folder())
    return Survey(listing.classes, entries, absent, sorted(set(on_disk) - set(entries)), problems, splits)


def _problems(number: int, sides: Mapping[str, Sequence[Video]], num_classes: int) -> Iterator[str]:
    """What is wrong with the lists of one split, one line each."""
    for side, videos in sides.items():
        where = f"split {number}: the {side} list has"
        if not videos:
            yield f"{where} no video"
        again = sorted(path for path, times in Counter(video.path for video in videos).items() if times > 1)
        yield from _counted(f"{where} {{}} more than once", again)
        wrong = [v.path for v in videos if not v.labels or not 0 <= min(v.labels) <= max(v.labels) < num_classes]
        yield from _counted(f"{where} {{}} without a label of 0 to {num_classes - 1}", wrong)
    paths = {side: {video.path for video in videos} for side, videos in sides.items()}
    for one, other in combinations(sides, 2):
        yield from _counted(
            f"split {number}: both the {one} and the {other} list have {{}}", sorted(paths[one] & paths[other])
        )


def _counted(sentence: str, paths: Sequence[str]) -> Iterator[str]:
    """The sentence with the number of these paths and the first of them, if there are some."""
    if paths:
        yield f"{sentence.format(number_of(len(paths), 'video'))}, first {paths[0]}"
