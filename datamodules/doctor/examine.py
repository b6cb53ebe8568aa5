"""One file, decoded to its end and compared with its header. This runs in a child process."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from datamodules.decode.frames import iter_frames
from datamodules.decode.images import content_digest, images_in
from datamodules.decode.info import VideoInfo, probe
from datamodules.decode.opening import movies_in
from datamodules.decode.random_access import seeks_exactly
from datamodules.errors import DecodeError

SEEKS = 5  # frames of each video for which random access is tried


@dataclass(frozen=True)
class Finding:
    """What one file is. What is not known is 0 or empty.

    status:        ok; truncated (fewer frames decode than its header promises); damaged (half of its frames or more);
                   undecodable; hang or crash (of the decoder); changed (while it was read); missing; outside (of the
                   root)
    message:       what is wrong or unusual
    frames, header_frames, fps, width, height, corrupt, drift: see `VideoInfo`
    seekable:      `yes` if decord's random access returned the frames of the sequential decode, else `no`
    audio:         `yes` or `no`
    seconds:       length at `fps`
    size, modified: bytes, and nanoseconds since 1970, of the file that was checked
    """

    status: str = ""
    message: str = ""
    frames: int = 0
    header_frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    corrupt: int = 0
    drift: float = 0.0
    seekable: str = ""
    audio: str = ""
    seconds: float = 0.0
    size: int = 0
    modified: int = 0
    sha256: str = ""

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Finding:
        """A row of the CSV. Raises KeyError or ValueError if it is none."""
        return cls(**{column.name: type(column.default)(texts[column.name]) for column in fields(cls)})


def examine(file: Path, alive: Callable[[], object] = lambda: None) -> Iterator[Finding]:
    """Decode a file to its end. Yields a finding after each step, because the next step may crash or hang.

    A finding without a status is not decided yet. The last one is complete. `alive` is called after every frame.
    """
    try:
        before = file.stat()
        if not stat.S_ISREG(before.st_mode) and not images_in(file):
            yield Finding("undecodable", "it is not a regular file")
            return
        known = Finding(size=before.st_size, modified=before.st_mtime_ns)
        yield known
        known = replace(known, sha256=content_digest(file, alive))
        yield known
        for finding in _decoded(file, known, alive):  # the last one is kept
            yield finding
        after = file.stat()
    except FileNotFoundError:
        yield Finding("missing", "no such file")
        return
    except OSError as error:
        yield Finding("undecodable", error.strerror or str(error))
        return
    if (before.st_size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
        yield replace(finding, status="changed", message="it changed while it was read; check it again")


def _decoded(file: Path, finding: Finding, alive: Callable[[], object]) -> Iterator[Finding]:
    kept: dict[int, np.ndarray] = {}
    try:
        info = probe(file, alive)
        finding = replace(
            finding,
            **{name: getattr(info, name) for name in ("frames", "header_frames", "fps", "width", "height", "corrupt")},
            drift=round(info.drift, 3),
            audio="yes" if info.audio else "no",
            seconds=round(info.frames / info.fps, 3) if info.fps else 0.0,
        )
        draw = np.random.default_rng(int(finding.sha256[:16], 16))
        chosen = draw.choice(info.frames, min(SEEKS, info.frames), replace=False).tolist()
        for index, frame in enumerate(iter_frames(file, info)):
            alive()
            if index in chosen:
                kept[index] = frame
    except DecodeError as error:
        # The message starts with the whole path, which is the row's and may move.
        yield replace(finding, status="undecodable", message=str(error).removeprefix(f"{file}: "))
        return
    status = "truncated" if info.truncated else "damaged" if info.damaged else "ok"
    finding = replace(finding, status=status, message="; ".join(_remarks(file, info)), seekable="no")
    yield finding
    if file.is_file() and seeks_exactly(file, {index: kept[index] for index in chosen}):
        yield replace(finding, seekable="yes")


def _remarks(file: Path, info: VideoInfo) -> Iterator[str]:
    """What is odd about a video that decodes."""
    if info.header_frames not in (0, info.frames):
        yield f"{info.frames} frames decode of {info.header_frames} that its header promises"
    if file.is_file() and (movies := movies_in(file)) > 1:
        yield f"it holds {movies} MP4 movies one after the other, of which the first alone is read"
    if info.corrupt:
        yield f"{info.corrupt} of {info.frames} frames are damaged"
    if info.drift:
        yield f"its rate varies: a frame's time is up to {info.drift:.2f} s from its number / fps"
    if info.frames == 1:
        yield "it has a single frame"
    if info.upright.turns:
        yield f"its metadata ask for a rotation by {90 * info.upright.turns} degrees, which is applied"
    if info.upright.mirrored:
        yield "its metadata ask for a mirror image, which is applied"
