"""What each kind of fusion sees: its hits in each family of classes, or the classes that it gains and loses most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.report.confusions import Counts, accuracy
from experiments.tables.render import Section
from experiments.tables.rows import Row
from experiments.tables.wording import counted_within

EXTREMES = 5  # classes that are shown of each kind


@dataclass(frozen=True)
class HeatMap:
    """Shares of right videos: a line for each row of the table, in percent, and how strongly a cell is coloured, 0 to
    100: from what chance gives to all right."""

    title: str
    families: list[str]
    rows: list[tuple[str, list[tuple[float, int] | None]]]


@dataclass(frozen=True)
class Gains:
    """By row, the classes that it gains and loses most against another row: (class, points in percent)."""

    baseline: str
    rows: list[tuple[str, list[tuple[str, float]], list[tuple[str, float]]]]


def heat_map(section: Section, rows: Mapping[str, Row]) -> HeatMap | None:
    """The hits within each family, of the section's line of chance and of `rows`; None without families."""
    lines = {str(line["strategy"]): line for line in section.csv}
    families = list(next(iter(rows.values())).first.families)
    if not families:
        return None
    within = counted_within([record for row in rows.values() for record in row.records])
    key = "within_hit1" if within else "video_hit1"
    chance = {name: _share(lines["chance"].get(f"{name}/{key}")) or 0.0 for name in families}
    found = []
    for label in ("chance", *rows):
        shares = [_share(lines[label].get(f"{name}/{key}")) for name in families]
        cells = [_cell(share, chance[name]) for share, name in zip(shares, families, strict=True)]
        found.append((label, cells))
    title = "among the family's own classes" if within else "among all classes"
    return HeatMap(f"Video Hit@1 within each family, {title}, in percent", families, found)


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _cell(share: float | None, chance: float) -> tuple[float, int] | None:
    if share is None:
        return None
    return 100 * share, round(100 * max(0.0, share - chance) / max(1 - chance, 1e-9))


def gains(rows: Mapping[str, Counts], baseline: str, classes: list[str]) -> Gains | None:
    """What each row gains and loses against the baseline, by class; None where there are no such rows with counts."""
    if not rows.get(baseline) or sum(map(bool, rows.values())) < 2:
        return None
    theirs, found = accuracy(rows[baseline], len(classes)), []
    for label, counts in rows.items():
        if label == baseline or not counts:
            continue
        shares = zip(classes, accuracy(counts, len(classes)), theirs, strict=True)
        by_class = [(name, 100 * (own - other)) for name, own, other in shares if own is not None and other is not None]
        by_class.sort(key=lambda item: item[1])
        lost = [item for item in by_class[:EXTREMES] if item[1] < 0]
        found.append((label, [item for item in by_class[::-1][:EXTREMES] if item[1] > 0], lost))
    return Gains(baseline, found)
