"""What a data set is to the rest of the suite: settings, and two lists of labelled videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Optional

from datamodules.datasets.official_lists import choose_split
from datamodules.flow import FlowConfig
from datamodules.videos import Listing, Split, Video

if TYPE_CHECKING:
    from datamodules.store.shards import StoredVideo


@dataclass
class Dataset:
    """Settings that every data set has. A data set is a subclass that adds its own settings and reads its lists.

    root:        folder that holds the videos
    split:       which official split, from 1
    validation:  share of the training groups that is held out for validation, 0 to below 1 (0: train on all of them)
    folds:       number of parts of whole groups in the training list (0: none); part `fold`, from 0, is held out for
                 validation. Networks trained without each part in turn give every training video a score.
    mirror:      whether a mirrored video keeps its label; if not, no video is flipped in training or at test
    stores:      folder of the frame stores
    max_store:   largest frame store that a run builds by itself, in GB (10^9 bytes)
    encoding:    stored frames are `raw`, or `jpeg` at about a seventh of the size and decoded at each reading
    quality:     JPEG quality of frames and flow, 1 to 100
    store_fps:   frames per second of the stored frames: stored frame i is the video's frame nearest to the time
                 i / store_fps, and `sampling.stride` and the like count stored frames (null: all frames of the video)
    undecodable: `error` refuses to train while a training video cannot be decoded or is cut short; `skip` trains on
                 the others. A test video that cannot be decoded always counts as wrong, one that is cut short is
                 scored on the frames that it has. Both are always reported.
    flow:        how optical flow is computed and stored

    `LAYOUT` shows the folders and files that the data set must have on disk; error messages and the README quote it.
    `MAY_BE_SHOWN` says whether frames may be shown to others. The terms of research data sets do not allow that.
    `clips_per_video` and `clip_seconds` say which part of each video is stored (0: the whole video).
    """

    LAYOUT: ClassVar[str] = ""
    MAY_BE_SHOWN: ClassVar[bool] = False
    clips_per_video: ClassVar[int] = 0
    clip_seconds: ClassVar[float] = 0.0

    root: str = "???"
    split: int = 1
    validation: float = 0.0
    folds: int = 0
    fold: int = 0
    mirror: bool = True
    stores: str = "data/stores"
    max_store: float = 20.0
    encoding: Literal["raw", "jpeg"] = "raw"
    quality: int = 95
    store_fps: Optional[float] = None  # noqa: UP045 - OmegaConf resolves these at run time on Python 3.10 too
    undecodable: Literal["error", "skip"] = "error"
    flow: FlowConfig = field(default_factory=FlowConfig)

    def prepare(self, workers: int) -> None:
        """Make the videos, if the data set is a generated one. Others are downloaded by hand and need nothing."""

    def listing(self) -> Listing:
        """Parse the official files. Raises DataError. A data set defines this, or `read` if it does both at once."""
        split = self.read()
        return Listing(split.classes, {self.split: (split.train, split.test)}, split.files, split.families)

    def read(self) -> Split:
        """The videos of `split`, all of which are on disk. Raises DataError."""
        split = choose_split(self.folder(), self.LAYOUT, self.split, self.listing())
        split.notes += self.remarks(split)
        return split

    def remarks(self, split: Split) -> list[str]:
        """Facts about the lists that a reader of the results should know."""
        return []

    def report(self, split: Split, stored: Mapping[str, StoredVideo]) -> None:
        """Say which listed videos are there, once the frame store is built, if some of them may be missing."""

    def cluster(self, video: Video) -> str:
        """The video's cluster, over all classes. Confidence intervals resample whole clusters."""
        return video.group

    def identity(self) -> str:
        """A short digest of what the lists hold, where the name of the root does not tell; empty elsewhere."""
        return ""

    def folder(self) -> Path:
        """The folder that the paths of `read` are relative to."""
        return Path(self.root)
