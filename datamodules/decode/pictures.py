"""Frames as upright pictures, as a player shows them."""

from __future__ import annotations

import math
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter


class Orientation(NamedTuple):
    """How a stored frame becomes upright: turned by 90 degrees anticlockwise `turns` times, then mirrored or not."""

    turns: int = 0
    mirrored: bool = False

    def size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """(height, width) of the upright frame, in pixels."""
        return (frame.height, frame.width) if self.turns % 2 == 0 else (frame.width, frame.height)


AS_STORED = Orientation()


def orientation(frame: av.VideoFrame) -> Orientation:
    """What the frame's display matrix asks for, to the nearest quarter turn.

    The matrix takes a pixel at (x, y) to (ax + cy, bx + dy) (ISO/IEC 14496-12, clause 6.2.2).
    """
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data that PyAV has no name for: the EXIF of images, which `opened` looks at
        data = None
    if data is None:
        return AS_STORED
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    mirrored = a * d - b * c < 0
    if mirrored:
        a, c = -a, -c  # the turn alone
    return Orientation(round(math.atan2(c, a) / (math.pi / 2)) % 4, mirrored)


class PictureMaker:
    """Turns the frames of one video into upright pictures: arrays, uint8 (H, W, 3) in RGB.

    FFmpeg's converter takes longer to set up than to convert a small frame, most of all with threads of its own. So one
    converter, in this thread, serves all frames.
    """

    def __init__(self) -> None:
        self._converter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """The picture of a frame."""
        turns, mirrored = orientation(frame)
        picture = np.rot90(self._converter.reformat(frame, format="rgb24", threads=1).to_ndarray(), turns)
        return np.ascontiguousarray(picture[:, ::-1] if mirrored else picture)
