"""Film strips: frames of a video, and what a network answers along it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from datamodules.decode.frames import pick_frames
from datamodules.decode.info import probe
from datamodules.store.tracks import Track

FRAME_HEIGHT = 96  # pixels of a thumbnail
FRAMES_SHOWN = 10
BANDS = 5  # classes that have a band of their own
LONGEST = 45  # letters of a name
# Okabe & Ito's colours, which people with any kind of colour blindness tell apart.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
OTHERS, RIGHT, WRONG = "#cdcdcd", "#0072b2", "#d55e00"
# The first is matplotlib's own. The others have Chinese, Japanese and Korean letters, where one is installed.
FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Arial Unicode MS", "Microsoft YaHei")


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """A frame, uint8 (H, W, 3), at the height of a film strip. Its width keeps its shape, within limits."""
    height, width = frame.shape[:2]
    width = min(max(round(FRAME_HEIGHT * width / height), FRAME_HEIGHT // 3), 3 * FRAME_HEIGHT)
    return np.asarray(Image.fromarray(frame).resize((width, FRAME_HEIGHT), Image.Resampling.LANCZOS))


def middle_frames(root: Path, path: str, track: Track, centers: Sequence[float]) -> np.ndarray:
    """Thumbnails of a video's frames at its clips' `centers` (N,), uint8 (N, h, w, 3), from the file `root`/`path`.

    `centers` are in seconds of the frames that `track` stores, as in batches. Where the file does not say its frame
    rate, they are numbers of frames. Raises DecodeError.
    """
    info = probe(root / path)
    wanted = track.frames_at(path, info, np.asarray(centers, np.float64)).tolist()
    found = {number: thumbnail(frame) for number, frame in pick_frames(root / path, info, wanted)}
    return np.stack([found[number] for number in wanted])


def film_strip(
    frames: np.ndarray,
    times: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
    truth: Sequence[int] | None = None,
    title: str = "",
) -> Image.Image:
    """A picture of the answer to a video: its class, frames along the video, and the probabilities over time.

    `frames` (N, H, W, 3) uint8 are the middle frames of N clips, `times` (N,) their seconds in order, and `scores`
    (N, C) the clips' probabilities of `classes` (C,). The answer is the class with the highest mean over the clips.
    `truth` holds the indices of the video's classes; with it, the picture says whether the answer is right. Clips at
    one time, as of a video shorter than its clips, are drawn as one.
    """
    assert len(frames) == len(times) == len(scores) > 0 and scores.shape[1] == len(classes)
    # Names are data: a dollar sign is no formula. A letter that no font has is drawn as a box, without a warning.
    installed = [name for name in FONTS if name in font_manager.get_font_names()]
    with matplotlib.rc_context({"text.parse_math": False, "font.family": installed}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        canvas = FigureCanvasAgg(draw(frames, times, scores, classes, truth, title))
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def draw(
    frames: np.ndarray,
    times: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
    truth: Sequence[int] | None,
    title: str,
) -> Figure:
    """The figure of `film_strip`."""
    mean = np.asarray(scores, np.float64).mean(0)
    times, first, clip = np.unique(np.asarray(times, np.float64), return_index=True, return_inverse=True)
    scores = np.stack([scores[clip == number].mean(0) for number in range(len(times))])
    figure = Figure(figsize=(10, 4.4), dpi=100)
    figure.text(0.02, 0.95, _short(title, 2 * LONGEST), va="center", size=9, color="dimgray")
    _write_answer(figure, mean, classes, truth)
    chosen = np.unique(np.linspace(0, len(times) - 1, FRAMES_SHOWN).round().astype(int))
    _draw_frames(figure.add_axes((0.02, 0.565, 0.96, 0.215)), frames[first[chosen]], times[chosen])
    _draw_bands(figure.add_axes((0.06, 0.11, 0.46, 0.4)), times, scores, _labels(mean, classes, truth or ()))
    return figure


def _write_answer(figure: Figure, mean: np.ndarray, classes: Sequence[str], truth: Sequence[int] | None) -> None:
    """The answer's name, and whether it is right; if it is wrong, what is true."""
    answer, left = int(mean.argmax()), 0.02
    text = f"{_short(classes[answer])}  {mean[answer]:.1%}"
    if truth is not None:
        word, colour = ("RIGHT", RIGHT) if answer in truth else ("WRONG", WRONG)
        badge = {"facecolor": colour, "edgecolor": "none", "boxstyle": "round,pad=0.35"}
        figure.text(0.026, 0.875, word, va="center", size=10, color="white", weight="bold", bbox=badge)
        left = 0.1
        if answer not in truth:
            text += f"   true: {_short(', '.join(classes[index] for index in truth))}"
    figure.text(left, 0.875, text, va="center", size=12)


def _draw_frames(axes: Axes, frames: np.ndarray, times: np.ndarray) -> None:
    """Frames side by side from the left, with their seconds above."""
    pictures = [np.pad(thumbnail(frame), ((0, 0), (0, 4), (0, 0)), constant_values=255) for frame in frames]
    strip, width = np.concatenate(pictures, axis=1), pictures[0].shape[1]
    axes.imshow(strip, interpolation="antialiased")
    axes.set_anchor("W")
    middles = (np.arange(len(frames)) + 0.5) * width
    axes.set_xticks(middles, [f"{time:.3g} s" for time in times], size=8, color="dimgray")
    axes.tick_params(top=False, bottom=False, labeltop=True, labelbottom=False, pad=2)
    axes.set_yticks([])
    axes.set_frame_on(False)


def _labels(mean: np.ndarray, classes: Sequence[str], truth: Sequence[int]) -> dict[int, str]:
    """What the legend says of the classes that have a band of their own, best first.

    A true class takes the last place if it is not among the best.
    """
    best = np.argsort(-mean, kind="stable").tolist()
    shown = best[:BANDS]
    if truth and not set(truth) & set(shown):
        shown[-1] = max(truth, key=lambda index: mean[index])
    labels = {}
    for index in shown:
        marks = [word for word, marked in (("answer", index == best[0]), ("true", index in truth)) if marked]
        labels[index] = f"{mean[index]:.1%}  {_short(classes[index])}" + (f" ({', '.join(marks)})" if marks else "")
    return labels


def _draw_bands(axes: Axes, times: np.ndarray, scores: np.ndarray, labels: dict[int, str]) -> None:
    """The clips' probabilities over time, stacked from the answer's up, and a legend beside them."""
    edges, bottom = _edges(times), np.zeros(len(times))
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), xlabel="seconds", ylabel="probability", facecolor=OTHERS)
    for colour, (index, label) in zip(COLOURS, labels.items(), strict=False):
        top = bottom + scores[:, index]
        axes.stairs(top, edges, baseline=bottom, fill=True, color=colour, label=label)
        bottom = top
    if (others := scores.shape[1] - len(labels)) > 0:
        axes.fill_between([], [], color=OTHERS, label=f"{others} other class{'es' * (others > 1)}")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)


def _edges(times: np.ndarray) -> np.ndarray:
    """Where each clip's part of the time axis begins, and the end of the last one (N + 1,): halfway between two."""
    if len(times) == 1:
        return np.array([max(0.0, times[0] - 0.5), times[0] + 0.5])
    halves = (times[1:] + times[:-1]) / 2
    return np.concatenate([[max(0.0, 2 * times[0] - halves[0])], halves, [2 * times[-1] - halves[-1]]])


def _short(text: str, longest: int = LONGEST) -> str:
    """A text on one line, cut in its middle where it is too long."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest * 2 // 3]}…{text[-longest // 3 :]}"
