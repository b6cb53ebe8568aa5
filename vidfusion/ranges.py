"""Ranges of settings, declared beside their defaults and checked when a configuration is made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Range:
    """The finite numbers that a setting takes: `least` or more, or those `above` a bound; and those `below` another."""

    least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf

    def holds(self, value: float) -> bool:
        """Whether a number is in the range."""
        return math.isfinite(value) and self.least <= value and self.above < value < self.below

    def __str__(self) -> str:
        if self.above > -math.inf:
            return f"a finite number above {self.above:g}" + (f", below {self.below:g}" * (self.below < math.inf))
        if self.least == -math.inf:
            return "a finite number"
        return f"{self.least:g} or more" + (f", below {self.below:g}" if self.below < math.inf else "")


def number(
    default: Any = None, *, default_factory: Callable[[], Any] | None = None, **bounds: float
) -> Any:  # a field, as `dataclasses.field` makes it
    """A dataclass field for a number, or a list of numbers, within `Range(**bounds)`. None stays None."""
    metadata = {"range": Range(**bounds)}
    if default_factory is not None:
        return field(default_factory=default_factory, metadata=metadata)
    return field(default=default, metadata=metadata)


class Ranged:
    """A dataclass of settings whose fields with a range are checked; `NODE` is their place in the configuration."""

    NODE: ClassVar[str]

    def __post_init__(self) -> None:
        """Raise ValueError for the first number out of its range."""
        for setting in dataclasses.fields(self):
            value, allowed = getattr(self, setting.name), setting.metadata.get("range")
            if allowed is None or value is None:
                continue
            several = isinstance(value, Sequence)
            if not all(map(allowed.holds, value if several else [value])):
                expected = f"for each {allowed}" if several else str(allowed)
                raise ValueError(f"{self.NODE}.{setting.name}={value}: expected {expected}")
