"""A trained network's test again, or another test."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback

from datamodules.datamodule import VideoDataModule
from datamodules.processes import available_cores
from datamodules.text import printable
from experiments.records.files import read_record
from experiments.records.lock import locked
from experiments.records.make import make_record, row_names
from experiments.records.record import NetworkTest, Record, RunRow, digest
from experiments.records.scores import write_scores
from experiments.report.update import update
from experiments.settings.schema import RunConfig
from experiments.settings.words import parse
from experiments.tracking.charts import log_film_strips, log_record
from experiments.tracking.mirror import tracked_run
from experiments.trained.load import Trained, load_trained
from experiments.training.build import check_accelerator, make_data, make_trainer, public_config, set_arithmetic
from experiments.training.callbacks import Progress
from vidfusion.votes import Votes

# -- its test ----------------------------------------------------------------------------------------------------------


def test(checkpoint: Path, changes: Sequence[str], other_data: bool = False) -> int:
    """Do what `--test` says; returns 0. Raises ValueError or OSError for anything wrong with file, settings or data."""
    results = make_test(checkpoint, changes, other_data)
    return update(results).show() if results else 0


test.__test__ = False  # the name is not a test's


def make_test(checkpoint: Path, changes: Sequence[str], other_data: bool = False) -> Path | None:
    """Test a checkpoint; returns the folder of results whose tables that changes. Raises as `test` does."""
    trained = load_trained(checkpoint, changes, other_data)
    run, model = trained.run, trained.model
    _check_places(trained, changes)
    data = _open_data(trained, other_data)
    same = data.fingerprint() == trained.provenance["made_of"][1]
    if not same and not other_data:
        raise ValueError(
            f"data.root={run.data.root}: the data are not those that {trained.id} was trained on "
            f"(fingerprint {data.fingerprint()}, was {trained.provenance['made_of'][1]}), and it may know test videos "
            "from its training; set data.root, or add --other-data to test it there all the same"
        )
    print(f"{trained.id}: {checkpoint.name}, trained for {trained.steps} steps", flush=True)
    trainer = make_tester(run, Progress(trained.id, 0, data.num_test_batches))
    started = time.monotonic()
    trainer.test(model, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return None
    record = _record(trained, data, time.monotonic() - started, same)
    record.command = command_of(checkpoint, changes, other_data)
    for row in record.rows:
        print(f"{row.name}: {', '.join(f'{name} {value:.1%}' for name, value in _numbers(row).items())}")
    if same and not trained.changed:
        print(_compare(trained, record))
        return None
    _write(trained, data, record)
    if same:
        return Path(run.results)
    print("the data are not those that it was trained on, so the tables leave it out")
    return None


def command_of(checkpoint: Path, changes: Sequence[str], other_data: bool = False) -> str:
    """The command that makes a test."""
    words = ["--test", str(checkpoint), *changes, *["--other-data"] * other_data]
    return shlex.join(["python", "experiments/run.py", *words])


def _check_places(trained: Trained, changes: Sequence[str]) -> None:
    """Raise ValueError where the checkpoint alone names a place of the data, and nothing is there.

    It may come from another machine; generated videos would be written to that place.
    """
    given, own = parse(trained.provenance["config"]["overrides"]), parse(changes)
    for key in () if "dataset" in own else ("data.root", "data.lists"):
        if key not in own and (place := given.get(key)) and not Path(place).expanduser().exists():
            raise ValueError(f"{key}={printable(place)}: the checkpoint names it and it is not there; give {key}=")


def _open_data(trained: Trained, other_data: bool) -> VideoDataModule:
    """The data of the test, without what was only trained on beside them; with `other_data` of the same classes."""
    data = make_data(trained.run, [trained.run.data])
    if other_data:
        data.dataset.prepare(available_cores())  # before its lists are read
        own, theirs = trained.provenance["classes"], list(data.lists.classes)
        missing, unknown = ([name for name in a if name not in b] for a, b in ((own, theirs), (theirs, own)))
        if missing or unknown:
            parts = [("of the network's are not there", missing), ("are unknown to it", unknown)]
            found = "; ".join(f"{len(names)} {what}, first {printable(names[0])}" for what, names in parts if names)
            raise ValueError(f"--other-data: {len(theirs)} classes, the network has {len(own)}: {found}")
        if own != theirs:
            raise ValueError("--other-data: the classes are the network's, but in another order, so that scores differ")
    data.prepare_data()
    data.setup()
    return data


def make_tester(run: RunConfig, *callbacks: Callback) -> L.Trainer:
    """What scores views, set up as in training; it writes nothing. Raises ValueError for a GPU that is not there."""
    check_accelerator(run)
    set_arithmetic(run)
    return make_trainer(run, Path(run.results), None, list(callbacks), logger=False, enable_checkpointing=False)


def _record(trained: Trained, data: VideoDataModule, seconds: float, same: bool) -> Record:
    """The record of a test: a run's, but for what it is, which run's network it tests, and how."""
    run, provenance = trained.run, trained.provenance
    # Without the weights that it started from, whose file need not be there any more.
    record = make_record(replace(run, model=replace(run.model, weights=None)), trained.model, data, seconds)
    kind = "transfer" if not same else "test" if record.kind == "run" else record.kind
    of = {"run": provenance["id"], "checkpoint": trained.checkpoint.name, "changed": trained.changed}
    name = f"{run.strategy}-{run.dataset_label}-s{run.seed}-{kind}-{digest([of, data.fingerprint()])}"
    record.id, record.kind, record.settings = name, kind, digest([kind, record.settings, of["checkpoint"]])
    record.selection = "best on validation" if trained.checkpoint.name.startswith("best") else "last checkpoint"
    record.test = NetworkTest(**of, path=str(trained.checkpoint), steps=trained.steps, made_of=provenance["made_of"])
    record.data.fingerprints = provenance["made_of"][1:]
    assert record.config is not None
    record.config["model"]["weights"] = run.model.weights
    return record


def tested_by(own: str, trained_by: str) -> str:
    """The hash of the code of a test: of two, or the tables would take networks of different code for seeds of one."""
    return own if own == trained_by else digest([own, trained_by])


def _write(trained: Trained, data: VideoDataModule, record: Record) -> None:
    """Write the record and the scores of a changed test into a folder of its own, and log it to W&B. Raises Busy."""
    run, votes, lists = trained.run, trained.model.test_votes, data.lists
    record.code.hash = tested_by(record.code.hash, trained.provenance["made_of"][0])
    folder = Path(run.results) / "runs" / record.id
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        paths, clusters = [video.path for video in lists.test], [data.dataset.cluster(video) for video in lists.test]
        write_scores(folder / "scores.npz", votes, row_names(run, trained.model), paths, clusters)
        record.write(folder / "record.json")
        print(f"wrote {folder / 'record.json'}", flush=True)
        with tracked_run(
            run.wandb,
            run_id=record.id,
            group=run.sweep or run.strategy,
            config=public_config(run),
            tags=[run.strategy, run.dataset_label, record.kind],
            folder=Path(run.results),
            job_type="test",
        ) as logger:
            videos = votes.videos()
            log_record(logger, record, lists.classes, videos.scores[:, -1].numpy(), videos.target.numpy())
            log_film_strips(logger, run.wandb, data, votes)


def _numbers(row: RunRow) -> dict[str, float]:
    """What is printed of a row: the metrics of its test that say something, and each family's."""
    numbers = {name.removeprefix("test/"): value for name, value in row.metrics.items() if name.startswith("test/")}
    numbers |= {f"within {family}": part.within_hit1 for family, part in row.families.items()}
    return {name: value for name, value in numbers.items() if value is not None and not name.startswith("scored_")}


