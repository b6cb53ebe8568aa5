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
import math
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from experiments.comparisons import digest, update_comparisons
from experiments.table import pairs, read_records, write_tables

# What fuses and trains is imported where it is needed: to look whether something is out of date must not cost seconds.
if TYPE_CHECKING:
    from experiments.config import RunConfig

Member = tuple[str, str]  # a run's id and the name of one of its rows

# What members of an ensemble of `ensembles.yaml` share, beside the data's classes and fingerprint.
ALIKE = ("dataset", "auxiliary", "split", "seed", "protocol", "recipe", "size", "clip", "given")
CODE = hashlib.sha256(Path(__file__).with_name("fusing.py").read_bytes()).hexdigest()[:16]
SETTINGS = ["members", "fuse", "fit", "folds", "cost", "results"]  # of the command


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


def update_tables(results: Path) -> list[Path]:
    """Derive ensembles and comparisons that are missing or out of date, then write the tables; returns their paths."""
    found = read_records(results)
    if _update_ensembles(results, found):
        found = read_records(results)
    update_comparisons(results, pairs(found))
    return write_tables(results, found)


def _update_ensembles(results: Path, found: list[dict]) -> bool:
    """Derive the ensembles of these records that are missing or out of date; whether records changed."""
    records = {record["id"]: record for record in found}
    named, groups = read_ensembles(), _groups(records.values())
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
    from experiments.fusing import derive

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


def read_ensembles() -> dict[str, tuple[list[str], str]]:
    """The members (rows) and the fusion of every ensemble of `ensembles.yaml`."""
    named = yaml.safe_load(Path(__file__).with_name("ensembles.yaml").read_text())
    return {name: (of["members"], of["fuse"]) for name, of in named.items()}


def _groups(records: Iterable[dict]) -> list[dict[str, list[Member]]]:
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


# -- the command -------------------------------------------------------------------------------------------------------


def run_ensemble(name: str, words: list[str], *, dry_run: bool, force: bool) -> int:
    """Do what `--ensemble NAME key=value ...` says. 0, or 1 where an ensemble could not be made, after saying why.

    With `dry_run` it only prints what it would derive and train; with `force` it repeats trainings that are finished.
    Raises ValueError for a key, value or member that does not exist.
    """
    from experiments.config import did_you_mean, parse
    from experiments.fusing import derive

    given = parse(words)
    for key in given:
        if key not in SETTINGS:
            raise ValueError(f"{key}: no such setting of --ensemble. {did_you_mean(key, SETTINGS)}")
    results = Path(given.get("results", "results"))
    records = {record["id"]: record for record in read_records(results)}
    asked, fuse = _asked(name, given)
    num_folds, cost = _fit(given, fuse)
    failed = False
    for members in _choices(name, asked, list(records.values())):
        ensemble = Ensemble(name, members, fuse, cost)
        try:
            if num_folds:
                ensemble = _train_folds(results, ensemble, records, num_folds, dry_run, force)
            if dry_run:
                print(f"{ensemble.id(records)}: {fuse} of {', '.join(map('/'.join, members))}")
                continue
            record = derive(results, ensemble)
            hit = record["rows"][0]["metrics"]["test/video_hit1"]
            print(f"{record['id']}: Video Hit@1 {hit:.1%}, {record['ensemble']['text']}", flush=True)
        except ValueError as error:
            failed = True
            print(f"error: {name}: {error}", file=sys.stderr, flush=True)
    if not dry_run:
        for path in update_tables(results):
            print(f"wrote {path}")
    return 1 if failed else 0


def _asked(name: str, given: dict[str, str]) -> tuple[list[str], str]:
    """Members, as words, and fusion that the command asks for. Raises ValueError."""
    named = read_ensembles()
    if name in named:
        for key in ("members", "fuse"):
            if key in given:
                raise ValueError(f"{key}={given[key]}: ensembles.yaml says what {name} is; choose another name")
        return named[name]
    if "members" not in given or "fuse" not in given:
        raise ValueError(f"--ensemble {name}: give members= and fuse=, or a name of ensembles.yaml: {', '.join(named)}")
    asked = yaml.safe_load(given["members"])
    if not isinstance(asked, list) or len({str(word) for word in asked}) < max(2, len(asked)):
        raise ValueError(f"members={given['members']}: expected 2 or more, none twice, such as [single_frame,c3d]")
    if given["fuse"] not in ("mean", "svm"):
        raise ValueError(f"fuse={given['fuse']}: expected mean or svm")
    return [str(word) for word in asked], given["fuse"]


