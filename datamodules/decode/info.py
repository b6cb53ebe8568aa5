"""What a video file holds: frames that decode and their times, against what its header promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np

from datamodules.decode.damage import is_damaged, is_truncated
from datamodules.decode.images import images_in
from datamodules.decode.opening import decode_error, first_line, opened, other_size
from datamodules.decode.pictures import AS_STORED, Orientation, orientation

PICTURE_A_PACKET = ("h264", "hevc")  # codecs that show a picture for each packet, if none it refers to is lost


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    frames:        number of frames that decode, at least 1
    header_frames: number of frames that the header promises to show, 0 where it does not say; where it promises a
                   length (Matroska, FLV), the frames that would fill it
    fps:           frames per second, 0 where the file does not say; on average, where the rate varies
    height, width: of an upright frame, in pixels
    corrupt:       how many frames the decoder marks as damaged: it made up a part of their content
    upright:       how a stored frame becomes upright
    audio:         whether there is sound
    times:         of a video whose rate varies: float64 (frames,), the seconds at which each frame is shown, from 0 on
    """

    frames: int
    header_frames: int
    fps: float
    height: int
    width: int
    corrupt: int = 0
    upright: Orientation = AS_STORED
    audio: bool = False
    times: np.ndarray | None = field(default=None, compare=False)

    @property
    def truncated(self) -> bool:
        """See `is_truncated`."""
        return is_truncated(self.frames, self.header_frames)

    @property
    def damaged(self) -> bool:
        """See `is_damaged`."""
        return is_damaged(self.frames, self.corrupt)

    @property
    def drift(self) -> float:
        """The largest difference between a frame's time and its number / fps, in seconds; 0 at a constant rate."""
        return 0.0 if self.times is None else _drift(self.times, self.fps)


def probe(path: Path, each_frame: Callable[[], object] = lambda: None) -> VideoInfo:
    """Decode a video once, without converting any picture, and say what it holds. Raises DecodeError.

    `each_frame` is called after every frame, for whoever watches over a decoder that may hang.
    """
    first, corrupt, pts = None, 0, []
    with opened(path) as (container, stream):
        packets = Packets(container, stream)
        try:
            for packet in packets:
                for frame in packet.decode():
                    first = first or frame
                    size, first_size = (frame.width, frame.height), (first.width, first.height)
                    if size != first_size:  # the decoder would go on in the first size without a word
                        raise decode_error(path, other_size(len(pts), size, first_size))
                    corrupt += frame.is_corrupt
                    pts.append(frame.pts)
                    each_frame()
        except av.FFmpegError as error:
            after = f" after {len(pts)} frames" if pts else ""
            raise decode_error(path, f"{first_line(error)}{after}") from error
        if first is None:
            raise decode_error(path, "its video stream holds no frame")
        if (images := len(images_in(path))) > len(pts):
            raise decode_error(path, f"{len(pts)} of its {images} images are pictures")
        info = packets.info(pts, corrupt, orientation(first))
        return replace(info, header_frames=0, fps=0.0, times=None) if path.is_dir() else info  # images say no rate


class Packets:
    """The packets of the picture track, in the file's order; and what those of all tracks say of the whole."""

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        self.container, self.stream = container, stream
        self.number = self.discarded = 0  # of the picture track
        self.end = self.picture_end = 0.0  # seconds at which the last packet ends, of any track and of the picture

    def __iter__(self) -> Iterator[av.Packet]:
        for packet in self.container.demux():
            end = 0.0
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.end = max(self.end, end)
            if packet.stream.index != self.stream.index:
                continue
            if packet.size:
                self.number += 1
                self.discarded += packet.is_discard
                self.picture_end = max(self.picture_end, end)
            yield packet

    def info(self, pts: Sequence[int | None], corrupt: int = 0, upright: Orientation = AS_STORED) -> VideoInfo:
        """What the file holds, once all packets have come; `pts` are the times of its frames in the stream's unit."""
        times = self._sound_times(pts)
        fps = frame_rate(self.stream)
        if times is not None and len(times) > 1:
            by_times = float((len(times) - 1) / times[-1])
            if abs(by_times - fps) > 0.05 * by_times:
                fps = by_times  # a time base of milliseconds makes headers say 500 or 1000
            if _drift(times, fps) * fps <= 0.5:
                times = None  # constant, but for rounding
        else:
            times = None
        codec = self.stream.codec_context
        height, width = upright.size(codec)
        audio = bool(self.container.streams.audio)
        return VideoInfo(len(pts), self._promised(len(pts), fps), fps, height, width, corrupt, upright, audio, times)

    def _promised(self, frames: int, fps: float) -> int:
        """Frames that the header promises to show."""
        promised, kinds = self.stream.frames, set(self.container.format.name.split(","))
        if "mp4" in kinds and promised:
            length = float((self.stream.duration or 0) * self.stream.time_base)
            if self.picture_end >= length - 1 / fps:
                promised = min(promised, self.number)  # an edit list leaves out the others
            return promised - self.discarded
        if kinds & {"matroska", "flv"} and fps:
            # A broken download ends early in all tracks. Sound or subtitles may well be longer than the picture.
            length = (self.container.duration or 0) / av.time_base
            whole = self.number - self.discarded if self.stream.codec_context.name in PICTURE_A_PACKET else 0
            return max(frames, whole, round(frames * length / max(self.end, 1 / fps)))
        return promised

    def _sound_times(self, pts: Sequence[int | None]) -> np.ndarray | None:
        """Seconds from the first frame on, (N,); None where time stamps are missing, or not in the order of frames.

        AVI has none: with B-frames, FFmpeg makes them up.
        """
        if None in pts or (self.container.format.name == "avi" and self.stream.codec_context.has_b_frames):
            return None
        ticks = np.array(pts, np.int64)
        return (ticks - ticks[0]) * float(self.stream.time_base) if (np.diff(ticks) > 0).all() else None


def frame_rate(stream: av.VideoStream) -> float:
    """Frames per second that the header says, 0 where it does not."""
    return float(stream.average_rate or stream.guessed_rate or 0)


def _drift(times: np.ndarray, fps: float) -> float:
    return float(abs(times - np.arange(len(times)) / fps).max())


def read_header(path: Path) -> VideoInfo:
    """What the header alone says, which may be wrong; `frames` is 0 where it does not say. Raises DecodeError."""
    with opened(path) as (container, stream):
        fps, seconds = stream.average_rate or 0, (container.duration or 0) / av.time_base
        frames, codec = stream.frames or round(seconds * fps), stream.codec_context
        return VideoInfo(frames, stream.frames, float(fps), codec.height, codec.width)
