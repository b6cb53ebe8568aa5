"""Test clips played otherwise: backwards, with their frames shuffled, or standing still."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from datamodules.clip_spec import ClipSpec

Example = dict[str, np.ndarray | int | float | bool]


def path_seed(path: str) -> list[int]:
    """What all random draws of a test video are seeded from: its path alone."""
    return list(hashlib.sha256(os.fsencode(path)).digest()[:8])


def played(clip: Example, spec: ClipSpec, path: str) -> Example:
    """A clip's `rgb` (3, T, H, W), `flow` (2, L, H, W) and `flow_mean` (2, L), played as `spec.test_time` says.

    A reversed clip shows its frames from the last to the first. With `flow_direction=both` its two halves of flow
    change places: the fields that lead back are stored. Otherwise the fields come in the opposite order and are
    negated. They are not the flow computed anew: a negated field stands where its motion ends.
    """
    if spec.test_time == "forward":
        return clip
    if spec.test_time == "frozen":
        return {name: _frozen(name, values) for name, values in clip.items()}
    if spec.test_time == "shuffled":
        # Draws of their own, so that random clips and crops stay the same. Values and means of a field stay together.
        return {
            name: values[:, np.random.default_rng([*path_seed(path), 1]).permutation(values.shape[1])]
            for name, values in clip.items()
        }
    both = spec.flow_direction == "both"
    return {name: _reversed(name, values, both and name != "rgb") for name, values in clip.items()}


def _frozen(name: str, values: np.ndarray) -> np.ndarray:
    """The middle frame again and again; no motion."""
    if name == "rgb":
        return np.repeat(values[:, values.shape[1] // 2, None], values.shape[1], axis=1)
    return np.full_like(values, 128 if name == "flow" else 0)


def _reversed(name: str, values: np.ndarray, both: bool) -> np.ndarray:
    if both:  # from the middle onwards, then from the middle back
        return np.roll(values, values.shape[1] // 2, axis=1)
    backwards = values[:, ::-1]
    if name == "flow":  # bytes, 128 for no motion
        return np.minimum(256 - backwards.astype(np.int16), 255).astype(np.uint8)
    return -backwards if name == "flow_mean" else backwards
