"""The folder of a frame store, whose name says what is in it."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from datamodules.store.shards import FORMAT
from datamodules.videos import encoded_path

LISTING = "listing"


def store_folder(root: Path, files: Sequence[str], stores: Path, name: str, listing: str | None = None) -> Path:
    """The folder of the store of these files: `<stores>/<name>-<key>`.

    The key covers each file's relative path, size, first and last 64 KB, and not where the data lies: the same data
    have the same store on every machine, and a file that changes has another. A finished store remembers its files'
    sizes and times (`listing_of`): while they stay, no file is read.
    """
    files = sorted(set(files))
    listing = listing or listing_of(root, files)
    for folder in stores.glob(f"{glob.escape(name)}-*"):
        with suppress(OSError):
            if folder.name.rpartition("-")[0] == name and (folder / LISTING).read_text() == listing:
                return folder
    key = hashlib.sha256(f"format {FORMAT}".encode())
    for path in files:
        file = root / path
        size = file.stat().st_size if file.is_file() else None
        key.update(b"\n%s %s " % (encoded_path(path), str(size).encode()))
        if size is not None:
            with file.open("rb") as stream:
                key.update(stream.read(65536))
                stream.seek(max(0, size - 65536))
                key.update(stream.read())
    return stores / f"{name}-{key.hexdigest()[:8]}"


def listing_of(root: Path, files: Sequence[str]) -> str:
    """A digest of the files' paths, sizes and times of change, which no program can set back."""
    digest = hashlib.sha256(f"format {FORMAT}".encode())
    for path in files:
        known = "absent"
        with suppress(OSError):
            found = os.stat(root / path)
            known = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        digest.update(b"\n%s %s" % (encoded_path(path), known.encode()))
    return digest.hexdigest()
