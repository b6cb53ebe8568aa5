"""What a video file holds: frames that decode, against what its header promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

from datamodules.decode.opening import (
    decode_error,
    first_line,
    frame_rate,
    openable_name,
    other_size,
    turns_of,
    video_stream,
)
from datamodules.errors import DecodeError


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    frames:        number of frames that decode, at least 1
    header_frames: number of frames that the header promises; Matroska's (mkv, webm) gives a length, and this is how
                   many would fill that; 0 where it does not say
    fps:           frames per second, 0 where the file does not say
    height, width: of an upright frame, in pixels
    corrupt:       how many of the frames the decoder marks as damaged: it made up a part of their content
    quarter_turns: how often a frame as it is stored is turned by 90 degrees anticlockwise to be upright, 0 to 3
    audio:         whether there is sound
    """

    frames: int
    header_frames: int
    fps: float
    height: int
    width: int
    corrupt: int = 0
    quarter_turns: int = 0
    audio: bool = False

    @property
    def truncated(self) -> bool:
        """See `is_truncated`."""
        return is_truncated(self.frames, self.header_frames)


def is_truncated(frames: int, header_frames: int) -> bool:
    """Whether clearly fewer frames decode than the header promises, as after a broken download.

    Clearly: by more than 2 frames and more than 5 %. The headers of healthy HMDB51 clips count one too many.
    """
    return header_frames - frames > max(2, 0.05 * header_frames)


def probe(path: Path, each_frame: Callable[[], object] = lambda: None) -> VideoInfo:
    """Count the frames of a video by decoding it once, without converting any picture. Raises DecodeError.

    `each_frame` is called after every one of them, for whoever watches over a decoder that may hang.
    """
    frames = corrupt = 0
    first, start, end = None, math.inf, -math.inf
    try:
        with av.open(openable_name(path)) as container:
            stream = video_stream(container, path)
            for frame in container.decode(stream):
                first = first or frame
                if (frame.width, frame.height) != (first.width, first.height):
                    # decord would go on in the first size without a word.
                    raise decode_error(
                        path, other_size(frames, (frame.width, frame.height), (first.width, first.height))
                    )
                frames += 1
                corrupt += frame.is_corrupt
                if frame.time is not None:
                    start, end = min(start, frame.time), max(end, frame.time)
                each_frame()
            header_frames, fps = frames_by_header(container, stream, frames, end - start), frame_rate(stream)
            audio = bool(container.streams.audio)
    except av.FFmpegError as error:
        raise decode_error(
            path, f"{first_line(error)} after {frames} frames" if frames else first_line(error)
        ) from error
    if first is None:
        raise decode_error(path, "its video stream holds no frame")
    turns = turns_of(first)
    height, width = (first.height, first.width) if turns % 2 == 0 else (first.width, first.height)
    return VideoInfo(frames, header_frames, fps, height, width, corrupt, turns, audio)


def frames_by_header(
    container: av.container.InputContainer, stream: av.VideoStream, frames: int, seconds: float
) -> int:
    """The frames that a header promises, given those found and the seconds from the first of them to the last."""
    by_length = "matroska" in container.format.name  # MPEG streams have no header: FFmpeg guesses their length
    fps = frame_rate(stream)
    if stream.frames or not by_length or not fps or seconds < 0:
        return stream.frames
    return round(frames * (container.duration or 0) / av.time_base / (seconds + 1 / fps))


def header(path: Path) -> VideoInfo:
    """What a video's header alone says, which may be wrong, with 0 frames where it does not. Raises DecodeError."""
    try:
        with av.open(openable_name(path)) as container:
            stream = video_stream(container, path)
            fps, seconds = stream.average_rate or 0, (container.duration or 0) / av.time_base
            frames = stream.frames or round(seconds * fps)
            return VideoInfo(frames, stream.frames, float(fps), stream.codec_context.height, stream.codec_context.width)
    except av.FFmpegError as error:
        raise decode_error(path, first_line(error)) from error


def expected_frames(path: Path) -> int:
    """How many frames a video should have by its header alone, which may be wrong; 0 where it cannot be read."""
    try:
        return header(path).frames
    except DecodeError:
        return 0
