"""A video file -> its frames, in order.

Frame i means the i-th frame of a sequential decode. decord's random access returns wrong frames on files with packed
B-frames (most of HMDB51, part of UCF101), and its length may count one frame too many there. So the count comes from
PyAV, and the pictures from decord reading from the first frame on, never seeking. Pictures are upright: a rotation in
the file's metadata, as phones write it, is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import av
import numpy as np

from datamodules.decode.info import VideoInfo, probe
from datamodules.decode.opening import decode_error, first_line, openable_name, opened, other_size, turns_of

try:
    import decord
except ImportError:  # decord has wheels for x86-64 only; PyAV gives the same frames at about twice the time
    decord = None
else:
    decord.logging.set_level(decord.logging.QUIET)


def iter_frames(path: Path, info: VideoInfo | None = None) -> Iterator[np.ndarray]:
    """Yield the frames of a video in order, uint8 (H, W, 3) in RGB; exactly `info.frames` of them, or DecodeError.

    `info` is what `probe` says of this file; a caller that has it saves a second count. Memory does not grow with the
    number of frames, but decord's own thread may run some hundred of them ahead of a slow reader.
    """
    info = info or probe(path)
    return (frame for _, frame in pick_frames(path, info, range(info.frames)))


def pick_frames(path: Path, info: VideoInfo, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the frames with these numbers, in order and each once, with their numbers. Raises DecodeError.

    `info` is what `probe` says of this file.
    """
    wanted = set(numbers)
    last, count = max(wanted), 0
    for number, frame in zip(range(last + 1), _decode(path), strict=False):
        if frame.shape != (info.height, info.width, 3):
            raise decode_error(path, other_size(number, frame.shape[1::-1], (info.width, info.height)))
        count += 1
        if number in wanted:
            yield number, frame
    if count <= last:
        raise decode_error(path, f"PyAV counts {info.frames} frames, the decoder gives {count}")


def seeks_exactly(path: Path, frames: Mapping[int, np.ndarray]) -> bool:
    """Whether decord's random access returns these frames of `iter_frames`, given by their index, in their order.

    False where decord is missing: no other decoder here seeks. It may hang or crash on a damaged file.
    """
    if decord is None:
        return False
    try:
        reader = _decord_reader(path)
        return all(np.array_equal(reader[index].asnumpy(), frame) for index, frame in frames.items())
    except (decord.DECORDError, RuntimeError, IndexError):
        return False


def frames_at(path: Path, indices: Sequence[int]) -> np.ndarray:
    """Frames by decord's random access, uint8 (n, H, W, 3): on some files others than `iter_frames` gives.

    Only to be compared with: see `seeks_exactly`.
    """
    assert decord is not None, "no other decoder here seeks"
    return _decord_reader(path).get_batch(list(indices)).asnumpy()


def _decord_reader(path: Path) -> decord.VideoReader:
    return decord.VideoReader(openable_name(path), ctx=decord.cpu(0), num_threads=1)


def _decode(path: Path) -> Iterator[np.ndarray]:
    """Frames from the first on, as many as the decoder gives. decord may append a copy of the last one."""
    if decord is None:
        yield from _decode_with_pyav(path)
        return
    try:
        reader = _decord_reader(path)
    except (decord.DECORDError, RuntimeError):  # it takes no single pictures, nor streams without a container
        yield from _decode_with_pyav(path)
        return
    try:
        frame = reader.next().asnumpy()
        if frame.shape[2] != 3:  # decord 0.6.0 gives four channels for some small widths, such as 48
            yield from _decode_with_pyav(path)
            return
        while True:
            yield frame
            frame = reader.next().asnumpy()
    except StopIteration:
        return
    except (decord.DECORDError, RuntimeError) as error:
        raise decode_error(path, f"decord failed: {first_line(error)}") from error


def _decode_with_pyav(path: Path) -> Iterator[np.ndarray]:
    with opened(path) as (container, stream):
        for frame in container.decode(stream):
            yield to_picture(frame)


def to_picture(frame: av.VideoFrame) -> np.ndarray:
    """An upright frame as an array, uint8 (H, W, 3) in RGB."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns_of(frame)))
