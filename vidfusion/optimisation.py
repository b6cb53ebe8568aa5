"""How a network is trained: initial weights, which layers, optimiser and schedule."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from vidfusion.nets.blocks import Classifier
from vidfusion.nets.frame_net import Init
from vidfusion.settings import TrainingConfig

CLASSIFIER_SIGMA = 0.01  # of the weights drawn for the layer under the softmax


def initialise(module: nn.Module, scheme: Literal["paper", "kaiming"], init: Init | None, reads: Sequence[int]) -> None:
    """Draw all weights anew. Norms keep their ones and zeros. `reads`: channels of the clips that the module sees.

    paper:   as the network's `init` says; LSTMs uniform in +-0.01 with bias 0 (LRCN's release). Where there is no
             `init`, as in sizes that are no paper's, nothing is drawn anew.
    kaiming: He et al. 2015, fan-out, for convolutions and fully connected layers; bias 0; LSTMs stay as they are

    The classifier has sigma 0.01 and bias 0 in both.
    """
    if scheme == "paper" and init is None:
        return
    depth = 0  # of a convolution in its own trunk
    for layer in module.modules():
        if isinstance(layer, nn.LSTM) and scheme == "paper":
            for name, parameter in layer.named_parameters():
                nn.init.uniform_(parameter, -0.01, 0.01) if "weight" in name else nn.init.zeros_(parameter)
        if not isinstance(layer, nn.Conv3d | nn.Linear):
            continue
        convolution, bias = isinstance(layer, nn.Conv3d), 0.0
        if convolution:
            depth = 0 if layer.in_channels in reads else depth + 1
        if isinstance(layer, Classifier):
            nn.init.normal_(layer.weight, std=CLASSIFIER_SIGMA)
        elif scheme == "kaiming":
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        else:
            assert init is not None
            nn.init.normal_(layer.weight, std=init.conv if convolution else init.fc)
            bias = init.conv_bias[min(depth, len(init.conv_bias) - 1)] if convolution else init.fc_bias
        if layer.bias is not None:
            nn.init.constant_(layer.bias, bias)


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


def keep_frozen_statistics(module: nn.Module) -> None:
    """Let norms that are not trained keep their running mean and variance."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm3d) and not layer.weight.requires_grad:
            layer.eval()


def optimizer_and_schedule(module: nn.Module, config: TrainingConfig) -> dict:
    """The optimiser and the per-step schedule that `training` describes, as Lightning takes them."""
    groups = parameter_groups(module, config)
    if config.optimizer == "adamw":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups)
    else:
        optimizer = torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(config, step))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def parameter_groups(module: nn.Module, config: TrainingConfig) -> list[dict]:
    """The trained parameters by weight decay and learning rate: weights decay, biases and norms do not."""
    heads = {p for layer in module.modules() if isinstance(layer, Classifier) for p in layer.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            lr = config.lr * (config.head_lr_factor if parameter in heads else 1)
            lr *= config.bias_lr_factor if name.rpartition(".")[2].startswith("bias") else 1
            groups[config.weight_decay if parameter.ndim > 1 else 0.0, lr].append(parameter)
    return [{"params": groups[key], "weight_decay": key[0], "lr": key[1]} for key in sorted(groups, reverse=True)]


def lr_factor(config: TrainingConfig, step: int) -> float:
    """By how much the learning rate of a step, from 0, differs from `lr`: 0 to 1."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "cosine":
        done = (step - config.warmup) / max(config.steps - config.warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    if config.schedule == "step":
        return config.gamma ** sum(step >= milestone for milestone in config.milestones)
    return 1.0


def highest_rate(config: TrainingConfig, square: float, classes: int) -> float | None:
    """The learning rate above which SGD cannot hold a softmax classifier; None where nothing is known of it.

    Near even probabilities its loss has a curvature of |features|^2 / classes along the features, `square` of which is
    the squared norm. SGD with momentum m is stable up to 2 (1 + m) / curvature. So a paper's rate may hold for its
    number of classes and not for fewer.
    """
    if config.optimizer != "sgd" or not 0 < square < math.inf:
        return None
    return 2 * (1 + config.momentum) * classes / square / max(config.head_lr_factor, 1e-12)


def remedy(config: TrainingConfig, highest: float | None = None) -> str:
    """What to try against a training that diverges."""
    clipped = f"lower training.clip_norm (now {config.clip_norm:g})" if config.clip_norm else "set training.clip_norm"
    hint = f"; at its start the classifier of this network held a rate of {highest:.2g} at most" if highest else ""
    return f"lower training.lr (now {config.lr:g}), or {clipped}{hint}"
