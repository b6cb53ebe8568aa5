"""One run from settings to record: the only place where something is trained."""

from __future__ import annotations

import dataclasses
import errno
import multiprocessing
import time
import traceback
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from datamodules.datamodule import VideoDataModule
from datamodules.files import write_atomically
from datamodules.processes import available_cores
from experiments.records.files import read_record, writing_in
from experiments.records.lock import locked
from experiments.records.make import make_record, row_names
from experiments.records.provenance import code_hash
from experiments.records.record import Record
from experiments.records.scores import write_scores
from experiments.records.world import check_world
from experiments.settings.schema import RunConfig
from experiments.tracking.charts import log_film_strips, log_record
from experiments.tracking.mirror import tracked_run
from experiments.training.build import (
    check_accelerator,
    make_data,
    make_model,
    make_trainer,
    public_config,
    set_arithmetic,
)
from experiments.training.callbacks import Progress, StopAfter
from experiments.training.checkpoint import KeepCheckpoint, disk_problem
from experiments.training.folder import clean, keep, publish, unfinished
from experiments.training.progress import read_progress
from vidfusion.classifier import VideoClassifier

# A run that goes on within a validation has its counts of the epoch from the checkpoint.
warnings.filterwarnings("ignore", message="The ``compute`` method of metric")

DISK_PROBLEMS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
WAITING = 0.2  # share of the training above which waiting for clips is worth a line
CHECKPOINTS = 10  # per run: an interruption costs at most so small a part of the training


def run_point(run: RunConfig, force: bool = False) -> bool:
    """Train and test one network and write its record, unless a record of the same code and data is there.

    A run that was stopped goes on from its last checkpoint. A failure is raised again and leaves `error.txt` in the
    run's folder: one line, and for an unexpected error the traceback below. An earlier result stays until the new one
    is whole. Returns whether this process wrote the record: of several under DDP, the first does.

    Raises Busy where another process makes this run, and ValueError or OSError for wrong settings, files or data.
    """
    check_world(run.trainer.devices)
    with ExitStack() as stack:
        with writing_in(run.folder):
            stack.enter_context(locked(run.folder))
            clean(run.folder)
        try:
            return _train_and_test(run, force)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_PROBLEMS:  # of scores, the record or curves
                error = OSError(disk_problem(Path(error.filename or run.folder), error))
            expected = isinstance(error, ValueError | OSError)
            with suppress(OSError):  # the disk may be what is wrong
                write_atomically(run.folder / "error.txt", f"{error}\n" if expected else traceback.format_exc())
            raise error
        except BaseException:  # a signal asked it to stop
            _say_where_it_stopped(run)
            raise


def _train_and_test(run: RunConfig, force: bool) -> bool:
    """Prepare, decide whether to skip, to resume or to begin, then train, test, record and log."""
    check_accelerator(run)
    set_arithmetic(run)
    data = make_data(run)
    data.prepare_data()
    data.setup()
    if run.training.select == "best" and not data.validation_views.videos:
        raise ValueError("training.select=best needs a validation split: set data.validation, such as 0.2")
    model = make_model(run, data.lists.classes)
    ingredients = [code_hash(run), *data.fingerprints()]
    resume = not force and _can_resume(run, ingredients)
    if not (force or resume) and _is_finished(run, ingredients):
        return True
    _keep_stale_checkpoint(run, ingredients)
    model.provenance |= {
        "id": run.id,
        "made_of": ingredients,
        "steps": model.training_config.steps,
        "dataset": run.dataset_label,
        "split": run.data.split,
        "config": dataclasses.asdict(run),
    }
    with tracked_run(
        run.wandb,
        run_id=run.id,
        group=run.sweep or run.strategy,
        config=public_config(run),
        tags=[run.strategy, run.dataset_label, run.recipe],
        folder=Path(run.results),
        resume=resume,
    ) as logger:
        trainer = _fit(run, model, data, logger, resume)
        seconds = _test(run, trainer, model, data)
        if not trainer.is_global_zero:
            return False
        record = _write(run, model, data, seconds)
        publish(run.folder)
        _log(run, trainer, model, data, record, logger)
    _print_hits(record)
    return True


def _is_finished(run: RunConfig, ingredients: list[str]) -> bool:
    """Whether there is a record of this code and these data. Says what it finds."""
    record = read_record(run.folder)
    if record is None:
        return False
    if record.made_of == ingredients:
        print(f"{run.id}: finished before, skipped (--force runs it again)", flush=True)
        return True
    print(f"{run.id}: finished before with other code or data, so it runs again; that result is kept", flush=True)
    return False


def _can_resume(run: RunConfig, ingredients: list[str]) -> bool:
    """Whether there is a checkpoint of this code and these data. Says after which step it was written."""
    saved = read_progress(unfinished(run.folder) / "last.ckpt")
    if saved is None or saved.made_of != ingredients:
        return False
    print(f"{run.id}: goes on from its last checkpoint, after step {saved.step} of {saved.steps}", flush=True)
    return True


