"""Late fusion: towers with shared weights on distant frames meet in the first fully connected layer (Karpathy et al.
2014, section 3.1 and figure 1).

    frame 0  -> convolutions \\
                              fully connected -> scores
    frame 15 -> convolutions /

Neither tower sees motion; the fully connected layer can compare where things were in the two frames, 15 frames apart.
On a clip of T frames there are T towers (the lecture's late fusion with `flatten`).

Deviations: `tiny` and `small` as in `backbones.py`; `tiny` keeps one fully connected layer, since that is where the
towers meet, on maps pooled once more.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor

from vidfusion.classifier import ClipShape
from vidfusion.nets.blocks import feature_shape, head
from vidfusion.nets.karpathy import KARPATHY
from vidfusion.optimisation import TrainingConfig
from vidfusion.strategies.karpathy import KarpathyClassifier, KarpathyConfig

NETS = {**KARPATHY, "tiny": dataclasses.replace(KARPATHY["tiny"], fc=(128,))}


class LateFusion(KarpathyClassifier):
    """Shared towers that meet in the fully connected layers; see the file's docstring."""

    nets = NETS
    order_matters = True

    def __init__(self, config: KarpathyConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__(config, clip, num_classes, training)
        if clip.frames < 2:
            raise ValueError(f"late_fusion needs sampling.frames >= 2, got {clip.frames}: one tower for each frame")
        self.towers = self.build_trunk()  # temporal extent 1: the same weights on every frame
        shape = feature_shape(self.towers, 3, clip.frames, clip.crop)
        self.head = head(shape, self.net.fc, self.dropout_rate, num_classes, keep_time=True)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        maps = self.towers(rgb)  # (N, C', T, H', W')
        return self.head(maps)
