"""CNN + LSTM: an LSTM reads the frames' features in order and answers at every step (LRCN, Donahue et al. 2015).

    frame t -> convolutions -> fc6 -> LSTM(t) -> scores(t);   loss at every step, probabilities averaged over steps

Published:
    trunk.0      conv 1x7x7 /1x2x2   96x16x111x111   pool 1x3x3: 96x16x55x55    sees 1
    trunk.4      conv 1x5x5 /1x2x2   384x16x26x26    pool 1x3x3: 384x16x13x13   sees 1
    trunk.8      conv 1x3x3          512x16x13x13                               sees 1
    trunk.10     conv 1x3x3          512x16x13x13                               sees 1
    trunk.12     conv 1x3x3          384x16x13x13    pool 1x3x3: 384x16x6x6     sees 1
    fc6.1        linear              4096x16                                    sees 1
    lstm         lstm                256x16                                     sees 16
    classifier   linear              101x16                                     sees 16

Motion shows in how the features change from step to step, over as long as the clip lasts: the one strategy that reads
a clip spanning the whole video.

Deviations: weights start as PyTorch's defaults draw them, but the forget gates' bias is 1, unless
`training.init=gaussian`. `tiny` and `small` have the single-frame network's convolutions; those of `tiny` are half as
wide, with a stride for the first pool, since a clip costs 16 frames of them. BatchNorm in `tiny` sees all frames of a
batch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, Optional

import torch
from torch import Tensor, nn

from vidfusion.classifier import ClipShape, StrategyConfig, VideoClassifier
from vidfusion.nets.blocks import Classifier, feature_shape, frame_cnn, fully_connected
from vidfusion.nets.frame_net import Conv, FrameNet
from vidfusion.nets.karpathy import KARPATHY
from vidfusion.nets.lrcn import LRCN_HYBRID
from vidfusion.ranges import number

NETS = {
    "published": LRCN_HYBRID,
    "small": dataclasses.replace(KARPATHY["small"], fc=(512,)),
    "tiny": dataclasses.replace(
        KARPATHY["tiny"],
        convs=(Conv(8, 5, 2, 2), Conv(16, 3, 1, 1, pool=(2, 2)), *(3 * (Conv(32, 3, 1, 1),))),
        fc=(128,),
    ),
}


@dataclass
class CNNLSTMConfig(StrategyConfig):
    """hidden: cells of each LSTM layer;  layers: LSTMs one above the other (unset: the size's own)
    gain:   the loss of step t of T counts 1 (`constant`) or t / T (`linear`)
    answer: a clip's probabilities are the `mean` over steps, the `last` step's, the `max` over steps, or the mean
            `weighted` by t / T; the max is divided by its sum
    """

    hidden: Optional[int] = number(least=1)  # noqa: UP045 - see StrategyConfig
    layers: Optional[int] = number(least=1)  # noqa: UP045
    gain: Literal["constant", "linear"] = "constant"
    answer: Literal["mean", "last", "max", "weighted"] = "mean"


class CNNLSTM(VideoClassifier):
    """A frame CNN under an LSTM; see the file's docstring."""

    Config = CNNLSTMConfig
    nets: ClassVar[dict[str, FrameNet]] = NETS
    lstm_sizes: ClassVar[dict[str, tuple[int, int]]] = dict.fromkeys(NETS, (256, 1))  # cells, layers
    least_frames = 2
    order_matters = True

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """A frame CNN up to its first fully connected layer, LSTMs, and a classifier at every step."""
        hidden, layers = self.lstm_sizes[self.config.size]
        hidden, layers = self.config.hidden or hidden, self.config.layers or layers
        self.trunk = frame_cnn(net)
        self.fc6, features = fully_connected(net, feature_shape(self.trunk, (3, 1, clip.crop, clip.crop)))
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True)
        for layer in range(layers):  # forget gates: remember at first
            nn.init.ones_(getattr(self.lstm, f"bias_ih_l{layer}")[hidden : 2 * hidden])
        self.dropout = nn.Dropout(min(net.dropout, 0.5))  # after the LSTM: 0.5 where fc6 has 0.9
        self.classifier = Classifier(hidden, num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, T, C), one for each step."""
        batch, _, frames = rgb.shape[:3]
        every_frame = rgb.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (N*T, 3, 1, H, W)
        features = self.fc6(self.trunk(every_frame)).view(batch, frames, -1)  # (N, T, F)
        states, _ = self.lstm(features)  # (N, T, hidden)
        return self.classifier(self.dropout(states))

    def step_gains(self, steps: int) -> Tensor | None:
        """1, or rising linearly to 1 over the clip (Ng et al. 2015, section 3.3)."""
        return _rising(steps) if self.config.gain == "linear" else None

    def over_time(self, scores: Tensor) -> Tensor:
        """The clip's probabilities from those of its steps, (N, T, C) -> (N, C), as `answer` says."""
        if self.config.answer == "last":
            return scores[:, -1]
        if self.config.answer == "max":
            largest = scores.amax(1)
            return largest / largest.sum(1, keepdim=True)
        if self.config.answer == "weighted":
            gains = _rising(scores.shape[1]).to(scores)
            return (scores * gains[:, None]).sum(1) / gains.sum()
        return scores.mean(1)


def _rising(steps: int) -> Tensor:
    return torch.arange(1, steps + 1) / steps
