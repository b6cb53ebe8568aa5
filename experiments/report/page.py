"""Sections, records and what lies beside them -> one page that needs no other file."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from experiments.records.record import Record
from experiments.report.compared import Forest, MainTable, anchors, forest, main_table, networks, sentences
from experiments.report.confusions import confusions, confusions_of
from experiments.report.costs import Costs, costs
from experiments.report.curves import LearningCharts, learning_charts
from experiments.report.environment import PAGE, TEMPLATES, shown
from experiments.report.families import Gains, HeatMap, gains, heat_map
from experiments.report.times import TIMES, TimeLine, command, times
from experiments.tables.render import COMMAND, Section
from experiments.tables.rows import Row

BASELINE = "single_frame"  # the row that classes are gained against


@dataclass(frozen=True)
class Part:
    """All that the page shows of one section of our runs. What is None has no data."""

    anchor: str
    title: str
    section: Section
    sentences: list[str]
    table: MainTable
    forest: Forest | None
    families: HeatMap | None
    gains: Gains | None
    costs: Costs
    costs_leave_out: list[str]
    learning: LearningCharts | None
    answers: dict[str, Any] | None
    times: list[TimeLine]
    time_command: str
    run_command: str


def page(results: Path, sections: Sequence[Section], records: Sequence[Record], films: str, key: str) -> str:
    """The page, as HTML that asks for nothing outside of it. `films` is HTML; all other text is shown as it is.

    `key` stands in the first lines, so that a reader of the file knows what it was made of.
    """
    ours = sorted((section for section in sections if networks(section)), key=lambda section: -len(section.csv))
    others = [section for section in sections if not section.csv]
    names = anchors([section.title for section in (*ours, *others)])
    counted = confusions(results, records)
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return PAGE.get_template("page.html").render(
        parts=[_part(results, *pair, records, counted) for pair in zip(names, ours, strict=False)],
        others=list(zip(names[len(ours) :], others, strict=True)),
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        films=Markup(films),
        times=TIMES,
        key=key,
        command=COMMAND if str(results) == "results" else f"{COMMAND} results={results}",
    )


def _of_most_splits(rows: Mapping[str, Row]) -> dict[str, Row]:
    """The rows of those splits that most rows have: others were tested on other videos."""
    most = Counter(frozenset(row.splits) for row in rows.values()).most_common(1)[0][0]
    return {label: row for label, row in rows.items() if row.splits == most}


def _part(
    results: Path,
    anchor: str,
    section: Section,
    records: Sequence[Record],
    counted: Mapping[str, Any],
) -> Part:
    rows, by_id = networks(section), {record.id: record for record in records}
    alike = _of_most_splits(rows)
    classes = next(iter(rows.values())).first.data.classes
    scored = confusions_of(rows, counted, len(classes))
    bars = forest(section, rows)
    return Part(
        anchor=anchor,
        title=section.title.replace(f", test {next(iter(rows.values())).first.protocol.text}", ""),
        section=section,
        sentences=sentences(section, rows, bars),
        table=main_table(section, rows),
        forest=bars,
        families=heat_map(section, rows),
        gains=gains(scored, BASELINE, classes),
        costs=costs(alike, by_id),
        costs_leave_out=[label for label in rows if label not in alike],
        learning=learning_charts(results, rows),
        answers={
            "classes": [str(shown(name)) for name in classes],
            "rows": [
                {
                    "name": str(shown(label)),
                    "splits": sorted(rows[label].splits),
                    "counts": [number for triple in of for number in triple],
                }
                for label, of in scored.items()
            ],
        } if scored else None,
        times=times(rows, records),
        time_command=command(rows, str(results)),
        run_command=next(iter(rows.values())).first.command,
    )  # fmt: skip
