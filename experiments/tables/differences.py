"""How the rows of a section differ from its baseline, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.tables.comparisons import Comparison, comparison_id
from experiments.tables.rows import Row, baseline_of, compared_rows
from experiments.tables.significance import LEVEL, holm
from experiments.tables.wording import DASH, DIFFERENCE


@dataclass(frozen=True)
class Differences:
    """What came of comparing the rows of a section with its baseline.

    baseline: the label of the baseline; the section has none where nothing was compared
    found:    by label of a row, the comparison
    p_holm:   by label, p after Holm's correction, where there is a p
    missing:  labels of rows that should have been compared and were not
    """

    baseline: str
    found: dict[str, Comparison]
    p_holm: dict[str, float]
    missing: list[str]

    def __bool__(self) -> bool:
        return bool(self.found)

    @property
    def title(self) -> str:
        """The title of the column."""
        return f"{DIFFERENCE} {self.baseline}"

    def text(self, label: str) -> str:
        """`+2.3 [0.4, 4.1] *` in percentage points: the difference, its interval and the mark of a small p."""
        compared = self.found.get(label)
        if compared is None:
            return DASH
        difference = _points(compared.difference)
        if compared.low is None or compared.high is None:
            return f"{difference:+.1f}"
        interval = f"[{_points(compared.low):.1f}, {_points(compared.high):.1f}]"
        return f"{difference:+.1f} {interval}" + " *" * (self.p_holm.get(label, 1.0) < LEVEL)

    def csv(self, label: str) -> dict[str, object]:
        """The same, unrounded, for the CSV."""
        compared = self.found.get(label)
        if compared is None:
            return {}
        found = {key: getattr(compared, key) for key in ("difference", "low", "high", "p")}
        found |= {"p_holm": self.p_holm.get(label), "clusters": compared.clusters, "method": compared.method}
        return {"baseline": self.baseline} | found

    def fact(self) -> str:
        """How the rows were compared, what that speaks of, and which rows were not compared."""
        number = len(self.p_holm)
        text = f"{self.title}, the baseline fixed beforehand: of Video Hit@1, in percentage points"
        if number:
            text += f" [95 % interval]; * marks p < 0.05 by Holm's correction for {number} comparison"
            text += "s" * (number > 1)
        alike = defaultdict(list)
        for label, compared in self.found.items():
            alike[_how(compared, number)].append(label)
        sentences = [text]
        for how, labels in alike.items():
            sentences.append(how[0].upper() + how[1:] if len(alike) == 1 else f"{', '.join(labels)}: {how}")
        if self.missing:
            sentences.append(f"Not compared, for lack of comparable scores: {', '.join(self.missing)}")
        return f"{'. '.join(sentences)}."


def differences_of(rows: list[Row], labels: list[str], comparisons: Mapping[str, Comparison]) -> Differences:
    """The stored comparisons of these rows with their baseline."""
    baseline = baseline_of(rows)
    if baseline is None:
        return Differences("", {}, {}, [])
    ids = {labels[rows.index(row)]: comparison_id(row, baseline) for row in compared_rows(rows, baseline)}
    found = {label: comparisons[name] for label, name in ids.items() if name in comparisons}
    judged = {label: compared.p for label, compared in found.items() if compared.p is not None}
    p_holm = dict(zip(judged, holm(list(judged.values())), strict=True))
    missing = [label for label in ids if label not in found]
    return Differences(labels[rows.index(baseline)], found, p_holm, missing)


def _points(share: float) -> float:
    """Percentage points to one digit, never -0.0."""
    return round(100 * share, 1) + 0.0


def _how(compared: Comparison, number: int) -> str:
    """How a row was compared, as one of `number`, and what that speaks of."""
    groups = f"{compared.clusters:,} groups of test videos"
    seeds, of_baseline = compared.seeds.row, compared.seeds.baseline
    networks = f"which speaks of the trained networks (seeds: {seeds}, of the baseline {of_baseline}) only"
    if compared.method == "too few groups":
        return f"{groups} are too few groups for an interval or a mark"
    if compared.method == "exact sign-flip" and compared.draws:
        least = 2 / compared.draws  # the smallest p that it can give
        blunt = f", and marks nothing, since no p can be below {least:.2g} before the correction"
        how = f"{compared.method} over {groups}, {compared.draws:,} patterns, {networks}"
        return how + blunt * (least * number >= LEVEL)
    how = f"{compared.method} over {groups}, "
    if compared.draws:  # an old comparison
        how = f"{compared.method} of {groups}, {compared.draws:,} replicates, "
    if seeds == 1 or of_baseline == 1:
        return how + networks
    if compared.paired:
        return how + f"and of the seeds, in pairs ({seeds}), since both rows hold the same trained networks"
    return how + f"and of the seeds of each row ({seeds}, of the baseline {of_baseline})"
