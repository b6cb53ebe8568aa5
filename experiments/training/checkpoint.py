"""Checkpoints that are whole, when they are written, and how far a run has come by them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from datamodules.files import replaced


def read_progress(checkpoint: Path) -> tuple[list[str], int] | None:
    """What a checkpoint's run was made of, and after which step it was written; None if it cannot be read."""
    try:
        saved = torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)
        return saved["vidfusion"]["provenance"]["made_of"], saved["global_step"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError):
        return None


def checkpoint_callbacks(folder: Path, every_epochs: int, validated: bool) -> list[Callback]:
    """What writes `last.ckpt` every few epochs, and `best.ckpt` where there are videos to validate on."""
    last = ModelCheckpoint(
        folder, "last", every_n_epochs=every_epochs, save_on_train_epoch_end=True, enable_version_counter=False
    )
    if not validated:
        return [last]
    best = ModelCheckpoint(folder, "best", monitor="val/video_hit1", mode="max", enable_version_counter=False)
    return [best, last]  # the last one remembers which was the best


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are replaced in one step.

    Lightning moves its own from the system's temporary folder. Where that is another disk, it is a copy, which can be
    cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a whole file or nothing."""
        with replaced(Path(path)) as file:
            torch.save(checkpoint, file)
