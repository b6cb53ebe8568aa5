"""Single frame: a 2-D network classifies each frame by itself (Karpathy et al. 2014, section 3.1 and figure 1).

    frame -> convolutions -> fully connected -> scores

Published:
    trunk.0    conv 1x11x11 /1x3x3   96x1x54x54    pool 1x2x2: 96x1x27x27    sees 1
    trunk.4    conv 1x5x5            256x1x27x27   pool 1x2x2: 256x1x14x14   sees 1
    trunk.8    conv 1x3x3            384x1x14x14                             sees 1
    trunk.10   conv 1x3x3            384x1x14x14                             sees 1
    trunk.12   conv 1x3x3            256x1x14x14   pool 1x2x2: 256x1x7x7     sees 1
    head.1     linear                4096                                    sees 1
    head.4     linear                4096                                    sees 1
    head.7     linear                101                                     sees 1

Motion is never visible to it: the baseline that shows what appearance alone can do. On a clip of several frames it
answers for each, trains on the mean loss and averages the probabilities, so that their order cannot matter.
"""

from __future__ import annotations

from torch import Tensor

from vidfusion.nets.blocks import classifier_head
from vidfusion.nets.frame_net import FrameNet
from vidfusion.settings import ClipShape
from vidfusion.strategies.karpathy import KarpathyClassifier


class SingleFrame(KarpathyClassifier):
    """The 2-D network; see the file's docstring."""

    order_matters = False

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """Convolutions and fully connected layers of one frame."""
        self.trunk = self.convolutions(net)
        self.head = classifier_head(self.trunk, net, (3, 1, clip.crop, clip.crop), num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, T, C), one for each frame."""
        batch, _, frames = rgb.shape[:3]
        every_frame = rgb.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (N*T, 3, 1, 170, 170)
        maps = self.trunk(every_frame)  # (N*T, 256, 1, 7, 7)
        return self.head(maps).view(batch, frames, -1)
