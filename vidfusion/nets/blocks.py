"""Frame CNNs as tables: the nets of Karpathy et al. 2014 and Simonyan & Zisserman 2014, LRCN's, and their small forms.

A net is data (`FrameNet`); `trunk` and `head` build it. All layers are 3-D so that one table serves every fusion
strategy: a frame has T = 1, and a strategy only says how far into time the first convolutions reach. Shapes are
(N, C, T, H, W).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vidfusion.nets.frame_net import LRN, Extent, FrameNet


class _Float32LRN(nn.LocalResponseNorm):
    """In float32 under mixed precision too: the squares of activations overflow float16."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.to(torch.promote_types(maps.dtype, torch.float32))).to(maps.dtype)


def trunk(net: FrameNet, in_channels: int, extents: tuple[Extent, ...] = (), inflate: bool = False) -> nn.Sequential:
    """The convolutions of `net`. `extents` gives the temporal kernel and stride of the first ones (others: 1, 1), all
    valid in time; pooling is spatial and, as in Caffe, rounds up. A torchvision backbone can be inflated instead.
    (N, in_channels, T, H, W) -> (N, C', T', H', W')."""
    if net.backbone:
        from vidfusion.nets.torchvision_nets import TorchvisionTrunk  # here: torchvision takes a second to import

        return TorchvisionTrunk(net.backbone, in_channels, extents, inflate)
    layers: list[nn.Module] = []
    for index, conv in enumerate(net.convs):
        kernel, stride = extents[index] if index < len(extents) else (1, 1)
        batch_norm = net.norm == "batch"
        layers.append(
            nn.Conv3d(
                in_channels,
                conv.channels,
                (kernel, conv.kernel, conv.kernel),
                (stride, conv.stride, conv.stride),
                (0, conv.padding, conv.padding),
                groups=conv.groups,
                bias=not batch_norm,
            )
        )
        layers += [nn.BatchNorm3d(conv.channels)] if batch_norm else []
        layers.append(nn.ReLU(inplace=True))
        norm = []
        if conv.norm and isinstance(net.norm, LRN):
            norm = [_Float32LRN(net.norm.size, net.norm.alpha, net.norm.beta, net.norm.k)]
        pool = []
        if conv.pool:
            size, step = conv.pool
            kind = nn.MaxPool3d if net.pooling == "max" else nn.AvgPool3d
            pool = [kind((1, size, size), (1, step, step), ceil_mode=True)]
        after_pool = isinstance(net.norm, LRN) and net.norm.after_pool
        layers += pool + norm if after_pool else norm + pool
        in_channels = conv.channels
    return nn.Sequential(*layers)


def feature_shape(module: nn.Module, channels: int, frames: int, size: int) -> torch.Size:
    """Shape (C, T, H, W) of what `module` makes of one input of this shape, without computing it.

    Raises ValueError for a crop of which nothing would be left.
    """
    meta = copy.deepcopy(module).to("meta").eval()
    try:
        return meta(torch.empty(1, channels, frames, size, size, device="meta")).shape[1:]
    except RuntimeError:  # PyTorch names only the layer whose kernel is too large
        raise ValueError(f"sampling.crop={size} is too small: the network's layers leave nothing of it") from None


def fully_connected(
    shape: Sequence[int], widths: tuple[int, ...], dropout: float, keep_time: bool = False
) -> tuple[nn.Sequential, int]:
    """Fully connected layers on maps of `shape` (C, T, H, W), each with ReLU and dropout, and the width of the last.

    Without widths global average pooling (and dropout) stands in their place: over space and time, or with `keep_time`
    over space only, each frame's features beside the other's. (N, C, T, H, W) -> (N, width).
    """
    channels, frames, height, width = shape
    if not widths:
        kept = frames if keep_time else 1
        drop = [nn.Dropout(dropout)] if dropout else []
        return nn.Sequential(nn.AdaptiveAvgPool3d((kept, 1, 1)), nn.Flatten(), *drop), channels * kept
    layers: list[nn.Module] = [nn.Flatten()]
    features = channels * frames * height * width
    for width in widths:
        layers += [nn.Linear(features, width), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        features = width
    return nn.Sequential(*layers), features


class Classifier(nn.Linear):
    """The layer under the softmax: features (N, F) -> logits (N, C)."""


def head(
    shape: Sequence[int], widths: tuple[int, ...], dropout: float, num_classes: int, keep_time: bool = False
) -> nn.Sequential:
    """`fully_connected` layers and a `Classifier` on maps of `shape` (C, T, H, W)."""
    layers, features = fully_connected(shape, widths, dropout, keep_time)
    return nn.Sequential(*layers, Classifier(features, num_classes))
