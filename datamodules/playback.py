"""Test clips played otherwise: backwards, with their frames shuffled, or standing still."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from datamodules.clip_spec import ClipSpec


def path_seed(path: str) -> list[int]:
    """What all random draws of a test video are seeded from: its path alone."""
    return list(hashlib.sha256(os.fsencode(path)).digest()[:8])


def play(clip: dict[str, np.ndarray], spec: ClipSpec, path: str) -> None:
    """Play a clip's `rgb` (T, H, W, 3), `flow` (L, H, W, 2) and `flow_mean` (L, 2) as `spec.test_time` says, in place.

    A reversed clip shows its frames from the last to the first. With `flow_direction=both` its two halves of flow
    change places: the fields that lead back are stored. Otherwise the fields come in the opposite order and are
    negated. They are not the flow computed anew: a negated field stands where its motion ends.
    """
    both = spec.flow_direction == "both"
    for name, values in clip.items():
        if spec.test_time == "frozen":
            values[:] = values[len(values) // 2] if name == "rgb" else 128 if name == "flow" else 0
        elif spec.test_time == "shuffled":
            # Draws of their own, so that random clips and crops stay the same. A field and its mean stay together.
            values[:] = values[np.random.default_rng([*path_seed(path), 1]).permutation(len(values))]
        elif spec.test_time == "reversed":
            values[:] = _reversed(name, values, both and name != "rgb")


def _reversed(name: str, values: np.ndarray, both: bool) -> np.ndarray:
    if both:  # from the middle onwards, then from the middle back
        return np.roll(values, len(values) // 2, axis=0)
    backwards = values[::-1].copy()
    if name == "flow":  # bytes, 128 for no motion
        return np.minimum(256 - backwards.astype(np.int16), 255)
    return -backwards if name == "flow_mean" else backwards
