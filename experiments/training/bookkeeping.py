"""What stands beside a training's steps: dropout's seeds, clocks, accuracy, and what checkpoints carry."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from experiments.training.stopwatch import StepClock
from vidfusion.classifier import VideoClassifier
from vidfusion.metrics import HitAtK, PerClassHits


def bookkeeping(seed: int) -> list[Callback]:
    """What every training has beside it."""
    return [DropoutSeeds(seed), TrainingClock(), TrainingAccuracy(), CheckpointNotes()]


class DropoutSeeds(Callback):
    """Seeds dropout from (seed, step, process), so that a resumed run goes on as if it had never stopped.

    The epoch's start would be too early: a loader draws a number when it is opened, which is after that in a run's
    later epochs and before it in the first.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        """Seed the step."""
        torch.manual_seed((self.seed * 1_000_003 + trainer.global_step) * 1009 + trainer.global_rank)


class TrainingClock(Callback):
    """Adds an epoch's seconds to `model.trained`: all of them, and those spent waiting for clips."""

    def on_train_epoch_start(self, trainer: L.Trainer, model: VideoClassifier) -> None:
        """Start the clocks."""
        self.started, self.clock = time.monotonic(), StepClock(model.device)

    def on_train_batch_start(self, *_: Any) -> None:
        """The step's clips are there."""
        self.clock.step_starts()

    def on_train_batch_end(self, *_: Any) -> None:
        """The weights are updated."""
        self.clock.step_ends()

    def on_train_epoch_end(self, trainer: L.Trainer, model: VideoClassifier) -> None:
        """Log the share of the time that the epoch waited for clips."""
        waiting, working = self.clock.seconds()
        model.log("speed/waiting_share", waiting / (waiting + working), sync_dist=True)
        seconds = {"seconds": time.monotonic() - self.started, "waiting": waiting}
        model.trained |= {name: model.trained[name] + value for name, value in seconds.items()}


class TrainingAccuracy(Callback):
    """Adds an epoch's Hit@1 over its clips as they were drawn, and that of each class, to `model.trained`."""

    def on_fit_start(self, trainer: L.Trainer, model: VideoClassifier) -> None:
        """Start to count, where the model is."""
        self.hit1, self.per_class = HitAtK(1).to(model.device), PerClassHits(model.num_classes).to(model.device)

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


class CheckpointNotes(Callback):
    """Adds to a checkpoint what a reader needs to know of the network, as plain data."""

    def on_save_checkpoint(self, trainer: L.Trainer, model: VideoClassifier, checkpoint: dict) -> None:
        """Where it comes from, and how its training went so far."""
        checkpoint["vidfusion"] = {"provenance": model.provenance, "trained": model.trained}

    def on_load_checkpoint(self, trainer: L.Trainer, model: VideoClassifier, checkpoint: dict) -> None:
        """Take up the count of training time and accuracy."""
        model.trained = checkpoint["vidfusion"]["trained"]
