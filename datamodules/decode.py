"""A video file -> its frames and how many there truly are.

Frame i means the i-th frame of a sequential decode. decord's random access returns wrong frames on files with packed
B-frames (most of HMDB51, part of UCF101), and its length may count one frame too many there. So the count comes from
PyAV decoding every frame, and the pictures from decord reading from the first frame on, never seeking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from datamodules.lists import DataError

try:
    import decord
except ImportError:  # decord has wheels for x86-64 only; PyAV gives the same frames at about twice the time
    decord = None
else:
    decord.logging.set_level(decord.logging.QUIET)


class DecodeError(DataError):
    """A video that does not decode from its first to its last frame; one line: the file, what was found, the remedy."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    frames:        number of frames that decode, at least 1
    header_frames: number of frames that the header promises, 0 where it does not say
    fps:           frames per second, 0 where the file does not say
    height, width: of a frame, in pixels
    """

    frames: int
    header_frames: int
    fps: float
    height: int
    width: int

    @property
    def truncated(self) -> bool:
        """See `is_truncated`."""
        return is_truncated(self.frames, self.header_frames)


def is_truncated(frames: int, header_frames: int) -> bool:
    """Whether clearly fewer frames decode than the header promises, as after a broken download.

    Clearly: by more than 2 frames and more than 5 %. The headers of healthy HMDB51 clips count one too many.
    """
    return header_frames - frames > max(2, 0.05 * header_frames)


def probe(path: Path) -> VideoInfo:
    """Count the frames of a video by decoding it once, without converting any picture. Raises DecodeError."""
    frames, first = 0, None
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            for frame in container.decode(stream):
                first = first or frame
                frames += 1
            header_frames, fps = stream.frames, float(stream.average_rate or stream.guessed_rate or 0)
    except av.FFmpegError as error:
        raise _decode_error(path, f"{_reason(error)} after {frames} frames" if frames else _reason(error)) from error
    if first is None:
        raise _decode_error(path, "its video stream holds no frame")
    return VideoInfo(frames, header_frames, fps, first.height, first.width)


def expected_frames(path: Path) -> int:
    """How many frames a video should have by its header alone, which may be wrong; 0 where it cannot be read."""
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            seconds = (container.duration or 0) / av.time_base
            return stream.frames or round(seconds * (stream.average_rate or 0))
    except (av.FFmpegError, DecodeError):
        return 0


def iter_frames(path: Path, info: VideoInfo | None = None) -> Iterator[np.ndarray]:
    """Yield the frames of a video in order, uint8 (H, W, 3) in RGB; exactly `info.frames` of them, or DecodeError.

    `info` is what `probe` says of this file; a caller that has it saves the second count. Memory does not grow with the
    number of frames, but decord's own thread may run some hundred of them ahead of a slow reader.
    """
    info = info or probe(path)
    count = 0
    for count, frame in zip(range(1, info.frames + 1), _decode(path), strict=False):
        if frame.shape != (info.height, info.width, 3):
            found = f"frame {count - 1} is {frame.shape[1]}x{frame.shape[0]}, the first is {info.width}x{info.height}"
            raise _decode_error(path, found)
        yield frame
    if count < info.frames:
        raise _decode_error(path, f"PyAV counts {info.frames} frames, the decoder gives {count}")


def _decode(path: Path) -> Iterator[np.ndarray]:
    """Frames from the first on, as many as the decoder gives. decord may append a copy of the last one."""
    if decord is None:
        yield from _decode_with_pyav(path)
        return
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
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
        raise _decode_error(path, f"decord failed: {_reason(error)}") from error


def _decode_with_pyav(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(_video_stream(container, path)):
            yield frame.to_ndarray(format="rgb24")


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The stream that both decoders choose, set to decode in one thread: whoever decodes many videos runs processes."""
    stream = container.streams.best("video")
    if stream is None:
        raise _decode_error(path, "it has no video stream")
    stream.codec_context.thread_count = 1
    return stream


def _reason(error: Exception) -> str:
    """The first line of an error, without the stack that decord appends."""
    return (getattr(error, "strerror", None) or str(error)).strip().splitlines()[0]


def _decode_error(path: Path, found: str) -> DecodeError:
    return DecodeError(f"{path}: cannot be decoded: {found}; fetch it again, re-encode it, or take it off the list")
