"""The frame store that a data set and a clip specification need."""

from __future__ import annotations

from pathlib import Path

from datamodules.clip_spec import ClipSpec
from datamodules.datasets.base import Dataset
from datamodules.known_bad import known_bad
from datamodules.processes import Launcher, in_processes
from datamodules.store.reading import FrameStore, open_store
from datamodules.store.tracks import Sample, Track
from datamodules.videos import Split


def tracks(dataset: Dataset, spec: ClipSpec) -> list[Track]:
    """The tracks of a data set's frame store that clips of this specification need. Raises DataError."""
    sample = Sample(dataset.clips_per_video, dataset.clip_seconds) if dataset.clips_per_video else None
    height, width = spec.resize
    stored = {"quality": dataset.quality, "fps": dataset.store_fps, "sample": sample}
    needed = [Track(height, width, encoding=dataset.encoding, **stored)] if spec.frames else []
    if spec.flow_frames:
        stored["encoding"] = dataset.flow.encoding
        needed.append(Track(height, width, dataset.flow, **stored))
        if spec.flow_direction == "both":
            needed.append(Track(height, width, dataset.flow, backward=True, **stored))
    return needed


def prepare_tracks(
    dataset: Dataset,
    tracks: list[Track],
    workers: int,
    *,
    max_store: float,
    lists: Split | None = None,
    launcher: Launcher = in_processes,
) -> tuple[Path, int]:
    """(folder of the store, number of its videos), after generating missing videos and building missing tracks.

    A file that crashed or hung the decoder when it was checked is not opened. It counts as one that cannot be decoded.
    """
    from datamodules.store.building import build_tracks  # here: commands that only read need no decoder

    dataset.prepare(workers)
    files = (lists or dataset.read()).files
    folder = build_tracks(
        dataset.folder(),
        files,
        Path(dataset.stores),
        Path(dataset.folder()).name,
        tracks,
        workers=workers,
        max_store=max_store,
        known_bad=_condemned(dataset),
        launcher=launcher,
    )
    return folder, len(set(files))


def prepare_store(dataset: Dataset, tracks: list[Track], workers: int, lists: Split) -> FrameStore:
    """A data set's frame store with at most one track of each kind, built if necessary."""
    folder, _ = prepare_tracks(dataset, tracks, workers, max_store=dataset.max_store, lists=lists)
    store = open_store(folder, tracks, _condemned(dataset))
    store.rates = lists.rates
    return store


def _condemned(dataset: Dataset) -> dict[str, str]:
    bad = known_bad(dataset.folder(), Path(dataset.stores))
    return {path: f"{path}: {why}" for path, why in bad.items()}
