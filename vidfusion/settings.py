"""What can be set of every network's clips and training, read without PyTorch so that commands answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from vidfusion.ranges import Ranged, number


class ClipShape(NamedTuple):
    """What one clip looks like to a network: RGB frames T, flow fields L, side of the crop in pixels, the displacement
    in pixels that the 8-bit flow's largest value stands for, and whether each field begins where the last one ends."""

    frames: int
    flow_frames: int
    crop: int
    flow_bound: float
    flow_follows: bool = True
    snippets: int = 1


@dataclass
class TrainingConfig(Ranged):
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
    init:            how weights are drawn: `torch` (PyTorch's defaults), as the `paper` does, `kaiming`
    trained_layers:  train only the last so many layers with weights, of each stream (0: all; 1: the classifier)
    select:          test the `last` checkpoint, or the `best` on validation by Video Hit@1 (needs data.validation)
    """

    NODE: ClassVar[str] = "training"

    steps: int = number(1000, least=1, below=1e12)
    multiply_adds: float = number(0.0, least=0)
    batch_size: int = number(32, least=1, below=1e6)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = number(0.01, above=0, below=1000)
    head_lr_factor: float = number(1.0, least=0)
    bias_lr_factor: float = number(1.0, least=0)
    momentum: float = number(0.9, least=0, below=1)
    nesterov: bool = False
    weight_decay: float = number(5e-4, least=0)
    schedule: Literal["constant", "step", "cosine"] = "constant"
    milestones: list[int] = number(default_factory=list, least=1)
    gamma: float = number(0.1, above=0)
    warmup: int = number(0, least=0)
    label_smoothing: float = number(0.0, least=0, below=1)
    clip_norm: float = number(0.0, least=0)
    init: Literal["torch", "paper", "kaiming"] = "torch"
    trained_layers: int = number(0, least=0)
    select: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        """Raise ValueError for a number out of its range, and for settings that do not fit each other."""
        super().__post_init__()
        if self.optimizer == "sgd" and self.nesterov and not self.momentum:
            raise ValueError("training.nesterov=true: Nesterov's form needs training.momentum above 0")
