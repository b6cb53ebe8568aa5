"""The lecture's three toy networks on clips of 20 frames of 64x64 pixels: late fusion, early fusion, 3-D convolution.

    late   each frame: conv 3x3 -> pool 4x4 -> conv 3x3;   then all frames' maps `flatten` into an MLP, or their mean
    early  all frames as one image of 60 channels: conv 3x3 -> pool 4x4 -> conv 3x3;   then the mean
    3d     conv 3x3x3 -> pool 4x4x4 -> conv 3x3x3;   then the mean

12 and 24 channels, padding 1, pooling with stride 4. Late fusion sees motion in the MLP only, and with the mean never;
early fusion in its first convolution, at a fixed place in the clip; 3-D convolution wherever it happens.

The lecture prints neither ReLUs nor the MLP's width; here a ReLU follows each convolution and the MLP has 64 units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from vidfusion.classifier import ClipShape, StrategyConfig, VideoClassifier
from vidfusion.nets.blocks import feature_shape, head
from vidfusion.nets.frame_net import FrameNet
from vidfusion.optimisation import TrainingConfig

TOY = FrameNet(convs=(), fc=(64,), resize=(64, 64), crop=64, std=58.0, dropout=0.0)


@dataclass
class LectureConfig(StrategyConfig):
    """fusion: `late`, `early` or `3d`
    head:   `gap`, the mean over all places and frames, or `flatten` them into an MLP
    """

    fusion: Literal["late", "early", "3d"] = "3d"
    head: Literal["gap", "flatten"] = "gap"


class Lecture(VideoClassifier):
    """One of the three toy networks; see the file's docstring."""

    Config = LectureConfig
    nets = dict.fromkeys(("tiny", "small", "published"), TOY)  # there is nothing to scale

    def __init__(self, config: LectureConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__(config, clip, num_classes, training)
        if clip.frames < 4:
            raise ValueError(f"lecture needs sampling.frames >= 4, got {clip.frames}: its pooling spans 4")
        if config.backbone or config.batch_norm:
            raise ValueError("model.backbone, model.batch_norm: the lecture's networks have neither")
        self.order_matters = config.fusion != "late" or config.head == "flatten"
        extent = 3 if config.fusion == "3d" else 1
        kernel, padding = (extent, 3, 3), (extent // 2, 1, 1)
        pool = (4, 4, 4) if config.fusion == "3d" else (1, 4, 4)
        channels, frames = (3 * clip.frames, 1) if config.fusion == "early" else (3, clip.frames)
        self.input_channels = (channels,)
        self.trunk = nn.Sequential(
            nn.Conv3d(channels, 12, kernel, padding=padding),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(pool),
            nn.Conv3d(12, 24, kernel, padding=padding),
            nn.ReLU(inplace=True),
        )
        shape = feature_shape(self.trunk, channels, frames, clip.crop)
        self.head = head(shape, self.net.fc, self.dropout_rate, num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        if self.config.fusion == "early":
            rgb = rgb.transpose(1, 2).flatten(1, 2).unsqueeze(2)  # (N, 3T, 1, H, W), colours of frame 0 first
        return self.head(self.trunk(rgb))
