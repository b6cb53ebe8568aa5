"""A trained network's answers to any video."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image

from datamodules.errors import DataError
from datamodules.files import write_atomically
from datamodules.text import printable
from experiments.settings.schema import RunConfig
from experiments.tables.film_strip import film_strip, middle_frames
from experiments.trained.files import files_and_changes, named, one_line, opened
from experiments.trained.load import Trained, load_trained
from experiments.trained.test import make_tester
from experiments.training.build import make_data
from vidfusion.classifier import VideoClassifier
from vidfusion.metrics import top_k

LINES = 30  # of the answer over time that are printed


# -- its answers -------------------------------------------------------------------------------------------------------


def predict(checkpoint: Path, words: Sequence[str], as_json: bool = False) -> int:
    """Do what `--predict` says of `words`, files and settings; returns 1 where a file could not be answered.

    Every file gets its own test clips, as in the network's test, of the whole video; its picture is
    `<results>/predictions/<name>-<hash>.png`, with a hash of the file's path and the run. What is wrong with a file is
    said in one line on standard error. Raises ValueError for anything wrong with the checkpoint or the settings.
    """
    files, changes = files_and_changes(f"--predict {checkpoint}", words)
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
            errors.append({"path": printable(file), "error": one_line(str(error), file)})
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
    with opened(trained, file, folder) as video:
        tester.test(trained.model, dataloaders=make_data(trained.run).view_loader(video.views), verbose=False)
    stored, path = video.stored, video.path
    clips = trained.model.test_votes
    # A clip that is longer than the video may have its middle beyond the last frame.
    centers, scores = np.minimum(clips.center.numpy(), stored.last_second), clips.scores[:, -1].numpy()
    mean = clips.videos().scores[0, -1]
    picture = film_strip(
        middle_frames(video.root, path, video.track, centers),
        centers,
        scores,
        trained.classes,
        title=f"{printable(video.absolute.name)} · {trained.id}",
    )
    usual = stored.frames / stored.fps if stored.fps else None
    notes = [one_line(stored.damage(path), file)] if stored.damage(path) else []
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
        "picture": printable(str(_save(picture, folder / named(video.absolute, trained.id, after=".png")))),
        "notes": notes,
    }


def _said(classes: list[str], scores: torch.Tensor | np.ndarray, index: int) -> dict[str, Any]:
    return {"class": classes[index], "probability": float(scores[index])}


def _save(picture: Image.Image, path: Path) -> Path:
    content = io.BytesIO()
    picture.save(content, "png")
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
