"""One run from configuration to record: the only place where something is trained."""

from __future__ import annotations

import dataclasses
import json
import logging
import multiprocessing
import time
import traceback
import warnings
from contextlib import ExitStack
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from datamodules.files import write_atomically
from datamodules.processes import available_cores
from experiments.records.files import made_of, read_record
from experiments.records.lock import locked
from experiments.records.make import make_record, row_names
from experiments.records.provenance import code_hash
from experiments.records.scores import write_scores
from experiments.records.world import check_world
from experiments.settings.schema import RunConfig
from experiments.tracking.charts import log_film_strips, log_record
from experiments.tracking.mirror import tracked_run
from experiments.training.build import check_accelerator, make_data, make_model, make_trainer, public_config
from experiments.training.callbacks import Progress
from experiments.training.checkpoint import read_progress

# Lightning's advice on loggers, workers and folders says nothing about a run.
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module=r"lightning\.(pytorch|fabric)")
# Where results must be reproducible, PyTorch also fills every new tensor: a fifth of a step's time, for nothing.
torch.utils.deterministic.fill_uninitialized_memory = False

WAITING = 0.2  # share of the training above which waiting for clips is worth a line
CHECKPOINTS = 10  # per run: an interruption costs at most so small a part of the training


def run_point(run: RunConfig, force: bool = False) -> bool:
    """Train and test one network and write its record, unless a record of the same code and data is there.

    Returns whether this is the process that wrote it, of several under DDP.

    A run that was stopped goes on from its last checkpoint. A failure is raised again and leaves `error.txt` with the
    traceback in the run's folder. Raises Busy where another process makes this run, and ValueError or OSError for
    anything wrong with settings, files or data.
    """
    check_world(run.trainer.devices)
    folder = run.folder
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


def _train_and_test(run: RunConfig, folder: Path, force: bool) -> bool:
    check_accelerator(run)
    torch.set_num_threads(run.trainer.threads)
    data = make_data(run)
    data.prepare_data()
    data.setup()
    model = make_model(run, data.lists.classes)
    steps = model.training_config.steps
    ingredients = [code_hash(run), *data.fingerprints()]
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
