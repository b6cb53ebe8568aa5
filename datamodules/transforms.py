"""Crops, mirror images, colours: one draw per clip, applied to all its frames (Karpathy et al. 2014, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from datamodules.clip_spec import scaled_side
from datamodules.flow import dequantise, quantise, resize, resize_flow
from datamodules.store.reading import Jpegs

STEPS = 127.0  # a flow's bound for which a displacement of 1 is one step of its 8 bits
LUMA = np.array([0.299, 0.587, 0.114])  # weights of R, G and B in brightness, ITU-R BT.601


class Window(NamedTuple):
    """What a network sees of a stored frame: a square at (top, left), in pixels, mirrored left to right or not.

    `side`: of the square in pixels, where it is not the network's crop and is resized to it.
    """

    top: int
    left: int
    mirrored: bool
    side: int | None = None


def random_window(
    height: int, width: int, crop: int, mirror: bool, rng: np.random.Generator, scales: Sequence[float] = ()
) -> Window:
    """A random crop for training; mirrored half of the time where `mirror` allows it.

    Its place is uniform. With `scales`, its side is `crop` times a random one of them, and it lies at a random corner
    or the centre.
    """
    side = scaled_side(crop, scales[rng.integers(len(scales))]) if scales else crop
    if scales:
        top, left = corners_and_center(height - side, width - side)[rng.integers(5)]
    else:
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    flipped = rng.random() < 0.5  # drawn either way, so that `mirror` does not change the crops that follow
    return Window(int(top), int(left), bool(flipped and mirror), None if side == crop else side)


def corners_and_center(bottom: int, right: int) -> list[tuple[int, int]]:
    """(top, left) of five squares of which the lowest are at `bottom` and the rightmost at `right`, in pixels."""
    return [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]


def view_windows(
    views: str, height: int, width: int, crop: int, mirror: bool, rng: np.random.Generator
) -> list[Window]:
    """The crops of one test clip, as `ClipSpec.test_views` names them; `rng` draws the random crop of `4crop`."""
    bottom, right = height - crop, width - crop
    center = (bottom // 2, right // 2)
    if views in ("center", "flip"):
        places = [center]
    elif views == "3crop":
        places = [(0, 0), center, (bottom, right)]
        places = [(p[0], center[1]) for p in places] if height > width else [(center[0], p[1]) for p in places]
    elif views == "4crop":
        places = [center, (int(rng.integers(0, bottom + 1)), int(rng.integers(0, right + 1)))]
    else:
        assert views == "10crop", views
        places = corners_and_center(bottom, right)
    flips = (False, True) if mirror and views in ("flip", "4crop", "10crop") else (False,)
    return [Window(*place, flipped) for flipped in flips for place in places]


def cut_rgb(frames: np.ndarray | Jpegs, indices: np.ndarray, window: Window, crop: int) -> np.ndarray:
    """The window of some frames: (n, H, W, 3) and (T,) -> (3, T, crop, crop), contiguous; only the crop is copied."""
    cut = _square(frames, indices, window, crop)
    if window.side:
        cut = np.stack([resize(frame, crop, crop) for frame in cut])
    return _channels_first(_mirrored(cut) if window.mirrored else cut)


def cut_flow(
    fields: np.ndarray | Jpegs, means: np.ndarray, indices: np.ndarray, window: Window, crop: int
) -> tuple[np.ndarray, np.ndarray]:
    """The window of some flow fields, and their mean displacements.

    fields (n, H, W, 2) uint8 with 128 for no motion, means (n, 2) in pixels, indices (L,)
    -> (2, L, crop, crop) uint8 and (2, L). A mirrored flow points the other way: its x component is negated. A resized
    one counts the new pixels; displacements that 8 bits cannot hold are clipped.
    """
    cut = _square(fields, indices, window, crop)
    mean = means[indices].T
    if window.side:
        cut = np.stack([quantise(resize_flow(dequantise(field, STEPS), crop, crop), STEPS) for field in cut])
        mean = mean * np.float32(crop / window.side)
    if window.mirrored:
        cut = _mirrored(cut)
        cut[..., 0] = np.minimum(
            256 - cut[..., 0].astype(np.int16), 255
        )  # a JPEG may give 0, which `quantise` does not
        mean = mean * np.array([[-1.0], [1.0]], dtype=mean.dtype)
    return _channels_first(cut), np.ascontiguousarray(mean)


def _square(images: np.ndarray | Jpegs, indices: np.ndarray, window: Window, crop: int) -> np.ndarray:
    side = window.side or crop
    return images[indices, window.top : window.top + side, window.left : window.left + side]


def _mirrored(images: np.ndarray) -> np.ndarray:
    """(T, H, W, C) from right to left: a copy. OpenCV does this and the next in a third of NumPy's time."""
    return cv2.flip(images.reshape(-1, *images.shape[2:]), 1).reshape(images.shape)


def _channels_first(images: np.ndarray) -> np.ndarray:
    """(T, H, W, C) -> (C, T, H, W), contiguous."""
    count, height, width, channels = images.shape
    planes = np.empty((channels, count * height, width), images.dtype)
    cv2.split(images.reshape(-1, width, channels), list(planes))
    return planes.reshape(channels, count, height, width)


def principal_colours(frames: Iterable[np.ndarray]) -> np.ndarray:
    """The principal components of the RGB pixels of some frames, uint8 (H, W, 3): (3, 3), a column per component.

    A column is an eigenvector of the covariance of pixels from 0 to 1, times its eigenvalue. Every fourth row and
    column of a frame is enough.
    """
    pixels = np.concatenate([frame[::4, ::4].reshape(-1, 3) for frame in frames]) / 255
    values, vectors = np.linalg.eigh(np.cov(pixels.T))
    strongest = np.take_along_axis(vectors, abs(vectors).argmax(0)[None], 0)
    return vectors * np.sign(strongest) * values  # an eigenvector's sign is arbitrary


def random_colours(kind: str, components: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """A random change of colours, as `ClipSpec.colour` names it: an affine map (3, 4) of RGB from 0 to 255.

    `jitter` multiplies brightness, contrast about mid-grey and saturation each by 0.8 to 1.2. `pca` adds each of
    `components` (see `principal_colours`) to all pixels, times a normal number of standard deviation 0.1 (Krizhevsky et
    al. 2012, section 4.1).
    """
    if kind == "pca":
        return np.column_stack([np.eye(3), 255 * components @ rng.normal(0, 0.1, 3)])
    assert kind == "jitter", kind
    brightness, contrast, saturation = rng.uniform(0.8, 1.2, 3)
    mixing = saturation * np.eye(3) + (1 - saturation) * LUMA
    return np.column_stack([brightness * contrast * mixing, np.full(3, (1 - contrast) * 127.5)])


def recolour(rgb: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Apply an affine map of colours (3, 4) to a clip (3, T, H, W) uint8, rounded and clipped to 0 to 255."""
    colours = colours.astype(np.float32)
    mapped = colours[:, :3] @ rgb.reshape(3, -1).astype(np.float32)
    mapped += colours[:, 3:]
    np.clip(np.rint(mapped, out=mapped), 0, 255, out=mapped)  # in place: a third of the time
    return mapped.astype(np.uint8).reshape(rgb.shape)
