"""Any video files as a trained network's test clips; what they are called where something is written of them."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from datamodules.dataset_store import tracks
from datamodules.errors import DataError
from datamodules.loading import TestViews
from datamodules.store.building import build_store
from datamodules.store.shards import StoredVideo
from datamodules.store.tracks import Track
from datamodules.text import printable
from datamodules.videos import Video
from experiments.records.record import digest
from experiments.trained.load import Trained

NAME_BYTES = 200  # of a video's name in that of a file made of it: systems take 255 with all that is added


@dataclass(frozen=True)
class VideoFile:
    """A file as the only video of a data set: `path` below `root`, its test views, what is stored of it, and how."""

    absolute: Path
    root: Path
    path: str
    views: TestViews
    stored: StoredVideo
    track: Track


def files_and_changes(option: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files and the `key=value` changes among some words. Raises ValueError where there is no file."""
    files = [word for word in words if not re.match(r"[A-Za-z_][\w.]*=", word) or os.path.exists(word)]
    changes = [word for word in words if word not in files]
    if not files:
        raise ValueError(f"{option}: no video is given; name one or more files")
    return [file if os.path.exists(file) else os.path.expanduser(file) for file in files], changes


@contextmanager
def opened(trained: Trained, file: str, folder: Path) -> Iterator[VideoFile]:
    """A file's test views, whose frames lie in `folder` for as long as the block lasts. Raises DataError or OSError."""
    absolute = Path(os.path.abspath(file))
    if not absolute.is_file():
        raise DataError(f"{file}: {'is a folder; name the videos in it' if absolute.is_dir() else 'no such file'}")
    run, root = trained.run, Path(absolute.anchor)
    path = absolute.relative_to(root).as_posix()
    needed = [replace(track, sample=None) for track in tracks(run.data, run.sampling)]
    with tempfile.TemporaryDirectory(prefix=".frames-", dir=folder) as frames:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            store = build_store(root, [path], Path(frames), "predict", needed, workers=1, max_store=run.data.max_store)
        stored = store.videos[path]
        if not stored.frames:
            raise DataError(stored.error)
        views = TestViews([Video(path, (), path)], store, run.sampling, len(trained.classes), run.data.mirror)
        yield VideoFile(absolute, root, path, views, stored, needed[0])


def named(video: Path, run_id: str, before: str = "", after: str = "") -> str:
    """A video's name with a hash of what is written of it: folders may hold videos of one name."""
    name = os.fsencode(video.stem)[:NAME_BYTES].decode(errors="ignore")
    return f"{before}{name}-{digest([printable(str(video)), run_id])}{after}"


def one_line(message: str, file: str) -> str:
    """A message about a file in one line that names it as it was given."""
    absolute = os.path.abspath(file)
    message = " ".join(message.splitlines()).replace(absolute, file)
    message = message if file in message else message.replace(absolute.lstrip("/"), file)
    return printable(message if file in message else f"{file}: {message}")
