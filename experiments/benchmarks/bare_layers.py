"""The convolutions and linear layers of a network alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidfusion.classifier import VideoClassifier
from vidfusion.layer_table import clip_inputs


class BareLayer(NamedTuple):
    """The arithmetic of a convolution or linear layer alone: `compute(input, weight)`, without bias.

    `input` and `output` are the shapes of one clip.
    """

    compute: Callable[[Tensor, Tensor], Tensor]
    input: torch.Size
    weight: torch.Size
    output: torch.Size

    @property
    def multiply_adds(self) -> int:
        """Of a forward pass of one clip."""
        return math.prod(self.weight[1:]) * math.prod(self.output)

    def tensors(
        self, batch_size: int, dtype: torch.dtype, channels_last: bool, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Random input, weight, and gradient of the output. The first two ask for gradients."""
        rows = [torch.Size([batch_size * shape[0], *shape[1:]]) for shape in (self.input, self.output)]
        found = [torch.randn(shape, device=device).to(dtype) for shape in (rows[0], self.weight, rows[1])]
        if channels_last and found[0].ndim == 5:
            found = [tensor.to(memory_format=torch.channels_last_3d) for tensor in found]
        clip, weight, gradient = found
        return clip.requires_grad_(), weight.requires_grad_(), gradient


def bare_layers(model: VideoClassifier) -> list[BareLayer]:
    """Every convolution and linear layer of a network, in the order of its forward pass."""
    found = []
    meta = copy.deepcopy(model).to("meta").eval()

    def add(layer: nn.Conv3d | nn.Linear, inputs: tuple[Tensor], output: Tensor) -> None:
        compute = F.linear
        if isinstance(layer, nn.Conv3d):
            options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
            compute = partial(F.conv3d, **options)
        found.append(BareLayer(compute, inputs[0].shape, layer.weight.shape, output.shape))

    for layer in meta.modules():
        if isinstance(layer, nn.Conv3d | nn.Linear):
            layer.register_forward_hook(add)
    with torch.no_grad():
        meta.forward(**clip_inputs(model))  # not meta(...), which may be compiled
    return found
