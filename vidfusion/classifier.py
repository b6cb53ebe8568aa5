"""What all fusion strategies share: loss, optimiser and schedule, votes and metrics.

A strategy is a subclass of `VideoClassifier` in a file of its own that builds its network and says in `forward` what it
computes. `forward` takes `rgb` (N, 3, T, H, W), `flow` (N, 2, L, H, W) or both, normalised floats, and returns logits:
(N, C), or (N, S, C) for S predictions along time, or a dict of these by stream, for streams that are trained on losses
of their own and whose probabilities are averaged.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Optional, Protocol

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidfusion.metrics import HitAtK, PerClassHits
from vidfusion.nets.blocks import Classifier
from vidfusion.nets.frame_net import FrameNet, PerChannel
from vidfusion.optimisation import TrainingConfig, freeze_all_but_last
from vidfusion.stopwatch import StepClock
from vidfusion.votes import ViewVotes, Votes


@dataclass
class StrategyConfig:
    """Settings that every strategy has (config node `model`); a strategy adds its own.

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

    size: Literal["tiny", "small", "published"] = "tiny"
    dropout: Optional[float] = None  # noqa: UP045 - OmegaConf resolves these at run time on Python 3.10 too
    batch_norm: bool = False
    head: Literal["own", "gap"] = "own"
    backbone: Optional[str] = None  # noqa: UP045
    pretrained: Optional[str] = None  # noqa: UP045
    weights: Optional[str] = None  # noqa: UP045
    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean: Optional[list[float]] = None  # noqa: UP045
    std: Optional[list[float]] = None  # noqa: UP045


class ClipShape(NamedTuple):
    """What one clip looks like to a network: RGB frames T, flow fields L, side of the crop in pixels, the displacement
    in pixels that the 8-bit flow's largest value stands for, and whether each field begins where the last one ends."""

    frames: int
    flow_frames: int
    crop: int
    flow_bound: float
    flow_follows: bool = True


class Net(Protocol):
    """What every network table says of its input: height and width of stored frames and side of the crop, in pixels,
    the `mean` and `std` by which pixels 0-255 are normalised; and widths and dropout of its fully connected layers."""

    resize: tuple[int, int]
    crop: int
    mean: PerChannel
    std: PerChannel
    fc: tuple[int, ...]
    dropout: float


# Height and width of stored frames, and side of the crop, that a torchvision backbone gets for a size.
BACKBONE_INPUTS = {"tiny": ((36, 36), 32), "small": ((128, 128), 112), "published": ((256, 340), 224)}


