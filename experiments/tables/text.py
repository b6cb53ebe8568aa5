"""The one printer of aligned tables, for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Collection
from itertools import zip_longest

import tabulate

tabulate.MIN_PADDING = 0  # a column is as wide as its widest cell


def aligned(
    titles: list[str], rows: list[list[str]], markdown: bool = False, words: Collection[str] | None = None
) -> list[str]:
    """The lines of a table, as plain text or as GitHub Markdown.

    `words` names the columns that are aligned to the left. Left out, it is the first column and each column in which
    a cell begins with a letter. All others are aligned to the right.
    """
    if words is None:
        cells_by_title = dict(zip(titles, zip(*rows, strict=True), strict=bool(rows)))
        words = titles[:1] + [title for title, cells in cells_by_title.items() if any(c[:1].isalpha() for c in cells)]
    return tabulate.tabulate(
        rows,
        titles,
        tablefmt=MARKDOWN if markdown else "plain",
        colalign=["left" if title in words else "right" for title in titles],
        disable_numparse=True,
    ).splitlines()


def joined(cells: list[str]) -> str:
    """Cells as one line of Markdown."""
    return f"| {' | '.join(cells)} |"


def _rule(widths: list[int], aligns: list[str]) -> str:
    """The line below the titles, which also tells GitHub how to align each column."""
    columns = zip_longest(widths, aligns, fillvalue="left")  # a table without rows comes without aligns
    return joined(["-" * (width - 1) + ("-" if align == "left" else ":") for width, align in columns])


_CELLS = tabulate.DataRow("| ", " | ", " |")
MARKDOWN = tabulate.TableFormat(None, _rule, None, None, _CELLS, _CELLS, padding=0, with_header_hide=None)
