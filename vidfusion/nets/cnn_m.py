"""The frame CNN of Simonyan & Zisserman 2014, and the settings of the networks of two streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Optional

from vidfusion.nets.choice import StrategyConfig, torchvision_net
from vidfusion.nets.frame_net import Conv, FrameNet, Init
from vidfusion.nets.karpathy import KARPATHY
from vidfusion.ranges import number

# CNN-M-2048 (Chatfield et al. 2014), as in Simonyan & Zisserman 2014, figure 1. Flow enters as they store it in 8
# bits: 127 for a displacement of 20 pixels.
CNN_M_2048 = {
    "published": FrameNet(
        convs=(
            Conv(96, 7, 2, norm=True, pool=(3, 2)),
            Conv(256, 5, 2, 1, norm=True, pool=(3, 2)),
            Conv(512, 3, 1, 1),
            Conv(512, 3, 1, 1),
            Conv(512, 3, 1, 1, pool=(3, 2)),
        ),
        fc=(4096, 2048),
        resize=(256, 340),
        crop=224,
        dropout=0.9,
        flow_scale=127 / 20,
        init=Init(),
    ),
    "small": FrameNet(
        convs=(
            Conv(48, 7, 2, norm=True, pool=(3, 2)),
            Conv(128, 5, 2, 1, norm=True, pool=(3, 2)),
            Conv(256, 3, 1, 1),
            Conv(256, 3, 1, 1),
            Conv(256, 3, 1, 1, pool=(3, 2)),
        ),
        fc=(1024, 512),
        resize=(128, 128),
        crop=112,
        std=58.0,
    ),
    "tiny": KARPATHY["tiny"],
}
# Wang et al. 2016, section 3.2: torchvision's GoogLeNet in the place of BN-Inception.
TSN_NETS = {**CNN_M_2048, "published": torchvision_net("googlenet", "published", mean=127.5, std=127.5)}


@dataclass
class TwoStreamConfig(StrategyConfig):
    """stacking:         `flow` at the same place in every field, or along each pixel's `trajectory` (section 3.1)
    mean_subtraction: subtract from each flow field its mean displacement (section 3.1)
    spatial_dropout:  of the spatial stream (unset: `dropout`, as in the temporal one)
    spatial_training: `all` layers of the spatial stream, or of a trained one the `last_layer` only (section 6, table 1)
    """

    stacking: Literal["flow", "trajectory"] = "flow"
    mean_subtraction: bool = True
    spatial_dropout: Optional[float] = number(least=0, below=1)  # noqa: UP045 - see StrategyConfig
    spatial_training: Literal["all", "last_layer"] = "all"

    nets: ClassVar[dict[str, FrameNet]] = CNN_M_2048


@dataclass
class TwoStreamMultiTaskConfig(TwoStreamConfig):
    """second_dataset: the data set beside the run's own, a preset's name;  second_classes: how many classes it has
    second_data:    its settings that differ from the preset's, such as {root: /data/hmdb51}
    """

    second_dataset: str = "hmdb51"
    second_classes: int = number(51, least=2)
    second_data: dict[str, Any] = field(default_factory=dict)

    def other_data(self) -> list[tuple[str, dict[str, Any]]]:
        """The second data set."""
        return [(self.second_dataset, self.second_data)]


@dataclass
class TSNConfig(StrategyConfig):
    """flow_weight: share of the temporal stream in a clip's probabilities (section 4.2: 1 to 1.5, that is 0.6)"""

    flow_weight: float = number(0.6, least=0, below=1)

    nets: ClassVar[dict[str, FrameNet]] = TSN_NETS
