"""What the four networks of Karpathy et al. 2014 share: the frame net, at one resolution or at two (section 3.2).

    frame 178x178 -> middle 89x89             -> fovea   convolutions -> 256 x 7 x 7 \\
                                                                                      512 x 7 x 7 -> fully connected
    frame 178x178 -> half resolution, 89x89   -> context convolutions -> 256 x 7 x 7 /

Cameras point at what matters: the fovea sees the middle sharply, and the context sees all of it coarsely, together at
half the pixels (figure 2). Each stream has weights of its own and lacks the last pooling. So the maps have the size of
the single-resolution network's, and together twice its channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidfusion.classifier import VideoClassifier
from vidfusion.nets.blocks import frame_cnn
from vidfusion.nets.frame_net import Extent, FrameNet


def fovea(rgb: Tensor) -> Tensor:
    """The middle of the frame: (..., H, W) -> (..., H/2, W/2)."""
    height, width = rgb.shape[-2] // 2, rgb.shape[-1] // 2
    top, left = (rgb.shape[-2] - height) // 2, (rgb.shape[-1] - width) // 2
    return rgb[..., top : top + height, left : left + width]


def context(rgb: Tensor) -> Tensor:
    """The whole frame, the mean of every 2x2 pixels: (N, 3, T, H, W) -> (N, 3, T, H/2, W/2)."""
    return F.avg_pool3d(rgb, (1, 2, 2))


class Resolutions(nn.Module):
    """The fovea and the context stream, or one of them: (N, 3, T, H, W) -> (N, C' of each stream, T', H', W')."""

    views: ClassVar[dict[str, Callable[[Tensor], Tensor]]] = {"fovea": fovea, "context": context}

    def __init__(self, streams: dict[str, nn.Module]) -> None:
        super().__init__()
        self.streams = nn.ModuleDict(streams)

    def forward(self, rgb: Tensor) -> Tensor:
        """The streams' maps, one after the other in the channels."""
        return torch.cat([stream(self.views[name](rgb)) for name, stream in self.streams.items()], 1)


class KarpathyClassifier(VideoClassifier):
    """A strategy on Karpathy's frame net, at full resolution or in two streams."""

    def convolutions(self, net: FrameNet, time: Sequence[Extent] = ()) -> nn.Module:
        """The frame net, or one for each resolution: (N, 3, T, H, W) -> (N, C', T', H', W'). See `frame_cnn`."""
        chosen = {"full": (), "multires": ("fovea", "context")}.get(self.config.resolution, (self.config.resolution,))
        return Resolutions({name: frame_cnn(net, 3, time) for name in chosen}) if chosen else frame_cnn(net, 3, time)
