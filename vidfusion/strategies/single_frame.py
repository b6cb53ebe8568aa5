"""Single frame: a 2-D network classifies each frame by itself (Karpathy et al. 2014, section 3.1 and figure 1).

    frame -> convolutions -> fully connected -> scores

Motion is never visible to it: the baseline that shows what appearance alone can do. On a clip of several frames it
answers for each, trains on the mean loss and averages the probabilities, so that their order cannot matter.

Deviations: `tiny` and `small` as in `backbones.py`.
"""

from __future__ import annotations

from torch import Tensor

from vidfusion.classifier import ClipShape
from vidfusion.nets.blocks import feature_shape, head
from vidfusion.optimisation import TrainingConfig
from vidfusion.strategies.karpathy import KarpathyClassifier, KarpathyConfig


class SingleFrame(KarpathyClassifier):
    """The 2-D network; see the file's docstring."""

    order_matters = False

    def __init__(self, config: KarpathyConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__(config, clip, num_classes, training)
        if clip.frames < 1:
            raise ValueError(f"single_frame needs sampling.frames >= 1, got {clip.frames}: it sees frames only")
        self.trunk = self.build_trunk()
        shape = feature_shape(self.trunk, 3, 1, clip.crop)
        self.head = head(shape, self.net.fc, self.dropout_rate, num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, T, C), one for each frame."""
        batch, _, frames = rgb.shape[:3]
        every_frame = rgb.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (N*T, 3, 1, H, W)
        return self.head(self.trunk(every_frame)).view(batch, frames, -1)
