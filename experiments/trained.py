"""A trained network out of its checkpoint: its test again, another test, or its answers to any video.

    python experiments/run.py --test CHECKPOINT [key=value ...] [--other-data]
    python experiments/run.py --predict CHECKPOINT VIDEO ... [key=value ...] [--json]

The settings are those of the checkpoint; only such as belong to the test can be changed. A changed test has a record of
its own, of kind `test`, or `transfer` on other data than the network's own, which no table shows.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import re
import shlex
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image, PngImagePlugin

from datamodules.building import build_store
from datamodules.lists import DataError, Video
from datamodules.video import TestViews, VideoDataModule, available_cores, tracks
from experiments.config import WORDS, RunConfig, compose, flat, is_place, parse
from experiments.ensembles import digest, update_tables
from experiments.pictures import film_strip, middle_frames
from experiments.record import make_record, read_record, row_names, write_scores
from experiments.running import locked, write_atomically
from experiments.tracking import log_film_strips, log_record, tracked_run
from experiments.training import Progress, check_accelerator, make_data, make_model, public_config
from vidfusion.classifier import VideoClassifier
from vidfusion.metrics import Votes, top_k

# Settings that a test may change: no others leave the network what it is and the videos those that it has not seen.
OF_THE_TEST = ("sampling.test_", "trainer.", "wandb.", "results", "data.root", "data.stores", "data.max_store")
# What a network sees of videos, and what was held out, which stay as they were in training where the data are others.
KEPT = ("data.flow.", "data.store_fps", "data.mirror", "data.validation", "data.fold")
# Of a checkpoint's settings of W&B, those that send less: what is sent to whom is not its to say.
KEPT_OF_WANDB = ("wandb.private=", "wandb.mode=disabled", "wandb.mode=offline")
LINES = 30  # of the answer over time that are printed
NAME_BYTES = 200  # of a video's name in that of its picture: systems take 255 with all that is added


@dataclass(frozen=True)
class Trained:
    """A network as it came out of its training.

    run:        its settings, with those of the test that were changed
    provenance: what the checkpoint says of its training: `id` of the run, `classes`, `made_of`, ...
    steps:      optimiser steps that it was trained for
    changed:    the settings that are not as they were in training, by dotted name, but for places
    """

    checkpoint: Path
    run: RunConfig
    model: VideoClassifier
    provenance: dict[str, Any]
    steps: int
    changed: dict[str, Any]

    @cached_property
    def id(self) -> str:
        """The id of its run, as it can be printed."""
        return _printable(self.provenance["id"])

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes in the order of its scores, as they can be printed."""
        return [_printable(name) for name in self.provenance["classes"]]


def load_trained(checkpoint: Path, changes: Sequence[str] = (), other_data: bool = False) -> Trained:
    """The network of a checkpoint, with `key=value` changes to its test, and with `other_data` to its data.

    Neither the data set nor the weights that training began with need to be there. Raises ValueError for a file that is
    no checkpoint of this suite or does not fit its code, and for a change that is none of the test.
    """
    content = _read(checkpoint)
    provenance = content["vidfusion"]["provenance"]
    run = _composed(provenance, checkpoint, changes, other_data)
    state = content["state_dict"]
    auxiliary = next((len(tensor) for name, tensor in state.items() if name.endswith("auxiliary.weight")), 0)
    model = make_model(run, provenance["classes"], [""] * auxiliary, trained=True)
    _check_sizes(checkpoint, model.state_dict(), state)
    model.load_state_dict(state)
    model.provenance, model.trained = provenance, content["vidfusion"]["trained"]
    before = flat(provenance["config"])
    now = {name: value for name, value in flat(dataclasses.asdict(run)).items() if not is_place(name)}
    changed = {name: value for name, value in now.items() if before.get(name, value) != value}
    return Trained(checkpoint, run, model.eval(), provenance, content["global_step"], changed)


def _read(checkpoint: Path) -> dict[str, Any]:
    """What is in a checkpoint of this suite. Raises ValueError for any other file."""
    if not checkpoint.is_file():
        found = "is a folder" if checkpoint.is_dir() else "no such file"
        raise ValueError(f"{checkpoint}: {found}; expected a checkpoint, such as results/runs/<id>/last.ckpt")
    expected = "expected a checkpoint of this suite, such as results/runs/<id>/last.ckpt"
    if not zipfile.is_zipfile(checkpoint):
        raise ValueError(f"{checkpoint}: no checkpoint, or one that is cut short; {expected}")
    try:
        content = torch.load(checkpoint, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        held = f"holds {named[1]}, which is no plain data" if named else "does not hold plain data"
        raise ValueError(f"{checkpoint}: not loaded, because it {held}; {expected}") from None
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{checkpoint}: cannot be read ({str(error).splitlines()[0]}); {expected}") from None
    if not _is_whole(content):
        keys = ", ".join(list(map(str, content))[:5]) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{checkpoint}: does not say which run it is of (found {keys}); {expected}; weights alone are taken by "
            "model.weights= of a new run"
        )
    return content


