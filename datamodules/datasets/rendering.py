"""Scenes -> frames and video files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np

from datamodules.datasets.scenes import SHAPES, Scene

ENCODER = {"preset": "ultrafast", "qp": "22", "g": "1", "threads": "1"}
TABLE_REACH = 1.5


@lru_cache
def _distances(shape: str) -> np.ndarray:
    """A shape's signed distances on a grid over +-TABLE_REACH, because evaluating them per frame is slow."""
    x, y = np.meshgrid(*[np.linspace(-TABLE_REACH, TABLE_REACH, 193)] * 2)
    return SHAPES[shape](x, y).astype(np.float32)


def _around(scene: Scene, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The torus around the shape: a tile of one period with the shape near its middle.

    Returns the rotation (2, 2) from the tile's axes to the shape's, and the shape's centre (2,) in the tile. Then the
    tile's rows (size, 1) and columns (size,) that the frame shows.
    """
    corner, centre = np.divmod(scene.positions[t] + scene.camera[t], 1)
    middle = np.array(scene.period) // 2
    pixels = np.arange(len(scene.ground))
    columns, rows = ((pixels - int(c) + m) % p for c, m, p in zip(corner, middle, scene.period, strict=True))
    c, s = np.cos(scene.angles[t]), np.sin(scene.angles[t])
    return np.array([[c, s], [-s, c]]), middle + centre, rows[:, None], columns


def coverage(scene: Scene, t: int) -> np.ndarray:
    """Share of each pixel that the shape covers at frame `t`: (size, size) float32 in 0..1."""
    if not scene.visible[t]:
        return np.zeros_like(scene.ground[..., 0], np.float32)
    rotation, centre, rows, columns = _around(scene, t)
    table = _distances(scene.shape)
    scale = (len(table) - 1) / 2 / TABLE_REACH / scene.radius
    distance = _sample(table, rotation * scale, centre, (len(table) - 1) / 2, scene.period, cv2.BORDER_REPLICATE)
    return np.clip(0.5 - distance * scene.radius, 0, 1)[rows, columns]


def _sample(
    image: np.ndarray, matrix: np.ndarray, centre: np.ndarray, origin: float, size: tuple[int, int], border: int
) -> np.ndarray:
    """Image of `size` (width, height) whose pixel p is `image` at matrix @ (p - centre) + origin, bilinear."""
    affine = np.column_stack([matrix, origin - matrix @ centre])
    return cv2.warpAffine(image, affine, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border)


def render(scene: Scene, noise: bool = True) -> np.ndarray:
    """The frames of a scene: (n, size, size, 3) uint8 RGB, without the sensor's noise on request."""
    size = len(scene.ground)
    frames = np.empty((len(scene.positions), size, size, 3), np.uint8)
    fill = np.empty_like(frames[0])
    if scene.colour is not None:
        fill[:] = np.round(scene.colour)
    rng, bank = np.random.default_rng(scene.noise_seed), _noise()
    for t, frame in enumerate(frames):
        ground = _sample(scene.ground, np.eye(2), scene.camera[t], 0, (size, size), cv2.BORDER_WRAP)
        if scene.colour is None:
            rotation, centre, rows, columns = _around(scene, t)
            fill = _sample(scene.ground, rotation, centre, 0, scene.period, cv2.BORDER_WRAP)[rows, columns]
        share = coverage(scene, t)
        cv2.blendLinear(fill, ground, share, 1 - share, dst=frame)
        if noise:
            start = rng.integers(bank.size - frame.size)
            cv2.add(frame, bank[start : start + frame.size].reshape(frame.shape), dst=frame, dtype=cv2.CV_8U)
    return frames


@lru_cache
def _noise() -> np.ndarray:
    """A strip of sensor noise long enough that frames cut from anywhere in it look unrelated: int8, sigma 4."""
    return np.round(4 * np.random.default_rng(0).standard_normal(1 << 21)).astype(np.int8)


def write_video(path: Path, frames: np.ndarray, fps: int) -> None:
    """Encode frames (n, H, W, 3) uint8 RGB as H.264; the same frames always give the same file.

    Each frame is coded by itself with a constant quantiser: what codecs leave behind a moving object when they predict
    a frame from its neighbours would show the direction of its motion in a single frame.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=ENCODER)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
