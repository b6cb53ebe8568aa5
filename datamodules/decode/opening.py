"""Opening a video file, and saying in one line what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import av
from av.stream import Disposition
from PIL import ExifTags, Image

from datamodules.decode.images import images_in, is_image, sequence
from datamodules.errors import DecodeError

PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0")  # how texts begin that FFmpeg follows to other files


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """An open video and the stream that every reader here takes: of several, the one that the file marks as default.

    The stream decodes in one thread: whoever decodes many videos runs processes. What FFmpeg raises becomes a
    DecodeError.
    """
    name, options = openable_name(path), {}
    if path.is_dir():
        try:
            name, options = sequence(path)
        except ValueError as error:
            raise decode_error(path, str(error)) from None
    _refuse_turned(path)
    try:
        with av.open(name, format="image2" if options else None, options=options) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise decode_error(path, "it has no video stream")
            if stream.disposition & Disposition.attached_pic:
                raise decode_error(path, "its only picture is a cover")
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.FFmpegError as error:
        raise decode_error(path, first_line(error)) from error


def _refuse_turned(path: Path) -> None:
    """Raise DecodeError for images that EXIF asks to turn: PyAV gives them as they are stored."""
    image, orientation = next(iter(images_in(path)), path), 1
    if is_image(image.name):
        with suppress(OSError, SyntaxError, ValueError), Image.open(image) as picture:  # else the decoder says it
            orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation != 1:
        raise decode_error(path, f"{image.name} is stored turned or mirrored (EXIF orientation {orientation})")


def movies_in(path: Path) -> int:
    """How many MP4 movies lie one after the other in a file; a player shows the first only. 0 for other containers."""
    movies = place = 0
    with path.open("rb") as file:
        while len(head := _read_at(file, place, 16)) >= 8:
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if place == 0 and kind not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
                break
            movies += kind == b"moov"
            length = int.from_bytes(head[8:], "big") if length == 1 else length
            if length < 8:  # it reaches to the end of the file, or is none
                break
            place += length
    return movies


def _read_at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(min(place, 2**62))
    return file.read(count)


def openable_name(path: Path) -> str:
    """An absolute name, because decoders take `file:a.avi` for an address.

    Raises DecodeError for what a decoder would wait for without end, such as a named pipe, and for names that are not
    UTF-8. A playlist is refused too, whatever its name: its frames are not in the file.
    """
    if path.exists() and not path.is_file() and not images_in(path):
        raise decode_error(path, "it is not a regular file")
    with suppress(OSError), path.open("rb") as file:  # what cannot be read, the decoder will name
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLISTS):
            raise decode_error(path, "it is a playlist or another text that names other files")
    try:
        return str(path.absolute()).encode().decode()
    except UnicodeEncodeError:
        raise decode_error(path, "its name is not UTF-8, rename it") from None


def decode_error(path: Path, found: str) -> DecodeError:
    """The error that names a file, what was found in it, and the remedy."""
    return DecodeError(f"{path}: cannot be decoded: {found}; fetch it again, re-encode it, or take it off the list")


def other_size(index: int, size: tuple[int, int], first: tuple[int, int]) -> str:
    """What is wrong with a frame whose size, (width, height), is not the first one's."""
    return f"frame {index} is {size[0]}x{size[1]}, the first is {first[0]}x{first[1]}"


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return (getattr(error, "strerror", None) or str(error)).strip().splitlines()[0]
