"""The frame CNN of Karpathy et al. 2014, and its settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from vidfusion.nets.choice import StrategyConfig
from vidfusion.nets.frame_net import ALEXNET, LRN, Conv, FrameNet

# Karpathy et al. 2014, section 3: the 170x170 net. Padding is not printed; valid conv1 and ceil pools give the 7x7x256
# that the paper quotes. LRN with beta 0.5. Its dropout and initial weights are not printed either; AlexNet's are used.
KARPATHY = {
    "published": FrameNet(
        convs=(
            Conv(96, 11, 3, norm=True, pool=(2, 2)),
            Conv(256, 5, 1, 2, norm=True, pool=(2, 2)),
            Conv(384, 3, 1, 1),
            Conv(384, 3, 1, 1),
            Conv(256, 3, 1, 1, pool=(2, 2)),
        ),
        fc=(4096, 4096),
        norm=LRN(beta=0.5),
        resize=(200, 200),
        crop=170,
        init=ALEXNET,
    ),
    "small": FrameNet(
        convs=(
            Conv(48, 7, 2, 3, norm=True, pool=(2, 2)),
            Conv(96, 5, 1, 2, norm=True, pool=(2, 2)),
            Conv(128, 3, 1, 1),
            Conv(128, 3, 1, 1),
            Conv(128, 3, 1, 1, pool=(2, 2)),
        ),
        fc=(512, 512),
        norm=LRN(beta=0.5),
        resize=(128, 128),
        crop=112,
        std=58.0,
    ),
    "tiny": FrameNet(
        convs=(
            Conv(16, 5, 1, 2, pool=(2, 2)),
            Conv(32, 3, 1, 1, pool=(2, 2)),
            Conv(48, 3, 1, 1),
            Conv(48, 3, 1, 1),
            Conv(48, 3, 1, 1),
        ),
        fc=(),
        norm="batch",
        resize=(36, 36),
        crop=32,
        dropout=0.0,
        std=58.0,
    ),
}


@dataclass
class KarpathyConfig(StrategyConfig):
    """resolution: `full`; `multires`: a fovea and a context stream of half the side; or the `fovea` or `context` alone
    pooling:    `max`, or `average`, which the C3D paper says slow fusion has in its first three layers
    """

    resolution: Literal["full", "multires", "fovea", "context"] = "full"
    pooling: Literal["max", "average"] = "max"

    nets: ClassVar[dict[str, FrameNet]] = KARPATHY

    def network(self) -> FrameNet:
        """The size's net; for the streams without its last pooling, and with the paper's 178 pixels for 170."""
        net = dataclasses.replace(super().network(), pooling=self.pooling)
        if self.resolution == "full" and (self.pooling == "max" or not self.backbone):
            return net
        if self.backbone:
            raise ValueError(
                f"model.resolution={self.resolution}, model.pooling={self.pooling}: with "
                f"model.backbone={self.backbone} expected full and max; they belong to Karpathy's own net"
            )
        last = max(index for index, conv in enumerate(net.convs) if conv.pool)
        convs = [dataclasses.replace(conv, pool=conv.pool if i != last else None) for i, conv in enumerate(net.convs)]
        return dataclasses.replace(net, convs=tuple(convs), crop=178 if self.size == "published" else net.crop)


@dataclass
class LateFusionConfig(KarpathyConfig):
    """As those of the others; `tiny` keeps one fully connected layer, where the towers meet."""

    nets: ClassVar[dict[str, FrameNet]] = {**KARPATHY, "tiny": dataclasses.replace(KARPATHY["tiny"], fc=(128,))}
