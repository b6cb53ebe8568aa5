"""Optical flow between neighbouring frames, and its 8-bit form in the frame store.

Simonyan & Zisserman (NIPS 2014, sec. 3.1) use Brox flow from a GPU; DIS is the CPU method of today that computes it in
about a millisecond. They keep each field's own range; here one bound serves all fields, so that a stored value means
the same displacement everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    method: only `dis` (Kroeger et al. 2016, OpenCV's DISOpticalFlow)
    preset: its speed and quality: ultrafast, fast or medium
    bound:  displacements are clipped to +-bound and stored in 8 bits, in pixels of the stored frame
    """

    method: str = "dis"
    preset: str = "medium"
    bound: float = 20.0

    def __post_init__(self) -> None:
        from datamodules.lists import DataError  # here: lists.py imports this file

        if self.method != "dis":
            raise DataError(f"data.flow.method is {self.method!r}; the only method is 'dis'")
        if self.preset not in PRESETS:
            raise DataError(f"data.flow.preset is {self.preset!r}; choose one of {', '.join(PRESETS)}")
        if not 0 < self.bound < float("inf"):
            raise DataError(f"data.flow.bound is {self.bound}; give a positive number of pixels, such as 20")


class FlowEstimator:
    """Flow along one video at the video's own resolution: forward, or `backward` from each frame to the one before.

    Backward flow is computed as such. It is not the forward flow negated: that lies at the pixels where things came
    from, and what gets covered or uncovered differs.

    OpenCV uses all cores unless told otherwise: call `cv2.setNumThreads(1)` in worker processes.
    """

    def __init__(self, config: FlowConfig, backward: bool = False) -> None:
        self.backward = backward
        self._dis = cv2.DISOpticalFlow_create(PRESETS[config.preset])
        self._previous: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> np.ndarray | None:
        """Take the next frame, uint8 (H, W, 3) in RGB; None for the first one.

        Returns the displacement of every pixel from the frame before to this one, or of every pixel of this one to the
        frame before, float32 (H, W, 2), x (to the right) then y (down), in pixels. Raises DataError for frames below
        12 pixels, which DIS cannot do.
        """
        if min(frame.shape[:2]) < SMALLEST:
            from datamodules.lists import DataError

            found = f"{frame.shape[1]}x{frame.shape[0]}"
            raise DataError(f"optical flow needs frames of at least {SMALLEST}x{SMALLEST} pixels, these are {found}")
        previous, self._previous = self._previous, cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if previous is None:
            return None
        pair = (self._previous, previous) if self.backward else (previous, self._previous)
        return self._dis.calc(*pair, None)


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
