"""Frame CNNs as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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
class Init:
    """How a paper draws its weights: normally, with mean 0 and the standard deviations `conv` and `fc`.

    `conv_bias` are the biases of the convolutions in their order; the last holds for all after it. `fc_bias` is that of
    hidden fully connected layers. The classifier has 0.01 and bias 0 in all papers.
    """

    conv: float = 0.01
    fc: float = 0.01
    conv_bias: tuple[float, ...] = (0.0,)
    fc_bias: float = 0.0


# Krizhevsky et al. 2012, section 5, which also tells to draw fully connected layers with 0.01; Caffe's releases of that
# network have 0.005.
ALEXNET = Init(conv_bias=(0.0, 1.0, 0.0, 1.0, 1.0), fc_bias=1.0)
CAFFENET = Init(fc=0.005, conv_bias=ALEXNET.conv_bias, fc_bias=1.0)


@dataclass(frozen=True)
class FrameNet:
    """A frame CNN.

    `norm` an LRN where `Conv.norm` says so, or `batch`: BatchNorm after every convolution instead. `pooling` takes the
    `max` or the `average`. `fc` widths of the fully connected layers, each with ReLU and dropout; none means global
    average pooling. `resize` height and width of stored frames and `crop` side of the input, pixels. Pixels enter as
    (value - mean) / std, and flow as `flow_scale` for a displacement of one pixel. `init` is how the paper
    draws weights (None: as PyTorch does).
    A `backbone` is a torchvision network's name, whose layers stand in the place of `convs`.
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
    flow_scale: float = 1.0
    init: Init | None = None
    backbone: str = ""
