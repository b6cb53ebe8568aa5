"""Opening a video file, and saying in one line what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from datamodules.errors import DecodeError


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """An open video and the stream that every reader here chooses. What FFmpeg raises becomes a DecodeError.

    The stream decodes in one thread: whoever decodes many videos runs processes.
    """
    name = openable_name(path)
    try:
        with av.open(name) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise decode_error(path, "it has no video stream")
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.FFmpegError as error:
        raise decode_error(path, first_line(error)) from error


def openable_name(path: Path) -> str:
    """An absolute name, because decoders take `file:a.avi` for an address.

    Raises DecodeError for what a decoder would wait for without end, such as a named pipe, and for names that are not
    UTF-8.
    """
    if path.exists() and not path.is_file():
        raise decode_error(path, "it is not a regular file")
    try:
        return str(path.absolute()).encode().decode()
    except UnicodeEncodeError:
        raise decode_error(path, "its name is not UTF-8, rename it") from None


def frame_rate(stream: av.VideoStream) -> float:
    """Frames per second that the header says, 0 where it does not."""
    return float(stream.average_rate or stream.guessed_rate or 0)


def turns_of(frame: av.VideoFrame) -> int:
    """Quarter turns anticlockwise that make a frame upright, 0 to 3."""
    return round(frame.rotation / 90) % 4


def decode_error(path: Path, found: str) -> DecodeError:
    """The error that names a file, what was found in it, and the remedy."""
    return DecodeError(f"{path}: cannot be decoded: {found}; fetch it again, re-encode it, or take it off the list")


def other_size(index: int, size: tuple[int, int], first: tuple[int, int]) -> str:
    """What is wrong with a frame whose size, (width, height), is not the first one's."""
    return f"frame {index} is {size[0]}x{size[1]}, the first is {first[0]}x{first[1]}"


def first_line(error: Exception) -> str:
    """The first line of an error, without decord's place in its code and its stack."""
    line = (getattr(error, "strerror", None) or str(error)).strip().splitlines()[0]
    return re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", line)
