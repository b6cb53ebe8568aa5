"""Two-stream with multi-task training: the temporal network learns from two data sets (Simonyan & Zisserman 2014,
section 4).

    flow of data set 1 -> temporal CNN-M-2048 -> classifier 1 -> loss \\
                                                                      sum
    flow of data set 2 -> temporal CNN-M-2048 -> classifier 2 -> loss /

Published, beside the layers of `two_stream`:
    second 104,499 weights and biases

Labelled video is scarce, so the temporal stream's layers below the softmax are trained on both. Nothing else differs
from `two_stream`, and classifier 2 answers no test.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from vidfusion.nets.blocks import Classifier
from vidfusion.nets.frame_net import FrameNet
from vidfusion.settings import ClipShape
from vidfusion.strategies.two_stream import TwoStream


class TwoStreamMultiTask(TwoStream):
    """The two streams and a second classifier for the temporal one; see the file's docstring."""

    clips_per_step: ClassVar[dict[str, int]] = {"temporal": 2}  # one of each data set

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """The two streams, and a second classifier on the temporal one's features."""
        super().build(net, clip, num_classes)
        self.second = Classifier(self.temporal[-1].in_features, self.config.second_classes)

    def setup(self, stage: str) -> None:
        """Raise ValueError where the second data set has other classes than the settings say."""
        if stage == "fit" and (found := self.trainer.datamodule.second.num_classes) != self.config.second_classes:
            raise ValueError(
                f"model.second_classes={self.config.second_classes}: {self.config.second_dataset} has {found} classes "
                f"here; set model.second_classes={found}"
            )

    def training_step(self, batch: dict[str, dict[str, Tensor]], batch_index: int) -> dict[str, Tensor]:
        """The sum of both data sets' losses, of a batch {"main": clips, "second": clips}."""
        step, second = super().training_step(batch["main"], batch_index), batch["second"]
        flow = self._stack(self.inputs(second)["flow"])  # (N, 2L, 1, H, W)
        logits = self.second(self.temporal[:-1](flow))  # (N, second_classes)
        loss = self.loss(logits, second.get("drawn", second["target"]))
        self.log("train/second_loss", loss, batch_size=len(flow), on_step=False, on_epoch=True, sync_dist=True)
        return step | {"loss": step["loss"] + loss}
