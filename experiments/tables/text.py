"""Aligned tables of text."""

from __future__ import annotations


def aligned(titles: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown; the columns after the first have numbers, but for those with words."""
    columns = list(zip(titles, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    words = [number == 0 or any(cell[-1:].isalpha() for cell in column[1:]) for number, column in enumerate(columns)]
    rule = ["-" * width if left else "-" * (width - 1) + ":" for width, left in zip(widths, words, strict=True)]
    lines = [
        [cell.ljust(width) if left else cell.rjust(width) for cell, width, left in zip(row, widths, words, strict=True)]
        for row in (titles, *rows)
    ]
    return [joined(cells) for cells in (lines[0], rule, *lines[1:])]


def joined(cells: list[str]) -> str:
    """Cells as one line of Markdown."""
    return f"| {' | '.join(cells)} |"
