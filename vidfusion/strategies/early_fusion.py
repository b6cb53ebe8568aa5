"""Early fusion: all frames enter the first convolution (Karpathy et al. 2014, section 3.1 and figure 1).

    T frames -> conv1 over all T frames -> the rest of the single-frame network

Published:
    trunk.0    conv 10x11x11 /1x3x3   96x1x54x54    pool 1x2x2: 96x1x27x27    sees 10
    trunk.4    conv 1x5x5             256x1x27x27   pool 1x2x2: 256x1x14x14   sees 10
    trunk.8    conv 1x3x3             384x1x14x14                             sees 10
    trunk.10   conv 1x3x3             384x1x14x14                             sees 10
    trunk.12   conv 1x3x3             256x1x14x14   pool 1x2x2: 256x1x7x7     sees 10
    head.1     linear                 4096                                    sees 10
    head.4     linear                 4096                                    sees 10
    head.7     linear                 101                                     sees 10

Time is gone after conv1: only motion that shows within conv1's few pixels can be told, at its place in the clip.
"""

from __future__ import annotations

from torch import Tensor

from vidfusion.nets.blocks import classifier_head
from vidfusion.nets.frame_net import FrameNet
from vidfusion.settings import ClipShape
from vidfusion.strategies.karpathy import KarpathyClassifier


class EarlyFusion(KarpathyClassifier):
    """A 2-D network whose first convolution spans the clip; see the file's docstring."""

    least_frames = 2
    order_matters = True

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """conv1 takes in the whole clip."""
        self.trunk = self.convolutions(net, time=[(clip.frames, 1)])
        self.head = classifier_head(self.trunk, net, (3, clip.frames, clip.crop, clip.crop), num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        maps = self.trunk(rgb)  # (N, 3, 10, 170, 170) -> (N, 256, 1, 7, 7)
        return self.head(maps)
