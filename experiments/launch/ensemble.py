"""`run.py --ensemble`: which runs an ensemble is made of, and the training of folds for its SVM.

    python experiments/run.py --ensemble NAME [members=[RUN,RUN/ROW,ROW,...] fuse=mean|svm] [fit=oof folds=5] [cost=1]

With `fit=oof`, places such as `data.root=`, `trainer.workers=` and `wandb.mode=` can be given too. Files that the
members' words name, such as `data.lists=` and `model.weights=`, have to be given.

A member is a run's id, for its last row or the row after the slash. Or it is a row of the table: then each group of
runs that are alike in all but the strategy gives one ensemble. An SVM is fitted on the scores of videos that the
members held out (`data.validation`). With `fit=oof` the members' strategies are trained again without each fold of the
training list, and the SVM is fitted on the scores of these folds. A record may be somebody else's: where these runs
read and write, and what they send, is never taken from it.
"""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Optional

from datamodules.text import printable
from experiments.records.record import NAME, Ensemble, Member, Record
from experiments.report.update import update
from experiments.settings.words import did_you_mean, names_file, take_words
from experiments.tables.ensembles import alike_runs, ensemble_id, read_ensembles
from experiments.tables.recount import sound_records

if TYPE_CHECKING:
    from experiments.settings.schema import RunConfig


@dataclass
class Request:
    """What the command can be told, besides the ensemble's name.

    members: runs, rows of runs (`RUN/ROW`) or rows of the table
    fuse:    `mean` of class probabilities, or `svm`; for a name of `ensembles.yaml`, both are left out
    fit:     what an SVM is fitted on: `validation`, the videos that the members held out, or `oof`, folds in turn
    folds:   how many folds `fit=oof` trains
    cost:    C of the SVM
    """

    members: list[str] = field(default_factory=list)
    fuse: Optional[Literal["mean", "svm"]] = None  # noqa: UP045 - OmegaConf resolves this at run time
    fit: Literal["validation", "oof"] = "validation"
    folds: int = 5
    cost: float = 1.0
    results: str = "results"


SETTINGS = [setting.name for setting in dataclasses.fields(Request)]


def run_ensemble(name: str, words: list[str], *, dry_run: bool, force: bool) -> int:
    """Do what `--ensemble NAME key=value ...` says. Returns 0, or 1 where an ensemble could not be made.

    With `dry_run` it only prints what it would derive and train. With `force` it repeats trainings that are finished.
    Raises ValueError for a key, value or member that does not exist.
    """
    request, places = take_words(Request(), words)
    _check_places(request, places)
    _complete(name, request)
    results = Path(request.results)
    found, problems = sound_records(results)
    records = {record.id: record for record in found}
    try:
        choices = _choices(name, request.members, found)
    except ValueError as error:  # the member that lacks may be one that was left out
        raise ValueError(printable("; ".join([str(error), *problems]))) from None
    failed = False
    for members in choices:
        ensemble = Ensemble(name, members, request.fuse, request.cost)
        try:
            if request.fit == "oof":
                ensemble = _train_folds(request, ensemble, records, places, dry_run, force)
            print(_describe(ensemble, records) if dry_run else _derive(results, ensemble), flush=True)
        except ValueError as error:
            failed = True
            print(f"error: {name}: {error}", file=sys.stderr, flush=True)
    left_out = 0 if dry_run else update(results).show()
    return 1 if failed else left_out


def _check_places(request: Request, words: list[str]) -> None:
    """Raise ValueError for a word that is no setting of this command, nor a place of the trainings of folds."""
    from experiments.settings.schema import PLACES, is_place

    for key in (word.partition("=")[0] for word in words):
        if "." not in key or not (is_place(key) or names_file(key)):
            known = [field.name for field in dataclasses.fields(Request)] + [of for of in PLACES if "." in of]
            raise ValueError(f"{key}: no such setting. {did_you_mean(key, known)}")
        if request.fit != "oof":
            raise ValueError(f"{key}: belongs to the trainings of fit=oof; add that or leave it out")


def _complete(name: str, request: Request) -> None:
    """Fill in what `ensembles.yaml` says of an ensemble. Raises ValueError for words that make no sense together."""
    if not re.fullmatch(NAME, name):
        raise ValueError(f"--ensemble {name}: expected a name for a row and for files, without /")
    named = read_ensembles()
    if name in named:
        if request.members or request.fuse:
            raise ValueError(f"members=, fuse=: ensembles.yaml says what {name} is; choose another name")
        request.members, request.fuse = named[name].members, named[name].fuse
    if not request.members or request.fuse is None:
        raise ValueError(f"--ensemble {name}: give members= and fuse=, or a name of ensembles.yaml: {', '.join(named)}")
    if len(set(request.members)) < max(2, len(request.members)):
        members = ",".join(request.members)
        raise ValueError(f"members=[{members}]: expected 2 or more, none twice, such as [single_frame,c3d]")
    if request.fuse == "mean" and (request.fit, request.cost) != ("validation", 1.0):
        raise ValueError("fit=, cost=: a mean has nothing to fit; leave them out or set fuse=svm")
    if request.fit != "oof" and request.folds != 5:
        raise ValueError(f"folds={request.folds}: only fit=oof trains folds; add that or leave folds out")
    if request.folds < 2:
        raise ValueError(f"folds={request.folds}: expected a whole number, 2 or more")
    if not 0 < request.cost < math.inf:
        raise ValueError(f"cost={request.cost:g}: expected a number above 0")


