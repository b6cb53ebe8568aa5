"""Files that crashed or hung a decoder when the data set was checked."""

from __future__ import annotations

import csv
import glob
import stat
from pathlib import Path

from datamodules.errors import DataError
from datamodules.files import file_digest


def check_file(root: Path, stores: Path, identity: str = "") -> Path:
    """The CSV beside the stores in which `experiments/check.py` says what it found: a row per video.

    `identity` tells two data sets apart whose folders have the same name.
    """
    return stores / "-".join(filter(None, [root.absolute().name, identity, "check.csv"]))


def check_files(root: Path, stores: Path, ending: str = "check.csv") -> list[Path]:
    """The CSVs of all data sets whose folder has the name of this one, oldest first.

    A row says which content it is about, so the rows of another data set do no harm.
    """
    found = stores.glob(f"{glob.escape(root.absolute().name)}-*{ending}")
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def known_bad(root: Path, stores: Path) -> dict[str, str]:
    """Why each file must not be opened again, by its path: it crashed or hung a decoder when it was checked.

    A file that has changed since then is not among them. Of several tables the newest counts. Raises DataError for a
    CSV that is no table of a check.
    """
    rows = {row["path"]: row for table in check_files(root, stores) for row in read_rows(table)}
    return {
        path: row["message"]
        for path, row in rows.items()
        if row["status"] in ("crash", "hang")
        and is_unchanged(root / path, int(row["size"]), int(row["modified"]), row["sha256"])
    }


def read_rows(table: Path) -> list[dict[str, str]]:
    """The rows of a check's CSV, by column. Raises DataError for another file."""
    try:
        with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            int(row["size"]), int(row["modified"]), row["path"], row["status"], row["message"], row["sha256"]
    except (KeyError, TypeError, ValueError, csv.Error):
        raise DataError(
            f"{table}: not a table of experiments/check.py; delete it, or check the data set anew"
        ) from None
    return rows


def is_unchanged(file: Path, size: int, modified: int, sha256: str) -> bool:
    """Whether a file still has this size, and this time of change (in nanoseconds) or this content."""
    try:
        found = file.stat()
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != size:
        return False
    return found.st_mtime_ns == modified or (bool(sha256) and file_digest(file) == sha256)
