"""The lecture's toy networks, and their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vidfusion.nets.choice import StrategyConfig
from vidfusion.nets.frame_net import FrameNet

TOY = FrameNet(convs=(), fc=(64,), resize=(64, 64), crop=64, std=58.0, dropout=0.0)


@dataclass
class LectureConfig(StrategyConfig):
    """fusion: `late`, `early` or `3d`
    head:   `gap`, the mean over all places and frames, or `flatten` them into an MLP
    """

    fusion: Literal["late", "early", "3d"] = "3d"
    head: Literal["gap", "flatten"] = "gap"

    nets: ClassVar[dict[str, FrameNet]] = dict.fromkeys(("tiny", "small", "published"), TOY)  # nothing to scale
