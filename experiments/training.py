"""One run from configuration to record: the only place where something is trained."""

from __future__ import annotations

import dataclasses
import json
import logging
import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from tqdm import tqdm

from datamodules.video import VideoDataModule, available_cores
from experiments.config import RunConfig
from experiments.record import (
    code_hash,
    made_of,
    make_record,
    read_progress,
    read_record,
    row_names,
    run_folder,
    write_scores,
)
from experiments.running import locked, write_atomically
from experiments.tracking import log_film_strips, log_record, tracked_run
from vidfusion.backbones import initialise
from vidfusion.classifier import VideoClassifier
from vidfusion.layers import training_multiply_adds
from vidfusion.weights import load_weights

# Lightning's advice on loggers, workers and folders says nothing about a run.
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module=r"lightning\.(pytorch|fabric)")
# Where results must be reproducible, PyTorch also fills every new tensor: a fifth of a step's time, for nothing.
torch.utils.deterministic.fill_uninitialized_memory = False

WAITING = 0.2  # share of the training above which waiting for clips is worth a line
CHECKPOINTS = 10  # per run: an interruption costs at most so small a part of the training


def make_data(run: RunConfig) -> VideoDataModule:
    """The run's clips; each of several processes takes its share of the batch."""
    return VideoDataModule(
        run.data,
        run.sampling,
        batch_size=run.training.batch_size // run.trainer.devices,
        test_batch_size=run.trainer.test_batch_size,
        workers=run.trainer.workers,
        seed=run.seed,
        auxiliary=run.auxiliary_data,
    )


def make_model(
    run: RunConfig, classes: Sequence[str], auxiliary_classes: Sequence[str] = (), trained: bool = False
) -> VideoClassifier:
    """The run's network with the weights it starts from: drawn from the run's seed, over these ImageNet's, over these
    `model.weights`; the latter two not where it is to get those of a `trained` one. Its `training_config.steps` are
    those that `training.multiply_adds` allows."""
    L.seed_everything(run.seed, verbose=False)
    model = run.strategy_class(run.model, run.clip_shape(), len(classes), run.training)
    model.seed = run.seed
    model.provenance = {"classes": list(classes), "pretrained": "none"}
    if run.training.init != "torch":
        initialise(model, run.training.init, model.input_channels)
    if run.model.pretrained and not trained:
        model.load_imagenet()
        model.provenance["pretrained"] = f"ImageNet ({model.net.backbone} {run.model.pretrained})"
    if run.model.weights and not trained:
        report = load_weights(model, Path(run.model.weights))
        model.provenance["pretrained"] = f"{Path(run.model.weights).name} ({report})"
    model.freeze()
    if auxiliary_classes:
        model.add_auxiliary(len(auxiliary_classes))
    if budget := run.training.multiply_adds:
        per_step = sum(training_multiply_adds(model).values()) * run.training.batch_size
        model.training_config = dataclasses.replace(run.training, steps=max(1, round(budget / per_step)))
    if run.trainer.channels_last:
        model.to(memory_format=torch.channels_last_3d)
    if run.trainer.compile:
        model.compile()
    return model


def make_trainer(
    run: RunConfig, folder: Path, wandb_logger: WandbLogger | None, callbacks: list[Callback], **settings: Any
) -> L.Trainer:
    """What trains and tests a run's network; its curves go to `folder`. `settings` are Lightning's own."""
    usual = {
        "accelerator": run.trainer.accelerator,
        "devices": run.trainer.devices,
        "strategy": "ddp" if run.trainer.devices > 1 else "auto",
        "precision": run.trainer.precision,
        "use_distributed_sampler": False,
        "gradient_clip_val": run.training.clip_norm or None,
        "num_sanity_val_steps": 0,
        "deterministic": "warn",  # some 3-D poolings have no deterministic form on a GPU
        "logger": [CSVLogger(folder, name="curves"), *([wandb_logger] if wandb_logger else [])],
        "callbacks": callbacks,
        "plugins": [_WholeCheckpoints()],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 10**9,  # epoch means only
        "default_root_dir": folder,
    }
    return L.Trainer(**usual | settings)


def run_point(run: RunConfig, force: bool = False) -> bool:
    """Train and test one network and write its record, unless a record of the same code and data is there.

    Returns whether this is the process that wrote it, of several under DDP.

    A run that was stopped goes on from its last checkpoint. A failure is raised again and leaves `error.txt` with the
    traceback in the run's folder. Raises Busy where another process makes this run, and ValueError or OSError for
    anything wrong with settings, files or data.
    """
    folder = run_folder(run)
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))
            for leftover in (folder / "error.txt", *folder.glob(".*")):  # and half a file of a process that was killed
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise OSError(
                f"results={run.results}: cannot write there ({error.strerror}); choose another results="
            ) from None
        try:
            return _train_and_test(run, folder, force)
        except Exception:
            write_atomically(folder / "error.txt", traceback.format_exc())
            raise


def check_accelerator(run: RunConfig) -> None:
    """Raise ValueError where a GPU is asked for and there is none."""
    if run.trainer.accelerator == "gpu" and not torch.accelerator.is_available():
        raise ValueError("trainer.accelerator=gpu: there is no GPU here; use trainer.accelerator=auto")


