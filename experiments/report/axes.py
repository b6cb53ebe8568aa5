"""The axes of a chart: where its ticks and points lie. matplotlib chooses the ticks; templates draw all as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiments.tables.wording import count_text

WIDTH, HEIGHT = 340, 230  # pixels of a chart, so that its letters fit on a phone
LEFT, RIGHT, TOP, BOTTOM = 44, 328, 10, 188  # pixels of its axes
MOST_TICKS = 6


@dataclass(frozen=True)
class Scale:
    """An axis: its title, its two ends, and whether it is a scale of tenfolds."""

    title: str
    low: float
    high: float
    kind: Literal["linear", "log"] = "linear"

    def shares(self, values: Sequence[float]) -> np.ndarray:
        """Where values lie between the ends, 0 to 1."""
        low, high, at = self.low, self.high, np.asarray(values, np.float64)
        if self.kind == "log":
            low, high, at = np.log10(low), np.log10(high), np.log10(at)
        return (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values between the ends."""
        from matplotlib.ticker import LogLocator, MaxNLocator  # here: it takes a quarter of a second to import

        if self.kind == "linear":
            places = MaxNLocator(MOST_TICKS - 1, steps=(1, 2, 5, 10)).tick_values(self.low, self.high)
        else:
            span = self.high / self.low
            between = (1, 2, 5) if span < 30 else (1, 3) if span < 300 else (1,)
            places = LogLocator(subs=between, numticks=MOST_TICKS).tick_values(self.low, self.high)
        return [float(place) for place in places if self.low <= place <= self.high]


@dataclass(frozen=True)
class Axes:
    """Two axes as drawn: for each, its title, and pixel and text of each tick."""

    x_title: str
    y_title: str
    x: list[tuple[float, str]]
    y: list[tuple[float, str]]


def axes_of(x: Scale, y: Scale) -> Axes:
    """The axes of two scales."""
    across, down = x.ticks(), y.ticks()
    pixels = [at for at, _ in points(x, y, across, [y.low] * len(across))]
    heights = [at for _, at in points(x, y, [x.low] * len(down), down)]
    texts = [[count_text(round(tick, 6)) for tick in ticks] for ticks in (across, down)]
    return Axes(x.title, y.title, list(zip(pixels, texts[0], strict=True)), list(zip(heights, texts[1], strict=True)))


def points(x: Scale, y: Scale, xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """Pixels of a chart from its upper left corner, one pair for each value."""
    across = LEFT + (RIGHT - LEFT) * x.shares(xs)
    down = BOTTOM - (BOTTOM - TOP) * y.shares(ys)
    return list(zip(across.round(1).tolist(), down.round(1).tolist(), strict=True))


def log_scale(title: str, values: Sequence[float]) -> Scale:
    """A scale of tenfolds with room beyond the positive `values`."""
    low, high = np.log10(float(min(values))), np.log10(float(max(values)))
    room = max(0.06 * (high - low), 0.1)
    return Scale(title, float(10 ** (low - room)), float(10 ** (high + room)), "log")
