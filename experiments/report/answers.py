"""What a run's networks answered to each clip and video, read without torch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np


class Answers(NamedTuple):
    """The content of scores.npz: `rows` (R,) and `videos` (N,) are names. Of the M clips, `video` (M,) holds indices of
    videos, `center` (M,) seconds, `target` (M, C) the true classes and `scores` (M, R, C) probabilities."""

    rows: list[str]
    videos: list[str]
    video: np.ndarray
    center: np.ndarray
    target: np.ndarray
    scores: np.ndarray

    def means(self, row: str) -> np.ndarray:
        """The mean of a row's clips for each video (N, C); NaN where a clip has no scores."""
        scores = self.scores[:, self.rows.index(row)].astype(np.float64)
        totals = np.zeros((len(self.videos), scores.shape[1]))
        np.add.at(totals, self.video, scores)
        return totals / np.bincount(self.video, minlength=len(totals))[:, None]

    def truth(self) -> np.ndarray:
        """The true classes of each video, bool (N, C)."""
        return self.target[np.unique(self.video, return_index=True)[1]]


def read_answers(path: Path, classes: int) -> Answers:
    """What is saved in a file of scores of so many classes. Raises ValueError for a file that is not whole."""
    try:
        with path.open("rb") as file, np.load(file) as saved:
            names = [list(map(str, saved[name].tolist())) for name in ("rows", "videos")]
            found = Answers(*names, *(saved[name] for name in ("video", "center", "target", "scores")))
        clips = len(found.video)
        whole = (
            found.scores.shape == (clips, len(found.rows), classes)
            and found.target.shape == (clips, classes)
            and found.center.shape == found.video.shape == (clips,)
            and np.issubdtype(found.video.dtype, np.integer)
            and np.issubdtype(found.center.dtype, np.floating)
            and np.issubdtype(found.scores.dtype, np.floating)
            and found.target.dtype == bool
            and np.array_equal(np.unique(found.video), np.arange(len(found.videos)))
        )
        if not whole:
            raise ValueError("its parts do not fit together")
        return found
    except Exception as error:  # a file from elsewhere can break a reader in any way
        raise ValueError(f"{path} holds no whole scores ({error})") from None
