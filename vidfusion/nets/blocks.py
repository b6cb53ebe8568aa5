"""Frame CNNs built from their tables, and the layers above them.

All layers are 3-D, so that one table serves every strategy: a frame has T = 1, and a strategy only says how far into
time the first convolutions reach. Shapes are (N, C, T, H, W).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vidfusion.nets.choice import Net
from vidfusion.nets.frame_net import LRN, Conv, Extent, FrameNet


class _Float32LRN(nn.LocalResponseNorm):
    """In float32 under mixed precision too: the squares of activations overflow float16."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.to(torch.promote_types(maps.dtype, torch.float32))).to(maps.dtype)


def frame_cnn(net: FrameNet, in_channels: int = 3, time: Sequence[Extent] = (), inflate: bool = False) -> nn.Sequential:
    """The convolutions of `net`: (N, in_channels, T, H, W) -> (N, C', T', H', W').

    `time` gives temporal kernel and stride of the first convolutions, without padding; the others have (1, 1). Pooling
    is spatial and rounds up, as in Caffe. A torchvision network can be inflated instead.
    """
    if net.backbone:
        from vidfusion.nets.torchvision_nets import TorchvisionTrunk  # here: torchvision takes a second to import

        return TorchvisionTrunk(net.backbone, in_channels, tuple(time), inflate)
    layers: list[nn.Module] = []
    for index, conv in enumerate(net.convs):
        layers += _convolution(net, conv, in_channels, time[index] if index < len(time) else (1, 1))
        in_channels = conv.channels
    return nn.Sequential(*layers)


def _convolution(net: FrameNet, conv: Conv, in_channels: int, extent: Extent) -> list[nn.Module]:
    """A convolution with what follows it: ReLU, normalisation, pooling."""
    kernel, stride = extent
    batch_norm = net.norm == "batch"
    layers: list[nn.Module] = [
        nn.Conv3d(
            in_channels,
            conv.channels,
            (kernel, conv.kernel, conv.kernel),
            (stride, conv.stride, conv.stride),
            (0, conv.padding, conv.padding),
            groups=conv.groups,
            bias=not batch_norm,
        )
    ]
    layers += [nn.BatchNorm3d(conv.channels)] if batch_norm else []
    layers.append(nn.ReLU(inplace=True))
    after: list[nn.Module] = []
    if conv.norm and isinstance(net.norm, LRN):
        after.append(_Float32LRN(net.norm.size, net.norm.alpha, net.norm.beta, net.norm.k))
    if conv.pool:
        size, step = conv.pool
        kind = nn.MaxPool3d if net.pooling == "max" else nn.AvgPool3d
        after.append(kind((1, size, size), (1, step, step), ceil_mode=True))
    if isinstance(net.norm, LRN) and net.norm.after_pool:
        after.reverse()
    return layers + after


def feature_shape(module: nn.Module, clip: Sequence[int]) -> torch.Size:
    """Shape (C', T', H', W') of what `module` makes of one clip (C, T, H, W), without computing it.

    Raises ValueError for a crop of which nothing would be left.
    """
    meta = copy.deepcopy(module).to("meta").eval()
    try:
        return meta(torch.empty(1, *clip, device="meta")).shape[1:]
    except RuntimeError:  # PyTorch names only the layer whose kernel is too large
        raise ValueError(f"sampling.crop={clip[-1]} is too small: the network's layers leave nothing of it") from None


def fully_connected(net: Net, shape: Sequence[int], keep_time: bool = False) -> tuple[nn.Sequential, int]:
    """The network's fully connected layers on maps of `shape` (C, T, H, W), each with ReLU and dropout, and the width
    of the last: (N, C, T, H, W) -> (N, width).

    A network without any gets global average pooling over space and time, or with `keep_time` over space only.
    """
    channels, frames, height, width = shape
    if not net.fc:
        kept = frames if keep_time else 1
        drop = [nn.Dropout(net.dropout)] if net.dropout else []
        return nn.Sequential(nn.AdaptiveAvgPool3d((kept, 1, 1)), nn.Flatten(), *drop), channels * kept
    layers: list[nn.Module] = [nn.Flatten()]
    features = channels * frames * height * width
    for width in net.fc:
        layers += [nn.Linear(features, width), nn.ReLU(inplace=True), nn.Dropout(net.dropout)]
        features = width
    return nn.Sequential(*layers), features


class Classifier(nn.Linear):
    """The layer under the softmax: features (N, F) -> logits (N, C)."""


def classifier_head(
    below: nn.Module, net: Net, clip: Sequence[int], num_classes: int, keep_time: bool = False
) -> nn.Sequential:
    """`fully_connected` layers and a `Classifier` on what the layers `below` make of a clip (C, T, H, W)."""
    layers, features = fully_connected(net, feature_shape(below, clip), keep_time)
    return nn.Sequential(*layers, Classifier(features, num_classes))


def image_network(net: FrameNet, image: tuple[int, int, int, int], num_classes: int) -> nn.Sequential:
    """A frame CNN with its classifier: images (N, C, 1, H, W), of which `image` is the shape of one -> logits."""
    layers = frame_cnn(net, image[0])
    head = classifier_head(layers, net, image, num_classes)
    # A torchvision network stays whole, for its ImageNet weights.
    return nn.Sequential(*([layers] if net.backbone else layers), *head)
