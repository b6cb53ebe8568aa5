"""Score-level ensembles: rows made of the saved scores of finished runs, with records of their own.

`ensembles.yaml` names those that are derived after every sweep, wherever all their members are there. The command
`run.py --ensemble` makes any other. An SVM is fitted on the scores of videos that the members held out of training.
Nothing else is trained. An ensemble is derived again when a member changes.

<results>/runs/<id>/record.json   of kind `ensemble`: its members, how they are fused, and every number of the row
                    scores.npz    the fused scores: of clips where the members' clips are aligned, else of whole videos
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter

from experiments import ROOT
from experiments.records.record import Ensemble, Member, Name, Record, digest, first_problem
from experiments.settings.plain_yaml import read_yaml

ENSEMBLES = ROOT / "experiments" / "ensembles.yaml"
SOURCES = [Path(__file__).with_name(f"{name}.py") for name in ("score_fusion", "derive")]
CODE = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]


@dataclass
class Named:
    """An ensemble of `ensembles.yaml`: rows, and how they are fused."""

    members: Annotated[list[Name], Field(min_length=2)]
    fuse: Literal["mean", "svm"]


def read_ensembles() -> dict[str, Named]:
    """The ensembles of `ensembles.yaml` by name. Raises ValueError for a file that does not hold such."""
    try:
        return TypeAdapter(dict[Name, Named]).validate_python(read_yaml(ENSEMBLES))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{ENSEMBLES}: {' '.join(first_problem(error).split())}; correct it") from None


def ensemble_id(ensemble: Ensemble, records: Mapping[str, Record]) -> str:
    """`<name>-<dataset>-s<seed>-<hash>`: the same for the same members fused in the same way."""
    own = [records[run_id] for run_id in ensemble.runs]
    dataset, seed = together(record.dataset for record in own), together(str(record.seed) for record in own)
    return f"{ensemble.name}-{dataset}-s{seed}-{digest(dataclasses.asdict(ensemble))}"


def together(values: Iterable[Any]) -> Any:
    """The value that all share, or else each of them, joined by `+`."""
    different = list(dict.fromkeys(values))
    return different[0] if len(different) == 1 else "+".join(map(str, different))


def alike_runs(records: Iterable[Record]) -> list[dict[str, list[Member]]]:
    """Groups of runs that are alike in all but the strategy: each group's members by the names of their rows."""
    groups: dict[str, dict[str, list[Member]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.kind == "run" and record.given is not None:  # old records do not say what was given
            settings = [record.dataset, record.split, record.seed, record.recipe, record.size]
            settings += [record.clip, record.given, dataclasses.asdict(record.protocol)]
            key = json.dumps([*settings, record.data.classes, record.data.fingerprint], sort_keys=True)
            for row in record.rows:
                groups[key][row.name].append((record.id, row.name))
    return [dict(group) for group in groups.values()]


def score_files(results: Path, ensemble: Ensemble) -> list[Path]:
    """The files of scores that an ensemble is made of."""
    files = [results / "runs" / run_id / "scores.npz" for run_id in ensemble.runs]
    if ensemble.fuse == "svm":
        held_out = [run for run_id in ensemble.runs for run in ensemble.fitted_on(run_id)]
        files += [results / "runs" / run / "validation.npz" for run in held_out]
    return files
