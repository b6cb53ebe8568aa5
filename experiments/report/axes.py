"""Axes of a chart as SVG, drawn by matplotlib, and where its points lie on them. What lies there is the page's.

So a name never goes through matplotlib, and one pair of axes serves many charts of the same scales.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup

from experiments.tables.wording import count_text

WIDTH, HEIGHT = 340, 230  # of a chart, so that letters of 11 pixels fit on a phone
BOX = (0.13, 0.18, 0.83, 0.78)  # of the axes, as shares of the chart: left, bottom, width, height
TEXT = "#010203"  # stands for the colour of the page's text


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


def points(x: Scale, y: Scale, xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """Pixels of a chart from its upper left corner, one pair for each value."""
    left, bottom, width, height = BOX
    across = WIDTH * (left + width * x.shares(xs))
    down = HEIGHT * (1 - bottom - height * y.shares(ys))
    return list(zip(across.round(1).tolist(), down.round(1).tolist(), strict=True))


def log_scale(title: str, values: Sequence[float]) -> Scale:
    """A scale of tenfolds with room beyond the positive `values`."""
    low, high = np.log10(min(values)), np.log10(max(values))
    room = max(0.06 * (high - low), 0.1)
    return Scale(title, float(10 ** (low - room)), float(10 ** (high + room)), "log")


def drawn(x: Scale, y: Scale) -> Markup:
    """The axes, their ticks and titles, as elements of an SVG of WIDTH x HEIGHT pixels.

    They have no ids and take the colour of the page's text.
    """
    import matplotlib  # here: importing it takes half a second
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    looks = {"svg.fonttype": "none", "font.size": 11, "text.parse_math": False, "axes.edgecolor": TEXT}
    looks |= {"text.color": TEXT, "axes.labelcolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT}
    looks |= {"xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0}
    with matplotlib.rc_context(looks):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)  # a point is a pixel
        axes = figure.add_axes(BOX)
        axes.patch.set_visible(False)
        axes.spines[["top", "right"]].set_visible(False)
        for scale, axis in ((x, axes.xaxis), (y, axes.yaxis)):
            axis.axes.set(**{f"{axis.axis_name}scale": scale.kind, f"{axis.axis_name}lim": (scale.low, scale.high)})
            span = scale.high / scale.low if scale.kind == "log" else 0
            between = (1, 2, 5) if span < 30 else (1, 3) if span < 300 else (1,)
            axis.set_major_locator(
                LogLocator(subs=between, numticks=6) if span else MaxNLocator(5, steps=(1, 2, 5, 10))
            )
            axis.set_major_formatter(FuncFormatter(lambda value, _: count_text(round(value, 6))))
            axis.set_minor_locator(NullLocator())
            axis.set_label_text(scale.title)
        axes.grid(color=TEXT, alpha=0.15, linewidth=0.8, clip_on=False)
        figure.patch.set_visible(False)
        text = io.StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    inner = re.search(r"<svg[^>]*>(.*)</svg>", text.getvalue(), re.DOTALL)[1]
    needless = r"<metadata>.*?</metadata>|<defs>.*?</defs>|<!--.*?-->| id=\"[^\"]*\"|font-[^;]*; |<g/>"
    inner = re.sub(needless, "", inner, flags=re.DOTALL)
    return Markup(re.sub(r"\s+", " ", inner).replace(TEXT, "currentColor"))