def _fit(given: dict[str, str], fuse: str) -> tuple[int, float]:
    """Number of folds (0: fitted on what the members held out) and C of the SVM. Raises ValueError."""
    fit, folds, cost = given.get("fit", "validation"), given.get("folds", "5"), given.get("cost", "1")
    for key in ("fit", "folds", "cost"):
        if key in given and fuse == "mean":
            raise ValueError(f"{key}={given[key]}: a mean has nothing to fit; leave it out or set fuse=svm")
    if fit not in ("validation", "oof"):
        raise ValueError(f"fit={fit}: expected validation or oof")
    if "folds" in given and fit != "oof":
        raise ValueError(f"folds={folds}: only fit=oof trains folds; add that or leave folds out")
    if not folds.isdecimal() or int(folds) < 2:
        raise ValueError(f"folds={folds}: expected a whole number, 2 or more")
    try:
        in_range = 0 < float(cost) < math.inf
    except ValueError:
        in_range = False
    if not in_range:
        raise ValueError(f"cost={cost}: expected a number above 0")
    return int(folds) if fit == "oof" else 0, float(cost)


def _choices(name: str, asked: list[str], records: list[dict]) -> list[list[Member]]:
    """The members of each ensemble that these words describe, one or more. Raises ValueError where there is none."""
    if any(row["name"] == name for record in records if record.get("kind") != "ensemble" for row in record["rows"]):
        raise ValueError(f"--ensemble {name}: a run has a row of that name; choose another")
    by_id = {record["id"]: record for record in records}
    runs = {word: _member(word, by_id) for word in asked if word.partition("/")[0] in by_id}
    groups = _groups(records)
    if runs:  # rows that are named beside a run are those of the runs that are alike
        run_id, row = next(iter(runs.values()))
        groups = [group for group in groups if (run_id, row) in group.get(row, [])] or [{}]
    choices, problems = [], []
    for group in groups:
        found = {word: [runs[word]] if word in runs else group.get(word, []) for word in asked}
        if all(len(members) == 1 for members in found.values()):
            choices.append([members[0] for members in found.values()])
            continue
        several = [
            f"{word} ({', '.join(i for i, _ in members)})" for word, members in found.items() if len(members) > 1
        ]
        missing = [word for word, members in found.items() if not members]
        problems.append((len(missing), several, missing))
    if not choices:
        _, several, missing = min(problems, default=(0, [], asked))
        why = f"no finished run fills {', '.join(missing)}" if missing else f"several runs fill {several[0]}, name one"
        rows = ", ".join(sorted({row for group in groups for row in group})) or "none"
        raise ValueError(
            f"members=[{','.join(asked)}]: among runs that are alike in all but the strategy, {why}; rows there: {rows}"
        )
    return choices


def _member(word: str, records: dict[str, dict]) -> Member:
    """What `RUN` or `RUN/ROW` names. Raises ValueError."""
    run_id, _, name = word.partition("/")
    if records[run_id]["kind"] != "run":
        raise ValueError(f"members: {run_id} is of kind {records[run_id]['kind']}; expected runs on the whole data set")
    rows = [row["name"] for row in records[run_id]["rows"]]
    if name and name not in rows:
        raise ValueError(f"members: {run_id} has no row {name}; it has {', '.join(rows)}")
    return run_id, name or rows[-1]


def _train_folds(
    results: Path, ensemble: Ensemble, records: dict[str, dict], num_folds: int, dry_run: bool, force: bool
) -> Ensemble:
    """Train the members' strategies without each fold of the training list in turn, where that is not done yet.

    Returns the ensemble that is fitted on the scores of those folds. Raises ValueError where a member cannot be
    trained again as it was, or where a training fails.
    """
    from experiments.record import command, run_folder
    from experiments.sweep import run_all

    folds = {run_id: _fold_runs(results, ensemble.name, records[run_id], num_folds) for run_id in ensemble.runs}
    runs = [run for own in folds.values() for run in own]
    done = sum((run_folder(run) / "record.json").exists() for run in runs)
    print(
        f"{ensemble.name}: {num_folds} folds of {len(folds)} run{'s' * (len(folds) > 1)}, that is {len(runs)} "
        f"trainings, of which {done} have been finished before",
        flush=True,
    )
    if dry_run:
        print("\n".join(command(run) for run in runs))
    elif run_all(f"the folds of {ensemble.name}", runs, force):
        raise ValueError("not all of its folds could be trained; the same command goes on with those")
    return dataclasses.replace(ensemble, folds={run_id: [run.id for run in own] for run_id, own in folds.items()})


def _fold_runs(results: Path, name: str, record: dict, num_folds: int) -> list[RunConfig]:
    """The settings of a finished run, but with each fold of the training list held out in turn."""
    from experiments.config import compose
    from experiments.record import code_hash

    words = [*shlex.split(record["command"])[2:], f"results={results}"]
    whole = compose(words)
    if whole.data.validation:
        raise ValueError(
            f"{record['id']} held out groups of its own (data.validation); leave fit=oof out to fit on these"
        )
    if whole.id != record["id"] or code_hash(whole) != record["code"]["hash"]:
        raise ValueError(f"run {record['id']} was made by other code than is here: run it again, {record['command']}")
    return [
        compose([*words, f"sweep={name}", f"data.folds={num_folds}", f"data.fold={fold}"]) for fold in range(num_folds)
    ]
