"""Checkpoints that are whole, and how far a run has come by them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO


def read_progress(checkpoint: Path) -> tuple[list[str], int] | None:
    """The same of a checkpoint, and after which step it was written; None where there is none that can be read."""
    try:
        saved = torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)
        return saved["vidfusion"]["provenance"]["made_of"], saved["global_step"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError):
        return None


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are replaced in one step. Lightning's own are moved from the system's temporary folder, which is
    a copy, and can be cut short, where that is another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a whole file or nothing."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        torch.save(checkpoint, temporary)
        os.replace(temporary, path)
