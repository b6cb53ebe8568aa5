"""The folder of a store: what its name follows, and what it costs to find."""

import os
import shutil
from pathlib import Path

import pytest

from datamodules.store.key import LISTING, listing_of, store_folder
from datamodules.store.shards import FORMAT

NAMES = ["a.avi", "b.avi"]


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "root").mkdir()
    for name in NAMES:
        (tmp_path / "root" / name).write_bytes(bytes(10**6))
    return tmp_path / "root"


def key(root: Path, names: list[str] = NAMES) -> str:
    return store_folder(root, names, root.parent / "stores", "test").name


def test_it_follows_content_and_not_place_or_order(root, tmp_path, monkeypatch):
    known = {key(root), key(root, NAMES[1:])}
    moved = Path(shutil.copytree(root, tmp_path / "moved"))
    assert key(moved, NAMES[::-1]) in known and len(known) == 2
    middle = bytearray(10**6)
    middle[500_000] = 1  # a download completed in the middle has the same size, beginning and end
    for content in (middle, b""):
        (moved / "b.avi").write_bytes(content)
        known.add(key(moved))
    (moved / "b.avi").unlink()
    known.add(key(moved))
    monkeypatch.setattr("datamodules.store.key.FORMAT", FORMAT + 1)
    known.add(key(root))
    assert len(known) == 6


def test_the_files_of_a_finished_store_are_not_read(root, monkeypatch):
    folder = root.parent / "stores" / key(root)
    folder.mkdir(parents=True)
    (folder / LISTING).write_text(listing_of(root, NAMES))
    with monkeypatch.context() as patch:
        patch.setattr("datamodules.store.key.content_digest", lambda file: pytest.fail("read"))
        assert key(root) == folder.name
    changed, old = root / "b.avi", (root / "b.avi").stat()
    changed.write_bytes(bytes(10**6 - 1) + b"?")
    os.utime(changed, ns=(old.st_atime_ns, old.st_mtime_ns))  # the time of change cannot be set back
    assert key(root) != folder.name
