"""What a video file holds: frames that decode, against what its header promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

from datamodules.decode.opening import decode_error, first_line, frame_rate, opened, other_size, turns_of


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    frames:        number of frames that decode, at least 1
    header_frames: number of frames that the header promises, 0 where it does not say; Matroska (mkv, webm) promises a
                   length, and this is how many frames would fill it
    fps:           frames per second, 0 where the file does not say
    height, width: of an upright frame, in pixels
    corrupt:       how many frames the decoder marks as damaged: it made up a part of their content
    quarter_turns: how often a stored frame is turned by 90 degrees anticlockwise to be upright, 0 to 3
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
    """Decode a video once, without converting any picture, and say what it holds. Raises DecodeError.

    `each_frame` is called after every frame, for whoever watches over a decoder that may hang.
    """
    frames = corrupt = 0
    first, start, end = None, math.inf, -math.inf
    with opened(path) as (container, stream):
        try:
            for frame in container.decode(stream):
                first = first or frame
                size, first_size = (frame.width, frame.height), (first.width, first.height)
                if size != first_size:  # the decoder would go on in the first size without a word
                    raise decode_error(path, other_size(frames, size, first_size))
                frames += 1
                corrupt += frame.is_corrupt
                if frame.time is not None:
                    start, end = min(start, frame.time), max(end, frame.time)
                each_frame()
        except av.FFmpegError as error:
            after = f" after {frames} frames" if frames else ""
            raise decode_error(path, f"{first_line(error)}{after}") from error
        if first is None:
            raise decode_error(path, "its video stream holds no frame")
        header_frames, fps = frames_by_header(container, stream, frames, end - start), frame_rate(stream)
        audio = bool(container.streams.audio)
    turns = turns_of(first)
    height, width = (first.height, first.width) if turns % 2 == 0 else (first.width, first.height)
    return VideoInfo(frames, header_frames, fps, height, width, corrupt, turns, audio)


def frames_by_header(
    container: av.container.InputContainer, stream: av.VideoStream, frames: int, seconds: float
) -> int:
    """Frames that a header promises, given those found and the seconds from the first of them to the last."""
    by_length = "matroska" in container.format.name  # MPEG streams have no header: FFmpeg guesses their length
    fps = frame_rate(stream)
    if stream.frames or not by_length or not fps or seconds < 0:
        return stream.frames
    return round(frames * (container.duration or 0) / av.time_base / (seconds + 1 / fps))


def read_header(path: Path) -> VideoInfo:
    """What the header alone says, which may be wrong; `frames` is 0 where it does not say. Raises DecodeError."""
    with opened(path) as (container, stream):
        fps, seconds = stream.average_rate or 0, (container.duration or 0) / av.time_base
        frames, codec = stream.frames or round(seconds * fps), stream.codec_context
        return VideoInfo(frames, stream.frames, float(fps), codec.height, codec.width)
