"""Which class was answered for which: counted from the scores of runs, by row of the table.

<results>/confusions.json   by id of a run, what was counted, with size and time of its scores: these are not read again
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter

from datamodules.files import write_atomically
from experiments.records.record import Record
from experiments.report.answers import read_answers
from experiments.tables.rows import Row

REMEMBERED = "confusions.json"
MOST = 4000  # counts of a row; of more, the rarest mistakes are counted together

Place = Annotated[int, Field(ge=0)]
# (true class, answer, videos); the answer C: none, as the video has no scores; C + 1: any other class
Counts = list[tuple[Place, Place, Place]]


def confusions(results: Path, records: Sequence[Record]) -> dict[str, dict[str, Counts]]:
    """By run and by its row, how often each class was answered for each; of the runs that have scores.

    A video of several classes counts in each of them: as right in all if the answer is one of them.
    """
    before, now = _remembered(results), {}
    for record in records:
        path = results / "runs" / record.id / "scores.npz"
        try:
            state = path.stat()
            key = f"{state.st_size} {state.st_mtime_ns} {record.num_classes}"
            known = before.get(record.id)
            now[record.id] = known if known and known[0] == key else (key, _count(path, record.num_classes))
        except (OSError, ValueError):  # the tables have said it
            continue
    if now != before:
        write_atomically(results / REMEMBERED, json.dumps(now, separators=(",", ":")))
    return {run_id: {name: list(map(tuple, of)) for name, of in rows.items()} for run_id, (_, rows) in now.items()}


def _remembered(results: Path) -> dict[str, tuple[str, dict[str, Counts]]]:
    try:
        content = (results / REMEMBERED).read_bytes()
        return TypeAdapter(dict[str, tuple[str, dict[str, Counts]]]).validate_json(content)
    except (OSError, ValueError):
        return {}


def _count(path: Path, num_classes: int) -> dict[str, Counts]:
    answers = read_answers(path, num_classes)
    truth, found = answers.truth(), {}
    for name in answers.rows:
        means = answers.means(name)
        best = np.where(np.isnan(means).any(1), num_classes, np.nan_to_num(means, nan=-1).argmax(1))
        right = np.pad(truth, ((0, 0), (0, 1)))[np.arange(len(best)), best]
        video, label = np.nonzero(truth)
        given = np.where(right[video], label, best[video])
        pairs, numbers = np.unique(np.stack([label, given]), axis=1, return_counts=True)
        found[name] = [(int(a), int(b), int(n)) for (a, b), n in zip(pairs.T, numbers, strict=True)]
    return found


def confusion_of(row: Row, counted: Mapping[str, Mapping[str, Counts]], num_classes: int) -> Counts:
    """The counts of all runs of a row together; empty where one of them has none."""
    total: Counter[tuple[int, int]] = Counter()
    for record, own in row.runs:
        counts = counted.get(record.id, {}).get(own.name)
        if not counts or any(label >= num_classes or given > num_classes for label, given, _ in counts):
            return []
        total.update({(label, given): number for label, given, number in counts})
    ordered = sorted(total.items(), key=lambda item: (item[0][0] != item[0][1], -item[1], item[0]))
    shown = Counter(dict(ordered[:MOST]))
    for (label, _), number in ordered[MOST:]:
        shown[label, num_classes + 1] += number
    return sorted((label, given, number) for (label, given), number in shown.items())


def accuracy(counts: Counts, num_classes: int) -> list[float | None]:
    """The share of the videos of each class that were right; None for a class without videos."""
    right, total = [0] * num_classes, [0] * num_classes
    for label, given, number in counts:
        total[label] += number
        right[label] += number * (label == given)
    return [hits / videos if videos else None for hits, videos in zip(right, total, strict=True)]
