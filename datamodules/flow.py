"""Optical flow between neighbouring frames, and its 8-bit form in the frame store.

Simonyan & Zisserman (NIPS 2014, sec. 3.1) use Brox flow from a GPU; DIS is the CPU method of today that computes it in
about a millisecond. They keep each field's own range and store its components as JPEG; here one bound serves all
fields unless told otherwise, so that a stored value means the same displacement everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

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
              contributed modules have), with OpenCV's own settings for each
    preset:   speed and quality of `dis`: ultrafast, fast or medium
    bound:    displacements are clipped to +-bound and stored in 8 bits, in pixels of the stored frame
    range:    the 8 bits of all fields stand for +-bound (`bound`), or those of a component of a `field` for what it
              has, from its lowest displacement to its highest, without clipping (Simonyan & Zisserman 2014, sec. 3.1)
    encoding: fields are stored `raw`, or x and y each as a grey `jpeg`, of `data.quality`
    """

    method: Literal["dis", "farneback", "tvl1"] = "dis"
    preset: str = "medium"
    bound: float = 20.0
    range: Literal["bound", "field"] = "bound"
    encoding: Literal["raw", "jpeg"] = "raw"

    def __post_init__(self) -> None:
        from datamodules.errors import DataError  # here: lists.py imports this file

        if self.preset not in PRESETS:
            raise DataError(f"data.flow.preset is {self.preset!r}; choose one of {', '.join(PRESETS)}")
        if not 0 < self.bound < float("inf"):
            raise DataError(f"data.flow.bound is {self.bound}; give a positive number of pixels, such as 20")


def _tvl1(config: FlowConfig) -> cv2.DenseOpticalFlow:
    if not hasattr(cv2, "optflow"):
        from datamodules.errors import DataError

        raise DataError(
            "data.flow.method=tvl1 needs cv2.optflow, which this OpenCV lacks: pip uninstall opencv-python-headless, "
            "then pip install opencv-contrib-python-headless, which has it; or choose dis or farneback"
        )
    return cv2.optflow.DualTVL1OpticalFlow_create()


_METHODS = {
    "dis": lambda config: cv2.DISOpticalFlow_create(PRESETS[config.preset]),
    "farneback": lambda config: cv2.FarnebackOpticalFlow_create(),
    "tvl1": _tvl1,
}


class FlowEstimator:
    """Flow along one video at the video's own resolution: forward, or `backward` from each frame to the one before.

    Backward flow is computed as such. It is not the forward flow negated: that lies at the pixels where things came
    from, and what gets covered or uncovered differs.

    OpenCV uses all cores unless told otherwise: call `cv2.setNumThreads(1)` in worker processes. Raises DataError where
    this OpenCV has not the method.
    """

    def __init__(self, config: FlowConfig, backward: bool = False) -> None:
        self.backward = backward
        self._method = _METHODS[config.method](config)
        self._previous: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> np.ndarray | None:
        """Take the next frame, uint8 (H, W, 3) in RGB; None for the first one.

        Returns the displacement of every pixel from the frame before to this one, or of every pixel of this one to the
        frame before, float32 (H, W, 2), x (to the right) then y (down), in pixels. Raises DataError for frames below
        12 pixels, which DIS cannot do and the others do badly.
        """
        if min(frame.shape[:2]) < SMALLEST:
            from datamodules.errors import DataError

            found = f"{frame.shape[1]}x{frame.shape[0]}"
            raise DataError(f"optical flow needs frames of at least {SMALLEST}x{SMALLEST} pixels, these are {found}")
        previous, self._previous = self._previous, cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if previous is None:
            return None
        pair = (self._previous, previous) if self.backward else (previous, self._previous)
        return self._method.calc(*pair, None)


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
    """Displacements in pixels -> uint8, 128 for none, 1 and 255 for -bound and +bound and beyond.

    Symmetric, so that negating a displacement turns x into 256 - x exactly.
    """
    return np.clip(np.rint(field * (127 / bound)) + 128, 1, 255).astype(np.uint8)


def dequantise(stored: np.ndarray, bound: float) -> np.ndarray:
    """Undo `quantise` up to half a step, bound / 254 pixels: float32 displacements in pixels."""
    return (stored.astype(np.float32) - 128) * np.float32(bound / 127)


def quantise_field(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Displacements (H, W, 2) in pixels -> uint8, 0 for the lowest of a component and 255 for its highest; and these,
    float32 (2, 2): lowest and highest of x, of y."""
    ranges = np.stack([field.min(axis=(0, 1)), field.max(axis=(0, 1))], axis=-1).astype(np.float32)
    low, high = ranges.T
    scale = np.divide(255, high - low, out=np.zeros_like(low), where=high > low)  # one displacement everywhere: 0
    return np.rint((field - low) * scale).astype(np.uint8), ranges


def dequantise_field(stored: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Undo `quantise_field` up to half a step, range / 510: (..., H, W, 2) and (..., 2, 2) -> float32 in pixels."""
    low, high = ranges[..., None, None, :, 0], ranges[..., None, None, :, 1]
    return low + stored * ((high - low) / np.float32(255))
