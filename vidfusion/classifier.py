"""What all fusion strategies share: loss, optimiser and schedule, votes and metrics.

A strategy is a subclass of `VideoClassifier` in a file of its own that builds its network and says in `forward` what it
computes. `forward` takes `rgb` (N, 3, T, H, W), `flow` (N, 2, L, H, W) or both, normalised floats, and returns logits:
(N, C), or (N, S, C) for S predictions along time, or a dict of these by stream, for streams that are trained on losses
of their own and whose probabilities are averaged.
"""

from __future__ import annotations

import inspect
import math
import time
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, Optional, Protocol

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidfusion.metrics import HitAtK, PerClassHits, ViewVotes, Votes


@dataclass
class StrategyConfig:
    """Settings that every strategy has (config node `model`); a strategy adds its own.

    size:    `tiny` (32 pixels, for the embedded data set), `small`, or `published`
    dropout: share of units dropped in fully connected layers, 0 to below 1 (unset: the size's own)
    """

    size: Literal["tiny", "small", "published"] = "tiny"
    dropout: Optional[float] = None  # noqa: UP045 - OmegaConf resolves this at run time on Python 3.10 too


@dataclass
class TrainingConfig:
    """How a network is trained (config node `training`, filled by `recipe=`).

    steps:           optimiser steps in all
    batch_size:      clips per step, over all processes
    optimizer:       `sgd` or `adamw`
    lr:              peak learning rate
    momentum:        of SGD;  nesterov: its Nesterov form
    weight_decay:    on weight matrices and kernels only (not on biases and norms)
    schedule:        `constant`; `step`: times `gamma` at each of `milestones` (steps); `cosine` to 0
    warmup:          steps of linear warm-up from 0
    label_smoothing: 0 to below 1
    clip_norm:       largest gradient norm (0: not limited)
    select:          test the `last` checkpoint, or the `best` on validation by Video Hit@1 (needs data.validation)
    """

    steps: int = 1000
    batch_size: int = 32
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: Literal["constant", "step", "cosine"] = "constant"
    milestones: list[int] = field(default_factory=list)
    gamma: float = 0.1
    warmup: int = 0
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    select: Literal["last", "best"] = "last"


class ClipShape(NamedTuple):
    """What one clip looks like to a network: RGB frames T, flow fields L, side of the crop in pixels, and the
    displacement in pixels that the 8-bit flow's largest value stands for."""

    frames: int
    flow_frames: int
    crop: int
    flow_bound: float


class Net(Protocol):
    """What every network table says of its input: height and width of stored frames and side of the crop, in pixels,
    the `mean` and `std` by which pixels 0-255 are normalised; and widths and dropout of its fully connected layers."""

    resize: tuple[int, int]
    crop: int
    mean: float
    std: float
    fc: tuple[int, ...]
    dropout: float


