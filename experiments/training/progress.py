"""How far a run has come, by its checkpoint."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import NamedTuple


class Saved(NamedTuple):
    """A checkpoint: what its run is made of, and how many of the training's steps it has behind it."""

    made_of: list[str]
    step: int
    steps: int


def read_progress(checkpoint: Path) -> Saved | None:
    """How far a run has come by a checkpoint; None if there is none that can be read."""
    if not checkpoint.exists():
        return None
    import torch  # here: it takes seconds, and mostly nothing is unfinished

    try:
        saved = torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)
        provenance = saved["vidfusion"]["provenance"]
        return Saved(provenance["made_of"], saved["global_step"], provenance.get("steps", 0))
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, AttributeError, pickle.UnpicklingError):
        return None
