"""Which network a strategy's settings describe."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Protocol

from vidfusion.nets.frame_net import FrameNet, PerChannel
from vidfusion.ranges import Ranged, number

if TYPE_CHECKING:
    from torch import nn


@dataclass
class StrategyConfig(Ranged):
    """Settings that every strategy has (config node `model`); a strategy adds its own, and its `nets` by size.

    size:          `tiny` (32 pixels, for the embedded data set), `small`, or `published`
    dropout:       share of units dropped before the classifier and in fully connected layers, 0 to below 1 (unset: the
                   size's own)
    batch_norm:    BatchNorm after every convolution, in the place of the network's own normalisation
    head:          the network's `own`, or `gap`: global average pooling and the classifier, without the fully connected
                   layers that hold most of the published networks' weights
    backbone:      a torchvision network, such as resnet18, in the place of the frame CNN (unset: the paper's). `size`
                   then chooses the crop only: 32, 112 or 224 pixels
    pretrained:    the backbone's ImageNet weights by torchvision's name for them, such as DEFAULT
    weights:       file with a state dict to start from: this suite's, or a public port of C3D's
    channel_order: of the colours, as the network sees them
    mean, std:     by which pixels 0-255 are normalised, one value or one for each channel (unset: the network's own)
    """

    NODE: ClassVar[str] = "model"

    size: Literal["tiny", "small", "published"] = "tiny"
    dropout: Optional[float] = number(least=0, below=1)  # noqa: UP045 - OmegaConf resolves these at run time on Python 3.10 too
    batch_norm: bool = False
    head: Literal["own", "gap"] = "own"
    backbone: Optional[str] = None  # noqa: UP045
    pretrained: Optional[str] = None  # noqa: UP045
    weights: Optional[str] = None  # noqa: UP045
    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean: Optional[list[float]] = number()  # noqa: UP045
    std: Optional[list[float]] = number(above=0)  # noqa: UP045

    nets: ClassVar[dict[str, Any]]  # a Net for each size

    def network(self) -> Net:
        """The table of the network that the settings describe. Raises ValueError for settings that do not fit."""
        return choose_net(self.nets, self)

    def other_data(self) -> list[tuple[str, dict[str, Any]]]:
        """Names and settings of data sets that it is trained on beside the run's own; none in nearly all strategies."""
        return []


class Net(Protocol):
    """What every network's table says: of its input the height and width of stored frames and the side of the crop, in
    pixels, and the `mean` and `std` by which pixels 0-255 are normalised; widths and dropout of its fully connected
    layers."""

    resize: tuple[int, int]
    crop: int
    mean: PerChannel
    std: PerChannel
    fc: tuple[int, ...]
    dropout: float


# Height and width of stored frames, and side of the crop, that a torchvision network gets for a size.
BACKBONE_INPUTS = {"tiny": ((36, 36), 32), "small": ((128, 128), 112), "published": ((256, 340), 224)}


def choose_net(nets: dict[str, Net], config: StrategyConfig) -> Net:
    """The table that the settings describe, out of a strategy's `nets` by size.

    Raises ValueError for settings that do not fit each other.
    """
    net = _backbone(config) if config.backbone else nets[config.size]
    if config.pretrained and not getattr(net, "backbone", ""):
        raise ValueError(f"model.pretrained={config.pretrained}: only a model.backbone has ImageNet weights")
    if config.pretrained and config.channel_order == "bgr":
        raise ValueError("model.channel_order=bgr: ImageNet's weights (model.pretrained) were trained on rgb")
    changes = {name: tuple(value) for name in ("mean", "std") if (value := getattr(config, name)) is not None}
    for name, value in changes.items():
        if len(value) not in (1, 3):
            raise ValueError(f"model.{name}={list(value)}: expected one value, or one for each of 3 channels")
    if config.batch_norm and not config.backbone:  # the backbones have their own
        changes["norm"] = "batch"
    if config.head == "gap":
        changes["fc"] = ()
    if config.dropout is not None:
        changes["dropout"] = config.dropout
    return dataclasses.replace(net, **changes)


def _backbone(config: StrategyConfig) -> FrameNet:
    from vidfusion.nets import torchvision_nets  # here: torchvision takes a second to import

    if config.backbone not in (known := torchvision_nets.names()):
        close = " or ".join(difflib.get_close_matches(config.backbone, known, n=2)) or ", ".join(known)
        raise ValueError(f"model.backbone={config.backbone}: unknown to torchvision. Did you mean {close}?")
    mean, std = torchvision_nets.pixels(config.backbone)
    return torchvision_net(config.backbone, config.size, mean, std)


def torchvision_net(name: str, size: str, mean: PerChannel, std: PerChannel) -> FrameNet:
    """The table of a torchvision network, which has no fully connected layers and no dropout here."""
    resize, crop = BACKBONE_INPUTS[size]
    return FrameNet((), (), resize, crop, backbone=name, dropout=0.0, mean=mean, std=std)


def load_imagenet(module: nn.Module, weights: str) -> None:
    """Give every torchvision network in `module` that sees colours its ImageNet weights of that name."""
    from vidfusion.nets.torchvision_nets import TorchvisionTrunk

    for layer in module.modules():
        if isinstance(layer, TorchvisionTrunk) and layer.in_channels == 3:
            layer.load_imagenet(weights)
