"""Comparisons of a table's rows with their baseline: records of their own, so that tables read records only.

<results>/comparisons/<id>.json   the two rows and their runs, digests of these runs' records and of the code that
                                  compared them (`significance.py`), and what came out
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.table import Row

# What computes is imported where it is needed: to look whether something is out of date must not cost seconds.
CODE = hashlib.sha256(Path(__file__).with_name("significance.py").read_bytes()).hexdigest()[:16]


def digest(content: Any) -> str:
    """8 hex digits of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def comparison_id(row: Row, baseline: Row) -> str:
    """`<row>-vs-<baseline>-<hash>`: the same for the same runs."""
    runs = [sorted(record["id"] for record, _ in of.runs) for of in (row, baseline)]
    return f"{row.name}-vs-{baseline.name}-{digest(runs)}"


def read_comparisons(results: Path) -> dict[str, dict]:
    """What was compared, by id. A file that is not whole is as good as none: it is made again."""
    found = {}
    for path in sorted((results / "comparisons").glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return found


def update_comparisons(results: Path, pairs: Sequence[tuple[Row, Row]]) -> None:
    """Compare what is not compared yet or out of date among pairs of a row and its baseline; remove all other records.

    What is stored stays where the scores that it was made of are not there, unless a record says otherwise.
    """
    wanted = {comparison_id(row, baseline): (row, baseline) for row, baseline in pairs}
    folder, stored = results / "comparisons", read_comparisons(results)
    for path in folder.glob("*.json"):
        if path.stem not in wanted:
            path.unlink(missing_ok=True)

    digests: dict[str, str] = {}
    read = None
    for name, (row, baseline) in wanted.items():
        records = [record for record, _ in (*row.runs, *baseline.runs)]
        for record in records:
            if record["id"] not in digests:
                digests[record["id"]] = digest(record)
        inputs = {record["id"]: digests[record["id"]] for record in records}
        known = stored.get(name)
        same = known is not None and known["inputs"] == inputs
        if same and known["code"] == CODE:
            continue
        complete = all((results / "runs" / run_id / "scores.npz").exists() for run_id in inputs)
        if not complete and (known is None or same):
            continue
        path = folder / f"{name}.json"
        try:
            from experiments.significance import compare_rows, read_right

            read = read or functools.cache(read_right)
            outcome = compare_rows(results, row, baseline, read)
        except (ValueError, OSError) as error:
            path.unlink(missing_ok=True)
            print(f"{name}: not compared: {error}", file=sys.stderr, flush=True)
            continue
        sides = {
            side: {"name": of.name, "runs": [record["id"] for record, _ in of.runs]}
            for side, of in (("row", row), ("baseline", baseline))
        }
        folder.mkdir(exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps({**sides, "inputs": inputs, "code": CODE, **outcome}, indent=1))
        os.replace(temporary, path)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values after Holm's correction for their number (Holm 1979), in the order given."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected
