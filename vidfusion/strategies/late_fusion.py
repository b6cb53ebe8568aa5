"""Late fusion: towers with shared weights on distant frames meet in the first fully connected layer (Karpathy et al.
2014, section 3.1 and figure 1).

    frame 0  -> convolutions \\
                              fully connected -> scores
    frame 15 -> convolutions /

Published:
    towers.0    conv 1x11x11 /1x3x3   96x2x54x54    pool 1x2x2: 96x2x27x27    sees 1
    towers.4    conv 1x5x5            256x2x27x27   pool 1x2x2: 256x2x14x14   sees 1
    towers.8    conv 1x3x3            384x2x14x14                             sees 1
    towers.10   conv 1x3x3            384x2x14x14                             sees 1
    towers.12   conv 1x3x3            256x2x14x14   pool 1x2x2: 256x2x7x7     sees 1
    head.1      linear                4096                                    sees 2
    head.4      linear                4096                                    sees 2
    head.7      linear                101                                     sees 2

Neither tower sees motion; the fully connected layer can compare where things were in the two frames, 15 frames apart.
On a clip of T frames there are T towers (the lecture's late fusion with `flatten`).

Deviation: `tiny` keeps one fully connected layer, since that is where the towers meet, on maps pooled once more.
"""

from __future__ import annotations

from torch import Tensor

from vidfusion.nets.blocks import classifier_head
from vidfusion.nets.frame_net import FrameNet
from vidfusion.settings import ClipShape
from vidfusion.strategies.karpathy import KarpathyClassifier


class LateFusion(KarpathyClassifier):
    """Shared towers that meet in the fully connected layers; see the file's docstring."""

    least_frames = 2
    order_matters = True

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """The same convolutions on every frame; the head sees all frames' maps beside each other."""
        self.towers = self.convolutions(net)
        clip_shape = (3, clip.frames, clip.crop, clip.crop)
        self.head = classifier_head(self.towers, net, clip_shape, num_classes, keep_time=True)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        maps = self.towers(rgb)  # (N, 3, 2, 170, 170) -> (N, 256, 2, 7, 7)
        return self.head(maps)
