"""What all strategies share: clips in, logits, loss, probabilities and votes out.

A strategy is a subclass of `VideoClassifier` in a file of its own. It says in `build` what its network is, and in
`forward` what it computes. `forward` takes `rgb` (N, 3, T, H, W), `flow` (N, 2, L, H, W) or both, normalised floats. It
returns logits: (N, C), or (N, S, C) for S predictions along time, or a dict of these by stream, for streams that are
trained on losses of their own and whose probabilities are averaged.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidfusion.metrics import HitAtK
from vidfusion.nets.choice import Net, StrategyConfig
from vidfusion.optimisation import freeze_all_but_last, keep_frozen_statistics, optimizer_and_schedule, remedy
from vidfusion.settings import ClipShape, TrainingConfig
from vidfusion.votes import ViewVotes, Votes, of_all_processes


class VideoClassifier(L.LightningModule):
    """Trains a strategy on clips and scores videos by the mean over their clips' probabilities.

    A subclass defines `build` and `forward`, and sets

    least_frames:   the shortest clip that it takes
    order_matters:  whether the order of a clip's frames can change its scores
    streams:        what each stream reads, `rgb` or `flow`, if there are any. By the name that its module has, and its
                    logits in what `forward` returns
    input_channels: what its first convolutions read
    clips_per_step: of a stream that is trained on more than one clip for each of the batch
    """

    least_frames: ClassVar[int] = 1
    order_matters: bool
    streams: ClassVar[dict[str, str]] = {}
    input_channels: tuple[int, ...] = (3,)
    stream_weights: tuple[float, ...] | None = None
    clips_per_step: ClassVar[dict[str, int]] = {}

    def __init__(self, config: StrategyConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__()
        self.config, self.clip, self.num_classes, self.training_config = config, clip, num_classes, training
        name = type(self).__module__.rpartition(".")[2]
        settings = {"name": name, "num_classes": num_classes, "training": dataclasses.asdict(training)}
        self.save_hyperparameters(settings | clip._asdict() | dataclasses.asdict(config), logger=False)
        self.net = config.network()
        self.modalities = tuple(name for name in inspect.signature(self.forward).parameters if name in ("rgb", "flow"))
        levels = ("clip", "video")
        self.validation_metrics = nn.ModuleDict({f"{level}_hit{k}": HitAtK(k) for level in levels for k in (1, 5)})
        self.validation_votes: Votes | None = None  # every held-out clip's scores, after the last validation
        self.test_votes: Votes | None = None  # every test clip's scores, after a test
        # Plain data for records and checkpoints, which a run's callbacks fill: settings, data set, class names; and how
        # the training went.
        self.provenance: dict[str, Any] = {}
        self.trained: dict[str, Any] = {"seconds": 0.0, "waiting": 0.0}
        if clip.frames < self.least_frames:
            raise ValueError(f"{name} needs sampling.frames >= {self.least_frames}, got {clip.frames}")
        self.build(self.net, clip, num_classes)

    def build(self, net: Net, clip: ClipShape, num_classes: int) -> None:
        """Make the network's layers. Raises ValueError for settings and clips that do not fit."""
        raise NotImplementedError

    @classmethod
    def load_from_checkpoint(cls, path: str | Path, **where: Any) -> VideoClassifier:
        """The network of a checkpoint, whichever strategy's it is, with its weights. `where` is `map_location=`.

        Raises ValueError for a file that is no checkpoint, and for one that does not say what it is of.
        """
        try:
            content = torch.load(path, weights_only=True, **{"map_location": "cpu"} | where)
        except OSError:
            raise
        except Exception as error:  # torch.load raises a kind of its own for every way in which a file can be wrong
            raise ValueError(f"{path}: no checkpoint, or cut short, or more than plain data") from error
        settings = content.get("hyper_parameters") if isinstance(content, dict) else None
        if not isinstance(settings, dict) or "name" not in settings:
            raise ValueError(
                f"{path}: does not say which network it is of; expected a VideoClassifier's, not of old code"
            )
        model = importlib.import_module("vidfusion.strategies").create(**settings)  # by name: strategies import this
        model.load_state_dict(content["state_dict"])
        return model

    @property
    def example_input_array(self) -> dict[str, Tensor]:
        """One clip of zeros, as `forward` takes it."""
        frames, fields, crop = self.clip.frames, self.clip.flow_frames, self.clip.crop
        shapes = {"rgb": (1, 3, frames, crop, crop), "flow": (1, 2, fields, crop, crop)}
        return {name: torch.zeros(shapes[name]) for name in self.modalities}

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows of a results table that this run fills: each stream, then all together (the empty name)."""
        return (*self.streams, "")

    # -- from a batch to loss and probabilities ----------------------------------------------------------------------

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The normalised floats that `forward` takes, on the batch's device: `rgb` (N, 3, T, H, W), and `flow`
        (N, 2, L, H, W) in pixels, from the batch's (N, T, H, W, 3) and (N, L, H, W, 2)."""
        inputs = {}
        if "rgb" in self.modalities:
            rgb = batch["rgb"].permute(0, 4, 1, 2, 3)  # a view, in channels_last_3d memory
            rgb = rgb.flip(1) if self.config.channel_order == "bgr" else rgb
            mean, std = (torch.tensor(x, device=rgb.device).view(-1, 1, 1, 1) for x in (self.net.mean, self.net.std))
            inputs["rgb"] = torch.sub(rgb, mean).div_(std)
        if "flow" in self.modalities:
            inputs["flow"] = batch["flow"].permute(0, 4, 1, 2, 3).float().sub_(128).mul_(self.clip.flow_bound / 127)
        return inputs

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

    def probabilities(self, logits: Tensor | dict[str, Tensor]) -> Tensor:
        """Class probabilities of each of `rows`, (N, R, C): one over predictions along time, the mean over streams."""
        streams = list(logits.values()) if isinstance(logits, dict) else [logits]
        scores = [logit.float().softmax(-1) for logit in streams]
        scores = [self.over_time(score) if score.ndim == 3 else score for score in scores]
        fused = torch.stack(scores).mean(0)
        if self.stream_weights:
            fused = sum(weight * score for weight, score in zip(self.stream_weights, scores, strict=True))
        return torch.stack([*(scores if self.streams else []), fused], 1)

    def over_time(self, scores: Tensor) -> Tensor:
        """One answer from probabilities along time, (N, S, C) -> (N, C): their mean."""
        return scores.mean(1)

    def step_gains(self, steps: int) -> Tensor | None:
        """How much the loss of each of `steps` predictions along time counts, (S,); None: all alike."""
        return None

    # -- training ----------------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Leave only the last `training.trained_layers` of each stream to be trained."""
        if layers := self.training_config.trained_layers:
            for part in [getattr(self, stream) for stream in self.streams] or [self]:
                freeze_all_but_last(part, layers)

    def on_train_epoch_start(self) -> None:
        """Frozen norms keep their statistics."""
        keep_frozen_statistics(self)

    on_train_start = on_train_epoch_start  # also where a stopped run goes on within an epoch

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> dict[str, Tensor]:
        """The loss of a batch; and its `scores` (N, C), of all streams together, and `target`, to be counted."""
        logits = self(**self.inputs(batch))
        loss = self.loss(logits, batch.get("drawn", batch["target"]))
        with torch.no_grad():
            scores = self.probabilities(logits)[:, -1]
        self.log("train/loss", loss, batch_size=len(scores), on_step=False, on_epoch=True, sync_dist=True)
        return {"loss": loss, "scores": scores, "target": batch["target"]}

    def configure_optimizers(self) -> dict:
        """The optimiser and per-step schedule that `training` describes."""
        return optimizer_and_schedule(self, self.training_config)

    # -- evaluation --------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Start with no votes."""
        self._views = ViewVotes()

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Score a batch of views. Raises ValueError for scores that are not finite."""
        scores = self.probabilities(self(**self.inputs(batch)))
        if not scores[batch["valid"]].isfinite().all():  # NaN is what a video that cannot be decoded has
            raise ValueError(
                f"the network's scores are not finite, so they are no result: its training has diverged; train again, "
                f"and {remedy(self.training_config)}"
            )
        scores[~batch["valid"]] = torch.nan
        fields = (batch["video"], batch["clip"], batch["center"], batch["target"], scores)
        self._views.add(Votes(*(field.cpu() for field in fields)))

    on_test_epoch_start, test_step = on_validation_epoch_start, validation_step

    def on_validation_epoch_end(self) -> None:
        """Log `val/{clip,video}_hit{1,5}`, and keep the clip scores of all processes in `validation_votes`."""
        clips = self._views.clips()
        self.validation_votes = of_all_processes(clips, self.trainer.world_size)
        votes = {"clip": clips, "video": clips.videos()}
        for name, metric in self.validation_metrics.items():
            level = votes[name.split("_")[0]]
            metric.update(level.scores[:, -1].to(self.device), level.target.to(self.device))
            value = metric.compute()
            if not value.isnan():
                self.log(f"val/{name}", value, sync_dist=True)  # the same on every process
            metric.reset()

    def on_test_epoch_end(self) -> None:
        """Keep the clip scores of all processes in `test_votes`, in the order of the test list."""
        self.test_votes = of_all_processes(self._views.clips(), self.trainer.world_size)
