"""Files that are written whole or not at all, and digests of what is in them."""

from __future__ import annotations

import csv
import io
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A new file, open for writing; it takes the place of `path` in one step once it is whole.

    After an error the old file stays and the new one is gone.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")  # no two containers choose the same name
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing; text as UTF-8."""
    with replaced(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def file_digest(path: Path, each_part: Callable[[], object] = lambda: None) -> str:
    """SHA-256 of a file's content, in hex; `each_part` is called after every MB."""
    digest = sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
            each_part()
    return digest.hexdigest()


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a whole table or nothing."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))
