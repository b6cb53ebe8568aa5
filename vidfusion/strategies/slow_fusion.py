"""Slow fusion: convolutions in time widen the view layer by layer (Karpathy et al. 2014, section 3.1 and figure 1).

    10 frames -> conv1 extent 4 stride 2 -> 4 -> conv2 extent 2 stride 2 -> 2 -> conv3 extent 2 -> 1 -> the rest

conv1 sees motion over 4 frames, conv2 over 6, conv3 over all 10; weights are shared along time.

Deviations: `tiny` and `small` as in `backbones.py`. On a clip of other length than the paper's 10 frames, conv3 takes
in all that conv2 leaves; frames beyond the last full stride of conv1 and conv2 are not seen (16 frames: the last 2).
"""

from __future__ import annotations

from torch import Tensor

from vidfusion.classifier import ClipShape
from vidfusion.nets.blocks import feature_shape, head
from vidfusion.optimisation import TrainingConfig
from vidfusion.strategies.karpathy import KarpathyClassifier, KarpathyConfig


class SlowFusion(KarpathyClassifier):
    """A network whose first three convolutions fuse time step by step; see the file's docstring."""

    order_matters = True

    def __init__(self, config: KarpathyConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__(config, clip, num_classes, training)
        if clip.frames < 10:
            raise ValueError(f"slow_fusion needs sampling.frames >= 10, got {clip.frames}; three layers halve them")
        after_conv1 = (clip.frames - 4) // 2 + 1
        after_conv2 = (after_conv1 - 2) // 2 + 1
        self.trunk = self.build_trunk(extents=((4, 2), (2, 2), (after_conv2, 2)))
        shape = feature_shape(self.trunk, 3, clip.frames, clip.crop)
        self.head = head(shape, self.net.fc, self.dropout_rate, num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        return self.head(self.trunk(rgb))
