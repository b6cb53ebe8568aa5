"""Torchvision's networks as 3-D layers, so that ways of fusion can be compared with the backbone held fixed.

A 2-D layer becomes one of temporal extent 1. A strategy reaches into time with `extents`, at the places where the
network itself goes from one resolution to the next; `inflate` makes a 3-D network of it (I3D, Carreira & Zisserman
2017). ImageNet weights come through torchvision's own API and are spread evenly over the temporal extent, so that a
still clip gives the features of its frame (in an inflated network away from its ends, beyond which it sees zeros).

The classifiers of these networks (the fully connected layers of AlexNet and VGG among them) are left out: global
average pooling and one linear layer take their place.
"""

from __future__ import annotations

from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import ResNet

from vidfusion.nets.frame_net import Extent, PerChannel

FAMILIES = ("resnet", "resnext", "wide_resnet", "vgg", "alexnet", "googlenet")
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of pixels 0 to 255, RGB
GOOGLENET_PIXELS = 127.5  # GoogLeNet's weights were trained on pixels scaled to +-1


def names() -> list[str]:
    """The torchvision networks that can be a backbone."""
    return [name for name in torchvision.models.list_models(torchvision.models) if name.startswith(FAMILIES)]


def pixels(name: str) -> tuple[PerChannel, PerChannel]:
    """Mean and standard deviation by which the network's ImageNet weights expect pixels 0-255 to be normalised."""
    return (GOOGLENET_PIXELS, GOOGLENET_PIXELS) if name == "googlenet" else (IMAGENET_MEAN, IMAGENET_STD)


class TorchvisionTrunk(nn.Sequential):
    """All layers of a torchvision network before its final pooling, as 3-D layers under torchvision's own names.

    (N, in_channels, T, H, W) -> (N, C', T', H', W'). `extents` are temporal kernels and strides, valid in time, of the
    first convolution and of those that follow it: in ResNets the ones that halve the resolution in layer2 and layer3
    (and their shortcuts), elsewhere the second and third. With `inflate` every kernel above 1x1 gets a temporal extent
    of 3, and every stride but the first layer's and the first pooling's holds for time too.
    """

    def __init__(self, name: str, in_channels: int, extents: tuple[Extent, ...] = (), inflate: bool = False) -> None:
        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        network = torchvision.models.get_model(name, weights=None, **options)
        super().__init__()
        for child_name, child in network.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                break
            self.add_module(child_name, child)
        self.name, self.in_channels = name, in_channels
        groups = _resolution_steps(self, isinstance(network, ResNet))
        times = {conv: extent for group, extent in zip(groups, extents, strict=False) for conv in group}
        self._to_3d(self, times, groups[0][0], inflate)

    def _to_3d(
        self, parent: nn.Module, times: dict[nn.Module, Extent], first: nn.Module, inflate: bool, pooled: bool = False
    ) -> bool:
        """Replace the 2-D layers below `parent`; whether a pooling was met (the first one leaves time alone)."""
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Conv2d):
                kernel, stride = times.get(layer, (1, 1))
                padding = 0
                if inflate and layer.kernel_size[0] > 1:
                    kernel, padding = 3, 1
                if inflate and layer is not first:
                    stride = layer.stride[0]
                channels = self.in_channels if layer is first else layer.in_channels
                conv = nn.Conv3d(
                    channels,
                    layer.out_channels,
                    (kernel, *layer.kernel_size),
                    (stride, *layer.stride),
                    (padding, *layer.padding),
                    groups=layer.groups,
                    bias=layer.bias is not None,
                    device=layer.weight.device,
                )
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                setattr(parent, name, conv)
            elif isinstance(layer, nn.BatchNorm2d):
                setattr(parent, name, nn.BatchNorm3d(layer.num_features, layer.eps, device=layer.weight.device))
            elif isinstance(layer, nn.MaxPool2d):
                size, step, edge = layer.kernel_size, layer.stride, layer.padding
                in_time = (size, step, edge) if inflate and pooled else (1, 1, 0)
                kernel, stride, padding = ((t, s, s) for t, s in zip(in_time, (size, step, edge), strict=True))
                setattr(parent, name, nn.MaxPool3d(kernel, stride, padding, ceil_mode=layer.ceil_mode))
                pooled = True
            else:
                pooled = self._to_3d(layer, times, first, inflate, pooled)
        return pooled

    def load_imagenet(self, weights: str) -> None:
        """Take torchvision's weights of that name (`DEFAULT`, `IMAGENET1K_V1`, ...), downloaded once.

        Raises ValueError for a name that torchvision does not have, OSError where it cannot be downloaded.
        """
        known = torchvision.models.get_model_weights(self.name)
        if weights not in known.__members__:
            raise ValueError(f"model.pretrained={weights}: {self.name} has {', '.join(known.__members__)}")
        try:
            state = known[weights].get_state_dict(progress=False, check_hash=True)
        except URLError as error:
            raise OSError(
                f"model.pretrained={weights}: cannot download {known[weights].url} ({error.reason}); "
                f"copy that file into {torch.hub.get_dir()}/checkpoints"
            ) from None
        own = self.state_dict()
        self.load_state_dict({key: _spread(state[key], own[key]) for key in own})


def _spread(weight: Tensor, target: Tensor) -> Tensor:
    """A 2-D kernel repeated over the target's temporal extent, divided by it; anything else as it is."""
    if target.ndim != 5:
        return weight
    return weight.unsqueeze(2).expand(target.shape) / target.shape[2]


def _resolution_steps(trunk: nn.Sequential, residual: bool) -> list[list[nn.Module]]:
    """The convolutions that take a temporal extent together: first, second and third step."""
    convs = [layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d)]
    if not residual:
        return [[conv] for conv in convs[:3]]
    steps = [[convs[0]]]
    for stage in (trunk.layer2, trunk.layer3):
        # The block's own strided convolution and its shortcut must leave the same frames.
        steps.append([conv for conv in stage[0].modules() if isinstance(conv, nn.Conv2d) and conv.stride[0] > 1])
    return steps
