"""What many tests need: small videos, records, networks and runs. Each is made in one line; a test says what differs.

A section a subject. Everything here is deterministic and takes milliseconds.
"""

import json
import os
from pathlib import Path
from typing import Any

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


def small_run(folder: Path) -> list[str]:
    """Settings of a run of seconds: 150 generated videos of 32 pixels and 6 steps. All it makes lies in `folder`."""
    return [
        f"data.root={folder}/data", f"data.stores={folder}/stores", f"results={folder}/results",
        "data.families=[motion]", "data.clips.motion=1", "data.size=32",
        "training.steps=6", "training.batch_size=8", "training.warmup=2", "sampling.test_clips=2",
    ]  # fmt: skip


def quiet_environment(home: Path) -> dict[str, str]:
    """The environment of a process that sees no W&B account, setting or log of the user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return {**kept, "HOME": str(home), "NETRC": str(home / "none"), "WANDB_MODE": "offline"}


def record_in(folder: Path) -> dict[str, Any]:
    """What the record in a run's folder says."""
    return json.loads((folder / "record.json").read_text())


def weights_in(folder: Path, name: str = "last.ckpt") -> dict[str, Any]:
    """The weights of a checkpoint in a run's folder, as tensors by name."""
    import torch

    return torch.load(folder / name, weights_only=True)["state_dict"]
