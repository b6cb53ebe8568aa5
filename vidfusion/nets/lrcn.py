"""The networks under LSTMs: of LRCN (Donahue et al. 2015), Baccouche et al. 2011 and Ng et al. 2015; their settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, Optional

from vidfusion.nets.choice import StrategyConfig, torchvision_net
from vidfusion.nets.frame_net import CAFFENET, LRN, Conv, FrameNet
from vidfusion.nets.karpathy import KARPATHY
from vidfusion.ranges import number

# The CaffeNet / Zeiler-Fergus hybrid of LRCN (Donahue et al. 2015), up to fc6.
LRCN_HYBRID = FrameNet(
    convs=(
        Conv(96, 7, 2, norm=True, pool=(3, 2)),
        Conv(384, 5, 2, groups=2, norm=True, pool=(3, 2)),
        Conv(512, 3, 1, 1),
        Conv(512, 3, 1, 1, groups=2),
        Conv(384, 3, 1, 1, groups=2, pool=(3, 2)),
    ),
    fc=(4096,),
    norm=LRN(alpha=1e-4, k=1.0, after_pool=True),
    resize=(240, 320),
    crop=227,
    dropout=0.9,
    flow_scale=16.0,
    init=CAFFENET,
)
LRCN = {  # `small` and `tiny` have the single-frame network's convolutions
    "published": LRCN_HYBRID,
    "small": dataclasses.replace(KARPATHY["small"], fc=(512,)),
    "tiny": dataclasses.replace(
        KARPATHY["tiny"],
        convs=(Conv(8, 5, 2, 2), Conv(16, 3, 1, 1, pool=(2, 2)), *(3 * (Conv(32, 3, 1, 1),))),
        fc=(128,),
    ),
}

# Baccouche et al. 2011, figure 1: in the place of a person in grey, a square crop in colour.
BACCOUCHE = FrameNet(
    convs=(Conv(7, 7, pool=(2, 2)), Conv(35, 5, pool=(2, 2)), Conv(5, 3)),
    fc=(50,),
    resize=(60, 60),
    crop=54,
    dropout=0.0,
    std=58.0,
)
CONV3D_LSTM = {
    "published": BACCOUCHE,
    "small": LRCN["small"],
    "tiny": dataclasses.replace(
        LRCN["tiny"],
        convs=(Conv(16, 5, 2, 2), Conv(16, 3, 1, 1, pool=(2, 2)), *(3 * (Conv(48, 3, 1, 1),))),
        fc=(),
    ),
}

# Ng et al. 2015, section 3.
GOOGLENET = torchvision_net("googlenet", "published", mean=127.5, std=127.5)
SNIPPETS_LSTM = {**LRCN, "published": GOOGLENET}
SNIPPETS_POOL = {
    "published": dataclasses.replace(GOOGLENET, fc=(4096, 4096), dropout=0.5),
    "small": KARPATHY["small"],
    "tiny": dataclasses.replace(LRCN["tiny"], fc=(128, 128)),
}


@dataclass
class LSTMConfig(StrategyConfig):
    """hidden: cells of each LSTM layer;  layers: LSTMs one above the other (unset: the size's own)
    gain:   the loss of step t of T counts 1 (`constant`) or t / T (`linear`)
    answer: a clip's probabilities are the `mean` over steps, the `last` step's, the `max` over steps, or the mean
            `weighted` by t / T; the max is divided by its sum
    """

    hidden: Optional[int] = number(least=1)  # noqa: UP045 - see StrategyConfig
    layers: Optional[int] = number(least=1)  # noqa: UP045
    gain: Literal["constant", "linear"] = "constant"
    answer: Literal["mean", "last", "max", "weighted"] = "mean"


@dataclass
class CNNLSTMConfig(LSTMConfig):
    """flow_weight: share of the flow stream in a clip's probabilities (the paper tries 1/2 and 2/3)"""

    flow_weight: float = number(2 / 3, least=0, below=1)

    nets: ClassVar[dict[str, FrameNet]] = LRCN


@dataclass
class Conv3DLSTMConfig(LSTMConfig):
    """As `cnn_lstm`'s, for one stream."""

    nets: ClassVar[dict[str, FrameNet]] = CONV3D_LSTM


@dataclass
class SnippetsLSTMConfig(LSTMConfig):
    """As `cnn_lstm`'s, with the paper's choices."""

    gain: Literal["constant", "linear"] = "linear"
    answer: Literal["mean", "last", "max", "weighted"] = "weighted"

    nets: ClassVar[dict[str, FrameNet]] = SNIPPETS_LSTM


@dataclass
class SnippetsPoolConfig(StrategyConfig):
    """pooling: where the maximum is taken: `conv`, `late`, `slow`, `local` or `time_conv`; see the file's docstring"""

    pooling: Literal["conv", "late", "slow", "local", "time_conv"] = "conv"

    nets: ClassVar[dict[str, FrameNet]] = SNIPPETS_POOL

    def network(self) -> FrameNet:
        """The table of the network; a backbone takes the size's own fully connected layers."""
        net = super().network()
        if not self.backbone or self.head == "gap":
            return net
        own = self.nets[self.size]
        return dataclasses.replace(net, fc=own.fc, dropout=own.dropout if self.dropout is None else self.dropout)
