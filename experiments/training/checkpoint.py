"""Checkpoints that are whole, and when they are written."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from datamodules.files import replaced
from experiments.training.bookkeeping import StopOnDivergence


class KeepCheckpoint(Checkpoint):
    """Writes a checkpoint every few epochs, every few minutes, and when a signal asks the process to stop.

    A signal waits for the end of the step or batch that is under way. The checkpoint is then written, and the signal
    goes on to whoever handled it before. A second signal does not wait. A run that was stopped during a validation
    begins that validation anew. Only a validation after the training's last step is waited for.

    As a `Checkpoint` it comes after all other callbacks, and in the order in which these are given.
    """

    def __init__(self, path: Path, every_epochs: int, minutes: float) -> None:
        self.path, self.every_epochs, self.seconds = path, every_epochs, 60 * minutes
        self.received: int | None = None
        self.handlers: dict[int, Any] = {}

    def on_train_start(self, *_: Any) -> None:
        """Start the clock, and take the signals."""
        self.written, self.process, self.received = time.monotonic(), os.getpid(), None
        if threading.current_thread() is threading.main_thread():  # only there can signals be taken
            self.handlers = {signum: signal.signal(signum, self._receive) for signum in (signal.SIGINT, signal.SIGTERM)}

    def _receive(self, signum: int, frame: Any) -> None:
        if os.getpid() == self.process and self.received is None:
            self.received = signum
        else:  # a process that loads clips, or someone who insists
            self._give_back()
            signal.raise_signal(signum)

    def _give_back(self) -> None:
        for signum, handler in self.handlers.items():
            signal.signal(signum, handler)
        self.handlers = {}

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        """Write within an epoch. At an epoch's last step, `on_train_epoch_end` does."""
        if not (trainer.is_last_batch or trainer.should_stop):
            self._write(trainer, model, due=False)

    def on_train_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Write at an epoch's end."""
        self._write(trainer, model, due=(trainer.current_epoch + 1) % self.every_epochs == 0)

    def on_validation_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        """Write within a validation, where a signal asks for it."""
        if trainer.state.fn != "fit" or trainer.should_stop:  # stopped there, Lightning would leave the validation out
            return
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            progress.reset()  # as within the first batch, which Lightning then begins again
            progress.increment_ready()
            progress.increment_started()
            self._write(trainer, model, due=True)

    def _write(self, trainer: L.Trainer, model: L.LightningModule, due: bool) -> None:
        due = due or self.received is not None or time.monotonic() - self.written > self.seconds
        if trainer.strategy.reduce_boolean_decision(due, all=False):  # the same on every process
            for callback in trainer.callbacks:
                if isinstance(callback, StopOnDivergence):  # which may look at a step only after the next one
                    callback.on_train_epoch_end(trainer, model)
            trainer.save_checkpoint(self.path)
            self.written = time.monotonic()
        if (signum := self.received) is not None:
            self._give_back()
            signal.raise_signal(signum)

    def on_train_end(self, *_: Any) -> None:
        """Give the signals back."""
        self._give_back()

    def on_exception(self, *_: Any) -> None:
        """Give the signals back."""
        self._give_back()


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are replaced in one step.

    Lightning moves its own from the system's temporary folder. Where that is another disk, it is a copy, which can be
    cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a whole file or nothing. Raises OSError with the file and what it needs."""
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replaced(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # of a full disk, PyTorch makes a RuntimeError
            tensors = checkpoint["state_dict"].values()
            need = 3 * sum(tensor.numel() * tensor.element_size() for tensor in tensors)  # with two states of AdamW
            raise OSError(disk_problem(path, error, need)) from None


def disk_problem(path: Path, error: Exception, need: int = 0) -> str:
    """One line: the file that cannot be written, why, what it needs, and what to do."""
    free = shutil.disk_usage(next(place for place in path.absolute().parents if place.is_dir())).free
    why = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    space = f"about {need / 2**20:.0f} MB, " * bool(need) + f"{free / 2**20:.0f} MB are free"
    return f"{path}: cannot be written ({why}; {space}); make room or choose another results=, then run it again"
