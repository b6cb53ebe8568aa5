"""What a data set is to the rest of the suite: settings, and two lists of labelled videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Optional

from datamodules.datasets.official_lists import choose_split
from datamodules.flow import FlowConfig
from datamodules.videos import Listing, Video, VideoLists

if TYPE_CHECKING:
    from datamodules.store.shards import StoredVideo
    from datamodules.store.tracks import Sample


@dataclass
class Dataset:
    """Settings that every data set has; a data set is a subclass that adds its own and reads its lists.

    root:        folder that holds the videos
    split:       which official split, from 1
    validation:  share of the training groups held out for validation, 0 to below 1 (0: train on the whole list)
    folds:       parts of whole groups that the training list falls into (0: none), of which `fold`, from 0, is held out
                 for validation; networks trained without each in turn give every training video a score
    mirror:      whether a mirrored video keeps its label; if not, no flip in training or at test
    stores:      folder of the frame stores
    max_store:   largest frame store that a run builds by itself, in GB (10^9 bytes)
    encoding:    stored frames are `raw`, or `jpeg` at about a seventh of the size, decoded whenever they are read
    quality:     of JPEG, 1 to 100, of frames and of flow
    store_fps:   frames per second of the stored frames: frame i is that of the video nearest to the time i / store_fps,
                 and everything after, such as `sampling.stride`, counts stored frames (null: all frames of the video)
    undecodable: `error` refuses to train while a training video cannot be decoded or is cut short; `skip` trains on
                 the others. Undecodable test videos always count as wrong, those cut short are scored on the frames
                 they have, and both are always reported.
    flow:        how optical flow is computed and stored

    `LAYOUT` shows the tree that the data set must have on disk; error messages and the README quote it. `MAY_BE_SHOWN`
    says whether its frames may be shown to others, which the terms of research data sets of other people's videos do
    not allow.
    """

    LAYOUT: ClassVar[str] = ""
    MAY_BE_SHOWN: ClassVar[bool] = False

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
        """Make the videos, where the data set is a generated one. Others need nothing: they are downloaded by hand."""

    def listed(self) -> Listing:
        """Parse the official files. Raises DataError. A data set defines this, or `read` if it does both at once."""
        lists = self.read()
        return Listing(lists.classes, {self.split: (lists.train, lists.test)}, lists.files, lists.families)

    def read(self) -> VideoLists:
        """The lists of `split`, every video of which is on disk. Raises DataError."""
        listing = self.listed()
        lists = choose_split(
            self.folder(),
            self.LAYOUT,
            self.split,
            listing.classes,
            listing.splits,
            unused=listing.unused,
            families=listing.families,
        )
        lists.notes += self.remarks(lists)
        return lists

    def remarks(self, lists: VideoLists) -> list[str]:
        """Facts to count in the lists that a reader of the results should know."""
        return []

    def report(self, lists: VideoLists, stored: Mapping[str, StoredVideo]) -> None:
        """Say what there is of the lists, once the frame store is built, where a data set may lack some of it."""

    def sample(self) -> Sample | None:
        """The part of each video that is stored; None for whole videos."""
        return None

    def cluster(self, video: Video) -> str:
        """What makes videos alike wherever they are listed: confidence intervals resample whole clusters."""
        return video.group

    def folder(self) -> Path:
        """The folder that the paths of `read` are relative to."""
        return Path(self.root)
