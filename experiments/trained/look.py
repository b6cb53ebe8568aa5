"""Films of where a trained network looks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from datamodules.errors import DataError
from datamodules.files import write_atomically
from datamodules.loading import TestViews
from datamodules.text import printable
from experiments.report.encode import film
from experiments.trained.files import files_and_changes, named, one_line, opened
from experiments.trained.grad_cam import Look, last_convolution, look_at
from experiments.trained.load import Trained, load_trained
from experiments.training.build import make_data, set_arithmetic

CLIPS = 4  # that are shown of a video, evenly spaced
SIDE = 160  # pixels of a picture, at least
FPS, SECONDS = 10, 4  # frames per second; a film of few frames is slower, so that it lasts so long
OPAQUE = 0.7  # share of the map's colour where it is largest


def look(checkpoint: Path, words: Sequence[str]) -> int:
    """Do what `--look` says of `words`, files and settings; returns 1 where a file could not be shown.

    For each file and stream a film shows a few test clips, beside them the same under the map of where the stream looks
    for the class that the network answers. It lies beside the checkpoint for a video of the run's own data, else in
    `<results>/predictions`. What is wrong with a file is said in one line on standard error. Raises ValueError for
    anything wrong with the checkpoint, the settings or the network.
    """
    files, changes = files_and_changes(f"--look {checkpoint}", words)
    fixed = ["trainer.compile=false", "trainer.accelerator=cpu", "trainer.devices=1"]
    trained = load_trained(checkpoint, ["sampling.test_views=center", *changes, *fixed])
    set_arithmetic(trained.run)
    for stream in trained.model.streams or ("",):
        last_convolution(trained.model, stream)  # raises before anything is decoded
    folder = Path(trained.run.results) / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for file in files:
        try:
            print(_look(trained, file, folder), flush=True)
        except (DataError, OSError) as error:
            failed += 1
            print(f"error: {one_line(str(error), file)}", file=sys.stderr, flush=True)
    return 1 if failed else 0


def _look(trained: Trained, file: str, folder: Path) -> str:
    """Write the films of one file; returns what is printed of it."""
    with opened(trained, file, folder) as video:
        scores, views = _scores(trained, video.views), video.views
        label, count = int(scores.argmax()), min(CLIPS, int(views.clips_of[0]))
        clips = [(2 * number + 1) * int(views.clips_of[0]) // (2 * count) for number in range(count)]
        batches = [views.__getitems__([clip * int(views.views_of[0])]) for clip in clips]
        looks = [look_at(trained.model, batch, label) for batch in batches]
    own = Path(trained.run.data.folder()).resolve() in video.absolute.resolve().parents
    place = trained.checkpoint.parent if own else folder
    lines = [f"{printable(file)}: {trained.classes[label]} ({scores[label]:.1%})"]
    for shown in zip(*looks, strict=True):
        first = shown[0]
        path = place / named(video.absolute, trained.id, "look-", f"-{first.stream}.mp4" if first.stream else ".mp4")
        frames = draw([batch[first.reads][0].numpy() for batch in batches], shown)
        write_atomically(path, film(frames, max(1, min(FPS, len(frames) / SECONDS))))
        steps, rows, columns = first.size
        what = f"clips: {count}, {'fields' if first.reads == 'flow' else 'frames'} of a clip: {len(first.heat)}"
        empty = "" if any(look.heat.max() > 0 for look in shown) else "; nothing speaks for the class, the map is empty"
        lines.append(f"  layer {first.layer}, {steps} x {rows} x {columns} in time, rows and columns; {what}{empty}")
        lines.append(f"  {printable(str(path))}")
    return "\n".join(lines)


def _scores(trained: Trained, views: TestViews) -> np.ndarray:
    """The network's probabilities of a video (C,): the mean over its views."""
    with torch.inference_mode():
        batches = make_data(trained.run).view_loader(views)
        scores = [trained.model.probabilities(trained.model(**trained.model.inputs(batch)))[:, -1] for batch in batches]
    return torch.cat(scores).double().mean(0).numpy()


def draw(clips: Sequence[np.ndarray], looks: Sequence[Look]) -> np.ndarray:
    """Frames of a film (N, H, 2W, 3) uint8: clips (T, h, w, 3) or flow (T, h, w, 2), one after the other, and beside
    them the same under the heat of `looks` (T, h, w). One scale of heat holds for all clips."""
    largest = max(float(look.heat.max()) for look in looks) or 1.0
    pairs = zip(clips, looks, strict=True)
    pictures = [
        _frame(frame, heat / largest) for clip, look in pairs for frame, heat in zip(clip, look.heat, strict=True)
    ]
    return np.stack(pictures)


def _frame(frame: np.ndarray, heat: torch.Tensor) -> np.ndarray:
    """A picture without and with its heat, 0 to 1, side by side."""
    plain = frame if frame.shape[2] == 3 else _flow_colours(frame)
    times = -(-SIDE // plain.shape[0])
    height, width = (side * times // 2 * 2 for side in plain.shape[:2])
    plain = plain.repeat(times, 0).repeat(times, 1)[:height, :width]
    share = cv2.resize(heat.numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(np.uint8(255 * share), cv2.COLORMAP_INFERNO)[..., ::-1]
    mixed = plain + OPAQUE * share[..., None] * (colours.astype(np.float32) - plain)
    return np.concatenate([plain, np.uint8(mixed.round())], axis=1)


def _flow_colours(field: np.ndarray) -> np.ndarray:
    """Flow (H, W, 2) in bytes, 128 for no motion, as colours: the direction is the hue, the length the brightness."""
    x, y = np.moveaxis(field.astype(np.float32) - 128, 2, 0)
    length, angle = cv2.cartToPolar(x, y, angleInDegrees=True)
    hsv = np.stack([angle / 2, np.full_like(x, 255), np.minimum(4 * length, 255)], axis=2)
    return cv2.cvtColor(np.uint8(hsv), cv2.COLOR_HSV2RGB)
