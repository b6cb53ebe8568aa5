"""CNN + LSTM: an LSTM reads the frames' features in order and answers at every step (LRCN, Donahue et al. 2015).

    frame t -> convolutions -> fc6 -> LSTM(t) -> scores(t);   loss at every step, probabilities averaged over steps

Motion shows in how the features change from step to step, over as long as the clip lasts: the one strategy that reads
a clip spanning the whole video.

Deviations: weights start as PyTorch's defaults draw them. `tiny` and `small` have the single-frame network's
convolutions; those of `tiny` are half as wide, with a stride for the first pool, since a clip costs 16 frames of them.
BatchNorm in `tiny` sees all frames of a batch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor, nn

from vidfusion.backbones import KARPATHY, LRCN_HYBRID, Conv, feature_shape, fully_connected, trunk
from vidfusion.classifier import ClipShape, StrategyConfig, TrainingConfig, VideoClassifier

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
    """hidden: cells of the LSTM"""

    hidden: int = 256


class CNNLSTM(VideoClassifier):
    """A frame CNN under an LSTM; see the file's docstring."""

    Config = CNNLSTMConfig
    nets = NETS
    order_matters = True

    def __init__(self, config: CNNLSTMConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__(config, clip, num_classes, training)
        if clip.frames < 2:
            raise ValueError(f"cnn_lstm needs sampling.frames >= 2, got {clip.frames}: one step per frame")
        net = self.net
        self.trunk = trunk(net, 3)
        shape = feature_shape(self.trunk, 3, 1, clip.crop)
        self.fc6 = fully_connected(shape.numel(), net.fc, self.dropout_rate)
        self.lstm = nn.LSTM(net.fc[-1], config.hidden, batch_first=True)
        nn.init.ones_(self.lstm.bias_ih_l0[config.hidden : 2 * config.hidden])  # forget gates: remember at first
        self.dropout = nn.Dropout(min(self.dropout_rate, 0.5))  # after the LSTM: 0.5 where fc6 has 0.9
        self.classifier = nn.Linear(config.hidden, num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, T, C), one for each step."""
        batch, _, frames = rgb.shape[:3]
        every_frame = rgb.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (N*T, 3, 1, H, W)
        features = self.fc6(self.trunk(every_frame)).view(batch, frames, -1)  # (N, T, F)
        states, _ = self.lstm(features)  # (N, T, hidden)
        return self.classifier(self.dropout(states))
