"""What many tests need: small videos, records, networks and runs. Each is made in one line; a test says what differs.

A section a subject. Everything here is deterministic and takes milliseconds.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from datamodules.datasets.rendering import write_video

# A folder with `data` (real clips with manifests) and `lists` (official lists), or none: see tests/README.md.
REAL = Path(os.environ.get("VIDFUSION_REAL", "nowhere"))

# -- videos ------------------------------------------------------------------------------------------------------------


def write_clip(
    path: Path,
    frames: int,
    codec: str = "mpeg4",
    *,
    size: tuple[int, int] = (48, 64),
    seed: int = 0,
    rotation: int = 0,
    times: Sequence[int] = (),
    settings: Mapping[str, str] | None = None,
    **options: str,
) -> Path:
    """A clip of a colour pattern that moves by two pixels a frame, at 25 frames per second; each frame differs.

    times: when each frame is shown, in milliseconds, where the rate varies
    settings, options: of the codec and of the container
    """
    height, width = size
    noise = np.random.default_rng(seed).integers(0, 256, (height + 2 * frames, width, 3), dtype=np.uint8)
    pattern = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1), None, 0, 255, cv2.NORM_MINMAX)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25, options=dict(settings or {}))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            picture = np.ascontiguousarray(pattern[2 * number : 2 * number + height])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sequence(path: Path) -> np.ndarray:
    """What is right: the frames of a sequential decode by PyAV, (N, H, W, 3), as they are stored in the file."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def in_this_process(function: Callable, jobs: Sequence, workers: int) -> Iterator[tuple]:
    """A launcher that starts no process."""
    for job in jobs:
        yield job, function(job)


def folder_of_videos(root: Path, classes: tuple[str, ...] = ("left", "right"), each: int = 3) -> Path:
    """A data set for `dataset=folder`: moving noise of 24 frames; `each` videos a class to train on, one to test."""
    for label, name in enumerate(classes):
        for number in range(each + 1):
            picture = np.random.default_rng([label, number]).integers(0, 256, (48, 48, 3), dtype=np.uint8)
            moving = np.stack([np.roll(picture, (2 * label - 1) * time, axis=1) for time in range(24)])
            path = root / ("test" if number == each else "train") / name / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, moving, 25)
    return root


# -- networks ----------------------------------------------------------------------------------------------------------


# -- records and scores ------------------------------------------------------------------------------------------------


# -- runs --------------------------------------------------------------------------------------------------------------
