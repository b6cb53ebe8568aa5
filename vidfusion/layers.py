"""What a network costs: multiply-adds of each layer, counted on the module itself without computing anything."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from vidfusion.classifier import VideoClassifier


def clip_inputs(model: VideoClassifier, device: str = "meta") -> dict[str, Tensor]:
    """One clip of the shape that `model` was built for, by modality: `rgb` (1, 3, T, H, W), `flow` (1, 2, L, H, W)."""
    clip = model.clip
    shapes = {"rgb": (1, 3, clip.frames, clip.crop, clip.crop), "flow": (1, 2, clip.flow_frames, clip.crop, clip.crop)}
    return {name: torch.empty(shapes[name], device=device) for name in model.modalities}


def multiply_adds(model: VideoClassifier) -> dict[str, int]:
    """Multiply-adds of every layer with weights, by its name, for the forward pass of one clip.

    One multiply-add is one multiplication and one addition (the `GFLOPs` of most papers count these once). Biases,
    norms, pooling and activations are not counted.
    """
    counts: dict[str, int] = {}
    meta = copy.deepcopy(model).to("meta").eval()

    def count(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple) -> None:
        if isinstance(layer, nn.LSTM):
            # Four gates, each from the layer's input and its state, at every step; biases not counted.
            weights = sum(parameter.numel() for key, parameter in layer.named_parameters() if "weight" in key)
            macs = weights * math.prod(inputs[0].shape[:2])
        elif isinstance(layer, nn.Linear):
            macs = layer.weight.numel() * math.prod(inputs[0].shape[:-1])
        else:
            macs = layer.weight[0].numel() * output.numel()
        counts[name] = counts.get(name, 0) + macs

    for name, layer in meta.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear | nn.LSTM):
            layer.register_forward_hook(lambda layer, inputs, output, name=name: count(name, layer, inputs, output))
    with torch.no_grad():
        meta(**clip_inputs(model))
    return counts
