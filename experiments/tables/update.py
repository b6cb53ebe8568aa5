"""The one place that derives ensembles, compares rows and writes the tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datamodules.text import printable
from experiments.records.files import writing_in
from experiments.records.record import Ensemble, Record
from experiments.tables.baselines import pairs
from experiments.tables.claims import claim_pairs
from experiments.tables.comparisons import read_comparisons, update_comparisons
from experiments.tables.ensembles import CODE, Named, alike_runs, ensemble_id, read_ensembles, score_files
from experiments.tables.published import read_published
from experiments.tables.recount import sound_records
from experiments.tables.render import Section
from experiments.tables.table import tables
from experiments.tables.write import write_tables


@dataclass(frozen=True)
class Tables:
    """The sections of a folder's tables, the files that hold them, a line for each thing that is left out, and the
    records that they were made from."""

    sections: list[Section]
    paths: list[Path]
    problems: list[str]
    records: list[Record]

    def show(self) -> int:
        """Print the paths and what is left out; 0, or 1 where something is left out."""
        for path in self.paths:
            print(f"wrote {path}", flush=True)
        for problem in self.problems:
            print(printable(problem), file=sys.stderr, flush=True)
        return 1 if self.problems else 0


def update(results: Path) -> Tables:
    """Derive ensembles and comparisons that are missing or out of date, then write the tables."""
    with writing_in(results):
        records, problems = sound_records(results)
    try:
        named, unusable = read_ensembles(), []
    except ValueError as error:
        named, unusable = {}, [f"{error}; no new ensemble is derived"]
    if _update_ensembles(results, records, named):
        records, problems = sound_records(results)
    update_comparisons(results, [*pairs(records), *claim_pairs(records)])
    comparisons, unreadable = read_comparisons(results)
    sections = tables(records, read_published(), comparisons)
    return Tables(sections, write_tables(results, sections), problems + unusable + unreadable, records)


def _update_ensembles(results: Path, found: list[Record], named: Mapping[str, Named]) -> bool:
    """Derive the ensembles of these records that are missing or out of date; returns whether records changed."""
    records = {record.id: record for record in found}
    groups = alike_runs(records.values())
    wanted = {run_id: record.ensemble.of for run_id, record in records.items() if record.ensemble}
    for name, of in named.items():
        for group in groups:
            if all(len(group.get(row, [])) == 1 for row in of.members):  # each member is there, and only once
                ensemble = Ensemble(name, [group[row][0] for row in of.members], of.fuse)
                wanted.setdefault(ensemble_id(ensemble, records), ensemble)
    changed = False
    for run_id, ensemble in wanted.items():
        if _is_out_of_date(results, ensemble, records, run_id):
            alike = any(all(member in group.get(member[1], []) for member in ensemble.members) for group in groups)
            _derive(results, ensemble, run_id, run_id in records, alike or ensemble.name not in named)
            changed = True
    return changed


def _is_out_of_date(results: Path, ensemble: Ensemble, records: Mapping[str, Record], run_id: str) -> bool:
    """Whether an ensemble has to be derived.

    What is stored stays where the records or scores that it was made of are not there: nothing contradicts it then.
    """
    inputs = {of: records[of].file_digest for of in ensemble.inputs if of in records}
    complete = len(inputs) == len(ensemble.inputs) and all(path.exists() for path in score_files(results, ensemble))
    stored = records[run_id].ensemble if run_id in records else None
    if stored is None:
        return complete
    return bool(inputs.items() - stored.inputs.items()) or (complete and stored.code != CODE)


def _derive(results: Path, ensemble: Ensemble, run_id: str, stored: bool, allowed: bool) -> None:
    """Derive one ensemble. If that cannot be done, remove what is stored of it and say why."""
    from experiments.tables.derive import derive  # here: it takes seconds to import

    try:
        if not allowed:
            raise ValueError("its members are no longer alike in all but the strategy")
        derive(results, ensemble)
        print(f"{run_id}: derived from the scores of its members", flush=True)
    except ValueError as error:
        if stored:
            for name in ("record.json", "scores.npz"):
                (results / "runs" / run_id / name).unlink(missing_ok=True)
        print(f"{run_id}: {'removed' if stored else 'not derived'}: {error}", file=sys.stderr, flush=True)
