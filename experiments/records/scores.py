"""Probabilities of every test clip, saved beside the record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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


class Scores(NamedTuple):
    """What `write_scores` wrote. `clusters` is None in files of an earlier version."""

    path: Path
    votes: Votes
    rows: list[str]
    videos: list[str]
    clusters: list[str] | None

    def place(self, row: str) -> int:
        """The index of a row. Raises ValueError where there is no such row."""
        if row not in self.rows:
            raise ValueError(f"{self.path} has no scores of {row}: run that point again")
        return self.rows.index(row)

    def of(self, row: str) -> Votes:
        """The scores of one row, as double (M, 1, C). Raises ValueError where there is no such row."""
        return self.votes._replace(scores=self.votes.scores[:, [self.place(row)]].double())

    def groups(self) -> list[str]:
        """The group of every video (N,). Raises ValueError where the file does not say it."""
        if self.clusters is None:
            raise ValueError(f"{self.path} does not say which videos are alike: run that point again")
        return self.clusters


def read_scores(path: Path) -> Scores:
    """All that is saved in a file of scores. Raises ValueError for a file that is not whole."""
    try:
        with path.open("rb") as file, np.load(file) as saved:
            votes = Votes(*(torch.from_numpy(saved[name]) for name in Votes._fields))
            names = [saved[name].tolist() if name in saved else None for name in ("rows", "videos", "clusters")]
        found = Scores(path, votes, *names)
        if not _fit_together(found):
            raise ValueError("its parts do not fit together")
        return found
    except Exception as error:  # a file from elsewhere can break a reader in any way
        raise ValueError(
            f"{path} holds no whole scores ({error}): delete its folder and run that point again"
        ) from None


def _fit_together(saved: Scores) -> bool:
    """Whether the arrays have the shapes that `write_scores` says, and every video has clips, in order."""
    video, clip, center, target, scores = saved.votes
    num_clips, num_rows, num_classes = scores.shape
    return (
        num_rows == len(saved.rows)
        and video.shape == clip.shape == center.shape == (num_clips,)
        and target.shape == (num_clips, num_classes)
        and target.dtype == torch.bool
        and scores.is_floating_point()
        and not scores.isinf().any()
        and torch.equal(video.unique_consecutive(), torch.arange(len(saved.videos), dtype=video.dtype))
        and (saved.clusters is None or len(saved.clusters) == len(saved.videos))
    )
