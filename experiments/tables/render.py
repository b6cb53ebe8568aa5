"""Sections of results as Markdown, CSV, HTML and LaTeX."""

from __future__ import annotations

import csv
import html
import io
import re
from dataclasses import dataclass, field
from itertools import compress

from datamodules.text import printable
from experiments.tables.rows import Row
from experiments.tables.text import aligned
from experiments.tables.wording import DIFFERENCE, SEVERAL_SEEDS, SPLITS, WITHIN

COMMAND = "python experiments/run.py --table"
TEXT_COLUMNS = {"Strategy", "Clip", "System", "Paper", "Split", "Pretraining", "Protocol", "Note"}
TEXT_COLUMNS |= {"Claim", "Row", "Than", "Within", "Difference", "Verdict"}
HIT = "Video Hit@1"  # how the names of the columns of a README begin
LONG_COLUMNS = {"Protocol", "Paper", "Note", "Claim"}  # whose cells LaTeX breaks into lines
HEAD = ("dataset", "splits", "recipe", "size", "num_classes", "protocol", "strategy")  # first columns of the CSV


@dataclass(frozen=True)
class Section:
    """One table as shown: cells are text, `facts` stand above it, `notes` below; `csv` holds the same unrounded.

    `made_of` holds the runs behind each row of ours, by its label.
    """

    title: str
    facts: list[str]
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    csv: list[dict[str, object]] = field(default_factory=list)
    made_of: dict[str, Row] = field(default_factory=dict)


def to_markdown(sections: list[Section]) -> str:
    """GitHub-flavoured Markdown, the columns padded so that the source reads as a table too."""
    lines = ["# Results", ""]
    for section in sections:
        lines += [f"## {_plain(section.title)}", "", *(f"- {_plain(fact)}" for fact in section.facts), ""]
        lines += [*_grid(section.columns, section.rows), ""] if section.columns else []
        lines += [*(f"- {_plain(note)}" for note in section.notes), ""] if section.notes else []
    return "\n".join([*lines, f"Made from the records in `runs/` by `{COMMAND}`.", ""])


def summary(section: Section) -> str:
    """Video Hit@1, over all classes and in each family, as a small Markdown table for a README; and the protocol."""
    kept = [name == "Strategy" or name.startswith((HIT, WITHIN)) for name in section.columns]
    columns, *rows = [list(compress(row, kept)) for row in (section.columns, *section.rows)]
    columns = [name.removeprefix(f"{HIT}, ").removeprefix(f"{WITHIN} ") for name in columns]
    facts = [fact for fact in section.facts if fact.startswith(("Test:", SEVERAL_SEEDS))]
    return "\n".join([*_grid(columns, rows), "", " ".join(map(_plain, ["In percent.", *facts]))])


def _main_columns(section: Section) -> list[list[str]]:
    """Names, hits, differences and numbers of seeds of a section of ours: the titles, then each row."""
    kept = [
        name in ("Strategy", "Seeds")
        or name.startswith((DIFFERENCE, SPLITS))
        or ("Hit@" in name and "Published" not in name)
        for name in section.columns
    ]
    return [list(compress(row, kept)) for row in (section.columns, *section.rows)]


def _grid(columns: list[str], rows: list[list[str]]) -> list[str]:
    titles, *cells = [[_plain(cell) for cell in row] for row in (columns, *rows)]
    return aligned(titles, cells, markdown=True, words=TEXT_COLUMNS)


# What Markdown reads as markup. A lone `*`, and `_` within a word, stand for themselves.
MARKUP = re.compile(
    r"[\\`|$]|~~|\*(?=\S)|(?<=\S)\*|(?<!\w)_|_(?!\w)"  # code, formulas, emphasis, columns
    r"|(?<=\])\(|://|(?<=www)\.|&(?=#?\w+;)"  # links and entities
    r"|^[#>]|^[-+](?=\s)|(?<=^\d)[.)](?=\s)"  # titles and lists
)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    escaped = MARKUP.sub(lambda found: "\\" + found[0], _clean(text).replace("<", "\0"))
    return escaped.replace("\0", "&lt;")


def _clean(text: str) -> str:
    """Text on one line, without what a terminal or browser would obey."""
    return printable(" ".join(text.split()))


def to_csv(sections: list[Section]) -> str:
    """One line per row of our sections: raw fractions, counts and seconds; empty where undefined."""
    rows = [row for section in sections for row in section.csv]
    text = io.StringIO()
    names = list(dict.fromkeys([*HEAD, *(key for row in rows for key in row)]))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writerow({name: _cell(name) for name in names})
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """A value of the CSV; text that a spreadsheet would run as a formula gets an apostrophe before it."""
    if not isinstance(value, str):
        return value
    text = _clean(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


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

    def escape(text: str) -> str:
        return html.escape(_clean(text))

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


# What LaTeX reads as something else, and what its plain fonts lack
LATEX = {character: f"\\{character}" for character in "&%$#_{}"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "[": "{[}", "]": "{]}"}
LATEX |= {"<": "$<$", ">": "$>$", "|": "$|$", "*": "$*$", '"': "''", "±": r"$\pm$", "—": "---"}


def to_latex(sections: list[Section]) -> str:
    """A `table` with one `tabular` per section, to be `\\input`; needs no package. Of our runs the main columns."""
    lines = [f"% Made from the records in runs/ by {COMMAND}. All columns are in table.csv."]
    for section in sections:
        columns, *rows = _main_columns(section) if section.csv else (section.columns, *section.rows)
        caption = ". ".join([_latex(section.title), *(_latex(fact).removesuffix(".") for fact in section.facts)])
        lines += ["", r"\begin{table}", rf"\caption{{{caption}.}}"]
        if columns:
            kinds = ["p{3cm}" if name in LONG_COLUMNS else "l" if name in TEXT_COLUMNS else "r" for name in columns]
            cells = [" & ".join(map(_latex, row)) + r" \\" for row in (columns, *rows)]
            lines += [rf"\begin{{tabular}}{{{''.join(kinds)}}}", r"\hline", cells[0], r"\hline", *cells[1:], r"\hline"]
            lines += [r"\end{tabular}"]
        lines += [rf"\par {_latex(note)}" for note in section.notes]
        lines += [r"\end{table}"]
    return "\n".join([*lines, ""])


def _latex(text: str) -> str:
    """Text as plain LaTeX prints it; a hyphen before a number is a minus."""
    parts = re.split(r"((?<![\w.])-(?=\d))", _clean(text))
    return "".join("$-$" if n % 2 else "".join(LATEX.get(c, c) for c in part) for n, part in enumerate(parts))
