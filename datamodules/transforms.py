"""Crops and mirror images: one draw per clip, applied to all its frames (Karpathy et al. 2014, section 4.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """What a network sees of a stored frame: a square at (top, left), in pixels, mirrored left to right or not."""

    top: int
    left: int
    mirrored: bool


def random_window(height: int, width: int, crop: int, mirror: bool, rng: np.random.Generator) -> Window:
    """A uniformly random crop for training; mirrored half of the time where `mirror` allows it."""
    top, left = rng.integers(0, height - crop + 1), rng.integers(0, width - crop + 1)
    flipped = rng.random() < 0.5  # drawn either way, so that `mirror` does not change the crops that follow
    return Window(int(top), int(left), bool(flipped and mirror))


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
        places = [(0, 0), (0, right), (bottom, 0), (bottom, right), center]
    flips = (False, True) if mirror and views in ("flip", "4crop", "10crop") else (False,)
    return [Window(*place, flipped) for flipped in flips for place in places]


def cut_rgb(frames: np.ndarray, indices: np.ndarray, window: Window, crop: int) -> np.ndarray:
    """The window of some frames: (n, H, W, 3) and (T,) -> (3, T, crop, crop), contiguous; only the crop is copied."""
    cut = frames[indices, window.top : window.top + crop, window.left : window.left + crop]
    cut = cut[:, :, ::-1] if window.mirrored else cut
    return np.ascontiguousarray(cut.transpose(3, 0, 1, 2))


def cut_flow(
    fields: np.ndarray, means: np.ndarray, indices: np.ndarray, window: Window, crop: int
) -> tuple[np.ndarray, np.ndarray]:
    """The window of some flow fields and their mean displacements.

    fields (n, H, W, 2) uint8 with 128 for no motion, means (n, 2) in pixels, indices (L,)
    -> (2, L, crop, crop) and (2, L). A mirrored flow also points the other way: its x component is negated.
    """
    cut = fields[indices, window.top : window.top + crop, window.left : window.left + crop]
    mean = means[indices].T
    if window.mirrored:
        cut = cut[:, :, ::-1].copy()
        cut[..., 0] = 256 - cut[..., 0].astype(np.int16)  # stored values are 1 to 255, so this stays inside
        mean = mean * np.array([[-1.0], [1.0]], dtype=mean.dtype)
    return np.ascontiguousarray(cut.transpose(3, 0, 1, 2)), np.ascontiguousarray(mean)
