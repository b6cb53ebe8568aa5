"""The frame stores that runs need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datamodules.datasets.base import Dataset
    from datamodules.store.tracks import Track
    from experiments.settings.schema import RunConfig


def needed(runs: Sequence[RunConfig]) -> list[tuple[Dataset, list[Track]]]:
    """Each data set of some runs, with all tracks that these need of its frame store."""
    from datamodules.dataset_store import tracks

    found: dict[tuple, tuple[Dataset, list[Track]]] = {}
    for run in runs:
        for data in run.datasets():
            _, known = found.setdefault((type(data), data.folder(), data.stores), (data, []))
            known += [track for track in tracks(data, run.sampling) if track not in known]
    return list(found.values())
