"""What guessing scores."""

from __future__ import annotations

from experiments.records.record import Record


def guess(record: Record, family: str | None) -> float:
    """The hits of an even guess: among all classes, or among a family's own unless the record names it."""
    if family is None:
        return 1 / record.num_classes
    return record.chance.get(family, 1 / record.families[family])
