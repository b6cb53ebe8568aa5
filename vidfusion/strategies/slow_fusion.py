"""Slow fusion: convolutions in time widen the view layer by layer (Karpathy et al. 2014, section 3.1 and figure 1).

    10 frames -> conv1 over 4, stride 2 -> 4 -> conv2 over 2, stride 2 -> 2 -> conv3 over 2 -> 1 -> the rest

Published:
    trunk.0    conv 4x11x11 /2x3x3   96x4x54x54    pool 1x2x2: 96x4x27x27    sees 4
    trunk.4    conv 2x5x5 /2x1x1     256x2x27x27   pool 1x2x2: 256x2x14x14   sees 6
    trunk.8    conv 2x3x3 /2x1x1     384x1x14x14                             sees 10
    trunk.10   conv 1x3x3            384x1x14x14                             sees 10
    trunk.12   conv 1x3x3            256x1x14x14   pool 1x2x2: 256x1x7x7     sees 10
    head.1     linear                4096                                    sees 10
    head.4     linear                4096                                    sees 10
    head.7     linear                101                                     sees 10

conv1 sees motion over 4 frames, conv2 over 6, conv3 over all 10; weights are shared along time.

Deviation: on a clip of other length than the paper's 10 frames, conv3 takes in all that conv2 leaves. Frames beyond the
last full stride of conv1 and conv2 are not seen (16 frames: the last 2).
"""

from __future__ import annotations

from torch import Tensor

from vidfusion.nets.blocks import classifier_head
from vidfusion.nets.frame_net import FrameNet
from vidfusion.settings import ClipShape
from vidfusion.strategies.karpathy import KarpathyClassifier


class SlowFusion(KarpathyClassifier):
    """A network whose first three convolutions fuse time step by step; see the file's docstring."""

    least_frames = 10
    order_matters = True

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """Temporal kernels and strides 4/2, 2/2, 2/2 on 10 frames."""
        rest = (clip.frames // 2 - 1) // 2  # what conv1 and conv2 leave: 10 -> 4 -> 2 frames
        self.trunk = self.convolutions(net, time=[(4, 2), (2, 2), (rest, 2)])
        self.head = classifier_head(self.trunk, net, (3, clip.frames, clip.crop, clip.crop), num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        maps = self.trunk(rgb)  # (N, 3, 10, 170, 170) -> (N, 256, 1, 7, 7)
        return self.head(maps)
