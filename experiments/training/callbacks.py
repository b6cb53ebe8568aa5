"""The progress of a training, shown."""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm


class Progress(Callback):
    """A bar at a terminal; else, or beside other points of a sweep, a line at each tenth with the time left."""

    def __init__(self, name: str, steps: int, test_batches: int) -> None:
        self.name, self.steps, self.test_batches = name, steps, test_batches

    def _make_bar(self, what: str, unit: str, total: int, initial: int = 0) -> tqdm:
        in_sweep = multiprocessing.parent_process() is not None
        return tqdm(
            total=total, initial=initial, desc=f"{what} {self.name}", unit=unit, disable=in_sweep or None, leave=False
        )

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Start the bar, or the clock of the lines."""
        self.started, self.first = time.monotonic(), trainer.global_step
        self.bar = self._make_bar("train", "step", self.steps, self.first)

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Show the step, and stop after the last one."""
        step = trainer.global_step
        # Not Trainer(max_steps): with it, a run resumed from the end of an epoch draws other clips than before.
        trainer.should_stop = step >= self.steps
        self.bar.update(step - self.bar.n)
        if self.bar.disable and step % max(1, self.steps // 10) == 0:
            left = (time.monotonic() - self.started) / (step - self.first) * (self.steps - step)
            loss = outputs["loss"].item()
            print(f"{self.name}: step {step} of {self.steps}, loss {loss:.3f}, about {left:.0f} s left", flush=True)

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_test_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Start another one."""
        self.bar = self._make_bar("test", "batch", self.test_batches)
        if self.bar.disable:
            print(f"{self.name}: testing, {self.test_batches} batches of views", flush=True)

    def on_test_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        """Show the batch."""
        self.bar.update()

    def on_test_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()
