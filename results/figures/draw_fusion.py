"""Draws the README's figure: seven ways to fuse time, as small diagrams, in colours for light and for dark pages.

python results/figures/draw_fusion.py

Time runs to the right and depth upwards. The first four are figure 1 of Karpathy et al. 2014.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent
WIDTH, HEIGHT, TOP = 222, 174, 26  # of one panel, and the space between two rows of them, in pixels
LEFT, FRAMES, LEVEL = 14, 18, 22  # where frames begin, how far apart they are, and how far apart layers are
PARTS = ("ink", "faint", "frame", "conv", "fc", "flow")
COLOURS = {
    "light": dict(zip(PARTS, ("#1f2328", "#818b98", "#d1d9e0", "#0969da", "#8250df", "#bc4c00"), strict=True)),
    "dark": dict(zip(PARTS, ("#f0f6fc", "#9198a1", "#3d444d", "#4493f8", "#ab7df8", "#f0883e"), strict=True)),
}


class Panel:
    """One diagram. Places are counted in frames along time, from 0, and in layers upwards, from 0 for the frames."""

    def __init__(self, title: str, says: str, colours: dict[str, str]) -> None:
        self.colours, self.parts = colours, []
        self.text(0, 16, title, "ink", 14, "600")
        self.says = says

    def text(self, x: float, y: float, words: str, colour: str, size: int = 11, weight: str = "400") -> None:
        """Words whose baseline begins at a place in pixels."""
        style = f'font-size="{size}" font-weight="{weight}" fill="{self.colours[colour]}"'
        self.parts.append(f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>')

    def place(self, time: float, level: float) -> tuple[float, float]:
        """Pixels of the middle of a box."""
        return LEFT + time * FRAMES, HEIGHT - 28 - level * LEVEL

    def box(self, time: float, level: float, colour: str, frames: float = 1) -> None:
        """A layer's output over so many frames, its middle at a time."""
        x, y = self.place(time, level)
        width = frames * FRAMES - 5
        self.parts.append(
            f'<rect x="{x - width / 2:g}" y="{y - 6:g}" width="{width:g}" height="12" rx="2.5" '
            f'fill="{self.colours[colour]}"/>'
        )

    def line(self, time: float, level: float, to_time: float, to_level: float) -> None:
        """What a box reads: from the top of the lower one to the bottom of the upper one, or sideways."""
        (x, y), (to_x, to_y) = self.place(time, level), self.place(to_time, to_level)
        y, to_y = (y - 6, to_y + 6) if to_level > level else (y, to_y)
        style = f'stroke="{self.colours["faint"]}" stroke-width="1"'
        self.parts.append(f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" {style}/>')

    def frames(self, count: int = 10, seen: tuple[int, ...] | None = None) -> None:
        """The video: frames that the network sees are dark, others pale."""
        for time in range(count):
            self.box(time, 0, "faint" if seen is None or time in seen else "frame", 0.85)

    def tower(self, time: float, first: int, last: int, colour: str = "conv", frames: float = 2.2) -> None:
        """Convolutions, one above the other, from one level to another."""
        for level in range(first, last + 1):
            self.box(time, level, colour, frames)
            if level > first:
                self.line(time, level - 1, time, level)

    def head(self, time: float, *below: float, frames: float = 3) -> None:
        """The fully connected layers, which answer from the boxes below at these times."""
        for other in below:
            self.line(other, 4, time, 5)
        self.box(time, 5, "fc", frames)

    def svg(self, x: float, y: float) -> str:
        """The panel at a place in the figure."""
        self.text(0, HEIGHT - 4, self.says, "faint")
        return f'<g transform="translate({x:g} {y:g})">{"".join(self.parts)}</g>'


def single_frame(panel: Panel) -> None:
    """One frame, one tower."""
    panel.frames(seen=(5,))
    panel.line(5, 0, 5, 1)
    panel.tower(5, 1, 4)
    panel.head(5, 5)


def early_fusion(panel: Panel) -> None:
    """All ten frames enter the first convolution."""
    panel.frames()
    for time in range(10):
        panel.line(time, 0, 4.5, 1)
    panel.box(4.5, 1, "conv", 10)
    panel.line(4.5, 1, 4.5, 2)
    panel.tower(4.5, 2, 4)
    panel.head(4.5, 4.5)


def late_fusion(panel: Panel) -> None:
    """Two towers on two frames far apart meet in the fully connected layers."""
    panel.frames(seen=(0, 9))
    for time in (0.6, 8.4):
        panel.line(round(time / 9) * 9, 0, time, 1)
        panel.tower(time, 1, 4)
        panel.line(time, 4, 4.5, 5)
    panel.head(4.5, frames=6)


def slow_fusion(panel: Panel) -> None:
    """10 -> 4 -> 2 -> 1 frames, over three convolutions."""
    panel.frames()
    for number in range(4):
        middle = 1.5 + 2 * number
        for time in range(2 * number, 2 * number + 4):
            panel.line(time, 0, middle, 1)
        panel.box(middle, 1, "conv", 1.9)
        panel.line(middle, 1, (2.5, 6.5)[number // 2], 2)
    for middle in (2.5, 6.5):
        panel.box(middle, 2, "conv", 2.2)
        panel.line(middle, 2, 4.5, 3)
    panel.tower(4.5, 3, 4)
    panel.head(4.5, 4.5)


def c3d(panel: Panel) -> None:
    """Every convolution sees three frames of the layer below; pooling halves time late."""
    panel.frames()
    steps = [1.0, 1.0, 2.0, 4.0]
    places = [list(range(10)), list(range(10)), [0.5 + 2 * n for n in range(5)], [1.5, 4.5, 7.5], [4.5]]
    for level in range(1, 5):
        for place in places[level]:
            below = sorted(places[level - 1], key=lambda time, place=place: abs(time - place))[:3]
            for time in below:
                panel.line(time, level - 1, place, level)
            panel.box(place, level, "conv", min(2.2, steps[level - 1]) * 0.95)
    panel.head(4.5, 4.5)


def two_stream(panel: Panel) -> None:
    """One tower on a frame, one on optical flow; their probabilities are averaged."""
    panel.frames(seen=(2,))
    panel.line(2, 0, 2, 1)
    panel.tower(2, 1, 4)
    for time in (5, 6, 7, 8):
        panel.box(time, 0, "flow", 0.85)
        panel.line(time, 0, 6.5, 1)
    panel.tower(6.5, 1, 4)
    panel.head(4.25, 2, 6.5, frames=6)


def cnn_lstm(panel: Panel) -> None:
    """A tower on each frame; an LSTM reads them in order."""
    panel.frames(seen=(0, 3, 6, 9))
    for number, time in enumerate((0.6, 3.2, 5.8, 8.4)):
        panel.line((0, 3, 6, 9)[number], 0, time, 1)
        panel.tower(time, 1, 3, frames=1.8)
        panel.line(time, 3, time, 4)
        if number:
            panel.line(time - 2.6, 4, time, 4)
    for time in (0.6, 3.2, 5.8, 8.4):
        panel.box(time, 4, "fc", 1.8)
        panel.line(time, 4, 4.5, 5)
    panel.head(4.5, frames=6)


PANELS = (
    ("single frame", "appearance alone", single_frame),
    ("early fusion", "time ends in the first layer", early_fusion),
    ("late fusion", "two frames meet at the end", late_fusion),
    ("slow fusion", "time is fused layer by layer", slow_fusion),
    ("C3D", "3-D convolutions throughout", c3d),
    ("two-stream", "a frame, and optical flow", two_stream),
    ("CNN + LSTM", "frames are read in order", cnn_lstm),
)


def figure(colours: dict[str, str]) -> str:
    """The whole figure as SVG: four panels, then three and the key."""
    parts = []
    for number, (title, says, draw) in enumerate(PANELS):
        panel = Panel(title, says, colours)
        draw(panel)
        parts.append(panel.svg(number % 4 * WIDTH + 8, number // 4 * (HEIGHT + TOP)))
    key = Panel("", "", colours)
    for level, (colour, words) in enumerate(
        (("faint", "a frame that is seen"), ("frame", "a frame that is not"), ("flow", "optical flow"),
         ("conv", "convolutions"), ("fc", "recurrent, fully connected, mean"))
    ):  # fmt: skip
        key.box(0, level, colour)
        x, y = key.place(1, level)
        key.text(x, y + 4, words, "ink")
    parts.append(key.svg(3 * WIDTH + 8, HEIGHT + TOP))
    size = f'width="{4 * WIDTH}" height="{2 * HEIGHT + TOP + 6}" viewBox="0 0 {4 * WIDTH} {2 * HEIGHT + TOP + 6}"'
    font = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'
    title = "Seven ways to fuse time: " + ", ".join(title for title, *_ in PANELS)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img"><title>{title}</title>\n' + "\n".join(
        [*parts, "</svg>\n"]
    )


if __name__ == "__main__":
    for name, colours in COLOURS.items():
        (FOLDER / f"fusion-{name}.svg").write_text(figure(colours), encoding="utf-8")