class VideoClassifier(L.LightningModule):
    """Trains a strategy on clips and scores videos by the mean over their clips' probabilities.

    A subclass sets `nets` (its network's table for each size), `Config`, `order_matters` (whether the order of a clip's
    frames can change its scores), `streams` (names of the dict that `forward` returns, if any), and
    `subtracts_mean_flow`.
    """

    Config: ClassVar[type[StrategyConfig]] = StrategyConfig
    order_matters: ClassVar[bool]
    nets: ClassVar[dict[str, Net]]
    streams: ClassVar[tuple[str, ...]] = ()
    subtracts_mean_flow: bool = True

    def __init__(self, config: StrategyConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__()
        self.config, self.clip, self.num_classes, self.training_config = config, clip, num_classes, training
        self.net = self.nets[config.size]
        if config.dropout is not None and not self.net.fc:
            raise ValueError(
                f"model.dropout={config.dropout}: at model.size={config.size} no fully connected layer has "
                "units to drop; leave it unset or choose another size"
            )
        self.dropout_rate = self.net.dropout if config.dropout is None else config.dropout
        self.modalities = tuple(name for name in inspect.signature(self.forward).parameters if name in ("rgb", "flow"))
        self.seed = 0
        self.train_hits = PerClassHits(num_classes)
        self.train_metrics = nn.ModuleDict({"hit1": HitAtK(1)})
        levels = ("clip", "video")
        self.validation_metrics = nn.ModuleDict({f"{level}_hit{k}": HitAtK(k) for level in levels for k in (1, 5)})
        self.trained: dict = {"seconds": 0.0}  # so far; and the last epoch's Hit@1 over its clips, in all and per class
        self.provenance: dict = {}  # plain data that checkpoints carry: configuration, data set, class names
        self.test_votes: Votes | None = None  # every test clip's scores, after a test

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows of a results table that this run fills: each stream, then all together (the empty name)."""
        return (*self.streams, "")

    # -- from a batch to probabilities -------------------------------------------------------------------------------

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The normalised floats that `forward` takes, on the batch's device.

        Flow is in pixels, less each whole field's mean displacement (Simonyan & Zisserman 2014, section 3.1).
        """
        inputs = {}
        if "rgb" in self.modalities:
            inputs["rgb"] = (batch["rgb"].float() - self.net.mean) / self.net.std
        if "flow" in self.modalities:
            flow = (batch["flow"].float() - 128) * (self.clip.flow_bound / 127)
            inputs["flow"] = flow - batch["flow_mean"][..., None, None] if self.subtracts_mean_flow else flow
        return inputs

    def probabilities(self, logits: Tensor | dict[str, Tensor]) -> Tensor:
        """Class probabilities of each of `rows`, (N, R, C): the mean over predictions along time, then over streams."""
        streams = list(logits.values()) if isinstance(logits, dict) else [logits]
        scores = [logit.float().softmax(-1) for logit in streams]
        scores = [score.mean(1) if score.ndim == 3 else score for score in scores]
        fused = torch.stack(scores).mean(0)
        return torch.stack([*(scores if self.streams else []), fused], 1)

    def loss(self, logits: Tensor | dict[str, Tensor], target: Tensor) -> Tensor:
        """Cross-entropy, uniform over a sample's labels; every prediction along time and every stream has its own."""
        if isinstance(logits, dict):
            return torch.stack([self.loss(logit, target) for logit in logits.values()]).sum()
        share = target.float() / target.sum(1, keepdim=True)
        if logits.ndim == 3:
            share = share.repeat_interleave(logits.shape[1], 0)
            logits = logits.flatten(0, 1)
        return F.cross_entropy(logits.float(), share, label_smoothing=self.training_config.label_smoothing)

    # -- training ----------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Start the clock."""
        self._epoch_started = time.monotonic()

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Seed dropout from (seed, step), so that a resumed run goes on as if it had never stopped.

        The epoch's start would be too early: a loader draws a number when it is opened, which is after that in a run's
        later epochs and before it in the first.
        """
        torch.manual_seed((self.seed * 1_000_003 + self.global_step) * 1009 + self.global_rank)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """One optimiser step's loss."""
        logits = self(**self.inputs(batch))
        loss = self.loss(logits, batch["target"])
        with torch.no_grad():
            scores = self.probabilities(logits)[:, -1]
            self.train_hits.update(scores, batch["target"])
            self.train_metrics["hit1"].update(scores, batch["target"])
        self.log("train/loss", loss, batch_size=len(batch["target"]), on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training accuracy, over its clips as they were drawn, and keep it for the record."""
        self.trained = {
            "seconds": self.trained["seconds"] + time.monotonic() - self._epoch_started,
            "clip_hit1": float(self.train_metrics["hit1"].compute()),
            "per_class": self.train_hits.compute().tolist(),
        }
        self.log("train/clip_hit1", self.trained["clip_hit1"], sync_dist=True)
        self.train_metrics["hit1"].reset()
        self.train_hits.reset()

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Add what a reader needs to know of this network, as plain data."""
        checkpoint["vidfusion"] = {"provenance": self.provenance, "trained": self.trained}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Take up the count of training time and accuracy."""
        self.trained = checkpoint["vidfusion"]["trained"]

    def configure_optimizers(self) -> dict:
        """The optimiser and per-step schedule that `training` describes."""
        config = self.training_config
        decayed = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        if config.optimizer == "adamw":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=config.lr)
        else:
            optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _lr_factor(self, step: int) -> float:
        config = self.training_config
        if step < config.warmup:
            return (step + 1) / config.warmup
        if config.schedule == "cosine":
            done = (step - config.warmup) / max(config.steps - config.warmup, 1)
            return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        if config.schedule == "step":
            return config.gamma ** sum(step >= milestone for milestone in config.milestones)
        return 1.0

    # -- evaluation --------------------------------------------------------------------------------------------------

    def _vote(self, batch: dict[str, Tensor]) -> None:
        scores = self.probabilities(self(**self.inputs(batch)))
        scores[~batch["valid"]] = torch.nan
        fields = (batch["video"], batch["clip"], batch["center"], batch["target"], scores)
        self._views.add(Votes(*(field.cpu() for field in fields)))

    def on_validation_epoch_start(self) -> None:
        """Start with no votes."""
        self._views = ViewVotes()

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Score a batch of views."""
        self._vote(batch)

    def on_validation_epoch_end(self) -> None:
        """Log `val/{clip,video}_hit{1,5}`."""
        clips = self._views.clips()
        votes = {"clip": clips, "video": clips.videos()}
        for name, metric in self.validation_metrics.items():
            level = votes[name.split("_")[0]]
            metric.update(level.scores[:, -1].to(self.device), level.target.to(self.device))
            value = metric.compute()
            if not value.isnan():
                self.log(f"val/{name}", value, sync_dist=True)  # the same on every process
            metric.reset()

    def on_test_epoch_start(self) -> None:
        """Start with no votes."""
        self._views = ViewVotes()

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Score a batch of views."""
        self._vote(batch)

    def on_test_epoch_end(self) -> None:
        """Keep the clip scores of all processes in `test_votes`, in the order of the test list."""
        votes = self._views.clips()
        if self.trainer.world_size > 1:
            parts: list[Votes | None] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, votes)
            votes = Votes(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
            order = votes.video.argsort(stable=True)
            votes = Votes(*(values[order] for values in votes))
        self.test_votes = votes
