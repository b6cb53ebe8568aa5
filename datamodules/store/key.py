"""The folder of a frame store, whose name says what is in it."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from datamodules.decode.images import content_digest, images_in
from datamodules.processes import available_cores
from datamodules.store.shards import FORMAT
from datamodules.videos import encoded_path

LISTING = "listing"


def store_folder(root: Path, files: Sequence[str], stores: Path, name: str, listing: str | None = None) -> Path:
    """The folder of the store of these files: `<stores>/<name>-<key>`.

    The key covers the path and the whole content of each file, and not where the data lies. So the same data have the
    same store on every machine. A finished store remembers its files' sizes and times (`listing_of`): while they stay,
    no file is read.
    """
    files = sorted(set(files))
    listing = listing or listing_of(root, files)
    for folder in stores.glob(f"{glob.escape(name)}-*"):
        with suppress(OSError):
            if folder.name.rpartition("-")[0] == name and (folder / LISTING).read_text() == listing:
                return folder
    key = hashlib.sha256(f"format {FORMAT}".encode())
    with ThreadPoolExecutor(available_cores()) as pool:  # hashing and reading wait for each other otherwise
        for path, digest in zip(files, pool.map(_digest, (root / path for path in files)), strict=True):
            key.update(b"\n%s %s" % (encoded_path(path), digest.encode()))
    return stores / f"{name}-{key.hexdigest()[:8]}"


def _digest(file: Path) -> str:
    return content_digest(file) if file.is_file() or images_in(file) else "absent"


def listing_of(root: Path, files: Sequence[str]) -> str:
    """A digest of the files' paths, sizes and times of change, which no program can set back."""
    digest = hashlib.sha256(f"format {FORMAT}".encode())
    for path in files:
        known = "absent"
        with suppress(OSError):
            found = [os.stat(file) for file in [root / path, *images_in(root / path)]]
            known = " ".join(f"{file.st_size} {file.st_mtime_ns} {file.st_ctime_ns}" for file in found)
        digest.update(b"\n%s %s" % (encoded_path(path), known.encode()))
    return digest.hexdigest()
