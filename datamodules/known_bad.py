"""Files that crashed or hung a decoder when the data set was checked."""

from __future__ import annotations

import csv
import stat
from pathlib import Path

from datamodules.errors import DataError
from datamodules.files import file_digest


def check_file(root: Path, stores: Path, identity: str = "") -> Path:
    """The CSV beside the stores in which `experiments/check.py` says what it found: a row per video.

    `identity` tells two data sets apart whose folders have the same name.
    """
    return stores / "-".join(filter(None, [root.absolute().name, identity, "check.csv"]))


def known_bad(root: Path, stores: Path, identity: str = "") -> dict[str, str]:
    """Why each file must not be opened again, by its path: it crashed or hung a decoder when it was checked.

    A file that has changed since then is not among them. Raises DataError for a CSV that is no table of a check.
    """
    path = check_file(root, stores, identity)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["status"] in ("crash", "hang")]
        return {
            row["path"]: row["message"]
            for row in rows
            if is_unchanged(root / row["path"], int(row["size"]), int(row["modified"]), row["sha256"])
        }
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError, csv.Error):
        raise DataError(f"{path}: not a table of experiments/check.py; delete it, or check the data set anew") from None


def is_unchanged(file: Path, size: int, modified: int, sha256: str) -> bool:
    """Whether a file still has this size, and this time of change (in nanoseconds) or this content."""
    try:
        found = file.stat()
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != size:
        return False
    return found.st_mtime_ns == modified or (bool(sha256) and file_digest(file) == sha256)
