"""Which records make one row, and which rows make one section."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev

from experiments.records.record import Record, RunRow

ORDER = (
    *("single_frame", "single_frame_multires", "single_frame_fovea", "single_frame_context"),
    *("early_fusion", "late_fusion", "slow_fusion", "cnn_average", "c3d"),
    *("two_stream_spatial", "two_stream_temporal", "two_stream", "two_stream_svm"),
    *("two_stream_multi_task_spatial", "two_stream_multi_task_temporal"),
    *("two_stream_multi_task", "two_stream_multi_task_svm", "cnn_lstm"),
)
# The first of these that a section has is its baseline, whatever the results are.
BASELINES = ("single_frame", "lecture_late", "two_stream")
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
            families = [(name, dataclasses.asdict(family)) for name, family in row.families.items()]
            numbers = row.metrics | {f"{name}/{key}": value for name, of in families for key, value in of.items()}
            numbers |= {key: getattr(row, key) for key in COSTS}
            numbers |= {f"seconds/{key}": value for key, value in record.seconds.items()}
            found.append(numbers | {"memory_mb": record.memory_mb})
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
    """One row for all seeds that were run on the same splits; of unlike runs of one point, one row each."""
    splits_of = defaultdict(list)
    for record, _ in runs:
        splits_of[record.seed].append(str(record.split))
    if any(len(splits) > len(set(splits)) for splits in splits_of.values()):
        return [Row(name, [run]) for run in runs]
    same_splits = defaultdict(list)
    for run in runs:
        same_splits[frozenset(splits_of[run[0].seed])].append(run)
    return [Row(name, own) for own in same_splits.values()]


def section_groups(records: list[Record]) -> list[list[Record]]:
    """The records of each section, which never mixes two versions of the data of one split.

    Runs on folds of the training list serve ensembles, and tests on other data say nothing of the data set: they are no
    rows.
    """
    alike, groups = defaultdict(list), []
    for record in records:
        if record.kind not in ("fold", "transfer"):
            key = [record.dataset, record.num_classes, record.recipe, record.size, dataclasses.asdict(record.protocol)]
            alike[json.dumps([*key, record.families, record.data.classes], sort_keys=True)].append(record)
    for _, own in sorted(alike.items()):
        versions = {record.data.fingerprint for record in own}
        if len({(record.split, record.data.fingerprint) for record in own}) == len({record.split for record in own}):
            groups.append(own)
        else:
            groups += [[record for record in own if record.data.fingerprint == of] for of in sorted(versions)]
    return groups


def baseline_of(rows: list[Row]) -> Row | None:
    """The row that the others of a section are compared with. The results play no part in the choice.

    Of several rows of its name it is the plainest: native clip, no pretraining, fewest settings given by hand. Of
    equally plain ones it is the most complete.
    """

    def plainest(row: Row) -> tuple:
        native, untrained = row.first.clip == "native", row.first.pretrained == "none"
        return native, untrained, -len(row.first.given or []), len(row.splits), row.num_seeds

    for name in BASELINES:
        named = [row for row in rows if row.name == name and row.first.kind != "test"]
        if named:
            return max(named, key=plainest)
    return None


def compared_rows(rows: list[Row], baseline: Row) -> list[Row]:
    """The rows of a section that are compared with its baseline: those of the same splits and data.

    A test with other settings is no further system. It would only raise the number of comparisons.
    """

    def data(row: Row) -> set[tuple[str, str]]:
        return {(str(record.split), record.data.fingerprint) for record in row.records}

    return [row for row in rows if row is not baseline and row.first.kind != "test" and data(row) == data(baseline)]


def pairs(records: list[Record]) -> list[tuple[Row, Row]]:
    """Every row that is compared with the baseline of its section, and that baseline."""
    sections = [make_rows(group) for group in section_groups(records)]
    baselines = [(rows, baseline_of(rows)) for rows in sections]
    return [(row, of) for rows, of in baselines if of is not None for row in compared_rows(rows, of)]
