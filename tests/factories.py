"""What many tests need: small videos, records, networks and runs. Each is made in one line; a test says what differs.

A section a subject. Everything here is deterministic and takes milliseconds.
"""

import os
from pathlib import Path

import numpy as np

from datamodules.datasets.rendering import write_video

# A folder with `data` (real clips with manifests) and `lists` (official lists), or none: see tests/README.md.
REAL = Path(os.environ.get("VIDFUSION_REAL", "nowhere"))

# -- videos ------------------------------------------------------------------------------------------------------------


def folder_of_videos(root: Path, classes: tuple[str, ...] = ("left", "right"), each: int = 3) -> Path:
    """A data set for `dataset=folder`: moving noise of 24 frames; `each` videos a class to train on, one to test."""
    for label, name in enumerate(classes):
        for number in range(each + 1):
            picture = np.random.default_rng([label, number]).integers(0, 256, (48, 48, 3), dtype=np.uint8)
            moving = np.stack([np.roll(picture, (2 * label - 1) * time, axis=1) for time in range(24)])
            path = root / ("test" if number == each else "train") / name / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, moving, 25)
    return root


# -- networks ----------------------------------------------------------------------------------------------------------


# -- records and scores ------------------------------------------------------------------------------------------------


# -- runs --------------------------------------------------------------------------------------------------------------
