"""Text for people: names that a terminal can show, counts with their nouns, ranges."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable


def range_of(counts: Iterable[int]) -> str:
    """`3-7`, or `5` where all counts are equal."""
    counts = list(counts) or [0]
    return f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,}-{max(counts):,}"


def number_of(count: int, one: str, several: str = "") -> str:
    """A count with its noun: `1 video`, `2 videos`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def printable(text: str) -> str:
    """The text with escape sequences for characters that a terminal would obey or could not show.

    A name need not be UTF-8; its other bytes are shown as \\xNN. Text from a record may hold halves of characters.
    """
    halves = re.sub("[\ud800-\udc7f\udd00-\udfff]", lambda half: half[0].encode("unicode_escape").decode(), text)
    text = os.fsencode(halves).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
