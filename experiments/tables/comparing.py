"""Comparing two rows, or a row with chance, by the saved scores of their runs."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.records.record import Record
from experiments.records.scores import read_scores
from experiments.tables.chance import guess
from experiments.tables.rows import Row
from experiments.tables.significance import Outcome, compare
from vidfusion.metrics import hits_at_k


class _Right(NamedTuple):
    """Which test videos a run has right, (N,) bool; the group of each; and a digest of the videos and their labels."""

    hits: np.ndarray
    groups: list[str] | None  # None in files of an earlier version
    videos: bytes


def _read(path: Path, row: str, classes: tuple[int, ...] | None) -> _Right:
    """What a row of a run has right, by its scores: a video of several labels with any of them, one without scores not.

    `classes` are those of a family, whose videos alone count. Raises ValueError for scores that are not whole.
    """
    saved = read_scores(path)
    votes, groups = saved.of(row).videos(), saved.clusters
    scores, target, names = votes.scores[:, 0], votes.target, np.array(saved.videos)
    if classes is not None:
        own = target[:, classes].any(1)
        scores, target, names = scores[own][:, classes], target[own][:, classes], names[own.numpy()]
        groups = groups and np.array(groups)[own.numpy()].tolist()
    text = "\n".join(names.tolist()).encode(errors="surrogateescape")
    videos = hashlib.sha256(text + np.packbits(target.numpy()).tobytes()).digest()
    return _Right(hits_at_k(scores, target, 1).numpy(), groups, videos)


class Reader:
    """What rows have right, by the scores of a folder's runs. The runs of one baseline serve many comparisons."""

    def __init__(self, results: Path) -> None:
        self.runs = results / "runs"
        self.read = functools.lru_cache(maxsize=32)(_read)


def compare_rows(
    reader: Reader, row: Row, baseline: Row | None, within: str | None
) -> tuple[Outcome, tuple[int, int], bool]:
    """The outcome, the number of seeds of each row, and whether both rows hold the same networks in each seed.

    Without a baseline, the row is compared with the hits of an even guess. `within` is a family,
    whose videos and classes alone count. Seeds are paired where both rows have the same seeds and share a trained
    network in each. Raises ValueError where scores are missing or of other videos.
    """
    last: dict[str, _Right] = {}  # of each split; in the end it is one of the baseline
    right: list[dict[str, list[np.ndarray]]] = []  # of each row, by split, of each seed
    for of in filter(None, (row, baseline)):
        right.append(defaultdict(list))
        for record, own in sorted(of.runs, key=lambda run: str(run[0].seed)):
            path, split = reader.runs / record.id / "scores.npz", str(record.split)
            found = reader.read(path, own.name, _classes(record, within))
            if last.get(split, found).videos != found.videos:
                raise ValueError(f"{path} has scores of other videos or labels than the other runs of split {split}")
            if of is (baseline or row) and found.groups is None:
                raise ValueError(f"{path} does not say which videos are alike: run that point again")
            last[split] = found
            right[-1][split].append(found.hits)
    if baseline is None:
        right.append({split: [np.full(len(found.hits), guess(row.first, within))] for split, found in last.items()})
    ours, theirs = ([np.stack(of[split]) for split in sorted(last)] for of in right)
    paired = baseline is not None and _paired(_networks(row), _networks(baseline))
    outcome = compare(ours, theirs, [np.array(last[split].groups) for split in sorted(last)], paired=paired)
    return outcome, (len(ours[0]), len(theirs[0])), paired


def _classes(record: Record, family: str | None) -> tuple[int, ...] | None:
    if family is None:
        return None
    if not record.data.families.get(family):
        raise ValueError(f"{record.id} does not say which classes are of {family}: run that point again")
    return tuple(record.data.classes.index(name) for name in record.data.families[family])


def _networks(row: Row) -> dict[tuple[str, str], set[str]]:
    """By seed and split, the ids of the runs whose trained networks a row consists of."""
    return {
        (str(record.seed), str(record.split)): {record.id, *(record.ensemble.of.runs if record.ensemble else [])}
        for record in row.records
    }


def _paired(networks: dict[tuple[str, str], set[str]], others: dict[tuple[str, str], set[str]]) -> bool:
    return networks.keys() == others.keys() and all(networks[place] & others[place] for place in networks)
