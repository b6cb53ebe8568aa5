"""Which records make one row, and which rows make one section."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev

from experiments.records.record import Record, RunRow

ORDER = (
    *("single_frame", "single_frame_multires", "single_frame_fovea", "single_frame_context"),
    *("early_fusion", "late_fusion", "slow_fusion", "cnn_average", "c3d"),
    *("two_stream_spatial", "two_stream_temporal", "two_stream", "two_stream_svm"),
    *("two_stream_multi_task_spatial", "two_stream_multi_task_temporal"),
    *("two_stream_multi_task", "two_stream_multi_task_svm"),
    *("cnn_lstm_rgb", "cnn_lstm_flow", "cnn_lstm", "conv3d_lstm", "tsn_rgb", "tsn_flow", "tsn"),
)
PACKAGES = ("torch", "opencv-python-headless", "av", "decord")  # whose versions a row does not mix without a mark
COSTS = ("parameters", "macs_per_clip", "macs_training", "frames_per_clip", "frames_per_video")


@dataclass(frozen=True)
class Row:
    """One row of a table: runs that differ in seed and split only, each with its own row of that name."""

    name: str
    runs: list[tuple[Record, RunRow]]

    @property
    def records(self) -> list[Record]:
        """The records of all runs."""
        return [record for record, _ in self.runs]

    @property
    def first(self) -> Record:
        """The record of the first run: what all runs share, and an id and a command to name the row by."""
        return self.runs[0][0]

    @cached_property
    def splits(self) -> set[str]:
        """The splits that every seed of this row was run on."""
        return {str(record.split) for record in self.records}

    @cached_property
    def num_seeds(self) -> int:
        """How many seeds the row is the mean of."""
        return len({record.seed for record in self.records})

    def statistic(self, key: str) -> tuple[float | None, float | None]:
        """Mean over seeds (each the mean over its splits) and sample standard deviation, None where undefined."""
        means = self._means(key, "seed")
        if means is None:
            return None, None
        return mean(means), stdev(means) if len(means) > 1 else None

    def split_deviation(self, key: str) -> float | None:
        """Sample standard deviation over splits (each the mean over its seeds), None where undefined."""
        means = self._means(key, "split")
        return None if means is None or len(means) < 2 else stdev(means)

    @cached_property
    def numbers(self) -> list[dict[str, float | None]]:
        """All numbers of each run, flat: metrics as fractions, `<family>/video_hit1`, costs, `seconds/*`."""
        found = []
        for record, row in self.runs:
            # A stream is trained together with the others: time and memory are of them all.
            whole = row is record.rows[-1]
            families = [(name, dataclasses.asdict(family)) for name, family in row.families.items()]
            numbers = row.metrics | {f"{name}/{key}": value for name, of in families for key, value in of.items()}
            numbers |= {key: getattr(row, key) for key in COSTS}
            numbers |= {f"seconds/{key}": value if whole else None for key, value in record.seconds.items()}
            found.append(numbers | {"memory_mb": record.memory_mb if whole else None})
        return found

    def _means(self, key: str, over: str) -> list[float] | None:
        """The mean of a number for each seed or split; None where a run has no such number."""
        values = defaultdict(list)
        for record, numbers in zip(self.records, self.numbers, strict=True):
            values[getattr(record, over)].append(numbers.get(key))
        if any(value is None for own in values.values() for value in own):
            return None
        return [mean(own) for own in values.values()]


def mixed_versions(records: list[Record]) -> list[str]:
    """The packages on which numbers depend and of which runs had several versions: `torch 2.13.0 and 2.14.1`."""
    found = {name: sorted({record.code.versions.get(name, "") for record in records} - {""}) for name in PACKAGES}
    found["frames by"] = sorted({text for record in records for text in record.data.built_with or []})
    return [f"{name} {' and '.join(versions)}" for name, versions in found.items() if len(versions) > 1]


def make_rows(records: list[Record]) -> list[Row]:
    """Rows in table order. Runs that may differ in more than seed and split stay apart."""
    alike = defaultdict(list)
    for record in records:
        settings = (record.strategy, record.clip, record.pretrained, record.selection, record.settings)
        for row in record.rows:
            network = (row.parameters, row.macs_per_clip, row.frames_per_clip)
            alike[row.name, settings, network, record.code.hash].append((record, row))
    rows = [row for (name, *_), runs in alike.items() for row in _rows_of(name, runs)]
    place = {name: index for index, name in enumerate(ORDER)}
    return sorted(
        rows, key=lambda row: (place.get(row.name, len(ORDER)), row.name, row.first.clip != "native", row.first.id)
    )


def _rows_of(name: str, runs: list[tuple[Record, RunRow]]) -> list[Row]:
    """A row for the most runs that have every one of their seeds on every one of their splits; then for the rest.

    So a seed or split that is only half run changes no row. Of several runs of one point, each has a row.
    """
    points = {(run[0].seed, str(run[0].split)): run for run in runs}
    if len(points) < len(runs):
        return [Row(name, [run]) for run in runs]
    rows = []
    while points:
        splits_of = defaultdict(set)
        for seed, split in points:
            splits_of[seed].add(split)
        blocks = {
            frozenset(one & other): [seed for seed, splits in splits_of.items() if one & other <= splits]
            for one in splits_of.values()
            for other in splits_of.values()
            if one & other
        }
        splits, seeds = max(blocks.items(), key=lambda block: (len(block[0]) * len(block[1]), len(block[1])))
        block = [point for point in points if point[0] in seeds and point[1] in splits]
        rows.append(Row(name, [points.pop(point) for point in block]))
    return rows


def members_of(record: Record, records: Mapping[str, Record]) -> list[Record]:
    """The trained runs behind a record: itself, or the members of an ensemble, of those there are."""
    if record.ensemble is None:
        return [record]
    return [records[run_id] for run_id in record.ensemble.of.runs if run_id in records]


def given_to(record: Record, records: Mapping[str, Record], start: str = "") -> list[str]:
    """The words given by hand to the trained runs behind a record, of those that begin so; sorted."""
    words = {word for run in members_of(record, records) for word in run.given or []}
    return sorted(word for word in words if word.startswith(start))


def section_groups(records: list[Record]) -> list[list[Record]]:
    """The records of each section, whose data were set alike, and which never mixes two versions of those of one split.

    Runs on folds of the training list serve ensembles, and tests on other data say nothing of the data set: they are no
    rows.
    """
    alike, groups, by_id = defaultdict(list), [], {record.id: record for record in records}
    for record in records:
        if record.kind not in ("fold", "transfer"):
            key = [record.dataset, record.num_classes, record.recipe, record.size, dataclasses.asdict(record.protocol)]
            key += [record.families, record.data.classes, given_to(record, by_id, "data.")]
            alike[json.dumps(key, sort_keys=True)].append(record)
    for _, own in sorted(alike.items()):
        groups += _versions(own, [lambda record: record.data.files, lambda record: record.data.fingerprint])
    return groups


def _versions(records: list[Record], tells: list[Callable[[Record], str]]) -> list[list[Record]]:
    """The records as they are where each split's data are of one version; else apart by the first of `tells`.

    The files tell all splits of two versions apart, the fingerprint also tells splits.
    """
    fingerprints = {(record.split, record.data.fingerprint) for record in records}
    if len(fingerprints) == len({record.split for record in records}):
        return [records]
    groups = defaultdict(list)
    for record in records:
        groups[tells[0](record)].append(record)
    return [group for _, own in sorted(groups.items()) for group in _versions(own, tells[1:])]
