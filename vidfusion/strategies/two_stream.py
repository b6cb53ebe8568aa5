"""Two-stream: one network on a frame, one on a stack of optical flow (Simonyan & Zisserman 2014, figure 1).

    frame                 -> spatial CNN-M-2048  -> probabilities \\
                                                                   mean
    L flow fields, 2L ch. -> temporal CNN-M-2048 -> probabilities /

Motion is an input: the temporal stream sees displacements, each field less its own mean vector (camera motion). Each
stream is trained on its own loss; nothing couples them (but a limit on the joint gradient, `training.clip_norm`), so
one run gives the numbers of two.

Deviations: flow is OpenCV's DIS, not Brox's; `tiny` and `small` as in `backbones.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor, nn

from vidfusion.backbones import CNN_M_2048, FrameNet, feature_shape, head, trunk
from vidfusion.classifier import ClipShape, StrategyConfig, TrainingConfig, VideoClassifier


@dataclass
class TwoStreamConfig(StrategyConfig):
    """mean_subtraction: subtract from each flow field its mean displacement (section 3.1)"""

    mean_subtraction: bool = True


def _stream(net: FrameNet, channels: int, crop: int, dropout: float | None, num_classes: int) -> nn.Sequential:
    layers = trunk(net, channels)
    shape = feature_shape(layers, channels, 1, crop)
    return nn.Sequential(*layers, *head(shape, net.fc, net.dropout if dropout is None else dropout, num_classes))


class TwoStream(VideoClassifier):
    """The spatial and the temporal network; see the file's docstring."""

    Config = TwoStreamConfig
    nets = CNN_M_2048
    order_matters = True
    streams = ("spatial", "temporal")

    def __init__(self, config: TwoStreamConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__(config, clip, num_classes, training)
        if clip.frames != 1 or clip.flow_frames < 1:
            raise ValueError(
                "two_stream needs sampling.frames=1 and sampling.flow_frames >= 1, got "
                f"{clip.frames} and {clip.flow_frames}"
            )
        net = self.net
        self.subtracts_mean_flow = config.mean_subtraction
        # The temporal net has no second normalisation, to save memory (section 5).
        temporal = dataclasses.replace(
            net, convs=(net.convs[0], dataclasses.replace(net.convs[1], norm=False), *net.convs[2:])
        )
        self.spatial = _stream(net, 3, clip.crop, config.dropout, num_classes)
        self.temporal = _stream(temporal, 2 * clip.flow_frames, clip.crop, config.dropout, num_classes)

    def forward(self, rgb: Tensor, flow: Tensor) -> dict[str, Tensor]:
        """(N, 3, 1, H, W) and (N, 2, L, H, W) -> logits (N, C) of each stream."""
        stack = flow.transpose(1, 2).flatten(1, 2).unsqueeze(2)  # (N, 2L, 1, H, W), channels x1 y1 x2 y2 ...
        return {"spatial": self.spatial(rgb), "temporal": self.temporal(stack)}
