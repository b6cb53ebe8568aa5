"""What was compared, under which protocol, and by how much the rows differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datamodules.text import number_of
from experiments.report.times import is_of_time
from experiments.tables.render import Section
from experiments.tables.rows import Row
from experiments.tables.wording import DIFFERENCE, WITHIN, splits_text

BAR = 160  # pixels of the longest bar
ELSEWHERE = ("Clip", "Video Hit@1, ")  # columns that other parts of the page show
COSTS = ("Parameters", "Multiply-adds", "Frames per video", "Flow (s)", "Training (s)")


@dataclass(frozen=True)
class Bar:
    """A difference as pixels from the left of a bar: its middle, and its interval where there is one."""

    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Forest:
    """The bars of a section by label, the pixel of no difference, and the ends of the scale in percentage points."""

    bars: dict[str, Bar]
    zero: float
    low: float
    high: float


@dataclass(frozen=True)
class MainTable:
    """The table that is shown first: titles, lines of cells, and the place of the column that the bars stand beside."""

    titles: list[str]
    rows: list[list[str]]
    differences: int | None


def networks(section: Section) -> dict[str, Row]:
    """The rows of a section by label, without tests whose clips were played otherwise."""
    return {label: row for label, row in section.made_of.items() if not all(map(is_of_time, row.records))}


def sentences(section: Section, rows: Mapping[str, Row], forest: Forest | None) -> list[str]:
    """Three sentences: what was compared, how it was tested, and what the differences are."""
    records = [record for row in rows.values() for record in row.records]
    first, seeds = records[0], sorted({str(record.seed) for record in records})
    splits = splits_text({str(record.split) for record in records})
    seeds_text = f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"
    videos = sorted({record.videos.expected for record in records})
    span = f"{videos[0]:,}" if len(videos) == 1 else f"{videos[0]:,} to {videos[-1]:,}"
    found = [
        f"{number_of(len(rows), 'row')}, trained and tested on {first.dataset} ({first.num_classes} classes, {splits}, "
        f"{seeds_text}), with recipe {first.recipe} at size {first.size}.",
        f"The test, on {span} videos of a split: {first.protocol.text}.",
    ]
    if forest is None:
        return [*found, "No differences are shown: there is no baseline here, or there were no scores to compare."]
    baselines = list(dict.fromkeys(str(line["baseline"]) for line in section.csv if line.get("baseline")))
    methods = list(dict.fromkeys(str(line["method"]) for line in section.csv if line.get("method")))
    return [
        *found,
        f"Differences are to {' and '.join(baselines)}, the baseline fixed beforehand, in percentage points of Video "
        f"Hit@1, with 95 % intervals where there are enough groups of videos ({', '.join(methods)}).",
    ]


def main_table(section: Section, rows: Mapping[str, Row]) -> MainTable:
    """The columns of hits, differences and published numbers, Video Hit@1 first; chance and the rows given."""
    titles = section.columns
    shown = [n for n, title in enumerate(titles) if not title.startswith((*ELSEWHERE, *COSTS, WITHIN))]
    order = ("Strategy", "Video Hit@1", "Seeds", DIFFERENCE)
    shown.sort(key=lambda n: next((at for at, start in enumerate(order) if titles[n].startswith(start)), len(order)))
    shown.sort(key=lambda n: "scored only" in titles[n])
    lines = [[line[n] for n in shown] for line in section.rows if line[0] == "chance" or line[0] in rows]
    titles = [titles[n] for n in shown]
    found = [place for place, title in enumerate(titles) if title.startswith(DIFFERENCE)]
    return MainTable(titles, lines, found[0] if found else None)


def forest(section: Section, rows: Mapping[str, Row]) -> Forest | None:
    """The differences to the baseline as bars; None where there are none."""
    known = {str(line["strategy"]): line for line in section.csv if line.get("difference") is not None}
    found = {
        label: [_points(known[label].get(key)) for key in ("difference", "low", "high")]
        for label in known.keys() & rows.keys()
    }
    ends = [value for of in found.values() for value in of if value is not None]
    if not ends:
        return None
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = 0.05 * (high - low) or 1.0
    low, high = low - room, high + room

    def pixel(value: float | None) -> float | None:
        return None if value is None else round(BAR * (value - low) / (high - low), 1)

    return Forest({label: Bar(*map(pixel, of)) for label, of in found.items()}, pixel(0.0), low, high)


def _points(share: object) -> float | None:
    return 100 * float(share) if isinstance(share, int | float) else None


def anchors(titles: Sequence[str]) -> list[str]:
    """An id for each title, of letters, digits and hyphens; no two are the same."""
    return [
        f"s{n}-{re.sub('[^a-z0-9]+', '-', title.lower())[:40].strip('-')}" for n, title in enumerate(titles, start=1)
    ]
