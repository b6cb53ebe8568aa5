"""A run's clips, network and trainer, built from its settings."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from datamodules.datamodule import VideoDataModule
from datamodules.datasets.base import Dataset
from datamodules.multi_task import MultiTaskDataModule
from experiments.records.world import environment
from experiments.settings.schema import RunConfig
from experiments.training.bookkeeping import bookkeeping
from experiments.training.checkpoint import WholeCheckpoints
from vidfusion.classifier import VideoClassifier
from vidfusion.layer_table import training_multiply_adds
from vidfusion.nets.choice import load_imagenet
from vidfusion.optimisation import initialise
from vidfusion.weights import load_weights


def make_data(run: RunConfig, datasets: Sequence[Dataset] | None = None) -> VideoDataModule:
    """The clips of some data sets, the first of which is tested on (none given: all that the run is trained on).

    Each of several processes takes its share of the batch.
    """
    datasets = datasets or run.datasets()
    module = VideoDataModule if len(datasets) == 1 else MultiTaskDataModule
    return module(
        *datasets,
        spec=run.sampling,
        batch_size=run.training.batch_size // run.trainer.devices,
        test_batch_size=run.trainer.test_batch_size,
        workers=run.trainer.workers,
        seed=run.seed,
    )


def make_model(run: RunConfig, classes: Sequence[str], trained: bool = False) -> VideoClassifier:
    """The run's network with the weights it starts from: drawn from the run's seed, over these ImageNet's, over these
    `model.weights`; the latter two not where it is to get those of a `trained` one. Its `training_config.steps` are
    those that `training.multiply_adds` allows."""
    L.seed_everything(run.seed, verbose=False)
    model = run.strategy_class(run.model, run.clip_shape(), len(classes), run.training)
    model.provenance = {"classes": list(classes), "pretrained": "none"}
    if run.training.init != "torch":
        initialise(model, run.training.init, model.net.init, model.input_channels)
    if run.model.pretrained and not trained:
        load_imagenet(model, run.model.pretrained)
        model.provenance["pretrained"] = f"ImageNet ({model.net.backbone} {run.model.pretrained})"
    if run.model.weights and not trained:
        report = load_weights(model, Path(run.model.weights))
        model.provenance["pretrained"] = f"{Path(run.model.weights).name} ({report})"
    model.freeze()
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
    # Lightning's advice on loggers, workers and folders says nothing about a run.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.(pytorch|fabric)")
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
        "callbacks": [*bookkeeping(run.seed), *callbacks],
        "plugins": [WholeCheckpoints(), environment()],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 10**9,  # epoch means only
        "default_root_dir": folder,
    }
    return L.Trainer(**usual | settings)


def set_arithmetic(run: RunConfig) -> None:
    """Set this process's threads, and how exactly a GPU multiplies."""
    torch.set_num_threads(run.trainer.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = run.trainer.tf32
    # Where results must be reproducible, PyTorch also fills every new tensor: a fifth of a step's time, for nothing.
    torch.utils.deterministic.fill_uninitialized_memory = False


def check_accelerator(run: RunConfig) -> None:
    """Raise ValueError where a GPU is asked for and there is none."""
    if run.trainer.accelerator == "gpu" and not torch.accelerator.is_available():
        raise ValueError("trainer.accelerator=gpu: there is no GPU here; use trainer.accelerator=auto")


def public_config(run: RunConfig) -> dict[str, Any]:
    """The configuration as W&B shows it: without the paths of this machine."""
    config = dataclasses.asdict(run)
    for name in ("results", "overrides"):
        config.pop(name)
    for data in (config["data"], config["model"].get("second_data", {})):
        for name in ("root", "stores", "lists", "manifest"):
            data.pop(name, None)
    if run.model.weights:
        config["model"]["weights"] = "private" if run.wandb.private else Path(run.model.weights).name
    return config
