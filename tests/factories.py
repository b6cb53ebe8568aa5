"""What many tests need: small videos, records, networks and runs. Each is made in one line; a test says what differs.

A section a subject. Everything here is deterministic and takes milliseconds.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.datasets.rendering import write_video
from experiments.settings.compose import compose
from vidfusion.classifier import VideoClassifier
from vidfusion.optimisation import TrainingConfig

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


# A Lightning trainer that says and keeps nothing.
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
}


def network(
    preset: str, *words: str, classes: int = 5, device: str = "cpu", training: dict | None = None, **clip: int
) -> VideoClassifier:
    """The network of `strategy=PRESET` and further words, with weights of a fixed draw; `clip` changes its clip."""
    run = compose([f"strategy={preset}", *words])
    torch.manual_seed(0)
    with torch.device(device):
        shape = run.clip_shape()._replace(**clip)
        return run.strategy_class(run.model, shape, classes, TrainingConfig(**training or {}))


def clips_of(model: VideoClassifier, count: int = 2, device: str = "cpu") -> dict[str, Tensor]:
    """What `forward` takes, random: by modality (count, channels, frames, side, side), of the network's precision."""
    clip, generator = model.clip, torch.Generator().manual_seed(1)
    shapes = {"rgb": (count, 3, clip.frames), "flow": (count, 2, clip.flow_frames)}
    dtype = next(model.parameters()).dtype
    sizes = {name: (*shapes[name], clip.crop, clip.crop) for name in model.modalities}
    if device == "meta":
        return {name: torch.empty(size, device=device) for name, size in sizes.items()}
    return {name: torch.randn(size, generator=generator, dtype=dtype) for name, size in sizes.items()}


def one_hot(*labels: int, classes: int = 5) -> Tensor:
    """Targets (N, classes) of samples with one label each."""
    return torch.eye(classes, dtype=torch.bool)[list(labels)]


def parameters(module: nn.Module) -> int:
    """How many weights and biases it has."""
    return sum(parameter.numel() for parameter in module.parameters())


# -- records and scores ------------------------------------------------------------------------------------------------


# -- runs --------------------------------------------------------------------------------------------------------------