def _keep_stale_checkpoint(run: RunConfig, ingredients: list[str]) -> None:
    """Move the checkpoint of a stopped run aside if it was made with other code or data, and say so."""
    new = unfinished(run.folder)
    saved = read_progress(new / "last.ckpt")
    if saved is not None and saved.made_of != ingredients:
        aside = keep(new, saved.made_of, move=True)
        print(
            f"{run.id}: was stopped after step {saved.step} with other code or data, so it begins anew; "
            f"that checkpoint is kept in {aside}",
            flush=True,
        )


def _say_where_it_stopped(run: RunConfig) -> None:
    saved = read_progress(unfinished(run.folder) / "last.ckpt")
    where = f"after step {saved.step} of {saved.steps}" if saved else "before its first step; it begins from the start"
    print(f"{run.id}: stopped {where}", flush=True)


def _fit(
    run: RunConfig, model: VideoClassifier, data: VideoDataModule, logger: WandbLogger | None, resume: bool
) -> L.Trainer:
    """Train the model, which then has the weights that are tested. Returns its trainer."""
    steps, validated = model.training_config.steps, len(data.validation_views.videos) > 0
    epochs = -(-steps // data.steps_per_epoch(run.trainer.devices))
    often, folder = max(1, epochs // CHECKPOINTS), unfinished(run.folder)
    last = folder / "last.ckpt"
    callbacks: list[Callback] = [StopAfter(steps), Progress(run.id, steps, data.num_test_batches)]
    if validated:
        callbacks.append(
            ModelCheckpoint(folder, "best", monitor="val/video_hit1", mode="max", enable_version_counter=False)
        )
    trainer = make_trainer(
        run,
        run.folder,
        logger,
        [*callbacks, KeepCheckpoint(last, often, run.trainer.checkpoint_minutes)],
        max_epochs=epochs,
        check_val_every_n_epoch=often,
        limit_val_batches=1.0 if validated else 0,
    )
    trainer.fit(model, datamodule=data, ckpt_path=last if resume else None, weights_only=True)
    trainer.save_checkpoint(last)
    _advise(run, model.trained["waiting"] / model.trained["seconds"])
    if run.training.select == "best":
        best = torch.load(folder / "best.ckpt", weights_only=True, map_location=model.device)
        model.load_state_dict(best["state_dict"])
    return trainer


def _test(run: RunConfig, trainer: L.Trainer, model: VideoClassifier, data: VideoDataModule) -> float:
    """Score the held-out videos, if there are any, and the test videos. Returns the test's seconds."""
    if data.validation_views.videos:
        trainer.validate(model, datamodule=data, verbose=False)
    started = time.monotonic()
    trainer.test(model, datamodule=data, verbose=False)
    return time.monotonic() - started


def _write(run: RunConfig, model: VideoClassifier, data: VideoDataModule, test_seconds: float) -> Record:
    """Write the scores, then the record, which says that all is there. Returns the record."""
    record, rows = make_record(run, model, data, test_seconds), row_names(run, model)
    for name, votes, videos in (
        ("scores", model.test_votes, data.lists.test),
        ("validation", model.validation_votes, data.validation_views.videos),
    ):
        if votes is not None:
            paths, clusters = [video.path for video in videos], [data.dataset.cluster(video) for video in videos]
            write_scores(unfinished(run.folder) / f"{name}.npz", votes, rows, paths, clusters)
    record.write(unfinished(run.folder) / "record.json")
    return record


def _log(
    run: RunConfig,
    trainer: L.Trainer,
    model: VideoClassifier,
    data: VideoDataModule,
    record: Record,
    logger: WandbLogger | None,
) -> None:
    """Show the result in W&B."""
    kept = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    chosen = [saved for saved in kept if saved.best_model_score is not None]
    best = {saved.monitor: float(saved.best_model_score) for saved in chosen}
    videos = model.test_votes.videos()
    log_record(logger, record, data.lists.classes, videos.scores[:, -1].numpy(), videos.target.numpy(), best)
    log_film_strips(logger, run.wandb, data, model.test_votes)


def _print_hits(record: Record) -> None:
    for row in record.rows:
        shown = {"Clip Hit@1": row.metrics["test/clip_hit1"], "Video Hit@1": row.metrics["test/video_hit1"]}
        shown |= {f"within {family}": part.within_hit1 for family, part in row.families.items()}
        print(f"{row.name}: " + ", ".join(f"{name} {value:.1%}" for name, value in shown.items()), flush=True)


def _advise(run: RunConfig, waiting: float) -> None:
    """Print a line if much of the training was spent waiting for clips, and idle processors could load them."""
    idle = available_cores() - run.trainer.threads - run.trainer.workers
    beside_others = multiprocessing.parent_process() is not None and not torch.cuda.is_available()
    if waiting > WAITING and idle > 0 and not beside_others:
        more = f"try trainer.workers={run.trainer.workers + idle} (now {run.trainer.workers})"
        print(f"{run.id}: {waiting:.0%} of the training was spent waiting for clips; {more}", flush=True)
