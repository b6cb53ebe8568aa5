"""Comparisons of a table's rows with their baseline: records of their own, so that tables read records only.

<results>/comparisons/<id>.json   the names of the two rows, digests of the records of their runs and of the code that
                                  compared them (without comments and layout), and what came out
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.files import write_atomically
from experiments import ROOT

if TYPE_CHECKING:
    from experiments.tables.rows import Row


# What computes is imported where it is needed: to look whether something is out of date must not cost seconds.
SOURCES = [
    *(ROOT / "experiments" / "tables" / f"{name}.py" for name in ("significance", "compare_rows")),
    *(ROOT / "vidfusion" / f"{name}.py" for name in ("metrics", "votes")),
]
CODE = hashlib.sha256("".join(ast.dump(ast.parse(path.read_bytes())) for path in SOURCES).encode()).hexdigest()[:16]
FIELDS = {"row", "baseline", "inputs", "code", "method", "clusters", "draws", "difference", "low", "high", "p"}
FIELDS |= {"seeds", "paired"}  # of a comparison


def digest(content: Any) -> str:
    """8 hex digits of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def comparison_id(row: Row, baseline: Row) -> str:
    """`<row>-vs-<baseline>-<hash>`: the same for the same runs."""
    runs = [sorted(record["id"] for record, _ in of.runs) for of in (row, baseline)]
    return f"{row.name}-vs-{baseline.name}-{digest(runs)}"


def read_comparisons(results: Path) -> dict[str, dict]:
    """What was compared, by id. A file that is not whole, or of another shape, is as good as none."""
    found = {}
    for path in sorted((results / "comparisons").glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.keys() >= FIELDS:
            found[path.stem] = content
    return found


def update_comparisons(results: Path, pairs: Sequence[tuple[Row, Row]]) -> None:
    """Compare what is not compared yet or out of date among pairs of a row and its baseline; remove what is of others.

    What is stored stays where the scores that it was made of are not there, unless the runs' records have changed: it
    could not be made again.
    """
    wanted = {comparison_id(row, baseline): (row, baseline) for row, baseline in pairs}
    runs = {record["id"]: record for pair in pairs for of in pair for record, _ in of.runs}
    digests = {run_id: digest(record) for run_id, record in runs.items()}
    stored, folder = read_comparisons(results), results / "comparisons"
    scored = {path.parent.name for path in (results / "runs").glob("*/scores.npz")}
    for name, known in stored.items():
        if name not in wanted and known["inputs"].keys() <= scored:
            (folder / f"{name}.json").unlink(missing_ok=True)
    out_of_date = {}
    for name, (row, baseline) in wanted.items():
        inputs = {record["id"]: digests[record["id"]] for of in (row, baseline) for record, _ in of.runs}
        known, complete = stored.get(name), inputs.keys() <= scored
        contradicted = known is not None and known["inputs"] != inputs
        if contradicted or (complete and (known is None or known["code"] != CODE)):
            out_of_date[name] = row, baseline, inputs
    if out_of_date:
        from experiments.tables.compare_rows import compare_rows, read_right

        read = functools.cache(read_right)
        for name, (row, baseline, inputs) in out_of_date.items():
            path = folder / f"{name}.json"
            try:
                outcome = compare_rows(results, row, baseline, read)
            except ValueError as error:
                path.unlink(missing_ok=True)
                print(f"{name}: not compared: {error}", file=sys.stderr, flush=True)
            else:
                rows = {"row": row.name, "baseline": baseline.name}
                folder.mkdir(exist_ok=True)
                write_atomically(path, json.dumps({**rows, "inputs": inputs, "code": CODE, **outcome}, indent=1))
