"""A folder of numbered images, such as frame_000001.jpg, as a video."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from datamodules.files import file_digest

IMAGE = re.compile(r"(?P<before>.*?)(?P<number>\d+)\.(?P<suffix>jpe?g|png|bmp|webp|ppm|tiff?)", re.IGNORECASE)


def is_image(name: str) -> bool:
    """Whether a file name is that of a numbered image."""
    return not name.startswith(".") and IMAGE.fullmatch(name) is not None


def images_in(folder: Path) -> list[Path]:
    """The numbered images of a folder in the order of their names; none if it is no folder or has none."""
    return sorted(path for path in folder.iterdir() if is_image(path.name)) if folder.is_dir() else []


def sequence(folder: Path) -> tuple[str, dict[str, str]]:
    """(name, options) by which FFmpeg opens the images of a folder as one video. Raises ValueError if it cannot.

    The order of the names must be that of the numbers. All images must have one suffix.
    """
    found = [IMAGE.fullmatch(path.name) for path in images_in(folder)]
    if not found:
        raise ValueError("it holds no numbered images")
    if len(kinds := {(match["before"], match["suffix"]) for match in found}) > 1:
        names = ", ".join(f"{before}<number>.{suffix}" for before, suffix in sorted(kinds)[:3])
        raise ValueError(f"its images have several kinds of names, {names}; keep one kind")
    numbers = [int(match["number"]) for match in found]
    if any(one >= other for one, other in pairwise(numbers)):
        raise ValueError("the order of its images' names is not that of their numbers; write them as 0001, 0002, ...")
    before, suffix = kinds.pop()
    folder_name, before = (re.sub(r"([][{}*?\\])", r"\\\1", text) for text in (str(folder.absolute()), before))
    return f"{folder_name}/{before}*.{suffix}", {"pattern_type": "glob"}


def content_digest(path: Path, each_part: Callable[[], object] = lambda: None) -> str:
    """SHA-256 of the content of a file, or of the names and contents of a folder's images, in hex."""
    if not (images := images_in(path)):
        return file_digest(path, each_part)
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"\n{image.name} {file_digest(image, each_part)}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
