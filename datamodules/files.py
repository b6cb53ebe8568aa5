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


def content_hash(file: Path, each_part: Callable[[], object] = lambda: None) -> str:
    """SHA-256 of what is in a file, in hex; `each_part` is called after every MB."""
    digest = sha256()
    with file.open("rb") as stream:
        while part := stream.read(2**20):
            digest.update(part)
            each_part()
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of what is in a file, in hex."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only once it is whole."""
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: it is replaced in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a whole table or nothing."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))
