"""A video file -> its frames, in order.

Frame i means the i-th frame of a sequential decode by PyAV. That is right for every container. Random
access is not: decord's returns wrong frames on files with packed B-frames (most of HMDB51, part of UCF101) and in MPEG
streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from datamodules.decode.info import VideoInfo, probe
from datamodules.decode.opening import decode_error, opened, other_size
from datamodules.decode.pictures import PictureMaker


def iter_frames(path: Path, info: VideoInfo | None = None) -> Iterator[np.ndarray]:
    """Yield the frames of a video in order, uint8 (H, W, 3) in RGB; exactly `info.frames` of them, or DecodeError.

    `info` is what `probe` says of this file; a caller that has it saves a second count. Memory does not grow with the
    number of frames.
    """
    info = info or probe(path)
    return (frame for _, frame in pick_frames(path, info, range(info.frames)))


def pick_frames(path: Path, info: VideoInfo, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the frames with these numbers, in order and each once, with their numbers. Raises DecodeError.

    Frames between them are decoded, but not turned into pictures. `info` is what `probe` says of this file.
    """
    wanted = set(numbers)
    last, number, to_picture = max(wanted), -1, PictureMaker()
    with opened(path) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                picture = to_picture(frame)
                if picture.shape != (info.height, info.width, 3):
                    raise decode_error(path, other_size(number, picture.shape[1::-1], (info.width, info.height)))
                yield number, picture
            if number == last:
                return
    raise decode_error(path, f"{info.frames} frames were counted, now it has {number + 1}")
