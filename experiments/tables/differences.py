"""How the rows of a section differ from its baseline, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from experiments.tables.baselines import Contest
from experiments.tables.comparisons import Comparison, comparison_id
from experiments.tables.holm import LEVEL, holm
from experiments.tables.wording import DASH, DIFFERENCE


@dataclass(frozen=True)
class Difference:
    """How a row differs from its baseline: the baseline's label, the comparison, p after Holm's correction where there
    is a p, and the number of comparisons that it corrects for."""

    baseline: str
    compared: Comparison
    p_holm: float | None
    number: int


@dataclass(frozen=True)
class Differences:
    """What came of comparing the rows of a section with their baselines.

    found:   by label of a row
    missing: labels of rows that should have been compared and were not
    """

    found: dict[str, Difference]
    missing: list[str]

    def __bool__(self) -> bool:
        return bool(self.found)

    @property
    def baselines(self) -> list[str]:
        """The labels of the baselines, each once."""
        return list(dict.fromkeys(difference.baseline for difference in self.found.values()))

    @property
    def title(self) -> str:
        """The title of the column."""
        return f"{DIFFERENCE} {self.baselines[0] if len(self.baselines) == 1 else 'its baseline'}"

    def text(self, label: str) -> str:
        """`+2.3 [0.4, 4.1] *` in percentage points: the difference, its interval and the mark of a small p."""
        if (found := self.found.get(label)) is None:
            return DASH
        return difference_text(found.compared) + " *" * (found.p_holm is not None and found.p_holm < LEVEL)

    def csv(self, label: str) -> dict[str, object]:
        """The same, unrounded, for the CSV."""
        if (found := self.found.get(label)) is None:
            return {}
        line = {key: getattr(found.compared, key) for key in ("difference", "low", "high", "p")}
        line |= {"p_holm": found.p_holm, "clusters": found.compared.clusters, "method": found.compared.method}
        return {"baseline": found.baseline} | line

    def fact(self) -> str:
        """How the rows were compared, what that speaks of, and which rows were not compared."""
        text = f"{self.title}, the baseline fixed beforehand: of Video Hit@1, in percentage points"
        numbers = dict.fromkeys(found.number for found in self.found.values() if found.number)
        if numbers:
            counts = " and ".join(f"{number:,}" for number in numbers)
            text += f" [95 % interval]; * marks p < 0.05 by Holm's correction for {counts} comparison"
            text += "s" * (list(numbers) != [1])
        sentences = [text]
        if len(self.baselines) > 1:
            of = {
                label: [row for row, found in self.found.items() if found.baseline == label] for label in self.baselines
            }
            sentences += [f"Baseline of {', '.join(rows)}: {label}" for label, rows in of.items()]
        alike = defaultdict(list)
        for label, found in self.found.items():
            alike[_how(found.compared, found.number)].append(label)
        for how, labels in alike.items():
            sentences.append(how[0].upper() + how[1:] if len(alike) == 1 else f"{', '.join(labels)}: {how}")
        if self.missing:
            sentences.append(f"Not compared, for lack of comparable scores: {', '.join(self.missing)}")
        return f"{'. '.join(sentences)}."


def differences_of(
    labels: Mapping[int, str], contests: Iterable[Contest], comparisons: Mapping[str, Comparison]
) -> Differences:
    """The stored comparisons of these contests; `labels` are those of rows, by `id`."""
    differences, missing = {}, []
    for contest in contests:
        ids = {labels[id(row)]: comparison_id(row, contest.baseline) for row in contest.rows}
        found = {label: comparisons[name] for label, name in ids.items() if name in comparisons}
        judged = {label: compared.p for label, compared in found.items() if compared.p is not None}
        p_holm = dict(zip(judged, holm(list(judged.values())), strict=True))
        baseline = labels[id(contest.baseline)]
        differences |= {
            label: Difference(baseline, compared, p_holm.get(label), len(judged)) for label, compared in found.items()
        }
        missing += [label for label in ids if label not in found]
    return Differences(differences, missing)


def difference_text(compared: Comparison) -> str:
    """`+2.3 [0.4, 4.1]` in percentage points."""
    difference = _points(compared.difference)
    if compared.low is None or compared.high is None:
        return f"{difference:+.1f}"
    return f"{difference:+.1f} [{_points(compared.low):.1f}, {_points(compared.high):.1f}]"


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
