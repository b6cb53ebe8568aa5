"""Frame CNNs as tables: the nets of Karpathy et al. 2014 and Simonyan & Zisserman 2014, LRCN's, and their small forms.

A net is data (`FrameNet`); `trunk` and `head` build it. All layers are 3-D so that one table serves every fusion
strategy: a frame has T = 1, and a strategy only says how far into time the first convolutions reach. Shapes are
(N, C, T, H, W).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

CLASSIFIER_SIGMA = 0.01  # of the weights that `initialise` draws for the layer under the softmax
Extent = tuple[int, int]  # temporal kernel and stride of a convolution
PerChannel = float | tuple[float, ...]  # one value for all colours, or one for each


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

    `norm` an LRN where `Conv.norm` says so, or `batch`: BatchNorm after every convolution instead. `pooling` takes the
    `max` or the `average`. `fc` widths of the fully connected layers, each with ReLU and dropout; none means global
    average pooling. `resize` height and width of stored frames and `crop` side of the input, pixels. Pixels enter as
    (value - mean) / std. A `backbone` is a torchvision network's name, whose layers stand in the place of `convs`.
    """

    convs: tuple[Conv, ...]
    fc: tuple[int, ...]
    resize: tuple[int, int]
    crop: int
    norm: LRN | Literal["batch"] = field(default_factory=LRN)
    pooling: Literal["max", "average"] = "max"
    dropout: float = 0.5
    mean: PerChannel = 117.0
    std: PerChannel = 1.0
    backbone: str = ""


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


def trunk(net: FrameNet, in_channels: int, extents: tuple[Extent, ...] = (), inflate: bool = False) -> nn.Sequential:
    """The convolutions of `net`. `extents` gives the temporal kernel and stride of the first ones (others: 1, 1), all
    valid in time; pooling is spatial and, as in Caffe, rounds up. A torchvision backbone can be inflated instead.
    (N, in_channels, T, H, W) -> (N, C', T', H', W')."""
    if net.backbone:
        from vidfusion.torchvision_nets import TorchvisionTrunk  # here: torchvision takes a second to import

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
    """The layer under the softmax: features (N, F) -> logits (N, C).

    For multi-task training (Simonyan & Zisserman 2014, section 4) a second data set has a layer of its own on the same
    features, `auxiliary`; `answers_auxiliary` says for which of the two the next input is meant.
    """

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__(features, num_classes)
        self.auxiliary: nn.Linear | None = None
        self.answers_auxiliary = False

    def add_auxiliary(self, num_classes: int, drawn_anew: bool) -> None:
        """Make the second data set's layer, with weights as `initialise` draws them or as PyTorch does."""
        self.auxiliary = nn.Linear(self.in_features, num_classes, device=self.weight.device)
        if drawn_anew:
            nn.init.normal_(self.auxiliary.weight, std=CLASSIFIER_SIGMA)
            nn.init.zeros_(self.auxiliary.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Logits for the classes of the data set that is asked for."""
        return self.auxiliary(features) if self.answers_auxiliary else super().forward(features)


def head(
    shape: Sequence[int], widths: tuple[int, ...], dropout: float, num_classes: int, keep_time: bool = False
) -> nn.Sequential:
    """`fully_connected` layers and a `Classifier` on maps of `shape` (C, T, H, W)."""
    layers, features = fully_connected(shape, widths, dropout, keep_time)
    return nn.Sequential(*layers, Classifier(features, num_classes))


def initialise(module: nn.Module, scheme: Literal["gaussian", "kaiming"], input_channels: Sequence[int]) -> None:
    """Draw all weights anew. Norms keep their ones and zeros. `input_channels`: of the clips that the module sees.

    gaussian: as C3D's Caffe release, which the papers before it leave open: convolutions of sigma 0.01 and bias 1, but
              0 in those that read the input; fully connected layers of sigma 0.005 and bias 1, the classifier 0.01 and
              0; LSTMs uniform in +-0.01 with bias 0 (LRCN's release)
    kaiming:  He et al. 2015, fan-out, for convolutions and fully connected layers; the classifier sigma 0.01; bias 0;
              LSTMs stay as they are
    """
    for layer in module.modules():
        if isinstance(layer, nn.LSTM) and scheme == "gaussian":
            for name, parameter in layer.named_parameters():
                nn.init.uniform_(parameter, -0.01, 0.01) if "weight" in name else nn.init.zeros_(parameter)
        if not isinstance(layer, nn.Conv3d | nn.Linear):
            continue
        if isinstance(layer, Classifier):
            nn.init.normal_(layer.weight, std=CLASSIFIER_SIGMA)
        elif scheme == "kaiming":
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.normal_(layer.weight, std=0.01 if isinstance(layer, nn.Conv3d) else 0.005)
        if layer.bias is not None:
            reads_input = isinstance(layer, nn.Conv3d) and layer.in_channels in input_channels
            ones = scheme == "gaussian" and not reads_input and not isinstance(layer, Classifier)
            nn.init.constant_(layer.bias, float(ones))
