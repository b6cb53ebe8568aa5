"""Score-level ensembles: rows made of the saved scores of finished runs, with records of their own.

    python experiments/run.py --ensemble NAME [members=[RUN,RUN/ROW,ROW,...] fuse=mean|svm] [fit=oof folds=5] [cost=1]

`ensembles.yaml` names those that are derived by themselves after every sweep; `members=` and `fuse=` make any other. A
member is a run's id (its last row, or the one after the slash), or a row of the table: then each set of runs that are
alike in all but the strategy gives one ensemble. An SVM is fitted on the scores of what the members held out
(`data.validation`) or, with `fit=oof`, of folds of the training list, for which networks are trained; nothing else is
trained. An ensemble is derived again when a member changes.

<results>/runs/<id>/record.json   of kind `ensemble`: its members, how they are fused, and every number of the row
                    scores.npz    the fused scores: of clips where the members' clips are aligned, else of whole videos
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from experiments import ROOT
from experiments.tables.comparisons import digest

Member = tuple[str, str]  # a run's id and the name of one of its rows

# What members of an ensemble of `ensembles.yaml` share, beside the data's classes and fingerprint.
ALIKE = ("dataset", "split", "seed", "protocol", "recipe", "size", "clip", "given")
CODE = hashlib.sha256(Path(__file__).with_name("score_fusion.py").read_bytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Ensemble:
    """Which runs are fused into the row `name`, and how.

    members: the id of a run and the name of one of its rows, each
    fuse:    `mean` of class probabilities, or `svm`: a multi-class linear SVM on them (Crammer & Singer), as Simonyan &
             Zisserman (2014, section 5) fuse two streams; on which videos it is fitted they do not say
    cost:    C of the SVM (they do not say which)
    folds:   for an SVM that is fitted on out-of-fold scores: by id of each member's run, the ids of the runs that were
             trained without one fold of the training list each. Empty: it is fitted on what the members held out.
    """

    name: str
    members: list[Member]
    fuse: Literal["mean", "svm"] = "mean"
    cost: float = 1.0
    folds: dict[str, list[str]] = field(default_factory=dict)

    @property
    def runs(self) -> list[str]:
        """Ids of the members' runs; two streams of one run count once."""
        return list(dict.fromkeys(run_id for run_id, _ in self.members))

    @property
    def inputs(self) -> list[str]:
        """Ids of all runs whose scores are used."""
        return [*self.runs, *(fold for run_id in self.runs for fold in self.folds.get(run_id, []))]

    def fitted_on(self, run_id: str) -> list[str]:
        """Ids of the runs whose held-out scores stand for those of a member in the fit of the SVM."""
        return self.folds.get(run_id, [run_id])

    def id(self, records: dict[str, dict]) -> str:
        """`<name>-<dataset>-s<seed>-<hash>`: the same for the same members fused in the same way."""
        own = [records[run_id] for run_id in self.runs]
        dataset, seed = (together(str(record[key]) for record in own) for key in ("dataset", "seed"))
        return f"{self.name}-{dataset}-s{seed}-{digest(dataclasses.asdict(self))}"


def read_ensembles() -> dict[str, tuple[list[str], str]]:
    """The members (rows) and the fusion of every ensemble of `ensembles.yaml`."""
    named = yaml.safe_load((ROOT / "experiments" / "ensembles.yaml").read_text())
    return {name: (of["members"], of["fuse"]) for name, of in named.items()}


def alike_runs(records: Iterable[dict]) -> list[dict[str, list[Member]]]:
    """Runs that are alike in all but the strategy, each group as members by the names of their rows."""
    groups: dict[str, dict[str, list[Member]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.get("kind") == "run" and "given" in record:  # earlier records do not tell
            key = [*(record.get(name) for name in ALIKE), record["data"]["classes"], record["data"]["fingerprint"]]
            for row in record["rows"]:
                groups[json.dumps(key, sort_keys=True)][row["name"]].append((record["id"], row["name"]))
    return [dict(group) for group in groups.values()]


def score_files(results: Path, ensemble: Ensemble) -> list[Path]:
    """The files of scores that an ensemble is made of."""
    files = [results / "runs" / run_id / "scores.npz" for run_id in ensemble.runs]
    if ensemble.fuse == "svm":
        held_out = [run for run_id in ensemble.runs for run in ensemble.fitted_on(run_id)]
        files += [results / "runs" / run / "validation.npz" for run in held_out]
    return files


def input_digests(results: Path, ensemble: Ensemble) -> dict[str, str]:
    """A digest of the record of every run that is used, of those that are there: a run done again has another."""
    paths = {run_id: results / "runs" / run_id / "record.json" for run_id in ensemble.inputs}
    return {
        run_id: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for run_id, path in paths.items() if path.exists()
    }


def together(values: Iterable[Any]) -> Any:
    """What all share, or else each in turn."""
    different = list(dict.fromkeys(values))
    return different[0] if len(different) == 1 else "+".join(map(str, different))
