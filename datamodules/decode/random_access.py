"""Random access by decord, to be compared with a sequential decode: on some files it gives other frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datamodules.decode.opening import openable_name

try:
    import decord
except ImportError:  # it has wheels for x86-64 only
    decord = None
else:
    decord.logging.set_level(decord.logging.QUIET)


def seeks_exactly(path: Path, frames: Mapping[int, np.ndarray]) -> bool:
    """Whether decord's random access returns these frames of `iter_frames`, by their numbers, in their order.

    False where decord is missing. It may hang or crash on a damaged file.
    """
    if decord is None:
        return False
    try:
        reader = decord.VideoReader(openable_name(path), ctx=decord.cpu(0), num_threads=1)
        return all(np.array_equal(reader[number].asnumpy(), frame) for number, frame in frames.items())
    except (decord.DECORDError, RuntimeError, IndexError):
        return False


def frames_at(path: Path, numbers: Sequence[int]) -> np.ndarray:
    """Frames by decord's random access, uint8 (n, H, W, 3)."""
    assert decord is not None, "decord is not installed"
    return decord.VideoReader(openable_name(path), ctx=decord.cpu(0), num_threads=1).get_batch(list(numbers)).asnumpy()
