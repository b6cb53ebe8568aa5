"""Comparisons of two rows, or of a row with chance. They are records of their own, so that tables need records only.

<results>/comparisons/<id>.json   the names of both rows, digests of their runs' records and of the comparing code
                                  (without comments and layout), and the outcome
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, TypeAdapter

from datamodules.files import write_atomically
from experiments import ROOT
from experiments.records.record import Count, Name, Share, digest, first_problem
from experiments.tables.rows import Row

SOURCES = [
    *(
        ROOT / "experiments" / "tables" / f"{name}.py"
        for name in ("significance", "holm", "chance", "comparing", "comparisons")
    ),
    *(ROOT / "vidfusion" / f"{name}.py" for name in ("metrics", "votes")),
]
CODE = hashlib.sha256("".join(ast.dump(ast.parse(path.read_bytes())) for path in SOURCES).encode()).hexdigest()[:16]
CHANCE = "chance"  # the name of a baseline that guesses
Difference = Annotated[float, Field(ge=-10, le=10)]  # of shares; an interval may reach beyond -1 and 1


class Pair(NamedTuple):
    """A row and what it is compared with: another one, or chance (None). Of all test videos, or of those of a family
    `within` whose classes alone a guess can be."""

    row: Row
    baseline: Row | None
    within: str | None = None


@dataclass
class Seeds:
    """The number of seeds of each row."""

    row: Count
    baseline: Count


@dataclass
class Comparison:
    """What came of comparing a row with its baseline.

    inputs:     by id, the digest of each run's record
    code:       digest of the code that compared
    method:     `t interval`, `exact sign-flip` or `too few groups`; `cluster bootstrap` in old files
    clusters:   the number of groups of test videos
    draws:      patterns of signs, or replicates of a bootstrap; None for a t interval
    difference: of Video Hit@1, -1 to 1; `low` and `high` are the 95 % interval, and `p` is two-sided. These three are
                None where there are too few groups.
    paired:     whether both rows hold the same trained networks in each seed
    within:     the family whose videos and classes alone count; None for all
    """

    row: Name
    baseline: Name
    inputs: dict[str, str]
    code: str
    method: str
    clusters: Count
    draws: Count | None
    difference: Difference
    low: Difference | None
    high: Difference | None
    p: Share | None
    seeds: Seeds
    paired: bool
    within: Name | None = None


def comparison_id(row: Row, baseline: Row | None, within: str | None = None) -> str:
    """`<row>-vs-<baseline>-<hash>`: the same for the same runs and family."""
    runs = [sorted(record.id for record in of.records) for of in (row, baseline) if of]
    return f"{row.name}-vs-{baseline.name if baseline else CHANCE}-{digest([*runs, within] if within else runs)}"


def read_comparisons(results: Path) -> tuple[dict[str, Comparison], list[str]]:
    """The comparisons that are stored, by id, and a line for each file that is none and is left out."""
    reader, found, problems = TypeAdapter(Comparison), {}, []
    for path in sorted((results / "comparisons").glob("*.json")):
        try:
            found[path.stem] = reader.validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            problems.append(f"{path} is no comparison: {first_problem(error)}; it is left out: delete it")
    return found, problems


def update_comparisons(results: Path, pairs: Sequence[Pair]) -> None:
    """Compare the pairs that are new or out of date, and remove comparisons of other pairs.

    A comparison whose scores are not there any more cannot be made again. It stays, unless its runs' records have
    changed.
    """
    folder, (stored, _) = results / "comparisons", read_comparisons(results)
    wanted = {comparison_id(*pair): pair for pair in pairs}
    scored = {path.parent.name for path in (results / "runs").glob("*/scores.npz")}
    for name in stored.keys() - wanted.keys():
        if stored[name].inputs.keys() <= scored:
            (folder / f"{name}.json").unlink(missing_ok=True)
    todo: dict[str, tuple[Pair, dict[str, str]]] = {}
    for name, pair in wanted.items():
        inputs = {record.id: record.digest for of in pair[:2] if of for record in of.records}
        known, complete = stored.get(name), inputs.keys() <= scored
        changed = known is not None and known.inputs != inputs
        if changed or (complete and (known is None or known.code != CODE)):
            todo[name] = pair, inputs
    if not todo:
        return
    from experiments.tables.comparing import Reader, compare_rows  # here: it takes time to import

    reader = Reader(results)
    for name, (pair, inputs) in todo.items():
        path, baseline = folder / f"{name}.json", pair.baseline.name if pair.baseline else CHANCE
        try:
            outcome, seeds, paired = compare_rows(reader, *pair)
        except ValueError as error:
            path.unlink(missing_ok=True)
            print(f"{name}: not compared: {error}", file=sys.stderr, flush=True)
        else:
            found = Comparison(pair.row.name, baseline, inputs, CODE, *outcome, Seeds(*seeds), paired, pair.within)
            folder.mkdir(exist_ok=True)
            write_atomically(path, json.dumps(asdict(found), indent=1))