def _is_whole(content: Any) -> bool:
    """Whether everything is there, and of its kind, that is read of a checkpoint."""
    match content:
        case {
            "state_dict": dict(state),
            "global_step": int(),
            "vidfusion": {
                "trained": dict(),
                "provenance": {
                    "id": str(),
                    "classes": list(classes),
                    "made_of": [str(), str(), str()],
                    "pretrained": str(),
                    "dataset": str(),
                    "split": int(),
                    "config": {"strategy": str(), "dataset": str(), "overrides": list(overrides)},
                },
            },
        }:
            named = all(isinstance(name, str) for name in (*state, *classes, *overrides))
            return named and all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    return False


def _composed(provenance: dict[str, Any], checkpoint: Path, changes: Sequence[str], other_data: bool) -> RunConfig:
    """The settings of a checkpoint's run with some changed. What presets say now does not matter: the checkpoint holds.

    Raises ValueError for a change that does not exist or is not allowed.
    """
    config, changed = provenance["config"], parse(list(changes))
    of_data = [key for key in changed if key == "dataset" or key.startswith("data.")]
    for key in of_data:
        if not other_data and not key.startswith(OF_THE_TEST):
            raise ValueError(
                f"{key}={changed[key]}: the network was trained on {_printable(provenance['dataset'])}, split "
                f"{provenance['split']}, and may know test videos of others from its training; add --other-data to "
                "test it there all the same"
            )
    words = [f"{word}={config[word]}" for word in (*WORDS, "sweep") if config.get(word) not in ("none", "", None)]
    own = [w for w in config["overrides"] if not w.startswith("wandb.") or w.startswith(KEPT_OF_WANDB)]
    own = [word for word in own if not ("dataset" in changed and word.startswith("data.")) or word.startswith(KEPT)]
    runs = checkpoint.absolute().parent.parent
    results = runs.parent if runs.name == "runs" else "results"
    words = [*words, *own, f"results={os.path.relpath(results)}", *changes]
    run = compose(words)
    for key in changed:
        if key not in of_data and not key.startswith(OF_THE_TEST):
            raise ValueError(
                f"{key}={changed[key]}: belongs to the training, which is over; a test can change "
                f"{', '.join(name + '*' * name.endswith(('_', '.')) for name in OF_THE_TEST)}"
            )
    now = flat(dataclasses.asdict(run))
    held = {
        name: value
        for name, value in flat(config).items()
        if not (
            is_place(name) or name in changed or (of_data and name.startswith("data.") and not name.startswith(KEPT))
        )
    }
    drifted = [f"{name}={json.dumps(value)}" for name, value in held.items() if now.get(name) != value]
    return compose([*words, *drifted]) if drifted else run


def _check_sizes(checkpoint: Path, own: dict[str, torch.Tensor], loaded: dict[str, torch.Tensor]) -> None:
    """Raise ValueError where a state dict is not that of the network."""
    other = [
        f"{name} of {tuple(loaded[name].shape)}, here {tuple(own[name].shape)}"
        for name in sorted(own.keys() & loaded.keys())
        if loaded[name].shape != own[name].shape
    ]
    other += [f"{name}, unknown here" for name in sorted(loaded.keys() - own.keys())]
    other += [f"no {name}" for name in sorted(own.keys() - loaded.keys())]
    if other:
        raise ValueError(
            f"{checkpoint}: its weights do not fit the network that its settings describe, in {len(other)} tensors, "
            f"first {other[0]}; use the code that it was made by"
        )


# -- its test ----------------------------------------------------------------------------------------------------------


