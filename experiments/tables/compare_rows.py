"""Two rows compared by the saved scores of their runs."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.records.scores import read_scores
from experiments.tables.significance import Outcome, compare
from vidfusion.metrics import hits_at_k

if TYPE_CHECKING:
    from experiments.tables.rows import Row


Reader = Callable[[Path, str], tuple[np.ndarray, str]]


def read_right(path: Path, row: str) -> tuple[np.ndarray, str]:
    """Which test videos a row of a run has right, (N,) bool, and a digest of these videos and their labels.

    A video of several labels is right with any of them. One that could not be scored is wrong. Raises ValueError for
    scores that are not whole.
    """
    saved = read_scores(path)
    videos = saved.of(row).videos()
    target = videos.target.numpy()
    digest = hashlib.sha256("\n".join(saved.videos).encode(errors="surrogateescape") + np.packbits(target).tobytes())
    return hits_at_k(videos.scores[:, 0], videos.target, 1).numpy(), digest.hexdigest()


def compare_rows(
    results: Path, row: Row, baseline: Row, read: Reader = read_right
) -> tuple[Outcome, tuple[int, int], bool]:
    """Compare two rows by the scores of their runs: outcome, numbers of seeds, and whether the seeds are paired.

    Seeds are paired where both rows have the same seeds and share a trained network in each. `read` is `read_right`,
    or a version that remembers. Raises ValueError where scores are missing or of other videos, and says whose.
    """
    videos: dict[str, str] = {}  # by split, the digest of the videos

    def right(of: Row) -> dict[str, np.ndarray]:
        seeds = defaultdict(list)
        for record, own in sorted(of.runs, key=lambda run: str(run[0].seed)):
            path, split = _scores(results, record.id), str(record.split)
            hits, digest = read(path, own.name)
            if videos.setdefault(split, digest) != digest:
                raise ValueError(f"{path} has scores of other videos or labels than the other runs of split {split}")
            seeds[split].append(hits)
        return {split: np.stack(hits) for split, hits in seeds.items()}

    ours, theirs = right(row), right(baseline)
    groups = {str(record.split): record.id for record in reversed(baseline.records)}
    clusters = {split: np.array(read_scores(_scores(results, run_id)).groups()) for split, run_id in groups.items()}
    splits, networks, others = sorted(ours), _networks(row), _networks(baseline)
    paired = networks.keys() == others.keys() and all(networks[place] & others[place] for place in networks)
    outcome = compare(*([of[split] for split in splits] for of in (ours, theirs, clusters)), paired=paired)
    return outcome, (len(ours[splits[0]]), len(theirs[splits[0]])), paired


def _scores(results: Path, run_id: str) -> Path:
    return results / "runs" / run_id / "scores.npz"


def _networks(row: Row) -> dict[tuple[str, str], set[str]]:
    """By seed and split, the ids of the runs whose trained networks a row consists of."""
    return {
        (str(record.seed), str(record.split)): {record.id, *(record.ensemble.of.runs if record.ensemble else [])}
        for record in row.records
    }
