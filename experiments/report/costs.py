"""What a row's accuracy costs: charts of Video Hit@1 over parameters, multiply-adds and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from experiments.records.record import Record, RunRow
from experiments.report.axes import LEFT, WIDTH, Axes, Scale, axes_of, log_scale, points
from experiments.tables.rows import Row
from experiments.tables.wording import count_text, percent_text

LETTER, LONGEST = 6.5, 26  # pixels of a letter, and letters of a label in a chart


@dataclass(frozen=True)
class Point:
    """A row in a chart: pixels, the text of its tooltip, and whether no other row is better and as cheap.

    `name` is where its label stands, of those that are best and have room: pixels and the side that is at them.
    """

    across: float
    down: float
    label: str
    text: str
    best: bool
    name: tuple[float, float, str] | None = None


@dataclass(frozen=True)
class CostChart:
    """Video Hit@1 over one cost: its title, the axes and the points, the best ones last."""

    title: str
    axes: Axes
    points: list[Point]

    @property
    def text(self) -> str:
        """Which rows no other row beats at their cost."""
        return f"Not beaten at their cost: {', '.join(point.label for point in self.points if point.best)}."


@dataclass(frozen=True)
class Costs:
    """The charts of a section, and a table of their numbers: titles, then (label, text and value of each cell)."""

    charts: list[CostChart]
    titles: list[str]
    rows: list[tuple[str, list[tuple[str, float | None]]]]


def costs(rows: Mapping[str, Row], by_id: Mapping[str, Record]) -> Costs:
    """Charts and numbers of rows by label. A chart leaves out rows of unknown cost, such as a stream's seconds."""
    found = {
        label: {
            "Video Hit@1 (%)": row.statistic("test/video_hit1")[0],
            "Multiply-adds per video": _macs_per_video(row, by_id),
            "Parameters": row.statistic("parameters")[0],
            "Training (s)": row.statistic("seconds/train")[0],
            "Multiply-adds of training": row.statistic("macs_training")[0],
            "Frames per video": row.statistic("frames_per_video")[0],
        }
        for label, row in rows.items()
    }
    hit, *titles = next(iter(found.values()))
    charts = []
    for title in titles[:3]:
        known = {
            label: (of[title], 100 * of[hit])
            for label, of in found.items()
            if of[title] and of[hit] is not None
        }  # fmt: skip
        if len(known) > 1:
            charts.append(_chart(title, known))
    lines = [
        (label, [(percent_text(of[hit]), of[hit]), *((count_text(of[title]), of[title]) for title in titles)])
        for label, of in found.items()
    ]
    return Costs(charts, [hit, *titles], lines)


def _chart(title: str, known: Mapping[str, tuple[float, float]]) -> CostChart:
    x = log_scale(title.lower(), [cost for cost, _ in known.values()])
    hits = [hit for _, hit in known.values()]
    y = Scale("Video Hit@1 (%)", min(90.0, 10 * (min(hits) // 10)), min(100.0, 10 * (max(hits) // 10 + 1)))
    pixels = points(x, y, *zip(*known.values(), strict=True))
    found = [
        Point(
            *pixel,
            label,
            f"{label}: {hit:.1f} %, {title.lower()} {count_text(cost)}",
            not any(_beats(other, (cost, hit)) for other in known.values()),
        )
        for pixel, (label, (cost, hit)) in zip(pixels, known.items(), strict=True)
    ]
    found.sort(key=lambda point: (point.best, point.down))
    return CostChart(f"Video Hit@1 over {title.lower()}", axes_of(x, y), _with_names(found))


def _with_names(points: Sequence[Point]) -> list[Point]:
    """The best points with a place for each label that covers neither another label nor another point."""
    taken = [(point.across - 5, point.down - 5, point.across + 5, point.down + 5) for point in points]
    named = []
    for point in points:
        width = LETTER * min(len(point.label), LONGEST)
        for side, shift in [(side, shift) for shift in (0, -13, 13) for side in ("start", "end")] * point.best:
            across = point.across + (8 if side == "start" else -8)
            left, top = across - width * (side == "end"), point.down + shift - 6
            box = (left, top, left + width, top + 12)
            if LEFT < left < WIDTH - width and top > 0 and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                point = replace(point, name=(across, top + 10, side))
                break
        named.append(point)
    return named


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _beats(other: tuple[float, float], own: tuple[float, float]) -> bool:
    return other[0] <= own[0] and other[1] >= own[1] and other != own


def _macs_per_video(row: Row, by_id: Mapping[str, Record]) -> float | None:
    """Multiply-adds of one view of each of a video's clips, the mean over the runs; None where a member is unknown."""
    found = [_of_run(record, own, by_id) for record, own in row.runs]
    return None if None in found else mean(found)


def _of_run(record: Record, row: RunRow, by_id: Mapping[str, Record]) -> float | None:
    parts = [row]
    if record.ensemble is not None:  # its members may have different numbers of clips
        parts = _members(record.ensemble.of.members, by_id)
    if not parts or any(part.clips_per_video is None for part in parts):
        return None
    return float(sum(part.macs_per_clip * part.clips_per_video for part in parts))


def _members(members: Sequence[tuple[str, str]], by_id: Mapping[str, Record]) -> list[RunRow]:
    """The rows of an ensemble's members; none where one is not there."""
    found = [[row for row in by_id[run].rows if row.name == name] for run, name in members if run in by_id]
    whole = len(found) == len(members) and all(found)
    return [rows[0] for rows in found] if whole else []
