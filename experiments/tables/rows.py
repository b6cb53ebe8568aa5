"""Which records make one row, and which rows make one section."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev

ORDER = (
    *("single_frame", "single_frame_multires", "single_frame_fovea", "single_frame_context"),
    *("early_fusion", "late_fusion", "slow_fusion", "cnn_average", "c3d"),
    *("two_stream_spatial", "two_stream_temporal", "two_stream", "two_stream_svm"),
    *("two_stream_multi_task_spatial", "two_stream_multi_task_temporal"),
    *("two_stream_multi_task", "two_stream_multi_task_svm", "cnn_lstm"),
)
# What a section's rows are compared with: the first of these that is one of them, whatever the results are.
BASELINES = ("single_frame", "lecture_late", "two_stream")


@dataclass(frozen=True)
class Row:
    """Runs that differ in seed and split only: pairs of a record and its row of that name."""

    name: str
    runs: list[tuple[dict, dict]]

    @cached_property
    def splits(self) -> set[str]:
        """The splits that every seed of this row was run on."""
        return {str(record["split"]) for record, _ in self.runs}

    @cached_property
    def data(self) -> set[tuple[str, str]]:
        """These splits, each with the fingerprint of its data."""
        return {(str(record["split"]), record["data"]["fingerprint"]) for record, _ in self.runs}

    @cached_property
    def num_seeds(self) -> int:
        """How many seeds the row is the mean of."""
        return len({record["seed"] for record, _ in self.runs})

    @property
    def tested_again(self) -> bool:
        """Whether these are the networks of another row, tested with other settings; such rows are not compared."""
        return self.runs[0][0].get("kind") == "test"

    @property
    def code(self) -> str:
        """Hash of the code that made all runs of the row."""
        return self.runs[0][0]["code"]["hash"]

    def common(self, key: str) -> str:
        """The setting `key`, which all runs of the row share; for `id` that of the first run."""
        return str(self.runs[0][0][key])

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
        """All numbers of each run."""
        return [_numbers(record, row) for record, row in self.runs]

    def _means(self, key: str, over: str) -> list[float] | None:
        """The mean of a number for each seed or split; None where a run has no such number."""
        values = defaultdict(list)
        for (record, _), numbers in zip(self.runs, self.numbers, strict=True):
            values[record[over]].append(numbers.get(key))
        if any(value is None for own in values.values() for value in own):
            return None
        return [mean(own) for own in values.values()]


def pairs(records: list[dict]) -> list[tuple[Row, Row]]:
    """Every row that can be compared with the baseline of its section, and that baseline."""
    found = []
    for group in section_groups(records):
        rows = make_rows(group)
        baseline = baseline_of(rows)
        found += [(row, baseline) for row in rows if baseline is not None and is_comparable(row, baseline)]
    return found


def baseline_of(rows: list[Row]) -> Row | None:
    """The row that the others of a section are compared with: of several of its name the plainest, whatever came out.

    Plain is its own clip, no pretraining, few settings given by hand. Of equally plain ones it is the most complete.
    """

    def plainest(row: Row) -> tuple:
        given = row.runs[0][0].get("given", [])
        own = row.common("clip") == "native", row.common("pretrained") == "none"
        return *own, -len(given), len(row.splits), row.num_seeds

    for name in BASELINES:
        named = [row for row in rows if row.name == name and not row.tested_again]
        if named:
            return max(named, key=plainest)
    return None


def is_comparable(row: Row, baseline: Row) -> bool:
    """Whether a row of the baseline's section is compared with it. A test with other settings is no further system: it
    would only raise the number of comparisons."""
    return row is not baseline and row.data == baseline.data and not row.tested_again


def section_groups(records: list[dict]) -> list[list[dict]]:
    """The records of each section, which never mixes two versions of the data of one split.

    Runs on folds of the training list serve ensembles and are no rows.
    """
    alike = defaultdict(list)
    for record in records:
        if record.get("kind") not in ("fold", "transfer"):
            shared = ("dataset", "num_classes", "recipe", "size", "protocol", "families")
            key = [*(record[name] for name in shared), record["data"]["classes"]]
            alike[json.dumps(key, sort_keys=True)].append(record)
    groups = []
    for _, group in sorted(alike.items()):
        versions = defaultdict(set)
        for record in group:
            versions[record["split"]].add(record["data"]["fingerprint"])
        if all(len(fingerprints) == 1 for fingerprints in versions.values()):
            groups.append(group)
        else:
            for fingerprint in sorted(set.union(*versions.values())):
                groups.append([record for record in group if record["data"]["fingerprint"] == fingerprint])
    return groups


def _numbers(record: dict, row: dict) -> dict[str, float | None]:
    """All numbers of one row of one run, flat: metrics as fractions, `<family>/video_hit1`, cost, `seconds/*`."""
    families = {f"{family}/{key}": value for family, of in row["families"].items() for key, value in of.items()}
    cost = ("parameters", "macs_per_clip", "macs_training", "frames_per_clip", "frames_per_video")
    seconds = {f"seconds/{key}": value for key, value in record["seconds"].items()}
    return row["metrics"] | families | {key: row[key] for key in cost} | seconds | {"memory_mb": record["memory_mb"]}


def make_rows(records: list[dict]) -> list[Row]:
    """Rows in table order. Runs that cannot be told to differ in seed and split alone stay apart."""
    alike = defaultdict(list)
    for record in records:
        for row in record["rows"]:
            settings = tuple(record[key] for key in ("strategy", "clip", "pretrained", "selection", "settings"))
            network = tuple(row[key] for key in ("parameters", "macs_per_clip", "frames_per_clip"))
            alike[row["name"], settings, network, record["code"]["hash"]].append((record, row))
    rows = []
    for (name, *_), runs in alike.items():
        splits_of = defaultdict(list)
        for record, _ in runs:
            splits_of[record["seed"]].append(str(record["split"]))
        if any(len(splits) > len(set(splits)) for splits in splits_of.values()):  # one point, two unlike runs
            rows += [Row(name, [run]) for run in runs]
            continue
        same_splits = defaultdict(list)
        for run in runs:
            same_splits[frozenset(splits_of[run[0]["seed"]])].append(run)
        rows += [Row(name, runs) for runs in same_splits.values()]
    place = {name: index for index, name in enumerate(ORDER)}

    def order(row: Row) -> tuple:
        return place.get(row.name, len(ORDER)), row.name, row.common("clip") != "native", row.common("id")

    return sorted(rows, key=order)
