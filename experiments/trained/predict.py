"""A trained network's answers to any video."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image

from datamodules.dataset_store import tracks
from datamodules.errors import DataError
from datamodules.files import write_atomically
from datamodules.loading import TestViews
from datamodules.store.building import build_store
from datamodules.text import printable
from datamodules.videos import Video
from experiments.records.record import digest
from experiments.settings.schema import RunConfig
from experiments.tables.film_strip import film_strip, middle_frames
from experiments.trained.load import Trained, load_trained
from experiments.trained.test import make_tester
from experiments.training.build import make_data
from vidfusion.classifier import VideoClassifier
from vidfusion.metrics import top_k

LINES = 30  # of the answer over time that are printed
NAME_BYTES = 200  # of a video's name in that of its picture: systems take 255 with all that is added


# -- its answers -------------------------------------------------------------------------------------------------------


def predict(checkpoint: Path, words: Sequence[str], as_json: bool = False) -> int:
    """Do what `--predict` says of `words`, files and settings; returns 1 where a file could not be answered.

    Every file gets its own test clips, as in the network's test, of the whole video; its picture is
    `<results>/predictions/<name>-<hash>.png`, with a hash of the file's path and the run. What is wrong with a file is
    said in one line on standard error. Raises ValueError for anything wrong with the checkpoint or the settings.
    """
    files = [word for word in words if not re.match(r"[A-Za-z_][\w.]*=", word) or os.path.exists(word)]
    changes = [word for word in words if word not in files]
    files = [file if os.path.exists(file) else os.path.expanduser(file) for file in files]
    if not files:
        raise ValueError(f"--predict {checkpoint}: no video is given; name one or more files")
    # Compiling takes longer than most answers, and the GPU of the training need not be here.
    trained = load_trained(
        checkpoint, ["trainer.compile=false", "trainer.accelerator=auto", *changes, "trainer.devices=1"]
    )
    tester = make_tester(trained.run)
    folder = Path(trained.run.results) / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    answers, errors = [], []
    for file in files:
        try:
            answers.append(_answer(trained, tester, file, folder))
            if not as_json:
                print(_text(answers[-1]), flush=True)
        except (DataError, OSError) as error:
            errors.append({"path": printable(file), "error": _one_line(str(error), file)})
            print(f"error: {errors[-1]['error']}", file=sys.stderr, flush=True)
    if as_json:
        said = {"checkpoint": printable(str(checkpoint)), "run": trained.id, "classes": trained.classes}
        print(json.dumps(said | {"videos": answers, "errors": errors}, indent=1))
    return 1 if errors else 0


def answer(run: RunConfig, model: VideoClassifier, file: str) -> dict[str, Any]:
    """A network's answer to a video: `top`, the five best classes, and `clips`, the answer over time.

    `run` are the settings that it was made by. The picture goes into `<results>/predictions`. Raises DataError or
    OSError for a file that cannot be answered.
    """
    folder = Path(run.results) / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    provenance = {"id": run.id} | model.provenance
    return _answer(Trained(Path(), run, model.eval(), provenance, 0, {}), make_tester(run), file, folder)


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
    # A clip that is longer than the video may have its middle beyond the last frame.
    centers, scores = np.minimum(clips.center.numpy(), stored.last_second), clips.scores[:, -1].numpy()
    mean = clips.videos().scores[0, -1]
    picture = film_strip(
        middle_frames(root, path, needed[0], centers),
        centers,
        scores,
        trained.classes,
        title=f"{printable(absolute.name)} · {trained.id}",
    )
    usual = stored.frames / stored.fps if stored.fps else None
    notes = [_one_line(stored.damage(path), file)] if stored.damage(path) else []
    notes += [] if stored.fps else [f"{printable(file)} does not say its frame rate: seconds are numbers of frames"]
    return {
        "path": printable(file),
        "frames": stored.frames,
        "fps": stored.fps,
        "seconds": usual if stored.times is None else stored.last_second,
        "top": [_said(trained.classes, mean, index) for index in top_k(mean[None], 5)[0].tolist()],
        "clips": [
            {"seconds": round(float(center), 3), **_said(trained.classes, own, int(own.argmax()))}
            for center, own in zip(centers, scores, strict=True)
        ],
        "picture": printable(str(_save(picture, folder, absolute, trained.id))),
        "notes": notes,
    }


def _said(classes: list[str], scores: torch.Tensor | np.ndarray, index: int) -> dict[str, Any]:
    return {"class": classes[index], "probability": float(scores[index])}


def _save(picture: Image.Image, folder: Path, video: Path, run_id: str) -> Path:
    """Write a picture under the video's name, and a hash of what it is of: folders may hold videos of one name."""
    content = io.BytesIO()
    picture.save(content, "png")
    name = os.fsencode(video.stem)[:NAME_BYTES].decode(errors="ignore")
    path = folder / f"{name}-{digest([printable(str(video)), run_id])}.png"
    write_atomically(path, content.getvalue())
    return path


def _text(answer: dict[str, Any]) -> str:
    """An answer as it is printed."""
    seconds = f", {answer['seconds']:.1f} s" if answer["seconds"] else ""
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
    return printable(message if file in message else f"{file}: {message}")
