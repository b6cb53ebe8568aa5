"""Optical flow between neighbouring frames, and its 8-bit form in the frame store.

Simonyan & Zisserman (NIPS 2014, section 3.1) compute Brox flow on a GPU. DIS takes about a millisecond on a CPU. They
scale each field to its own range; here one bound serves all fields, so that a stored value always means the same
displacement.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from datamodules.errors import DataError

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
SMALLEST = 12  # pixels: DIS refuses smaller frames


@dataclass
class FlowConfig:
    """How flow is computed and stored.

    method:   `dis` (Kroeger et al. 2016), `farneback` (Farneback 2003) or `tvl1` (Zach et al. 2007, which only OpenCV's
              contributed modules have), with OpenCV's own settings for each; or `tvl1_torch`, the same as `tvl1` by
              PyTorch: on a GPU if there is one, without one about ten times slower
    preset:   speed and quality of `dis`: ultrafast, fast or medium
    bound:    displacements are clipped to +-bound and stored in 8 bits, in pixels of the stored frame
    encoding: fields are stored `raw`, or x and y each as a grey `jpeg`, of `data.quality`
    """

    method: Literal["dis", "farneback", "tvl1", "tvl1_torch"] = "dis"
    preset: Literal["ultrafast", "fast", "medium"] = "medium"
    bound: float = 20.0
    encoding: Literal["raw", "jpeg"] = "raw"

    def __post_init__(self) -> None:
        if not 0 < self.bound < float("inf"):
            raise DataError(f"data.flow.bound is {self.bound}; give a positive number of pixels, such as 20")


def _method(config: FlowConfig) -> cv2.DenseOpticalFlow | None:
    if config.method == "tvl1_torch":
        return None
    if config.method == "dis":
        return cv2.DISOpticalFlow_create(PRESETS[config.preset])
    if config.method == "farneback":
        return cv2.FarnebackOpticalFlow_create()
    if not hasattr(cv2, "optflow"):
        raise DataError(
            "data.flow.method=tvl1 needs cv2.optflow, which this OpenCV lacks: pip uninstall opencv-python-headless, "
            "then pip install opencv-contrib-python-headless, which has it; or choose tvl1_torch, dis or farneback"
        )
    return cv2.optflow.DualTVL1OpticalFlow_create()


class FlowEstimator:
    """Flow along one video at the video's own resolution: forward, or `backward` from each frame to the one before.

    Backward flow is not the forward flow negated: that lies at the pixels where things came from, and what gets covered
    or uncovered differs.

    OpenCV uses all cores unless told otherwise: call `cv2.setNumThreads(1)` in worker processes. Raises DataError if
    this OpenCV lacks the method.
    """

    def __init__(self, config: FlowConfig, backward: bool = False) -> None:
        self.backward = backward
        self._method = _method(config)
        self._previous: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> np.ndarray | None:
        """Take the next frame, uint8 (H, W, 3) in RGB; None for the first one.

        Returns float32 (H, W, 2), x (to the right) then y (down), in pixels. It says how far every pixel of the frame
        before moves to this one, or `backward`, every pixel of this one to the frame before. Raises DataError for
        frames below 12 pixels, which DIS cannot do and the others do badly.
        """
        fields = self.several([frame])
        return fields[0] if fields else None

    def at_once(self, frame: np.ndarray) -> int:
        """How many frames of this size are best given to `several`."""
        if self._method is not None:
            return 1
        from datamodules.tvl1 import at_once  # here: a build by OpenCV needs no PyTorch

        return at_once(frame[..., 0].size)

    def several(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Take the next frames; the fields that lead to them: one each, but none to the video's first."""
        if min(frames[0].shape[:2]) < SMALLEST:
            found = f"{frames[0].shape[1]}x{frames[0].shape[0]}"
            raise DataError(f"optical flow needs frames of at least {SMALLEST}x{SMALLEST} pixels, these are {found}")
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        known = grey if self._previous is None else [self._previous, *grey]
        self._previous = grey[-1]
        pairs = list(itertools.pairwise(known))
        if self.backward:
            pairs = [(after, before) for before, after in pairs]
        if self._method is not None:
            return [self._method.calc(*pair, None) for pair in pairs]
        from datamodules.tvl1 import tvl1_fields

        return tvl1_fields(pairs) if pairs else []


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W, C) to (height, width, C): area average when shrinking, linear when growing; itself if equal."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_flow(field: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a field (H, W, 2) to (height, width, 2) and rescale its displacements to the new pixels."""
    resized = resize(field, height, width)
    resized[..., 0] *= width / field.shape[1]
    resized[..., 1] *= height / field.shape[0]
    return resized


def quantise(field: np.ndarray, bound: float) -> np.ndarray:
    """Displacements in pixels -> uint8: 128 for none, 1 and 255 for -bound and +bound and beyond.

    It is symmetric: negating a displacement turns x into 256 - x exactly.
    """
    return np.clip(np.rint(field * (127 / bound)) + 128, 1, 255).astype(np.uint8)


def dequantise(stored: np.ndarray, bound: float) -> np.ndarray:
    """Undo `quantise` up to half a step, bound / 254 pixels: float32 displacements in pixels."""
    return (stored.astype(np.float32) - 128) * np.float32(bound / 127)
