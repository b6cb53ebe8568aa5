"""What may be wrong with the data on disk."""

from __future__ import annotations


class DataError(ValueError):
    """Something is wrong with the data on disk or its settings; the message says what, where and what to do."""


class DecodeError(DataError):
    """A video that does not decode from its first to its last frame; one line: the file, what was found, the remedy."""
