"""The curves of runs: what their trainings logged beside the record, and charts of it.

<results>/runs/<id>/curves/version_<n>/metrics.csv   one file for each time that the run was started or went on
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.report.axes import Axes, Scale, axes_of, points
from experiments.report.beside import curve_files
from experiments.tables.rows import Row

LARGEST = 4 * 2**20  # bytes that are read of a file
MOST = 100  # points of a line
HITS = {"train/clip_hit1": "training", "val/video_hit1": "validation"}
LOSS = {"train/loss": "training", "val/loss": "validation"}
NAMES = ("step", "epoch", *HITS, *LOSS)

Curve = tuple[np.ndarray, np.ndarray]  # steps, and a value at each


def read_curves(folder: Path) -> dict[str, Curve]:
    """The curves of a run's folder by name; none where there is no file or it holds no numbers."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for path in curve_files(folder):
        lines = _lines(path)
        for name in found if lines else ():  # a run that went on takes the place of what came after its checkpoint
            begun = lines[0]["step"] if lines[0].get("epoch") else 0
            found[name] = {step: value for step, value in found[name].items() if step < begun}
        for line in lines:
            for name in (HITS | LOSS).keys() & line.keys():
                found[name][int(line["step"])] = line[name]
    return {name: (np.array(list(of)), np.array(list(of.values()))) for name, of in found.items() if of}


def _lines(path: Path) -> list[dict[str, float]]:
    """The numbers of each line that has a step, by name; what is empty, no number or infinite is left out."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST).decode("utf-8", "replace")
        lines = list(csv.DictReader(io.StringIO(text)))
    except (OSError, csv.Error):
        return []
    found = [{name: value for name in NAMES if (value := _number(line.get(name))) is not None} for line in lines]
    return [line for line in found if line.get("step", -1.0) >= 0]


def _number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e30 else None


# -- charts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line of a chart: `training` or `validation`, whether it is the mean of several runs, and its SVG points."""

    kind: str
    mean: bool
    points: str


@dataclass(frozen=True)
class Learning:
    """The curves of a row: lines of Hit@1 and of loss, and in words where they end."""

    label: str
    hits: list[Line]
    loss: list[Line]
    text: str


@dataclass(frozen=True)
class LearningCharts:
    """The charts of a section, all of one pair of scales, and the axes that they share."""

    rows: list[Learning]
    hits: Axes
    loss: Axes


def learning_charts(results: Path, rows: Mapping[str, Row]) -> LearningCharts | None:
    """Charts of all rows whose runs have curves; None where no run has. A stream's curves are its whole network's."""
    found = {}
    for label, row in rows.items():
        runs = [record for record, own in row.runs if record.kind == "run" and own is record.rows[-1]]
        found[label] = [curves for run in runs if (curves := read_curves(results / "runs" / run.id))]
    found = {label: runs for label, runs in found.items() if runs}
    curves = {name: [run[name] for runs in found.values() for run in runs if name in run] for name in (*HITS, *LOSS)}
    if not any(curves.values()):
        return None
    steps = Scale("steps", 0, max(float(of[0].max()) for own in curves.values() for of in own) or 1)
    losses = [of[1] for name in LOSS for of in curves[name]] or [np.ones(1)]
    losses = np.concatenate(losses)
    highest = 1.05 * float(min(losses.max(), 2 * np.percentile(losses, 98))) or 1  # not that of a run that diverged
    scales = {"hits": Scale("Hit@1 (%)", 0, 100), "loss": Scale("loss", 0, highest)}
    learning = [
        Learning(
            label,
            _all_lines(runs, HITS, steps, scales["hits"], 100),
            _all_lines(runs, LOSS, steps, scales["loss"], 1),
            _ends(runs),
        )
        for label, runs in found.items()
    ]
    return LearningCharts(learning, **{name: axes_of(steps, scale) for name, scale in scales.items()})


def _all_lines(
    runs: Sequence[Mapping[str, Curve]], names: Mapping[str, str], x: Scale, y: Scale, unit: float
) -> list[Line]:
    """A line for each run that has a curve, and one of their mean."""
    lines = []
    for name, kind in names.items():
        curves = [run[name] for run in runs if name in run]
        own = [Line(kind, False, _points(curve, x, y, unit)) for curve in curves] if len(curves) > 1 else []
        lines += [*own, *([Line(kind, True, _points(_mean(curves), x, y, unit))] if curves else [])]
    return lines


def _mean(curves: Sequence[Curve]) -> Curve:
    """The mean of curves where all have values; between its steps a curve is straight."""
    first, last = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    steps = np.unique(np.concatenate([of for of, _ in curves]))
    steps = steps[(steps >= first) & (steps <= last)]
    return steps, np.mean([np.interp(steps, *curve) for curve in curves], axis=0)


def _points(curve: Curve, x: Scale, y: Scale, unit: float) -> str:
    steps, values = curve
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST)).astype(int))
    values = np.clip(unit * values[chosen], y.low, y.high)
    return " ".join(f"{across:g},{down:g}" for across, down in points(x, y, steps[chosen], values))


def _ends(runs: Sequence[Mapping[str, Curve]]) -> str:
    """Where the mean of the curves ends, in words."""
    ends = []
    for name, kind in (*HITS.items(), *LOSS.items()):
        if values := [float(run[name][1][-1]) for run in runs if name in run]:
            what, unit = ("Hit@1", 100) if name in HITS else ("loss", 1)
            ends.append(f"{kind} {what} {unit * np.mean(values):.{1 if name in HITS else 2}f}")
    return f"{len(runs)} run{'s' * (len(runs) > 1)}; at the end: {', '.join(ends)}"
