"""What stands beside a training's steps: stop on divergence, dropout's seeds, clocks, accuracy, checkpoints' notes."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from experiments.training.stopwatch import StepClock
from vidfusion.classifier import VideoClassifier
from vidfusion.metrics import HitAtK, PerClassHits
from vidfusion.nets.blocks import Classifier
from vidfusion.optimisation import highest_rate, remedy


def bookkeeping(seed: int) -> list[Callback]:
    """What every training has beside it."""
    return [StopOnDivergence(), DropoutSeeds(seed), TrainingClock(), TrainingAccuracy(), CheckpointNotes()]


class StopOnDivergence(Callback):
    """Raises ValueError at the step whose loss is not finite, or that leaves weights which are not.

    It says the rate that the classifier would have held, by the features of the training's first batch.

    On a GPU a step is looked at when the next one is done, so that the processor need not wait for it.
    """

    def on_train_start(self, trainer: L.Trainer, model: VideoClassifier) -> None:
        """Look at the weights that the training starts from."""
        self.last: tuple[int, Tensor, Tensor] | None = None
        if not _norm(model).isfinite():
            source = model.config.weights or model.config.pretrained or "the last checkpoint"
            raise ValueError(f"the weights of {source} are not finite, so nothing can be trained on them; give others")
        self.squares: list[float] = []  # of the features that each classifier reads
        heads = [layer for layer in model.modules() if isinstance(layer, Classifier)]
        self.hooks = [layer.register_forward_pre_hook(self._measure) for layer in heads]

    def _measure(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.squares.append(float(inputs[0].detach().float().square().sum(-1).mean()))

    def on_train_batch_end(
        self, trainer: L.Trainer, model: VideoClassifier, outputs: dict[str, Tensor], *_: Any
    ) -> None:
        """Note the step, and look at it or at the one before."""
        while self.hooks:
            self.hooks.pop().remove()
        before = self.last
        self.last = trainer.global_step, outputs["loss"].detach(), _norm(model)
        self._look(model, before if model.device.type == "cuda" else self.last)

    def on_train_epoch_end(self, trainer: L.Trainer, model: VideoClassifier) -> None:
        """Look at the last step, before a checkpoint is written."""
        self._look(model, self.last)

    def _look(self, model: VideoClassifier, noted: tuple[int, Tensor, Tensor] | None) -> None:
        if noted is None or (noted[1] + noted[2]).isfinite():
            return
        step, loss, _ = noted
        found = "the weights are not finite after" if loss.isfinite() else f"loss is {loss.item():g} at"
        highest = highest_rate(model.training_config, max(self.squares, default=0.0), model.num_classes)
        raise ValueError(f"{found} step {step}: {remedy(model.training_config, highest)}")


@torch.no_grad()
def _norm(model: VideoClassifier) -> Tensor:
    """Not finite where a weight or a running statistic is not."""
    statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    return get_total_norm([*model.parameters(), *statistics], norm_type=math.inf)


class DropoutSeeds(Callback):
    """Seeds dropout from (seed, step, process), so that a resumed run goes on as if it had never stopped.

    The epoch's start would be too early: a loader draws a number when it is opened, which is after that in a run's
    later epochs and before it in the first.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        """Seed the step."""
        seed = (self.seed * 1_000_003 + trainer.global_step) * 1009 + trainer.global_rank
        if model.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # the call below would note its stack, for a GPU
        else:
            torch.manual_seed(seed)


class TrainingClock(Callback):
    """Adds an epoch's seconds to `model.trained`: all of them, and those spent waiting for clips.

    A checkpoint within an epoch carries those of the epoch so far.
    """

    def __init__(self) -> None:
        self.before = {"seconds": 0.0, "waiting": 0.0}  # of this epoch, before the run was stopped
        self.clock: StepClock | None = None

    def on_train_start(self, trainer: L.Trainer, model: VideoClassifier) -> None:
        """Start the clocks also within an epoch, where a stopped run goes on."""
        self.started, self.clock = time.monotonic(), StepClock(model.device)

    def on_train_epoch_start(self, trainer: L.Trainer, model: VideoClassifier) -> None:
        """Start the clocks."""
        self.on_train_start(trainer, model)

    def on_train_batch_start(self, *_: Any) -> None:
        """The step's clips are there."""
        self.clock.step_starts()

    def on_train_batch_end(self, *_: Any) -> None:
        """The weights are updated."""
        self.clock.step_ends()

    def on_train_epoch_end(self, trainer: L.Trainer, model: VideoClassifier) -> None:
        """Log the share of the time that the epoch waited for clips."""
        waiting, working = self.clock.seconds()
        if working:  # no step, where a run goes on within a validation
            model.log("speed/waiting_share", waiting / (waiting + working), sync_dist=True)
        model.trained |= {name: model.trained[name] + value for name, value in self.state_dict().items()}
        self.before, self.clock = dict.fromkeys(self.before, 0.0), None

    def state_dict(self) -> dict[str, float]:
        """Seconds of the epoch so far; 0 between epochs."""
        if self.clock is None:
            return self.before
        own = {"seconds": time.monotonic() - self.started, "waiting": self.clock.seconds()[0]}
        return {name: value + own[name] for name, value in self.before.items()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up the epoch."""
        self.before = state


class TrainingAccuracy(Callback):
    """Adds an epoch's Hit@1 over its clips as they were drawn, and that of each class, to `model.trained`.

    A checkpoint within an epoch carries the counts so far, of all processes.
    """

    counted: dict[str, dict[str, Tensor]] | None = None

    def on_fit_start(self, trainer: L.Trainer, model: VideoClassifier) -> None:
        """Start to count, where the model is."""
        self.hit1, self.per_class = HitAtK(1).to(model.device), PerClassHits(model.num_classes).to(model.device)
        if self.counted and trainer.is_global_zero:
            for name, states in self.counted.items():
                for state, value in states.items():
                    setattr(getattr(self, name), state, value.to(model.device))
        self.counted = None

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """The counts of the epoch so far."""
        return {
            name: {state: _of_all(value) for state, value in getattr(self, name).metric_state.items()}
            for name in ("hit1", "per_class")
        }

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Take up the epoch."""
        self.counted = state

    def on_train_batch_end(
        self, trainer: L.Trainer, model: VideoClassifier, outputs: dict[str, Tensor], *_: Any
    ) -> None:
        """Count a batch."""
        for metric in (self.hit1, self.per_class):
            metric.update(outputs["scores"], outputs["target"])

    def on_train_epoch_end(self, trainer: L.Trainer, model: VideoClassifier) -> None:
        """Log the epoch's Hit@1."""
        model.trained |= {"clip_hit1": float(self.hit1.compute()), "per_class": self.per_class.compute().tolist()}
        model.log("train/clip_hit1", model.trained["clip_hit1"], sync_dist=True)
        self.hit1.reset()
        self.per_class.reset()


def _of_all(count: Tensor) -> Tensor:
    """A count's sum over all processes."""
    count = count.clone()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
    return count


class CheckpointNotes(Callback):
    """Adds to a checkpoint what a reader needs to know of the network, as plain data."""

    def on_save_checkpoint(self, trainer: L.Trainer, model: VideoClassifier, checkpoint: dict) -> None:
        """Where it comes from, and how its training went so far."""
        checkpoint["vidfusion"] = {"provenance": model.provenance, "trained": model.trained}

    def on_load_checkpoint(self, trainer: L.Trainer, model: VideoClassifier, checkpoint: dict) -> None:
        """Take up the count of training time and accuracy."""
        model.trained = checkpoint["vidfusion"]["trained"]
