"""Comparisons of rows with their baseline. They are records of their own, so that tables are made from records only.

<results>/comparisons/<id>.json   the names of both rows, digests of their runs' records and of the comparing code
                                  (without comments and layout), and the outcome
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, TypeAdapter

from datamodules.files import write_atomically
from experiments import ROOT
from experiments.records.record import Count, Name, Share, digest, first_problem

if TYPE_CHECKING:
    from experiments.tables.rows import Row


SOURCES = [
    *(ROOT / "experiments" / "tables" / f"{name}.py" for name in ("significance", "compare_rows")),
    *(ROOT / "vidfusion" / f"{name}.py" for name in ("metrics", "votes")),
]
CODE = hashlib.sha256("".join(ast.dump(ast.parse(path.read_bytes())) for path in SOURCES).encode()).hexdigest()[:16]


Difference = Annotated[float, Field(ge=-10, le=10)]  # of shares; an interval may reach beyond -1 and 1


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


def comparison_id(row: Row, baseline: Row) -> str:
    """`<row>-vs-<baseline>-<hash>`: the same for the same runs."""
    runs = [sorted(record.id for record in of.records) for of in (row, baseline)]
    return f"{row.name}-vs-{baseline.name}-{digest(runs)}"


def read_comparisons(results: Path) -> tuple[dict[str, Comparison], list[str]]:
    """The comparisons that are stored, by id, and a line for each file that is none and is left out."""
    reader, found, problems = TypeAdapter(Comparison), {}, []
    for path in sorted((results / "comparisons").glob("*.json")):
        try:
            found[path.stem] = reader.validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            problems.append(f"{path} is no comparison: {first_problem(error)}; it is left out: delete it")
    return found, problems


def update_comparisons(results: Path, pairs: Sequence[tuple[Row, Row]]) -> None:
    """Compare the pairs of a row and its baseline that are new or out of date, and remove comparisons of other pairs.

    A comparison whose scores are not there any more cannot be made again. It stays, unless its runs' records have
    changed.
    """
    wanted = {comparison_id(row, baseline): (row, baseline) for row, baseline in pairs}
    (stored, _), folder = read_comparisons(results), results / "comparisons"
    scored = {path.parent.name for path in (results / "runs").glob("*/scores.npz")}
    for name, known in stored.items():
        if name not in wanted and known.inputs.keys() <= scored:
            (folder / f"{name}.json").unlink(missing_ok=True)
    todo = {}
    for name, (row, baseline) in wanted.items():
        inputs = {record.id: record.digest for of in (row, baseline) for record in of.records}
        known, complete = stored.get(name), inputs.keys() <= scored
        changed = known is not None and known.inputs != inputs
        if changed or (complete and (known is None or known.code != CODE)):
            todo[name] = row, baseline, inputs
    if todo:
        _compare(results, todo)


def _compare(results: Path, todo: dict[str, tuple[Row, Row, dict[str, str]]]) -> None:
    from experiments.tables.compare_rows import compare_rows, read_right  # here: it takes seconds to import

    read = functools.lru_cache(maxsize=32)(read_right)  # the runs of one baseline serve many comparisons
    for name, (row, baseline, inputs) in todo.items():
        path = results / "comparisons" / f"{name}.json"
        try:
            outcome, seeds, paired = compare_rows(results, row, baseline, read)
        except ValueError as error:
            path.unlink(missing_ok=True)
            print(f"{name}: not compared: {error}", file=sys.stderr, flush=True)
        else:
            found = Comparison(row.name, baseline.name, inputs, CODE, *outcome, Seeds(*seeds), paired)
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, json.dumps(asdict(found), indent=1))
