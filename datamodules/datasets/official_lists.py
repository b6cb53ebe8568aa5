"""Official lists compared with the disk: read their lines, find their files, check both."""

from __future__ import annotations

import errno
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import combinations
from pathlib import Path

import numpy as np

from datamodules.errors import DataError
from datamodules.videos import Listing, Split, VideoArray, decoded_path


def read_lines(path: Path) -> list[tuple[str, str]]:
    """(`<file>:<number>`, text) of every line that is not blank, without outer spaces. Raises DataError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, and the lists beside it need it; copy it there") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    lines = enumerate(map(str.strip, text.splitlines()), start=1)
    return [(f"{path}:{number}", line) for number, line in lines if line]


def existing_root(root: Path, layout: str) -> Path:
    """The folder of the videos. Raises DataError that shows the expected tree if there is none."""
    if not root.is_dir():
        raise DataError(f"data.root={root}: no such folder; expected\n{layout}")
    return root


def find_lists(root: Path, layout: str, lists: str | None, pattern: str, subfolders: Sequence[str]) -> Path:
    """The folder with files like `pattern`: `lists`, or by default the root or the first of its `subfolders`."""
    existing_root(root, layout)
    candidates = [Path(lists)] if lists is not None else [root, *(root / name for name in subfolders)]
    for folder in candidates:
        if any(folder.glob(pattern)):
            return folder
    searched = ", ".join(map(str, candidates))
    raise DataError(f"no official lists ({pattern}) in {searched}; unpack them there or set data.lists\n{layout}")


def choose_split(root: Path, layout: str, number: int, listing: Listing) -> Split:
    """One split of a listing, with the paths on disk. The files of all splits must be there. Raises DataError.

    Families lose the classes that this copy of the data set does not have.
    """
    if number not in listing.splits:
        found = ", ".join(map(str, sorted(listing.splits))) or "none"
        raise DataError(f"data.split={number}: the lists have the splits {found}; choose one of these")
    located = locate(root, layout, listing.paths())
    sides = {
        side: [replace(video, path=located[video.path]) for video in videos]
        for side, videos in listing.sides(number).items()
    }
    families = {name: tuple(c for c in members if c in listing.classes) for name, members in listing.families.items()}
    split = Split(
        classes=tuple(listing.classes),
        files=sorted(set(located.values())),
        families={name: members for name, members in families.items() if members},
        notes=list(listing.notes),
        rates={located[path]: rate for path, rate in listing.rates.items()},
        **sides,
    )
    check_split(split, f"data.root={root}, split {number}")
    return split


def locate(root: Path, layout: str, listed: Iterable[str]) -> dict[str, str]:
    """The path on disk of every listed path, as `search` finds it. Raises DataError if some are missing."""
    located, missing, outside = search(root, layout, listed)
    if outside:
        raise DataError(f"listed path {outside[0]!r} leaves data.root={root}; list paths relative to it, without ..")
    if missing:
        counts = f"{len(missing)} of {len(missing) + len(located)} listed videos are missing"
        raise DataError(f"data.root={root}: {counts}, first {missing[0]}; complete the folder\n{layout}")
    return located


def search(root: Path, layout: str, listed: Iterable[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """(path on disk by listed path, missing listed paths, listed paths that lead out of the root), each sorted.

    All paths are relative to the root. Capitals on disk may differ from the list's: copies of UCF101 have either
    HandstandPushups or HandStandPushups. Each folder is read once, because a call per file is slow on network disks.
    """
    existing_root(root, layout)
    names_in = cache(partial(_names_in, root))

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


def _names_in(root: Path, folder: str) -> dict[str, str]:
    """The names in a folder by themselves and in lower case; none if it is not a folder that can be reached."""
    try:
        found = sorted(os.listdir(root / folder))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            return {}
        raise
    return {name.lower(): name for name in found} | {name: name for name in found}


def check_split(split: Split, source: str) -> None:
    """Raise DataError unless every list has videos, each once and in one list only, with labels of a class."""
    names = ("train", "test", "validation") if split.validation else ("train", "test")
    paths = {name: _checked_paths(split, name, source) for name in names}
    for one, other in combinations(names, 2):
        if shared := paths[one] & paths[other]:
            first = decoded_path(min(shared))
            raise DataError(
                f"{source}: {len(shared)} videos are in both the {one} and the {other} list, first {first}; keep one"
            )


def _checked_paths(split: Split, name: str, source: str) -> set[bytes]:
    videos, last = VideoArray.of(getattr(split, name)), len(split.classes) - 1
    if not videos:
        raise DataError(f"{source}: the {name} list has 0 videos, expected at least 1")
    paths = set(videos.paths.rows())
    if len(paths) < len(videos):
        path, times = Counter(videos.paths.rows()).most_common(1)[0]
        raise DataError(
            f"{source}: the {name} list has {decoded_path(path)} {times} times, expected once; remove the copies"
        )
    labels, starts = videos.labels.values, videos.labels.starts
    if (empty := np.diff(starts) == 0).any():
        path = videos[int(empty.argmax())].path
        raise DataError(f"{source}: {path} of the {name} list has 0 labels, expected at least 1")
    if (wrong := (labels < 0) | (labels > last)).any():
        video = videos[int(np.searchsorted(starts, wrong.argmax(), side="right")) - 1]
        raise DataError(f"{source}: {video.path} has labels {video.labels}, expected 0 to {last}")
    return paths
