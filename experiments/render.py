"""Sections of results as Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import html
import io
from dataclasses import dataclass, field

COMMAND = "python experiments/run.py --table"
TEXT_COLUMNS = {"Strategy", "Clip", "System", "Paper", "Split", "Pretraining", "Protocol", "Note"}
HEAD = ("dataset", "splits", "recipe", "size", "num_classes", "protocol", "strategy")  # first columns of the CSV


@dataclass(frozen=True)
class Section:
    """One table as shown: cells are text, `facts` stand above it, `notes` below; `csv` holds the same unrounded."""

    title: str
    facts: list[str]
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    csv: list[dict[str, object]] = field(default_factory=list)


def to_markdown(sections: list[Section]) -> str:
    """GitHub-flavoured Markdown, the columns padded so that the source reads as a table too."""
    lines = ["# Results", ""]
    for section in sections:
        lines += [f"## {_plain(section.title)}", "", *(f"- {_plain(fact)}" for fact in section.facts), ""]
        lines += [*_grid(section.columns, section.rows), ""] if section.columns else []
        lines += [*(f"- {_plain(note)}" for note in section.notes), ""] if section.notes else []
    return "\n".join([*lines, f"Made from the records in `runs/` by `{COMMAND}`.", ""])


def summary(section: Section) -> str:
    """The hits of a section as a small Markdown table, for a README."""
    kept = [name for name in section.columns if name == "Strategy" or ("Hit@" in name and "Published" not in name)]
    places = [section.columns.index(name) for name in kept]
    return "\n".join(_grid(kept, [[row[place] for place in places] for row in section.rows]))


def _grid(columns: list[str], rows: list[list[str]]) -> list[str]:
    grid = [[_plain(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*grid, strict=True)]
    left = [name in TEXT_COLUMNS for name in columns]
    rule = ["-" * width if text else "-" * (width - 1) + ":" for width, text in zip(widths, left, strict=True)]
    lines = []
    for row in (grid[0], rule, *grid[1:]):
        cells = zip(row, widths, left, strict=True)
        lines.append(f"| {' | '.join(c.ljust(w) if text else c.rjust(w) for c, w, text in cells)} |")
    return lines


def _plain(text: str) -> str:
    return " ".join(text.replace("<", "&lt;").replace("|", "\\|").split())


def to_csv(sections: list[Section]) -> str:
    """One line per row of our sections: raw fractions, counts and seconds; empty where undefined."""
    rows = [row for section in sections for row in section.csv]
    text = io.StringIO()
    names = list(dict.fromkeys([*HEAD, *(key for row in rows for key in row)]))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem }
div { overflow-x: auto }
table { border-collapse: collapse }
caption { text-align: left; padding-bottom: .5rem }
caption p, footer { margin: 0; opacity: .75 }
th, td { padding: .2rem .6rem; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent) }
th { vertical-align: bottom; text-align: left }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th.number { white-space: normal }
"""


def to_html(sections: list[Section]) -> str:
    """One self-contained page."""
    escape = html.escape

    def line(cells: list[str], columns: list[str], tag: str) -> str:
        kinds = ["" if name in TEXT_COLUMNS else ' class="number"' for name in columns]
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))

    parts = []
    for section in sections:
        facts = "".join(f"<p>{escape(fact)}</p>" for fact in section.facts)
        parts.append(f"<h2>{escape(section.title)}</h2>")
        if not section.columns:
            parts.append(facts)
            continue
        parts.append(f"<div><table>\n<caption>{facts}</caption>")
        parts.append(f"<thead><tr>{line(section.columns, section.columns, 'th')}</tr></thead>\n<tbody>")
        parts += [f"<tr>{line(row, section.columns, 'td')}</tr>" for row in section.rows]
        parts.append("</tbody></table></div>")
        parts += [f"<p>{escape(note)}</p>" for note in section.notes]
    head = f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Results</title><style>{STYLE}</style>'
    footer = f"<footer>Made from the records in <code>runs/</code> by <code>{COMMAND}</code>.</footer>"
    return "\n".join([head, "<h1>Results</h1>", *parts, footer, "</html>", ""])
