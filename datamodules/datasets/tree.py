"""Folders of videos on disk: which of their files are videos, and which files are not taken."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from datamodules.decode.images import is_image

VIDEO = re.compile(
    r".+\.(3g2|3gp|asf|avi|divx|f4v|flv|gif|m2ts|m2v|m4v|mkv|mov|mp4|mpe|mpeg|mpg|mpv|mts|mxf|ogv|rm|rmvb|ts|vob|webm|wmv)",
    re.IGNORECASE | re.DOTALL,  # a name may hold a line end
)


def is_video(name: str) -> bool:
    """Whether a file name is a video's. A leading dot says no: macOS leaves `._video.mp4` beside videos."""
    return not name.startswith(".") and VIDEO.fullmatch(name) is not None


def walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of its files) for all folders below a root, relative to it, without hidden ones, in order.

    Linked folders are entered once, because links may lead in a circle.
    """
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        inside = Path(folder).relative_to(root).as_posix()
        yield "" if inside == "." else inside, sorted(name for name in names if not name.startswith("."))


def videos_below(root: Path) -> tuple[list[str], list[str]]:
    """(videos, other files) below a folder, as paths relative to it. A folder of numbered images is one video."""
    videos, others = [], []
    for folder, names in walk(root):
        paths = [f"{folder}/{name}" if folder else name for name in names]
        if folder and names and all(map(is_image, names)):
            videos.append(folder)
            continue
        for path, name in zip(paths, names, strict=True):
            (videos if is_video(name) else others).append(path)
    return sorted(videos), others


def not_taken(paths: Iterable[str], why: str) -> list[str]:
    """A sentence about files that are there and not taken, by suffix, with the first of them; none without files."""
    paths = sorted(paths)
    if not paths:
        return []
    kinds = Counter(PurePosixPath(path).suffix.lower() or "no suffix" for path in paths).most_common()
    shown = ", ".join(f"{count} {kind}" for kind, count in kinds[:5]) + (", ..." if len(kinds) > 5 else "")
    return [f"{len(paths)} files are not taken, because {why} ({shown}), first {paths[0]}"]
