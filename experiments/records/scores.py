"""Probabilities of every test clip, saved beside the record."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from datamodules.files import replaced
from vidfusion.votes import Votes


def write_scores(path: Path, votes: Votes, rows: Sequence[str], videos: Sequence[str], clusters: Sequence[str]) -> None:
    """Write M clips: `scores` (M, R, C), `video`, `clip`, `center` in seconds (M,), and `target` (M, C).

    `rows` (R,) and `videos` (N,) are names; `video` holds indices into the latter. `clusters` (N,) names the group of
    each video. Videos of one group are alike, so a confidence interval takes a group as one unit.
    """
    fields = {name: value.numpy() for name, value in votes._asdict().items()}
    names = {"rows": np.array(rows), "videos": np.array(videos), "clusters": np.array(clusters)}
    with replaced(path) as file:
        np.savez_compressed(file, **fields, **names)


def read_scores(path: Path, row: str) -> tuple[Votes, list[str]]:
    """One row of saved scores, as double `scores` (M, 1, C), and the names of the videos (N,).

    Raises ValueError for a file that is not whole.
    """
    try:
        with path.open("rb") as file, np.load(file) as saved:
            index = saved["rows"].tolist().index(row)
            votes = Votes(*(torch.from_numpy(saved[name]) for name in Votes._fields))
            return votes._replace(scores=votes.scores[:, [index]].double()), saved["videos"].tolist()
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} has no scores of {row} ({error}): delete its folder and run that point again"
        ) from None


def read_clusters(path: Path) -> list[str]:
    """The group of every video (N,). Raises ValueError for scores of an earlier version, which name no groups."""
    with np.load(path) as saved:
        if "clusters" not in saved:
            raise ValueError(f"{path} does not say which videos are alike: run that point again")
        return saved["clusters"].tolist()