def _compare(trained: Trained, record: Record) -> str:
    """Whether a repeated test gives what the record beside the checkpoint says."""
    folder = trained.checkpoint.parent
    stored = read_record(folder)
    if stored is None or stored.id != trained.provenance["id"]:
        return f"{folder} holds no record of {trained.id}, so there is nothing to compare with"

    def numbers(of: Record) -> dict[str, float]:
        return {f"{row.name} {name}": value for row in of.rows for name, value in _numbers(row).items()}

    now, before = numbers(record), numbers(stored)
    differences = [
        f"{name} {now.get(name)}, there {before.get(name)}"
        for name in now | before
        if now.get(name) != before.get(name)
    ]
    apart = _apart(folder / "scores.npz", trained.model.test_votes)
    scores = f"clips' scores differ from them by up to {apart}" if apart else "all clips' scores equal them bit for bit"
    scores = "no scores to compare" if apart is None else scores
    if not differences:
        return f"every number equals the record's in {folder}; {scores}"
    why = {
        f"is of the {stored.selection}": stored.selection != record.selection,
        "was made by other code": stored.code.hash != record.code.hash,
        f"was made on {stored.device}": stored.device != record.device,
    }
    reasons = " and ".join(reason for reason, found in why.items() if found)
    where = f"{folder} (the record {reasons})" if reasons else f"{folder}"
    return f"{len(differences)} numbers differ from the record's in {where}: {'; '.join(differences)}; {scores}"


def _apart(path: Path, votes: Votes) -> float | None:
    """The largest difference to saved scores; None where there are none of the same clips."""
    if not path.exists():
        return None
    with np.load(path) as saved:
        before, now = saved["scores"], votes.scores.numpy()
    if before.shape != now.shape:
        return None
    apart = np.abs(before - now)
    apart[np.isnan(before) != np.isnan(now)] = np.inf
    return float(np.nan_to_num(apart, nan=0.0, posinf=np.inf).max())
