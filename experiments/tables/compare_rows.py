"""Two rows compared by the saved scores of their runs."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.records.scores import read_clusters, read_scores
from experiments.tables.significance import compare
from vidfusion.metrics import hits_at_k

if TYPE_CHECKING:
    from experiments.tables.rows import Row


# -- of records --------------------------------------------------------------------------------------------------------

Reader = Callable[[Path, str], tuple[np.ndarray, str]]


def read_right(path: Path, row: str) -> tuple[np.ndarray, str]:
    """Which test videos a row of a run has right, (N,) bool, and a digest of these videos and their labels.

    A video of several labels is right with any, one that could not be scored is wrong. Raises ValueError for scores
    that are not whole.
    """
    votes, names = read_scores(path, row)
    videos = votes.videos()
    if len(videos.video) != len(names):
        raise ValueError(f"{path} has scores of {len(videos.video)} of {len(names)} videos: run that point again")
    target = videos.target.numpy()
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape") + np.packbits(target).tobytes())
    return hits_at_k(videos.scores[:, 0], videos.target, 1).numpy(), digest.hexdigest()


def _networks(row: Row) -> dict[tuple[str, str], set[str]]:
    """By seed and split, the ids of the runs whose trained networks a row consists of."""
    networks = {}
    for record, _ in row.runs:
        members = record["ensemble"]["of"]["members"] if "ensemble" in record else []
        networks[str(record["seed"]), str(record["split"])] = {record["id"], *(run_id for run_id, _ in members)}
    return networks


def compare_rows(results: Path, row: Row, baseline: Row, read: Reader = read_right) -> dict[str, Any]:
    """`compare` two rows of a table by the scores of their runs; plain data. `read` is `read_right`, or keeps what it
    has read. The seeds are paired where both rows have the same and share a trained network in each.

    Raises ValueError where scores are missing or of other videos, and says whose.
    """
    videos: dict[str, str] = {}  # by split

    def right(of: Row) -> dict[str, np.ndarray]:
        seeds = defaultdict(list)
        for record, own in sorted(of.runs, key=lambda run: str(run[0]["seed"])):
            path, split = results / "runs" / record["id"] / "scores.npz", str(record["split"])
            hits, digest = read(path, own["name"])
            if videos.setdefault(split, digest) != digest:
                raise ValueError(f"{path} has scores of other videos or labels than the other runs of split {split}")
            seeds[split].append(hits)
        return {split: np.stack(hits) for split, hits in seeds.items()}

    ours, theirs = right(row), right(baseline)
    clusters = {}
    for record, _ in baseline.runs:
        if (split := str(record["split"])) not in clusters:
            clusters[split] = np.array(read_clusters(results / "runs" / record["id"] / "scores.npz"))
    splits, networks, others = sorted(ours), _networks(row), _networks(baseline)
    paired = networks.keys() == others.keys() and all(networks[place] & others[place] for place in networks)
    outcome = compare(*([of[split] for split in splits] for of in (ours, theirs, clusters)), paired=paired)
    seeds = {"row": len(ours[splits[0]]), "baseline": len(theirs[splits[0]])}
    return outcome._asdict() | {"seeds": seeds, "paired": paired}
