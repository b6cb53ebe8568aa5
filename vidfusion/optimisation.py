"""How a network is trained: settings, initial weights, and which layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from vidfusion.nets.blocks import Classifier

CLASSIFIER_SIGMA = 0.01  # of the weights drawn for the layer under the softmax


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


@dataclass
class TrainingConfig:
    """How a network is trained (config node `training`, filled by `recipe=`).

    steps:           optimiser steps in all
    multiply_adds:   train for so many multiply-adds instead, forward and backward: `steps` follows from the network
                     (0: as `steps` says)
    batch_size:      clips per step, over all processes
    optimizer:       `sgd` or `adamw`
    lr:              peak learning rate
    head_lr_factor:  times `lr` for the classifier, such as 10 for a new one on a trained network
    bias_lr_factor:  times `lr` for biases
    momentum:        of SGD;  nesterov: its Nesterov form
    weight_decay:    on weight matrices and kernels only (not on biases and norms)
    schedule:        `constant`; `step`: times `gamma` at each of `milestones` (steps); `cosine` to 0
    warmup:          steps of linear warm-up from 0
    label_smoothing: 0 to below 1
    clip_norm:       largest gradient norm (0: not limited)
    init:            how weights are drawn: `torch` (PyTorch's defaults), `gaussian` (C3D's), `kaiming`
    trained_layers:  train only the last so many layers with weights, of each stream (0: all; 1: the classifier)
    select:          test the `last` checkpoint, or the `best` on validation by Video Hit@1 (needs data.validation)
    """

    steps: int = 1000
    multiply_adds: float = 0.0
    batch_size: int = 32
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    head_lr_factor: float = 1.0
    bias_lr_factor: float = 1.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: Literal["constant", "step", "cosine"] = "constant"
    milestones: list[int] = field(default_factory=list)
    gamma: float = 0.1
    warmup: int = 0
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    init: Literal["torch", "gaussian", "kaiming"] = "torch"
    trained_layers: int = 0
    select: Literal["last", "best"] = "last"


def freeze_all_but_last(part: nn.Module, layers: int) -> None:
    """Keep the gradients of a network's last `layers` layers with weights only, and of the norms after them.

    Raises ValueError for more layers than there are.
    """
    modules = [module for module in part.modules() if not list(module.children()) and list(module.parameters())]
    weighted = [module for module in modules if any(p.ndim > 1 for p in module.parameters())]
    if layers > len(weighted):
        raise ValueError(f"training.trained_layers={layers}: the network has {len(weighted)} layers with weights")
    first = modules.index(weighted[-layers])
    for module in modules[:first]:
        module.requires_grad_(False)