def _describe(ensemble: Ensemble, records: dict[str, Record]) -> str:
    return f"{ensemble_id(ensemble, records)}: {ensemble.fuse} of {', '.join(map('/'.join, ensemble.members))}"


def _derive(results: Path, ensemble: Ensemble) -> str:
    """Derive an ensemble; returns a line that says what came out."""
    from experiments.tables.derive import derive  # here: it takes seconds to import

    record = derive(results, ensemble)
    assert record.ensemble is not None
    return f"{record.id}: Video Hit@1 {record.rows[0].metrics['test/video_hit1']:.1%}, {record.ensemble.text}"


# -- the members -------------------------------------------------------------------------------------------------------


def _choices(name: str, asked: list[str], records: list[Record]) -> list[list[Member]]:
    """The members of each ensemble that these words describe, one or more. Raises ValueError where there is none."""
    if any(row.name == name for record in records if record.kind != "ensemble" for row in record.rows):
        raise ValueError(f"--ensemble {name}: a run has a row of that name; choose another")
    by_id = {record.id: record for record in records}
    runs = {word: _member(word, by_id) for word in asked if word.partition("/")[0] in by_id}
    groups = alike_runs(records)
    if runs:  # a row that is named beside a run is taken from the runs that are alike to that one
        run_id, row = next(iter(runs.values()))
        groups = [group for group in groups if (run_id, row) in group.get(row, [])] or [{}]
    found = [{word: [runs[word]] if word in runs else group.get(word, []) for word in asked} for group in groups]
    choices = [[own[0] for own in members.values()] for members in found if all(len(m) == 1 for m in members.values())]
    if choices:
        return choices
    best = min(found, key=lambda members: list(members.values()).count([]), default={word: [] for word in asked})
    if missing := [word for word, own in best.items() if not own]:
        lack = f"no finished run fills {', '.join(missing)}"
    else:
        word, several = next((word, own) for word, own in best.items() if len(own) > 1)
        lack = f"several runs fill {word} ({', '.join(run_id for run_id, _ in several)}), name one"
    rows = ", ".join(sorted({row for group in groups for row in group})) or "none"
    raise ValueError(
        f"members=[{','.join(asked)}]: among runs that are alike in all but the strategy, {lack}; rows there: {rows}"
    )


def _member(word: str, records: dict[str, Record]) -> Member:
    """The member that `RUN` or `RUN/ROW` names. Raises ValueError."""
    run_id, _, name = word.partition("/")
    if records[run_id].kind != "run":
        raise ValueError(f"members: {run_id} is of kind {records[run_id].kind}; expected runs on the whole data set")
    rows = [row.name for row in records[run_id].rows]
    if name and name not in rows:
        raise ValueError(f"members: {run_id} has no row {name}; it has {', '.join(rows)}")
    return run_id, name or rows[-1]


# -- folds -------------------------------------------------------------------------------------------------------------


def _train_folds(
    request: Request, ensemble: Ensemble, records: dict[str, Record], places: list[str], dry_run: bool, force: bool
) -> Ensemble:
    """Train the members' strategies without each fold of the training list, where that is not done yet.

    Returns the ensemble that is fitted on the scores of those folds. Raises ValueError where a member cannot be
    trained again as it was, or where a training fails.
    """
    from experiments.launch.sweep import run_all
    from experiments.records.command import command

    places, num_folds = [*places, f"results={request.results}"], request.folds
    folds = {run_id: _fold_runs(ensemble.name, records[run_id], num_folds, places) for run_id in ensemble.runs}
    runs = [run for own in folds.values() for run in own]
    done = sum((run.folder / "record.json").exists() for run in runs)
    print(
        f"{ensemble.name}: {num_folds} folds of {len(folds)} run{'s' * (len(folds) > 1)}, that is {len(runs)} "
        f"trainings, of which {done} have been finished before",
        flush=True,
    )
    if dry_run:
        print("\n".join(command(run) for run in runs))
    elif run_all(f"the folds of {ensemble.name}", runs, force).unfinished:
        raise ValueError("not all of its folds could be trained; the same command goes on with those")
    return dataclasses.replace(ensemble, folds={run_id: [run.id for run in own] for run_id, own in folds.items()})


def _fold_runs(name: str, record: Record, num_folds: int, places: list[str]) -> list[RunConfig]:
    """The settings of a finished run at the user's own places, with each fold of the training list held out in turn."""
    from experiments.records.provenance import code_hash
    from experiments.settings.compose import compose
    from experiments.settings.presets import WORDS
    from experiments.settings.schema import SENDS_LESS, is_place

    kept = (*WORDS, "seed")
    given = [(word.partition("=")[0], word) for word in shlex.split(record.command)[2:]]
    taken = [word for key, word in given if key in kept or not (is_place(key) or names_file(key)) or word in SENDS_LESS]
    words = taken + places
    whole = compose(words)
    if whole.data.validation:
        raise ValueError(f"{record.id} held out groups of its own (data.validation); leave fit=oof out to fit on these")
    if whole.id != record.id or code_hash(whole) != record.code.hash:
        raise ValueError(
            f"run {record.id} was made by other code or of other videos than are here: give data.root= of its videos, "
            f"or run it again, {record.command}"
        )
    folds = [f"data.fold={fold}" for fold in range(num_folds)]
    return [compose([*words, f"sweep={name}", f"data.folds={num_folds}", fold]) for fold in folds]
