"""A data set in small: a few of its videos stand for all, in a frame store of their own."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from datamodules.dataset_store import prepare_tracks
from datamodules.datasets.base import Dataset
from datamodules.datasets.moving_shapes import CLASSES, MovingShapes
from datamodules.errors import DataError
from datamodules.holdout import hold_out
from datamodules.known_bad import known_bad
from datamodules.processes import available_cores
from datamodules.store.key import store_folder
from datamodules.store.shards import read_shards
from datamodules.store.size import expected_bytes, spread
from datamodules.store.tracks import Track
from datamodules.videos import Split, Video
from experiments.settings.schema import RunConfig

FEW = 8  # videos that stand for all
LISTED = 20_000  # videos of a list at most: enough for the steps of a probe


@dataclass(frozen=True)
class Small:
    """What stands for a data set, and what the whole one has and needs.

    data:                   the same data set with a few videos, in temporary folders
    name, stores:           of the whole; `stores` is the folder of frame stores
    test, validation:       videos of the whole
    to_make, make_seconds:  videos to generate, and the time for this
    to_decode, store_seconds, missing: videos to decode, the time for this, and bytes to write
    too_large:              whether the frame store is larger than `data.max_store`
    """

    data: Dataset
    name: str
    stores: str
    test: int
    validation: int
    to_make: int
    make_seconds: float
    to_decode: int
    store_seconds: float
    missing: float
    too_large: bool

    def lines(self) -> list[str]:
        """What has to be made before the points run."""
        lines = [f"Videos of {self.name}: {self.to_make} to generate."] if self.to_make else []
        if not self.to_decode:
            return [f"Frame store of {self.name}: it is there."]
        lines.append(f"Frame store of {self.name}: {self.to_decode} videos to decode, {self.missing / 1e9:.2f} GB.")
        if self.too_large:
            lines.append(
                "WARNING: this is more than data.max_store; build it with experiments/prepare.py, or set "
                "data.encoding=jpeg."
            )
        return lines


def shrink(data: Dataset, tracks: Sequence[Track], scratch: Path) -> Small:
    """Decode a few videos of a data set into a frame store below `scratch`. Raises DataError.

    Of a generated data set that is not made yet, a small one is made there. Nothing is written elsewhere.
    """
    source, scale, made = _source(data, scratch)
    lists, root, stores = source.read(), source.folder(), Path(data.stores)
    files = sorted(set(lists.files) - known_bad(data.folder(), stores).keys())
    few = spread([path for path in files if (root / path).is_file()], FEW)
    if not few:
        raise DataError(f"{root}: holds none of the {len(files)} videos listed, such as {files[0]}; set data.root")
    train, validation = hold_out(data, lists.train)
    here = {"stores": str(scratch / "stores"), "max_store": math.inf, "undecodable": "skip"}
    small = replace(source, **here, validation=0.0, folds=0, fold=0)
    stand_ins = Split(lists.classes, _listed(train, few), _listed(spread(lists.test, LISTED), few), few)
    small = with_lists(small, stand_ins)

    began = time.monotonic()
    folder, _ = prepare_tracks(small, list(tracks), 1, max_store=math.inf, lists=stand_ins, launcher=_in_this_process)
    seconds = time.monotonic() - began
    written = sum(file.stat().st_size for track in tracks for file in (folder / track.name).iterdir())
    store = store_folder(root, lists.files, stores, root.name)
    built = not made and all(read_shards(store, track) is not None for track in tracks)
    whole = scale * expected_bytes([], root, files, tracks)[0]
    return Small(
        small,
        data.folder().name,
        data.stores,
        test=round(scale * len(lists.test)),
        validation=round(scale * len(validation)),
        to_make=round(scale * len(files)) if made else 0,
        make_seconds=scale * made,
        to_decode=0 if built else round(scale * len(files)),
        store_seconds=0.0 if built else seconds * whole / written / available_cores(),
        missing=0.0 if built else whole,
        too_large=whole > data.max_store * 1e9,
    )


def with_lists(data: Dataset, lists: Split) -> Dataset:
    """The same data set with other lists."""
    data = copy.copy(data)
    data.read = partial(_given, lists)
    return data


def with_datasets(run: RunConfig, datasets: list[Dataset]) -> RunConfig:
    """The same run on other data sets."""
    run = replace(run, data=datasets[0])
    run.datasets = partial(_given, datasets)
    return run


def _given(value: Any) -> Any:
    return value


def _source(data: Dataset, scratch: Path) -> tuple[Dataset, float, float]:
    """Where the videos are, how many times as many the whole has, and the seconds of making them (0 if they exist)."""
    if not isinstance(data, MovingShapes) or data.folder().is_dir():
        return data, 1.0, 0.0
    one_each = {family: min(1, clips) for family, clips in data.clips.items()}
    source = replace(data, root=str(scratch / "videos"), clips=one_each)
    began = time.monotonic()
    source.prepare(available_cores())
    seconds = time.monotonic() - began
    classes = {family: len(CLASSES[family]) for family in data.families}
    scale = sum(data.clips[family] * number for family, number in classes.items()) / sum(classes.values())
    return source, scale, seconds


def _listed(videos: Sequence[Video], few: Sequence[str]) -> list[Video]:
    """The videos under the paths of a few of them, in turn."""
    return [replace(video, path=few[number % len(few)]) for number, video in enumerate(videos[:LISTED])]


def _in_this_process(function: Callable[[Any], Any], jobs: Sequence[Any], _: int) -> Iterator[tuple[Any, Any]]:
    for job in jobs:
        yield job, function(job)