class VideoClassifier(L.LightningModule):
    """Trains a strategy on clips and scores videos by the mean over their clips' probabilities.

    A subclass sets `nets` (its network's table for each size), `Config`, `order_matters` (whether the order of a clip's
    frames can change its scores), `streams` (names of the dict that `forward` returns, if any), `input_channels` (of
    what its first convolutions read) and `clips_per_step` (of streams that are trained on more than one clip for each
    of the batch).
    """

    Config: ClassVar[type[StrategyConfig]] = StrategyConfig
    order_matters: bool
    nets: ClassVar[dict[str, Net]]
    streams: ClassVar[tuple[str, ...]] = ()
    input_channels: tuple[int, ...] = (3,)
    clips_per_step: ClassVar[dict[str, int]] = {}

    def __init__(self, config: StrategyConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__()
        self.config, self.clip, self.num_classes, self.training_config = config, clip, num_classes, training
        self.net = self.network(config)
        self.dropout_rate = self.net.dropout if config.dropout is None else config.dropout
        self.modalities = tuple(name for name in inspect.signature(self.forward).parameters if name in ("rgb", "flow"))
        self.seed = 0
        self.train_hits = PerClassHits(num_classes)
        self.train_metrics = nn.ModuleDict({"hit1": HitAtK(1)})
        levels = ("clip", "video")
        self.validation_metrics = nn.ModuleDict({f"{level}_hit{k}": HitAtK(k) for level in levels for k in (1, 5)})
        # So far, and how much of it was spent waiting for clips; the last epoch's Hit@1 over its clips, and per class.
        self.trained: dict = {"seconds": 0.0, "waiting": 0.0}
        self._clock = StepClock(torch.device("cpu"))
        self.provenance: dict = {}  # plain data that checkpoints carry: configuration, data set, class names
        self.validation_votes: Votes | None = None  # every held-out clip's scores, after the last validation
        self.test_votes: Votes | None = None  # every test clip's scores, after a test

    @classmethod
    def network(cls, config: StrategyConfig, nets: dict[str, Net] | None = None) -> Net:
        """The table of the network that the settings describe, out of `nets` (none: the class's own).

        Raises ValueError for settings that do not fit.
        """
        net = (nets or cls.nets)[config.size]
        if config.backbone:
            from vidfusion.nets import torchvision_nets  # here: torchvision takes a second to import

            if config.backbone not in (known := torchvision_nets.names()):
                close = " or ".join(difflib.get_close_matches(config.backbone, known, n=2)) or ", ".join(known)
                raise ValueError(f"model.backbone={config.backbone}: unknown to torchvision. Did you mean {close}?")
            resize, crop = BACKBONE_INPUTS[config.size]
            mean, std = torchvision_nets.pixels(config.backbone)
            net = FrameNet((), (), resize, crop, backbone=config.backbone, dropout=0.0, mean=mean, std=std)
        elif config.pretrained and not getattr(net, "backbone", ""):
            raise ValueError(f"model.pretrained={config.pretrained}: only a model.backbone has ImageNet weights")
        if config.pretrained and config.channel_order == "bgr":
            raise ValueError("model.channel_order=bgr: ImageNet's weights (model.pretrained) were trained on rgb")
        if config.batch_norm and not config.backbone:  # the backbones have their own
            net = dataclasses.replace(net, norm="batch")
        if config.head == "gap":
            net = dataclasses.replace(net, fc=())
        for name in ("mean", "std"):
            if (given := getattr(config, name)) is not None:
                if len(given) not in (1, 3):
                    raise ValueError(f"model.{name}={given}: expected one value, or one for each of 3 channels")
                net = dataclasses.replace(net, **{name: tuple(given)})
        return net

    @classmethod
    def other_data(cls, config: StrategyConfig) -> list[tuple[str, dict[str, Any]]]:
        """Names and settings of data sets that it is trained on beside the run's own; none in nearly all strategies."""
        return []

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows of a results table that this run fills: each stream, then all together (the empty name)."""
        return (*self.streams, "")

    # -- from a batch to probabilities -------------------------------------------------------------------------------

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The normalised floats that `forward` takes, on the batch's device; flow is in pixels."""
        inputs = {}
        if "rgb" in self.modalities:
            rgb = batch["rgb"].flip(1) if self.config.channel_order == "bgr" else batch["rgb"]
            mean, std = (torch.tensor(x, device=rgb.device).view(-1, 1, 1, 1) for x in (self.net.mean, self.net.std))
            inputs["rgb"] = (rgb.float() - mean) / std
        if "flow" in self.modalities:
            flow = batch["flow"]
            eight_bits = flow.dtype == torch.uint8  # else it is in pixels already
            inputs["flow"] = (flow.float() - 128) * (self.clip.flow_bound / 127) if eight_bits else flow
        return inputs

    def over_time(self, scores: Tensor) -> Tensor:
        """One answer from probabilities along time, (N, S, C) -> (N, C): their mean."""
        return scores.mean(1)

    def step_gains(self, steps: int) -> Tensor | None:
        """How much the loss of each of `steps` predictions along time counts, (S,); None: all alike."""
        return None

    def probabilities(self, logits: Tensor | dict[str, Tensor]) -> Tensor:
        """Class probabilities of each of `rows`, (N, R, C): one over predictions along time, the mean over streams."""
        streams = list(logits.values()) if isinstance(logits, dict) else [logits]
        scores = [logit.float().softmax(-1) for logit in streams]
        scores = [self.over_time(score) if score.ndim == 3 else score for score in scores]
        fused = torch.stack(scores).mean(0)
        return torch.stack([*(scores if self.streams else []), fused], 1)

    def loss(self, logits: Tensor | dict[str, Tensor], target: Tensor) -> Tensor:
        """Cross-entropy, uniform over a sample's labels; every prediction along time and every stream has its own."""
        if isinstance(logits, dict):
            return torch.stack([self.loss(logit, target) for logit in logits.values()]).sum()
        smoothing = self.training_config.label_smoothing
        share = target.float() / target.sum(1, keepdim=True)
        if logits.ndim == 2:
            return F.cross_entropy(logits.float(), share, label_smoothing=smoothing)
        steps = logits.shape[1]
        share = share.repeat_interleave(steps, 0)
        losses = F.cross_entropy(logits.flatten(0, 1).float(), share, label_smoothing=smoothing, reduction="none")
        gains = self.step_gains(steps)
        return (losses if gains is None else losses.view(-1, steps) * gains.to(losses)).mean()

    # -- what is trained ---------------------------------------------------------------------------------------------

    def _classifiers(self) -> list[Classifier]:
        return [layer for layer in self.modules() if isinstance(layer, Classifier)]

    def load_imagenet(self) -> None:
        """Give every backbone that sees colours the ImageNet weights that `model.pretrained` names."""
        from vidfusion.nets.torchvision_nets import TorchvisionTrunk

        for layer in self.modules():
            if isinstance(layer, TorchvisionTrunk) and layer.in_channels == 3:
                layer.load_imagenet(self.config.pretrained)

    def freeze(self) -> None:
        """Leave only the last `training.trained_layers` of each stream to be trained."""
        if layers := self.training_config.trained_layers:
            for part in [getattr(self, stream) for stream in self.streams] or [self]:
                freeze_all_but_last(part, layers)

    # -- training ----------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Start the clocks, and keep the statistics of frozen norms."""
        self._epoch_started = time.monotonic()
        self._clock = StepClock(self.device)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm3d) and not layer.weight.requires_grad:
                layer.eval()

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Seed dropout from (seed, step), so that a resumed run goes on as if it had never stopped.

        The epoch's start would be too early: a loader draws a number when it is opened, which is after that in a run's
        later epochs and before it in the first.
        """
        self._clock.step_starts()
        torch.manual_seed((self.seed * 1_000_003 + self.global_step) * 1009 + self.global_rank)

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        """The loss of a batch; counts its hits and logs the epoch's mean loss."""
        logits = self(**self.inputs(batch))
        loss = self.loss(logits, batch.get("drawn", batch["target"]))
        self._count(logits, batch["target"])
        self.log("train/loss", loss, batch_size=len(batch["target"]), on_step=False, on_epoch=True, sync_dist=True)
        return loss

    @torch.no_grad()
    def _count(self, logits: Tensor | dict[str, Tensor], target: Tensor) -> None:
        scores = self.probabilities(logits)[:, -1]
        self.train_hits.update(scores, target)
        self.train_metrics["hit1"].update(scores, target)

    def on_train_batch_end(self, outputs: dict, batch: dict, batch_index: int) -> None:
        """The step's time ends."""
        self._clock.step_ends()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training accuracy, over its clips as they were drawn, and the share of the time that it
        waited for clips, and keep both for the record."""
        waiting, working = self._clock.seconds()
        self.log("speed/waiting_share", waiting / (waiting + working), sync_dist=True)
        self.trained = {
            "seconds": self.trained["seconds"] + time.monotonic() - self._epoch_started,
            "waiting": self.trained["waiting"] + waiting,
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
        heads = {parameter for layer in self._classifiers() for parameter in layer.parameters()}
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                lr = config.lr * (config.head_lr_factor if parameter in heads else 1)
                lr *= config.bias_lr_factor if name.rpartition(".")[2].startswith("bias") else 1
                groups[config.weight_decay if parameter.ndim > 1 else 0.0, lr].append(parameter)
        groups = [{"params": groups[key], "weight_decay": key[0], "lr": key[1]} for key in sorted(groups, reverse=True)]
        if config.optimizer == "adamw":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups)
        else:
            optimizer = torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov)
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
        """Log `val/{clip,video}_hit{1,5}`, and keep the clip scores of all processes in `validation_votes`."""
        clips = self._views.clips()
        self.validation_votes = self._of_all_processes(clips)
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
        self.test_votes = self._of_all_processes(self._views.clips())

    def _of_all_processes(self, votes: Votes) -> Votes:
        if self.trainer.world_size == 1:
            return votes
        parts: list[Votes | None] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, votes)
        votes = Votes(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
        order = votes.video.argsort(stable=True)
        return Votes(*(values[order] for values in votes))