def test(checkpoint: Path, changes: Sequence[str], other_data: bool = False) -> int:
    """Do what `--test` says; returns 0. Raises ValueError or OSError for anything wrong with file, settings or data."""
    trained = load_trained(checkpoint, changes, other_data)
    run, model = trained.run, trained.model
    data = _open_data(trained, other_data)
    same = data.fingerprint() == trained.provenance["made_of"][1]
    if not same and not other_data:
        raise ValueError(
            f"data.root={run.data.root}: the data are not those that {trained.id} was trained on "
            f"(fingerprint {data.fingerprint()}, was {trained.provenance['made_of'][1]}), and it may know test videos "
            "from its training; set data.root, or add --other-data to test it there all the same"
        )
    print(f"{trained.id}: {checkpoint.name}, trained for {trained.steps} steps", flush=True)
    trainer = _tester(run, Progress(trained.id, 0, data.num_test_batches))
    started = time.monotonic()
    trainer.test(model, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return 0
    record = _record(trained, data, time.monotonic() - started, same)
    record["command"] = shlex.join(
        ["python", "experiments/run.py", "--test", str(checkpoint), *changes, *["--other-data"] * other_data]
    )
    for row in record["rows"]:
        print(f"{row['name']}: {', '.join(f'{name} {value:.1%}' for name, value in _numbers(row).items())}")
    if same and not trained.changed:
        print(_compare(trained, record))
        return 0
    _write(trained, data, record)
    if same:
        for path in update_tables(Path(run.results)):
            print(f"wrote {path}")
    else:
        print("the data are not those that it was trained on, so the tables leave it out")
    return 0


test.__test__ = False  # the name is not a test's


def _open_data(trained: Trained, other_data: bool) -> VideoDataModule:
    """The data of the test, without what was only trained on beside them; with `other_data` of the same classes."""
    data = make_data(replace(trained.run, auxiliary_data=None))
    if other_data:
        data.dataset.prepare(available_cores())  # before its lists are read
        own, theirs = trained.provenance["classes"], list(data.lists.classes)
        missing, unknown = ([name for name in a if name not in b] for a, b in ((own, theirs), (theirs, own)))
        if missing or unknown:
            parts = [("of the network's are not there", missing), ("are unknown to it", unknown)]
            found = "; ".join(f"{len(names)} {what}, first {_printable(names[0])}" for what, names in parts if names)
            raise ValueError(f"--other-data: {len(theirs)} classes, the network has {len(own)}: {found}")
        if own != theirs:
            raise ValueError("--other-data: the classes are the network's, but in another order, so that scores differ")
    data.prepare_data()
    data.setup()
    return data


def _tester(run: RunConfig, *callbacks: L.Callback) -> L.Trainer:
    """What scores views, set up as in training. Raises ValueError for a GPU that is not there."""
    check_accelerator(run)
    torch.set_num_threads(run.trainer.threads)
    return L.Trainer(
        accelerator=run.trainer.accelerator,
        devices=run.trainer.devices,
        strategy="ddp" if run.trainer.devices > 1 else "auto",
        precision=run.trainer.precision,
        use_distributed_sampler=False,
        deterministic="warn",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _record(trained: Trained, data: VideoDataModule, seconds: float, same: bool) -> dict[str, Any]:
    """The record of a test: a run's, but for what it is, which run's network it tests, and how."""
    run, provenance = trained.run, trained.provenance
    # Without the weights that it started from, whose file need not be there any more.
    record = make_record(replace(run, model=replace(run.model, weights=None)), trained.model, data, seconds)
    kind = "transfer" if not same else "test" if record["kind"] == "run" else record["kind"]
    of = {"run": provenance["id"], "checkpoint": trained.checkpoint.name, "changed": trained.changed}
    name = f"{run.strategy}-{run.dataset_label}-s{run.seed}-{kind}-{digest([of, data.fingerprint()])}"
    record |= {"id": name, "kind": kind, "settings": digest([kind, record["settings"], of["checkpoint"]])}
    record["selection"] = "best on validation" if trained.checkpoint.name.startswith("best") else "last checkpoint"
    record["test"] = of | {"path": str(trained.checkpoint), "steps": trained.steps, "made_of": provenance["made_of"]}
    record["data"]["auxiliary_fingerprint"] = provenance["made_of"][2]
    record["config"]["model"]["weights"] = run.model.weights
    return record


def _write(trained: Trained, data: VideoDataModule, record: dict[str, Any]) -> None:
    """Write the record and the scores of a changed test into a folder of its own, and log it to W&B. Raises Busy."""
    run, votes, lists = trained.run, trained.model.test_votes, data.lists
    own, trained_by = record["code"]["hash"], trained.provenance["made_of"][0]
    if own != trained_by:  # or the tables would take networks of different code for seeds of one
        record["code"]["hash"] = digest([own, trained_by])
    folder = Path(run.results) / "runs" / record["id"]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        paths, clusters = [video.path for video in lists.test], [data.dataset.cluster(video) for video in lists.test]
        write_scores(folder / "scores.npz", votes, row_names(run, trained.model), paths, clusters)
        write_atomically(folder / "record.json", json.dumps(record, indent=1))
        print(f"wrote {folder / 'record.json'}", flush=True)
        with tracked_run(
            run.wandb,
            run_id=record["id"],
            group=run.sweep or run.strategy,
            config=public_config(run),
            tags=[run.strategy, run.dataset_label, record["kind"]],
            folder=Path(run.results),
            job_type="test",
        ) as logger:
            videos = votes.videos()
            log_record(logger, record, lists.classes, videos.scores[:, -1].numpy(), videos.target.numpy())
            log_film_strips(logger, run.wandb, data, votes)


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    """What is printed of a row: the metrics of its test that say something, and each family's."""
    numbers = {name.removeprefix("test/"): value for name, value in row["metrics"].items() if name.startswith("test/")}
    numbers |= {family: part["video_hit1"] for family, part in row["families"].items()}
    return {name: value for name, value in numbers.items() if value is not None and not name.startswith("scored_")}


def _compare(trained: Trained, record: dict[str, Any]) -> str:
    """Whether a repeated test gives what the record beside the checkpoint says."""
    folder = trained.checkpoint.parent
    stored = read_record(folder)
    if stored is None or stored["id"] != trained.provenance["id"]:
        return f"{folder} holds no record of {trained.id}, so there is nothing to compare with"
    differences = [
        f"{new['name']} {name} {_numbers(new).get(name)}, there {_numbers(old).get(name)}"
        for new, old in zip(record["rows"], stored["rows"], strict=True)
        for name in _numbers(new) | _numbers(old)
        if _numbers(new).get(name) != _numbers(old).get(name)
    ]
    apart = _apart(folder / "scores.npz", trained.model.test_votes)
    scores = {None: "no scores to compare", 0.0: "all clips' scores equal them bit for bit"}.get(
        apart, f"clips' scores differ from them by up to {apart}"
    )
    if not differences:
        return f"every number equals the record's in {folder}; {scores}"
    reasons = [
        reason
        for reason, found in (
            (f"is of the {stored['selection']}", stored["selection"] != record["selection"]),
            ("was made by other code", stored["code"]["hash"] != record["code"]["hash"]),
            (f"was made on {stored['device']}", stored["device"] != record["device"]),
        )
        if found
    ]
    why = f" (the record {' and '.join(reasons)})" if reasons else ""
    return f"{len(differences)} numbers differ from the record's in {folder}{why}: {'; '.join(differences)}; {scores}"


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


# -- its answers -------------------------------------------------------------------------------------------------------


def predict(checkpoint: Path, words: Sequence[str], as_json: bool = False) -> int:
    """Do what `--predict` says of `words`, files and settings; returns 1 where a file could not be answered.

    Every file gets its own test clips, as in the network's test, of the whole video; its picture is
    `<results>/predictions/<name>.png`. What is wrong with a file is said in one line on standard error. Raises
    ValueError for anything wrong with the checkpoint or the settings.
    """
    files = [word for word in words if "=" not in word or Path(word).exists()]
    changes = [word for word in words if word not in files]
    if not files:
        raise ValueError(f"--predict {checkpoint}: no video is given; name one or more files")
    # Compiling takes longer than most answers, and the GPU of the training need not be here.
    trained = load_trained(
        checkpoint, ["trainer.compile=false", "trainer.accelerator=auto", *changes, "trainer.devices=1"]
    )
    tester = _tester(trained.run)
    folder = Path(trained.run.results) / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    answers, errors = [], []
    for file in files:
        try:
            answers.append(_answer(trained, tester, file, folder))
            if not as_json:
                print(_text(answers[-1]), flush=True)
        except (DataError, OSError) as error:
            errors.append({"path": _printable(file), "error": _one_line(str(error), file)})
            print(f"error: {errors[-1]['error']}", file=sys.stderr, flush=True)
    if as_json:
        said = {"checkpoint": _printable(str(checkpoint)), "run": trained.id, "classes": trained.classes}
        print(json.dumps(said | {"videos": answers, "errors": errors}, indent=1))
    return 1 if errors else 0


def _answer(trained: Trained, tester: L.Trainer, file: str, folder: Path) -> dict[str, Any]:
    """What the network says of one file, as plain data; its picture goes into `folder`. Raises DataError or OSError."""
    absolute = Path(os.path.abspath(file))
    if not absolute.is_file():
        raise DataError(f"{file}: {'is a folder; name the videos in it' if absolute.is_dir() else 'no such file'}")
    run, root = trained.run, Path(absolute.anchor)
    path = absolute.relative_to(root).as_posix()
    needed = [replace(track, sample=None) for track in tracks(run.data, run.sampling)]
    with tempfile.TemporaryDirectory(prefix=".frames-", dir=folder) as frames:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            store = build_store(root, [path], Path(frames), "predict", needed, workers=1, max_store=run.data.max_store)
        stored = store.videos[path]
        if not stored.frames:
            raise DataError(stored.error)
        views = TestViews([Video(path, (), path)], store, run.sampling, len(trained.classes), run.data.mirror)
        tester.test(trained.model, dataloaders=make_data(run).view_loader(views), verbose=False)
    clips = trained.model.test_votes
    last = (stored.frames - 1) / (stored.fps or 1)  # a clip that is longer than the video has its middle beyond this
    centers, scores = np.minimum(clips.center.numpy(), last), clips.scores[:, -1].numpy()
    mean = clips.videos().scores[0, -1]
    picture = film_strip(
        middle_frames(root, path, needed[0], centers),
        centers,
        scores,
        trained.classes,
        title=f"{_printable(absolute.name)} · {trained.id}",
    )
    notes = [_one_line(stored.damage(path), file)] if stored.truncated else []
    notes += [] if stored.fps else [f"{_printable(file)} does not say its frame rate: seconds are numbers of frames"]
    return {
        "path": _printable(file),
        "frames": stored.frames,
        "fps": stored.fps,
        "top": [_said(trained.classes, mean, index) for index in top_k(mean[None], 5)[0].tolist()],
        "clips": [
            {"seconds": round(float(center), 3), **_said(trained.classes, own, int(own.argmax()))}
            for center, own in zip(centers, scores, strict=True)
        ],
        "picture": _printable(str(_save(picture, folder, absolute, trained.id))),
        "notes": notes,
    }


def _said(classes: list[str], scores: torch.Tensor | np.ndarray, index: int) -> dict[str, Any]:
    return {"class": classes[index], "probability": float(scores[index])}


def _save(picture: Image.Image, folder: Path, video: Path, run_id: str) -> Path:
    """Write a picture under the video's name, or with a number where that is another video's or another network's."""
    source = f"{_printable(str(video))} by {run_id}"
    said = PngImagePlugin.PngInfo()
    said.add_itxt("Source", source)
    content = io.BytesIO()
    picture.save(content, "png", pnginfo=said)
    name = os.fsencode(video.stem)[:NAME_BYTES].decode(errors="ignore")
    number, path = 1, folder / f"{name}.png"
    while path.exists() and not _is_of(path, source):
        number += 1
        path = folder / f"{name}-{number}.png"
    write_atomically(path, content.getvalue())
    return path


def _is_of(path: Path, source: str) -> bool:
    try:
        with Image.open(path) as picture:
            return getattr(picture, "text", {}).get("Source") == source
    except Exception:  # what Pillow raises for a file that is no picture, is cut short or too large is of many kinds
        return False


def _text(answer: dict[str, Any]) -> str:
    """An answer as it is printed."""
    seconds = f", {answer['frames'] / answer['fps']:.1f} s" if answer["fps"] else ""
    lines = [f"{answer['path']}: {answer['top'][0]['class']} ({answer['frames']} frames{seconds})", *answer["notes"]]
    lines += [f"  {said['probability']:7.1%}  {said['class']}" for said in answer["top"]]
    clips = list({said["seconds"]: said for said in answer["clips"]}.values())  # of a short video, all are at one time
    count = min(len(clips), LINES)
    shown = [clips[(2 * number + 1) * len(clips) // (2 * count)] for number in range(count)]
    lines.append(f"  over time, {count} of {len(clips)} clips:")
    lines += [f"  {said['seconds']:7.2f} s  {said['probability']:6.1%}  {said['class']}" for said in shown]
    return "\n".join([*lines, f"  {answer['picture']}"])


def _one_line(message: str, file: str) -> str:
    """A message about a file in one line that names it as it was given."""
    absolute = os.path.abspath(file)
    message = " ".join(message.splitlines()).replace(absolute, file)
    message = message if file in message else message.replace(absolute.lstrip("/"), file)
    return _printable(message if file in message else f"{file}: {message}")


def _printable(text: str) -> str:
    """What can be shown of a name, which need not be UTF-8 and may hold what steers a terminal: the rest as \\xNN."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
