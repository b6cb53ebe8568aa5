"""What happens beside the network while it is trained: its end, and its progress shown."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

PAUSE = 0.5  # seconds between two words on how far a training is


class StopAfter(Callback):
    """Ends the training after a number of optimiser steps.

    Trainer(max_steps) does not: with it, a run resumed from the end of an epoch draws other clips than before.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop after the last step."""
        trainer.should_stop = trainer.global_step >= self.steps


class Progress(Callback):
    """Shows a bar at a terminal; elsewhere, or in a sweep, a line at each tenth with the time left.

    In a sweep, `tell(step, steps, loss)` is called every half second at most.
    """

    tell: ClassVar[Callable[[int, int, float], None] | None] = None

    def __init__(self, name: str, steps: int, test_batches: int) -> None:
        self.name, self.steps, self.test_batches = name, steps, test_batches

    def _make_bar(self, what: str, unit: str, total: int, initial: int = 0) -> tqdm:
        in_sweep = multiprocessing.parent_process() is not None
        return tqdm(
            total=total, initial=initial, desc=f"{what} {self.name}", unit=unit, disable=in_sweep or None, leave=False
        )

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Start the bar, and the clock of the lines."""
        self.started = self.told = time.monotonic()
        self.first = trainer.global_step
        self.bar = self._make_bar("train", "step", self.steps, self.first)

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Show the step."""
        step = trainer.global_step
        self.bar.update(step - self.bar.n)
        if self.tell is not None and (step == self.steps or time.monotonic() - self.told > PAUSE):
            self.tell(step, self.steps, outputs["loss"].item())
            self.told = time.monotonic()
        if self.bar.disable and step % max(1, self.steps // 10) == 0:
            left = (time.monotonic() - self.started) / (step - self.first) * (self.steps - step)
            loss = outputs["loss"].item()
            print(f"{self.name}: step {step} of {self.steps}, loss {loss:.3f}, about {left:.0f} s left", flush=True)

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_test_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Start the test's bar."""
        self.bar = self._make_bar("test", "batch", self.test_batches)
        if self.bar.disable:
            print(f"{self.name}: testing, {self.test_batches} batches of views", flush=True)

    def on_test_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        """Show the batch."""
        self.bar.update()

    def on_test_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()
