"""Frames as upright pictures, as a player shows them."""

from __future__ import annotations

import math
from typing import NamedTuple

import av
import numpy as np


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


def to_picture(frame: av.VideoFrame) -> np.ndarray:
    """An upright frame as an array, uint8 (H, W, 3) in RGB."""
    turns, mirrored = orientation(frame)
    picture = np.rot90(frame.to_ndarray(format="rgb24"), turns)
    return np.ascontiguousarray(picture[:, ::-1] if mirrored else picture)
