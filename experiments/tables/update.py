"""The one place that derives ensembles, compares rows and writes the tables."""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.records.files import read_records
from experiments.tables.comparisons import update_comparisons
from experiments.tables.ensembles import CODE, Ensemble, alike_runs, input_digests, read_ensembles, score_files
from experiments.tables.rows import pairs
from experiments.tables.write import write_tables


def update_tables(results: Path) -> list[Path]:
    """Derive ensembles and comparisons that are missing or out of date, then write the tables; returns their paths."""
    found = read_records(results)
    if update_ensembles(results, found):
        found = read_records(results)
    update_comparisons(results, pairs(found))
    return write_tables(results, found)


def update_ensembles(results: Path, found: list[dict]) -> bool:
    """Derive the ensembles of these records that are missing or out of date; whether records changed."""
    records = {record["id"]: record for record in found}
    named, groups = read_ensembles(), alike_runs(records.values())
    wanted = {}
    for run_id, record in records.items():
        if record.get("kind") == "ensemble":
            of = record["ensemble"]["of"]
            wanted[run_id] = Ensemble(**{**of, "members": [(run, row) for run, row in of["members"]]})
    for name, (rows, fuse) in named.items():
        for group in groups:
            if all(len(group.get(row, [])) == 1 for row in rows):  # not over fewer, nor over one of several
                ensemble = Ensemble(name, [group[row][0] for row in rows], fuse)
                wanted.setdefault(ensemble.id(records), ensemble)
    changed = False
    for run_id, ensemble in wanted.items():
        alike = any(all(member in group.get(member[1], []) for member in ensemble.members) for group in groups)
        changed |= _update(results, run_id, ensemble, records.get(run_id), alike or ensemble.name not in named)
    return changed


def _update(results: Path, run_id: str, ensemble: Ensemble, stored: dict | None, allowed: bool) -> bool:
    """Derive one ensemble if it is not there or out of date; remove it where that cannot be done any more.

    What is stored stays where the records or scores that it was made of are not there: nothing contradicts it then.
    Returns whether anything was done.
    """
    digests = input_digests(results, ensemble)
    complete = len(digests) == len(ensemble.inputs) and all(path.exists() for path in score_files(results, ensemble))
    if stored is None and not complete:
        return False
    if stored is not None:
        changed = digests.items() - stored["ensemble"]["inputs"].items()
        if not changed and (not complete or stored["ensemble"]["code"] == CODE):
            return False
    from experiments.tables.score_fusion import derive  # here: it takes seconds to import

    try:
        if not allowed:
            raise ValueError("its members are no more alike in all but the strategy")
        derive(results, ensemble)
        print(f"{run_id}: derived from the scores of its members", flush=True)
    except ValueError as error:
        if stored is not None:
            for name in ("record.json", "scores.npz"):
                (results / "runs" / run_id / name).unlink(missing_ok=True)
        print(f"{run_id}: {'not derived' if stored is None else 'removed'}: {error}", file=sys.stderr, flush=True)
    return True