def _train_and_test(run: RunConfig, folder: Path, force: bool) -> bool:
    check_accelerator(run)
    torch.set_num_threads(run.trainer.threads)
    data = make_data(run)
    data.prepare_data()
    data.setup()
    model = make_model(run, data.lists.classes, data.auxiliary_classes)
    steps = model.training_config.steps
    ingredients = [code_hash(run), data.fingerprint(), data.auxiliary_fingerprint()]
    record = read_record(folder)
    if record is not None and not force:
        if made_of(record) == ingredients:
            print(f"{run.id}: finished before, skipped (--force runs it again)", flush=True)
            return True
        print(f"{run.id}: finished before with other code or data, so it runs again", flush=True)
    model.provenance |= {
        "id": run.id,
        "made_of": ingredients,
        "dataset": run.dataset_label,
        "split": run.data.split,
        "config": dataclasses.asdict(run),
    }
    last = folder / "last.ckpt"
    progress = read_progress(last)
    resume = not force and progress is not None and progress[0] == ingredients
    # Now, or the folder of a run that is stopped would say of it what was true of another.
    for old in ("record.json", "scores.npz", "validation.npz", *(() if resume else ("last.ckpt", "best.ckpt"))):
        (folder / old).unlink(missing_ok=True)
    if resume:
        print(f"{run.id}: goes on from its last checkpoint", flush=True)

    with tracked_run(
        run.wandb,
        run_id=run.id,
        group=run.sweep or run.strategy,
        config=public_config(run),
        tags=[run.strategy, run.dataset_label, run.recipe],
        folder=Path(run.results),
        resume=resume,
    ) as wandb_logger:
        epochs = -(-steps // data.steps_per_epoch(run.trainer.devices))
        often = max(1, epochs // CHECKPOINTS)
        callbacks: list[Callback] = [Progress(run.id, steps, data.num_test_batches)]
        if data.validation_views.videos:
            callbacks.append(
                ModelCheckpoint(folder, "best", monitor="val/video_hit1", mode="max", enable_version_counter=False)
            )
        callbacks.append(  # after the best, which it remembers
            ModelCheckpoint(
                folder, "last", every_n_epochs=often, save_on_train_epoch_end=True, enable_version_counter=False
            )
        )
        trainer = make_trainer(
            run,
            folder,
            wandb_logger,
            callbacks,
            max_epochs=epochs,
            check_val_every_n_epoch=often,
            limit_val_batches=1.0 if data.validation_views.videos else 0,
        )
        trainer.fit(model, datamodule=data, ckpt_path=last if resume else None, weights_only=True)
        trainer.save_checkpoint(last)
        _advise(run, model.trained["waiting"] / model.trained["seconds"])
        if run.training.select == "best":
            best = torch.load(folder / "best.ckpt", weights_only=True, map_location=model.device)
            model.load_state_dict(best["state_dict"])
        if data.validation_views.videos:
            trainer.validate(model, datamodule=data, verbose=False)
        started = time.monotonic()
        trainer.test(model, datamodule=data, verbose=False)
        if not trainer.is_global_zero:
            return False
        record = make_record(run, model, data, time.monotonic() - started)
        rows = row_names(run, model)
        for name, votes, videos in (
            ("scores", model.test_votes, data.lists.test),
            ("validation", model.validation_votes, data.validation_views.videos),
        ):
            if votes is not None:
                paths, clusters = [video.path for video in videos], [data.dataset.cluster(video) for video in videos]
                write_scores(folder / f"{name}.npz", votes, rows, paths, clusters)
        votes = model.test_votes.videos()
        write_atomically(folder / "record.json", json.dumps(record, indent=1))
        chosen = [saved for saved in trainer.checkpoint_callbacks if saved.best_model_score is not None]
        best = {saved.monitor: float(saved.best_model_score) for saved in chosen}
        log_record(wandb_logger, record, data.lists.classes, votes.scores[:, -1].numpy(), votes.target.numpy(), best)
        log_film_strips(wandb_logger, run.wandb, data, model.test_votes)
    for row in record["rows"]:
        shown = {"Clip Hit@1": row["metrics"]["test/clip_hit1"], "Video Hit@1": row["metrics"]["test/video_hit1"]}
        shown |= {family: part["video_hit1"] for family, part in row["families"].items()}
        print(f"{row['name']}: " + ", ".join(f"{name} {value:.1%}" for name, value in shown.items()), flush=True)
    return True


def _advise(run: RunConfig, waiting: float) -> None:
    """One line if a large share of the training was spent waiting for clips, and processors are there to load them."""
    idle = available_cores() - run.trainer.threads - run.trainer.workers
    beside_others = multiprocessing.parent_process() is not None and not torch.cuda.is_available()
    if waiting > WAITING and idle > 0 and not beside_others:
        more = f"try trainer.workers={run.trainer.workers + idle} (now {run.trainer.workers})"
        print(f"{run.id}: {waiting:.0%} of the training was spent waiting for clips; {more}", flush=True)


def public_config(run: RunConfig) -> dict[str, Any]:
    """The configuration as W&B shows it: without the paths of this machine."""
    config = dataclasses.asdict(run)
    for name in ("results", "overrides"):
        config.pop(name)
    for data in filter(None, (config["data"], config["auxiliary_data"])):
        for name in ("root", "stores", "lists", "manifest"):
            data.pop(name, None)
    if run.model.weights:
        config["model"]["weights"] = Path(run.model.weights).name
    return config


class _WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are replaced in one step. Lightning's own are moved from the system's temporary folder, which is
    a copy, and can be cut short, where that is another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a whole file or nothing."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        torch.save(checkpoint, temporary)
        os.replace(temporary, path)


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
