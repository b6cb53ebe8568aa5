"""Beyond Short Snippets, pooling: the maximum over the frames' features (Ng et al. 2015, section 3.2 and figure 2).

    conv       frames -> convolutions -> max over time -> FC -> FC -> scores
    late       frames -> convolutions -> FC -> FC -> max over time -> scores
    slow       frames -> convolutions -> max over 10 frames, every 5 -> FC (shared) -> max over time -> FC -> scores
    local      frames -> convolutions -> max over 10 frames, every 5 -> FC (shared) -> all side by side -> scores
    time_conv  frames -> convolutions -> 256 kernels 3x3 over 10 frames, every 5 -> max over time -> FC -> FC -> scores

A maximum forgets the order of the frames: only `local` and `time_conv` can tell a video from its reversal.

Deviations: the frame CNN is torchvision's GoogLeNet, as in `snippets_lstm`; `small` and `tiny` have the frame CNNs of
`single_frame` and `cnn_lstm`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from vidfusion.classifier import ClipShape, StrategyConfig, VideoClassifier
from vidfusion.nets.blocks import Classifier, feature_shape, trunk
from vidfusion.nets.frame_net import FrameNet
from vidfusion.nets.karpathy import KARPATHY
from vidfusion.optimisation import TrainingConfig
from vidfusion.strategies.cnn_lstm import NETS as LSTM_NETS
from vidfusion.strategies.snippets_lstm import GOOGLENET

WINDOW, STEP = 10, 5  # frames
TIME_KERNELS = 256

NETS = {
    "published": dataclasses.replace(GOOGLENET, fc=(4096, 4096), dropout=0.5),
    "small": KARPATHY["small"],
    "tiny": dataclasses.replace(LSTM_NETS["tiny"], fc=(128, 128)),
}


@dataclass
class SnippetsPoolConfig(StrategyConfig):
    """pooling: where the maximum is taken: `conv`, `late`, `slow`, `local` or `time_conv`; see the file's docstring"""

    pooling: Literal["conv", "late", "slow", "local", "time_conv"] = "conv"


class SnippetsPool(VideoClassifier):
    """Feature pooling over a long clip; see the file's docstring."""

    Config = SnippetsPoolConfig
    nets: ClassVar[dict[str, FrameNet]] = NETS

    def __init__(self, config: SnippetsPoolConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__(config, clip, num_classes, training)
        windowed = config.pooling in ("slow", "local", "time_conv")
        least = WINDOW if windowed else 2
        if clip.frames < least:
            raise ValueError(
                f"snippets_pool needs sampling.frames >= {least} with model.pooling={config.pooling}, got {clip.frames}"
            )
        if len(self.net.fc) != 2:
            raise ValueError(
                "model.head=gap: snippets_pool has two fully connected layers, between which it pools; leave it out"
            )
        self.order_matters = windowed
        first, second = self.net.fc
        self.trunk = trunk(self.net, 3)
        channels, _, height, width = feature_shape(self.trunk, 3, 1, clip.crop)
        self.time_conv = nn.Identity()
        if config.pooling == "time_conv":
            kernel, padding = (WINDOW, 3, 3), (0, 1, 1)
            self.time_conv = nn.Sequential(
                nn.Conv3d(channels, TIME_KERNELS, kernel, (STEP, 1, 1), padding), nn.ReLU(inplace=True)
            )
            channels = TIME_KERNELS
        windows = (clip.frames - WINDOW) // STEP + 1
        self.fc1 = self._connected(channels * height * width, first)
        self.fc2 = nn.Identity() if config.pooling == "local" else self._connected(first, second)
        self.classifier = Classifier(first * windows if config.pooling == "local" else second, num_classes)

    @classmethod
    def network(cls, config: SnippetsPoolConfig) -> FrameNet:
        """The table of the network; a backbone takes the size's own fully connected layers."""
        net = super().network(config)
        own = cls.nets[config.size]
        keeps = config.backbone and config.head == "own"
        return dataclasses.replace(net, fc=own.fc, dropout=own.dropout) if keeps else net

    def _connected(self, features: int, width: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(features, width), nn.ReLU(inplace=True), nn.Dropout(self.dropout_rate))

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        maps = self.time_conv(self.trunk(rgb))  # (N, C', T', H', W')
        features = maps.transpose(1, 2).flatten(2)  # (N, T', F), each frame's or window's maps
        pooling = self.config.pooling
        if pooling in ("conv", "time_conv"):
            return self.classifier(self.fc2(self.fc1(features.amax(1))))
        if pooling == "late":
            return self.classifier(self.fc2(self.fc1(features)).amax(1))
        local = self.fc1(features.unfold(1, WINDOW, STEP).amax(-1))  # (N, windows, first)
        if pooling == "local":
            return self.classifier(local.flatten(1))
        return self.classifier(self.fc2(local.amax(1)))
