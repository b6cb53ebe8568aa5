"""The frame store that a data set and a clip specification need."""

from __future__ import annotations

from pathlib import Path

from datamodules.clips import ClipSpec
from datamodules.datasets.base import Dataset
from datamodules.errors import DataError
from datamodules.known_bad import known_bad
from datamodules.processes import Launcher, in_processes
from datamodules.store.building import build_tracks
from datamodules.store.reading import FrameStore, open_store
from datamodules.store.tracks import Track
from datamodules.videos import VideoLists


def tracks(dataset: Dataset, spec: ClipSpec) -> list[Track]:
    """What the clips of a specification need of a data set's frame store. Raises DataError."""
    sample = dataset.sample()
    if sample is not None and spec.span == "video":
        raise DataError(
            f"sampling.span=video spreads a clip over a whole video, of which data.clips_per_video={sample.clips} "
            "stores pieces only; set data.clips_per_video=0 or sampling.span=fixed"
        )
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
    lists: VideoLists | None = None,
    launcher: Launcher = in_processes,
) -> tuple[Path, int]:
    """Make a data set's videos if it is generated, and build what is missing of its store; its folder, and its videos.

    See `build_tracks`. A file that crashed or hung the decoder when it was checked is not opened: it counts as one that
    cannot be decoded.
    """
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


def prepare_store(dataset: Dataset, tracks: list[Track], workers: int, lists: VideoLists | None = None) -> FrameStore:
    """Open a data set's frame store with some tracks, one of each kind at most, after `prepare_tracks`."""
    folder, num_videos = prepare_tracks(dataset, tracks, workers, max_store=dataset.max_store, lists=lists)
    return open_store(folder, num_videos, tracks, _condemned(dataset))


def _condemned(dataset: Dataset) -> dict[str, str]:
    return {path: f"{path}: {why}" for path, why in known_bad(dataset.folder(), Path(dataset.stores)).items()}
