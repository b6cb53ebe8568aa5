"""The lecture's three toy networks on clips of 20 frames of 64x64 pixels: late fusion, early fusion, 3-D convolution.

    late   each frame: conv 3x3 -> pool 4x4 -> conv 3x3;   then all frames' maps `flatten` into an MLP, or their mean
    early  all frames as one image of 60 channels: conv 3x3 -> pool 4x4 -> conv 3x3;   then the mean
    3d     conv 3x3x3 -> pool 4x4x4 -> conv 3x3x3;   then the mean

12 and 24 channels, padding 1, pooling with stride 4. Late fusion sees motion in the MLP only, and with the mean never;
early fusion in its first convolution, at a fixed place in the clip; 3-D convolution wherever it happens.

Published, `3d`:
    trunk.0   conv 3x3x3             12x20x64x64   pool 4x4x4: 12x5x16x16   sees 6
    trunk.3   conv 3x3x3             24x5x16x16                             sees 14
    head.0    average pool 5x16x16   24                                     sees 20
    head.2    linear                 101                                    sees 20

The lecture prints neither ReLUs nor the MLP's width; here a ReLU follows each convolution and the MLP has 64 units.
"""

from __future__ import annotations

from torch import Tensor, nn

from vidfusion.classifier import VideoClassifier
from vidfusion.nets.blocks import classifier_head
from vidfusion.nets.frame_net import FrameNet
from vidfusion.settings import ClipShape


class Lecture(VideoClassifier):
    """One of the three toy networks; see the file's docstring."""

    least_frames = 4  # as many as its pooling spans

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """Two convolutions around a pooling, in 2-D or 3-D."""
        fusion, frames = self.config.fusion, clip.frames
        if self.config.backbone or self.config.batch_norm:
            raise ValueError("model.backbone, model.batch_norm: the lecture's networks have neither")
        self.order_matters = fusion != "late" or self.config.head == "flatten"
        conv, padding, pool = ((3, 3, 3), 1, 4) if fusion == "3d" else ((1, 3, 3), (0, 1, 1), (1, 4, 4))
        channels, length = (3 * frames, 1) if fusion == "early" else (3, frames)
        self.input_channels = (channels,)
        self.trunk = nn.Sequential(
            nn.Conv3d(channels, 12, conv, padding=padding),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(pool),
            nn.Conv3d(12, 24, conv, padding=padding),
            nn.ReLU(inplace=True),
        )
        self.head = classifier_head(self.trunk, net, (channels, length, clip.crop, clip.crop), num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        if self.config.fusion == "early":
            rgb = rgb.transpose(1, 2).flatten(1, 2).unsqueeze(2)  # (N, 3T, 1, H, W), colours of frame 0 first
        maps = self.trunk(rgb)  # 3d: (N, 3, 20, 64, 64) -> (N, 24, 5, 16, 16)
        return self.head(maps)
