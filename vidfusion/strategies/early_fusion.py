"""Early fusion: all frames enter the first convolution (Karpathy et al. 2014, section 3.1 and figure 1).

    T frames -> conv1 of extent T -> the rest of the single-frame network

Time is gone after conv1 (its output has T = 1): only motion that shows within conv1's few pixels can be told, at its
place in the clip. The paper's clip is 10 contiguous frames.

Deviations: `tiny` and `small` as in `backbones.py`.
"""

from __future__ import annotations

from torch import Tensor

from vidfusion.classifier import ClipShape
from vidfusion.nets.blocks import feature_shape, head
from vidfusion.optimisation import TrainingConfig
from vidfusion.strategies.karpathy import KarpathyClassifier, KarpathyConfig


class EarlyFusion(KarpathyClassifier):
    """A 2-D network whose first convolution spans the clip; see the file's docstring."""

    order_matters = True

    def __init__(self, config: KarpathyConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__(config, clip, num_classes, training)
        if clip.frames < 2:
            raise ValueError(f"early_fusion needs sampling.frames >= 2, got {clip.frames}; one cannot be fused")
        self.trunk = self.build_trunk(extents=((clip.frames, 1),))
        shape = feature_shape(self.trunk, 3, clip.frames, clip.crop)
        self.head = head(shape, self.net.fc, self.dropout_rate, num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        return self.head(self.trunk(rgb))
