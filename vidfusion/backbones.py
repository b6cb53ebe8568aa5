"""Frame CNNs as tables: the nets of Karpathy et al. 2014 and Simonyan & Zisserman 2014, LRCN's, and their small forms.

A net is data (`FrameNet`); `trunk` and `head` build it. All layers are 3-D so that one table serves every fusion
strategy: a frame has T = 1, and a strategy only says how far into time the first convolutions reach. Shapes are
(N, C, T, H, W).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

Extent = tuple[int, int]  # temporal kernel and stride of a convolution


@dataclass(frozen=True)
class Conv:
    """A convolution with ReLU, and what follows it: `norm` local response normalisation, `pool` (kernel, stride)."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    norm: bool = False
    pool: Extent | None = None


@dataclass(frozen=True)
class LRN:
    """Local response normalisation in PyTorch's and Caffe's form, alpha / size * sum (Krizhevsky's alpha is size times
    smaller); `after_pool` as in CaffeNet."""

    size: int = 5
    alpha: float = 5e-4
    beta: float = 0.75
    k: float = 2.0
    after_pool: bool = False


@dataclass(frozen=True)
class FrameNet:
    """A frame CNN.

    `norm` an LRN where `Conv.norm` says so, or `batch`: BatchNorm after every convolution instead. `fc` widths of the
    fully connected layers, each with ReLU and dropout; none means global average pooling. `resize` height and width of
    stored frames and `crop` side of the input, pixels. Pixels enter as (value - mean) / std.
    """

    convs: tuple[Conv, ...]
    fc: tuple[int, ...]
    resize: tuple[int, int]
    crop: int
    norm: LRN | Literal["batch"] = field(default_factory=LRN)
    dropout: float = 0.5
    mean: float = 117.0
    std: float = 1.0


# Karpathy et al. 2014, section 3: the 170x170 net. Padding is not printed; valid conv1 and ceil pools give the 7x7x256
# that the paper quotes. LRN with beta 0.5. Its dropout is not printed either; AlexNet's is used.
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

# CNN-M-2048 (Chatfield et al. 2014), as in Simonyan & Zisserman 2014, figure 1.
CNN_M_2048 = {
    "published": FrameNet(
        convs=(
            Conv(96, 7, 2, norm=True, pool=(3, 2)),
            Conv(256, 5, 2, 1, norm=True, pool=(3, 2)),
            Conv(512, 3, 1, 1),
            Conv(512, 3, 1, 1),
            Conv(512, 3, 1, 1, pool=(3, 2)),
        ),
        fc=(4096, 2048),
        resize=(256, 340),
        crop=224,
        dropout=0.9,
    ),
    "small": FrameNet(
        convs=(
            Conv(48, 7, 2, norm=True, pool=(3, 2)),
            Conv(128, 5, 2, 1, norm=True, pool=(3, 2)),
            Conv(256, 3, 1, 1),
            Conv(256, 3, 1, 1),
            Conv(256, 3, 1, 1, pool=(3, 2)),
        ),
        fc=(1024, 512),
        resize=(128, 128),
        crop=112,
        std=58.0,
    ),
    "tiny": KARPATHY["tiny"],
}

# The CaffeNet / Zeiler-Fergus hybrid of LRCN (Donahue et al. 2015), up to fc6.
LRCN_HYBRID = FrameNet(
    convs=(
        Conv(96, 7, 2, norm=True, pool=(3, 2)),
        Conv(384, 5, 2, groups=2, norm=True, pool=(3, 2)),
        Conv(512, 3, 1, 1),
        Conv(512, 3, 1, 1, groups=2),
        Conv(384, 3, 1, 1, groups=2, pool=(3, 2)),
    ),
    fc=(4096,),
    norm=LRN(alpha=1e-4, k=1.0, after_pool=True),
    resize=(240, 320),
    crop=227,
    dropout=0.9,
)


class _Float32LRN(nn.LocalResponseNorm):
    """In float32 under mixed precision too: the squares of activations overflow float16."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.to(torch.promote_types(maps.dtype, torch.float32))).to(maps.dtype)


def trunk(net: FrameNet, in_channels: int, extents: tuple[Extent, ...] = ()) -> nn.Sequential:
    """The convolutions of `net`. `extents` gives the temporal kernel and stride of the first ones (others: 1, 1), all
    valid in time; pooling is spatial and, as in Caffe, rounds up. (N, in_channels, T, H, W) -> (N, C', T', H', W')."""
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
            pool = [nn.MaxPool3d((1, size, size), (1, step, step), ceil_mode=True)]
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


def fully_connected(in_features: int, widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Fully connected layers on flattened maps, each with ReLU and dropout: (N, C, T, H, W) -> (N, widths[-1])."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in widths:
        layers += [nn.Linear(in_features, width), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        in_features = width
    return nn.Sequential(*layers)


def head(shape: torch.Size, widths: tuple[int, ...], dropout: float, num_classes: int) -> nn.Sequential:
    """Classifier on maps of `shape` (C, T, H, W): fully connected layers, or without any global average pooling."""
    if not widths:
        return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(shape[0], num_classes))
    return nn.Sequential(*fully_connected(shape.numel(), widths, dropout), nn.Linear(widths[-1], num_classes))
