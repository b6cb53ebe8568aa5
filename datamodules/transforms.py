"""Crops, mirror images, colours: one draw per clip, applied to all its frames (Karpathy et al. 2014, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from datamodules.clip_spec import scaled_side
from datamodules.flow import dequantise, quantise, resize, resize_flow
from datamodules.store.reading import LazyRows

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


def cut_rgb(frames: np.ndarray | LazyRows, indices: np.ndarray, window: Window, cut: np.ndarray) -> np.ndarray:
    """Copy the window of some frames (n, H, W, 3) uint8, of which `indices` (T,) are the numbers.

    `cut` (T, crop, crop, 3) uint8 is where they go, and is returned: a clip's place in its batch.
    """
    if window.side:
        square = _square(frames, indices, window, window.side)
        cut[:] = [resize(frame, *cut.shape[1:3]) for frame in square]
    else:
        _copy_square(frames, indices, window, cut)
    return _mirror(cut) if window.mirrored else cut


def cut_flow(
    fields: np.ndarray | LazyRows, means: np.ndarray, indices: np.ndarray, window: Window, cut: np.ndarray
) -> np.ndarray:
    """Copy the window of some flow fields into `cut` (L, crop, crop, 2) uint8, and return their mean displacements.

    fields (n, H, W, 2) uint8 with 128 for no motion, means (n, 2) in pixels, indices (L,) -> (L, 2) in pixels. A
    mirrored flow points the other way: its x component is negated. A resized one counts the new pixels; displacements
    that 8 bits cannot hold are clipped.
    """
    crop, mean = cut.shape[1], means[indices]
    if window.side:
        square = _square(fields, indices, window, window.side)
        cut[:] = [quantise(resize_flow(dequantise(field, STEPS), crop, crop), STEPS) for field in square]
        mean = mean * np.float32(crop / window.side)
    else:
        _copy_square(fields, indices, window, cut)
    if window.mirrored:
        _mirror(cut)
        cut[..., 0] = np.minimum(256 - cut[..., 0].astype(np.int16), 255)  # a JPEG may give 0, `quantise` does not
        mean = mean * np.array([-1.0, 1.0], dtype=mean.dtype)
    return mean


def _square(images: np.ndarray | LazyRows, indices: np.ndarray, window: Window, side: int) -> np.ndarray:
    return images[indices, window.top : window.top + side, window.left : window.left + side]


def _copy_square(images: np.ndarray | LazyRows, indices: np.ndarray, window: Window, cut: np.ndarray) -> None:
    """Without the copy between that indexing by an array makes, where the images follow each other."""
    first, last = int(indices[0]), int(indices[-1])
    follow = isinstance(images, np.ndarray) and np.array_equal(indices, np.arange(first, last + 1))
    cut[:] = _square(images, slice(first, last + 1) if follow else indices, window, cut.shape[1])


def _mirror(images: np.ndarray) -> np.ndarray:
    """Turn (T, H, W, C) from right to left, in place: OpenCV does it in a third of NumPy's time."""
    rows = images.reshape(-1, *images.shape[2:])  # a view, since a clip lies in one piece
    cv2.flip(rows, 1, dst=rows)
    return images


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


def recolour(rgb: np.ndarray, colours: np.ndarray) -> None:
    """Apply an affine map of colours (3, 4) to a clip (T, H, W, 3) uint8 in place, rounded and clipped to 0 to 255."""
    colours = colours.astype(np.float32)
    mapped = rgb.reshape(-1, 3).astype(np.float32) @ colours[:, :3].T
    mapped += colours[:, 3]
    np.clip(np.rint(mapped, out=mapped), 0, 255, out=mapped)  # in place: a third of the time
    rgb[:] = mapped.reshape(rgb.shape)
