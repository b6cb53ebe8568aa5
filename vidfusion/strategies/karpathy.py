"""What the four networks of Karpathy et al. 2014 share: the frame net and its two resolutions (section 3.2)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidfusion.classifier import StrategyConfig, VideoClassifier
from vidfusion.nets.blocks import trunk
from vidfusion.nets.frame_net import Extent, FrameNet
from vidfusion.nets.karpathy import KARPATHY


@dataclass
class KarpathyConfig(StrategyConfig):
    """resolution: `full`; `multires`: a fovea and a context stream of half the side; or the `fovea` or `context` alone
    pooling:    `max`, or `average`, which the C3D paper says slow fusion has in its first three layers
    """

    resolution: Literal["full", "multires", "fovea", "context"] = "full"
    pooling: Literal["max", "average"] = "max"


class Resolutions(nn.Module):
    """The fovea and the context stream, with weights of their own (section 3.2 and figure 2).

    The context is the whole frame at half its resolution, the fovea the middle half of each side at full resolution.
    Each stream lacks the last pooling, so that together they give maps of the full network's size and twice its
    channels. (N, 3, T, H, W) -> (N, C', T', H', W').
    """

    def __init__(self, streams: dict[str, nn.Module]) -> None:
        super().__init__()
        self.streams = nn.ModuleDict(streams)

    def forward(self, rgb: Tensor) -> Tensor:
        """Both streams' maps, one after the other in the channels."""
        views = {"fovea": self.fovea, "context": self.context}
        return torch.cat([stream(views[name](rgb)) for name, stream in self.streams.items()], 1)

    @staticmethod
    def fovea(rgb: Tensor) -> Tensor:
        """The middle of the frame: (..., H, W) -> (..., H/2, W/2)."""
        height, width = rgb.shape[-2] // 2, rgb.shape[-1] // 2
        top, left = (rgb.shape[-2] - height) // 2, (rgb.shape[-1] - width) // 2
        return rgb[..., top : top + height, left : left + width]

    @staticmethod
    def context(rgb: Tensor) -> Tensor:
        """The whole frame, the mean of every 2x2 pixels: (N, 3, T, H, W) -> (N, 3, T, H/2, W/2)."""
        return F.avg_pool3d(rgb, (1, 2, 2))


class KarpathyClassifier(VideoClassifier):
    """A strategy on Karpathy's frame net, at full resolution or in two streams."""

    Config = KarpathyConfig
    nets = KARPATHY

    @classmethod
    def network(cls, config: KarpathyConfig) -> FrameNet:
        """The size's net; for the streams without its last pooling, and with the paper's 178 pixels for 170."""
        net = dataclasses.replace(super().network(config), pooling=config.pooling)
        if config.backbone:
            if config.resolution != "full" or config.pooling != "max":
                raise ValueError(
                    f"model.resolution={config.resolution}, model.pooling={config.pooling}: with "
                    f"model.backbone={config.backbone} expected full and max; they belong to Karpathy's own net"
                )
            return net
        if config.resolution == "full":
            return net
        last = max(index for index, conv in enumerate(net.convs) if conv.pool)
        convs = [dataclasses.replace(conv, pool=conv.pool if i != last else None) for i, conv in enumerate(net.convs)]
        return dataclasses.replace(net, convs=tuple(convs), crop=178 if config.size == "published" else net.crop)

    def build_trunk(self, extents: tuple[Extent, ...] = ()) -> nn.Module:
        """The convolutions, of each stream where there are two: (N, 3, T, H, W) -> (N, C', T', H', W')."""
        if self.config.resolution == "full":
            return trunk(self.net, 3, extents)
        chosen = ("fovea", "context") if self.config.resolution == "multires" else (self.config.resolution,)
        return Resolutions({name: trunk(self.net, 3, extents) for name in chosen})
