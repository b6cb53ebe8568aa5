"""The lecture's claims, each judged by the difference of two rows of a results table.

`experiments/claims.yaml` names them. Results play no part in which rows are compared: both stand in one section, on
equal terms, as `baselines.py` has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import yaml
from pydantic import Field, TypeAdapter

from experiments import ROOT
from experiments.records.record import Name, Record, first_problem
from experiments.settings.plain_yaml import read_yaml
from experiments.tables.baselines import equal_terms
from experiments.tables.comparisons import CHANCE, Comparison, Pair, comparison_id
from experiments.tables.differences import difference_text
from experiments.tables.render import Section
from experiments.tables.rows import Row, make_rows, section_groups
from experiments.tables.wording import DASH

CLAIMS = ROOT / "experiments" / "claims.yaml"
HOLDS, FAILS, UNTOLD = "holds", "does not hold", "cannot be told here"
NOT_RUN, NOT_COMPARED = "not run", "not compared, for lack of scores"
COLUMNS = ["Claim", "Row", "Than", "Within", "Difference", "Verdict", "Multiply-adds of row / than"]
VERDICT = COLUMNS.index("Verdict")


@dataclass
class Claim:
    """`row` has more hits than each row of `than`, by `margin` percentage points or more; see `claims.yaml`."""

    says: str
    row: Name
    than: Annotated[list[Name], Field(min_length=1)]
    within: Name | None = None
    margin: Annotated[float, Field(ge=-100, le=100)] = 0.0


@dataclass
class Claims:
    """The file: the sweeps whose points the claims are about, and the claims in the order in which they are shown."""

    sweeps: list[Name]
    claims: list[Claim] = field(default_factory=list)


def read_claims() -> Claims:
    """What `claims.yaml` holds. Raises ValueError, in one line, for a file that does not."""
    try:
        return TypeAdapter(Claims).validate_python(read_yaml(CLAIMS))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{CLAIMS}: {' '.join(first_problem(error).split())}; correct it") from None


def claim_pairs(records: list[Record]) -> list[Pair]:
    """Every pair of rows that a claim compares."""
    return [pair for judged in _by_data(records).values() for pairs in judged for pair in pairs]


def claim_sections(records: list[Record], comparisons: Mapping[str, Comparison]) -> list[Section]:
    """A table for each data set, recipe and size of which at least one claim was judged.

    It leaves out claims about families of classes that none of its records has.
    """
    sections = []
    facts = [
        "Difference: of Video Hit@1, or of Hit@1 within a family, in percentage points [95 % interval], as in the "
        "tables above. A claim holds where every interval lies above its margin, and does not where one lies below "
        "it. Each interval stands for itself: of twenty, one misses the truth by chance."
    ]
    for (dataset, recipe, size), judged in _by_data(records).items():
        families = {family for record in records if record.dataset == dataset for family in record.families}
        rows = [
            _line(claim, pairs, comparisons)
            for claim, pairs in zip(read_claims().claims, judged, strict=True)
            if claim.within is None or claim.within in families
        ]
        if any(row[VERDICT] not in (NOT_RUN, NOT_COMPARED) for row in rows):
            title = f"The lecture's claims, on {dataset}, recipe {recipe}, size {size}"
            sections.append(Section(title, facts, COLUMNS, rows))
    return sections


def _by_data(records: list[Record]) -> dict[tuple[str, str, str], list[list[Pair]]]:
    """By data set, recipe and size: the pairs of each claim, none where a row is not there."""
    by_id, tables = {record.id: record for record in records}, defaultdict(list)
    for group in section_groups(records):
        alike: dict[tuple, list[Row]] = defaultdict(list)
        for row in make_rows(group):
            if row.first.kind != "test":
                alike[equal_terms(row, by_id)].append(row)
        first = group[0]
        tables[first.dataset, first.recipe, first.size] += alike.values()
    claims = read_claims().claims
    return {key: [_pairs(claim, of) for claim in claims] for key, of in sorted(tables.items())}


def _pairs(claim: Claim, tables: list[list[Row]]) -> list[Pair]:
    """The pairs of a claim, in the first of the largest tables that has all of its rows."""
    for rows in sorted(tables, key=len, reverse=True):
        named = defaultdict(list)
        for row in rows:
            named[row.name].append(row)
        wanted = [claim.row, *(name for name in claim.than if name != CHANCE)]
        if all(len(named[name]) == 1 for name in wanted) and claim.within in (None, *rows[0].first.families):
            return [
                Pair(named[claim.row][0], None if name == CHANCE else named[name][0], claim.within)
                for name in claim.than
            ]
    return []


def _line(claim: Claim, pairs: list[Pair], comparisons: Mapping[str, Comparison]) -> list[str]:
    said = claim.says + (f" (margin {claim.margin:+g})" if claim.margin else "")
    line = [said, claim.row, ", ".join(claim.than), claim.within or DASH]
    found = [comparisons.get(comparison_id(*pair)) for pair in pairs]
    if not found or None in found:
        return [*line, DASH, NOT_COMPARED if pairs else NOT_RUN, DASH]
    costs = ", ".join(_price(pair) for pair in pairs)
    return [*line, ", ".join(map(difference_text, found)), verdict(found, claim.margin / 100), costs]


def _price(pair: Pair) -> str:
    ours, theirs = (of and of.statistic("macs_per_clip")[0] for of in pair[:2])
    return f"{ours / theirs:.2g}" if ours and theirs else DASH


def verdict(found: list[Comparison], margin: float) -> str:
    """Whether differences lie above a margin, a share of the videos: all of them, or one of them not."""
    if any(one.high is not None and one.high < margin for one in found):
        return FAILS
    if all(one.low is not None and one.low > margin for one in found):
        return HOLDS
    return UNTOLD
