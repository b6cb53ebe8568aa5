"""Clips of two data sets side by side, for a network that is trained on both (Simonyan & Zisserman 2014, section 4)."""

from __future__ import annotations

from lightning.pytorch.utilities import CombinedLoader

from datamodules.clip_spec import ClipSpec
from datamodules.datamodule import VideoDataModule
from datamodules.datasets.base import Dataset
from datamodules.epoch import TrainOrder
from datamodules.errors import DataError
from datamodules.loading import TrainClips
from datamodules.videos import VideoArray

OWN_DRAWS = 2**32  # added to the seed, or the first videos of both data sets would be cut alike


class MultiTaskDataModule(VideoDataModule):
    """A data set's clips, and in training as many of a `second` one: batches {"main": batch, "second": batch}.

    Epochs, validation and test are the first data set's. The second one gives clips of all its videos, of training and
    test alike. Raises DataError where the two share a video.
    """

    def __init__(
        self,
        dataset: Dataset,
        second: Dataset,
        spec: ClipSpec,
        *,
        batch_size: int,
        test_batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        settings = {"batch_size": batch_size, "test_batch_size": test_batch_size, "workers": workers}
        super().__init__(dataset, spec, seed=seed, **settings)
        self.second = VideoDataModule(second, spec, seed=seed + OWN_DRAWS, **settings)
        self.second_clips: TrainClips | None = None  # of all its videos, after `setup`

    def prepare_data(self) -> None:
        """Make or check the videos of both data sets, and build what is missing of their frame stores."""
        super().prepare_data()
        self.second.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Open both stores."""
        super().setup(stage)
        if self.second_clips is not None:
            return
        second = self.second
        check_apart(self, second)
        second.setup()
        both = VideoArray.of([*second.lists.train, *second.lists.test])
        self.second_clips = TrainClips(
            second.stored.whole(both),
            second.store, self.spec, second.num_classes, second.dataset.mirror, second.seed,
        )  # fmt: skip

    def train_dataloader(self) -> CombinedLoader:
        """Random clips of both, equally many batches; the second data set's videos come round as often as it takes."""
        main = super().train_dataloader()
        order = TrainOrder(self.second_clips, self.batch_size, *self._process(), steps=len(main))
        order.epoch, order.start = main.sampler.epoch, main.sampler.start
        second = self._loader(self.second_clips, order, self.batch_size)
        return CombinedLoader({"main": main, "second": second}, "min_size")

    def fingerprints(self) -> list[str]:
        """Of what each of the two data sets contributes."""
        return [*super().fingerprints(), self.second.fingerprint()]


def check_apart(main: VideoDataModule, second: VideoDataModule) -> None:
    """Raise DataError if the two data sets share a video, of either list."""
    if main.dataset.folder().resolve() != second.dataset.folder().resolve():
        return
    own, other = ({video.path for video in [*data.lists.train, *data.lists.test]} for data in (main, second))
    if own & other:
        raise DataError(
            f"the second data set, {second.dataset.root}: {len(own & other)} of its {len(other)} videos are those of "
            f"data.root={main.dataset.root}, first {min(own & other)}; choose another data set"
        )
