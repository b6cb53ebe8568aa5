"""An ensemble -> its record and scores, made of those of its members."""

from __future__ import annotations

import math
import shlex
from dataclasses import astuple, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.records.files import read_record
from experiments.records.make import accuracies
from experiments.records.record import Code, Data, Ensemble, Fused, Protocol, Record, RunRow, Videos, digest
from experiments.records.scores import Scores, read_scores, write_scores
from experiments.tables.ensembles import CODE, ensemble_id, read_ensembles, together
from experiments.tables.rows import COSTS
from experiments.tables.score_fusion import alignment, mean, svm
from vidfusion.votes import Votes

# Of the record of an ensemble: what all members share, or else each in turn.
SHARED = ("sweep", "dataset", "split", "seed", "recipe", "size", "clip", "selection", "pretrained", "device")
NO_SCORES = {
    "scores.npz": "run it again",
    "validation.npz": "an SVM is fitted on videos that the members held out (data.validation=0.2), or with fit=oof",
}


@dataclass(frozen=True)
class Fusion:
    """Fused scores of clips, where these are aligned, and of videos; what was fused, or why not; an SVM's fit."""

    clips: Votes | None
    videos: Votes
    facts: dict[str, Any]
    fit: dict[str, Any] | None = None


def derive(results: Path, ensemble: Ensemble) -> Record:
    """Fuse the members' scores and write the ensemble's record and scores; returns the record.

    The same inputs give the same record, byte for byte. Raises ValueError where members or their scores are missing, or
    where they were not tested on the same videos, and says how they differ.
    """
    runs = results / "runs"
    by_id = {run_id: _record_of(results, run_id) for run_id in ensemble.inputs}
    _check_comparable([by_id[run_id] for run_id in ensemble.runs])
    saved = {run_id: _scores(runs / run_id / "scores.npz") for run_id in ensemble.runs}
    members = [saved[run_id].of(row) for run_id, row in ensemble.members]
    _check_same_videos("test", ensemble, members, {run_id: own.videos for run_id, own in saved.items()})
    names, groups = saved[ensemble.runs[0]].videos, saved[ensemble.runs[0]].groups()
    if ensemble.fuse == "mean":
        fusion = _mean(members, names)
    else:
        videos, fit = svm(_held_out(runs, ensemble), members, ensemble.cost)
        facts = {"fused": False, "apart": None, "reason": "an SVM fuses scores of videos"}
        fusion = Fusion(None, _of_whole_videos(videos), facts, fit)
    record = _make_record(ensemble, by_id, fusion)
    folder = runs / record.id
    folder.mkdir(parents=True, exist_ok=True)
    votes = fusion.videos if fusion.clips is None else fusion.clips
    write_scores(folder / "scores.npz", votes, [ensemble.name], names, groups)
    record.write(folder / "record.json")
    return record


def _mean(members: list[Votes], names: list[str]) -> Fusion:
    apart, reason = alignment(members, names)
    facts = {"fused": not reason, "apart": apart, "reason": reason}
    return Fusion(None if reason else mean(members), _of_whole_videos(mean([of.videos() for of in members])), facts)


def _of_whole_videos(votes: Votes) -> Votes:
    return votes._replace(clip=votes.clip * 0, center=votes.center * math.nan)


def _record_of(results: Path, run_id: str) -> Record:
    record = read_record(results / "runs" / run_id)
    if record is None:
        raise ValueError(f"there is no finished run {run_id} in {results / 'runs'}")
    if record.given is None:
        raise ValueError(f"run {run_id} is of an earlier version, run it again: {record.command}")
    return record


def _scores(path: Path) -> Scores:
    if not path.exists():
        raise ValueError(f"run {path.parent.name} has no {path.name}: {NO_SCORES[path.name]}")
    return read_scores(path)


def _held_out(runs: Path, ensemble: Ensemble) -> list[Votes]:
    """The members' scores of the videos that the SVM is fitted on; those of all folds follow each other."""
    parts = {run: [_scores(runs / of / "validation.npz") for of in ensemble.fitted_on(run)] for run in ensemble.runs}
    names = {run_id: [name for part in own for name in part.videos] for run_id, own in parts.items()}
    for run_id, own in names.items():
        if len(own) > len(set(own)):
            path = parts[run_id][0].path
            raise ValueError(f"{path} and others: a video is held out of several folds; train them again")
    held_out = []
    for run_id, row in ensemble.members:
        first = np.cumsum([0, *(len(part.videos) for part in parts[run_id])])
        votes = [part.of(row).videos() for part in parts[run_id]]
        votes = [own._replace(video=own.video + int(start)) for own, start in zip(votes, first, strict=False)]
        held_out.append(Votes(*(torch.cat(fields) for fields in zip(*votes, strict=True))))
    _check_same_videos("validation", ensemble, held_out, names)
    return held_out


# -- are the members alike? --------------------------------------------------------------------------------------------


def _check_comparable(records: list[Record]) -> None:
    """Raise ValueError unless these runs share data set, classes, split and the content of the videos' files."""
    first = records[0]
    for other in records[1:]:
        ids = f"{first.id} and {other.id}"
        for what in ("dataset", "split"):
            ours, theirs = getattr(first, what), getattr(other, what)
            if ours != theirs:
                raise ValueError(f"{ids} do not share the {what}: {ours} and {theirs}")
        _check_same(ids, "classes", first.data.classes, other.data.classes)
        if first.data.files != other.data.files:
            raise ValueError(f"{ids} do not share the test videos: their files have another content")


def _check_same_videos(what: str, ensemble: Ensemble, members: list[Votes], videos: dict[str, list[str]]) -> None:
    """Raise ValueError unless members have scores of the same videos, named by run, with the same labels."""
    first, target = ensemble.runs[0], members[0].videos().target
    for (run_id, _), votes in zip(ensemble.members[1:], members[1:], strict=True):
        ids = f"{first} and {run_id}"
        _check_same(ids, f"{what} videos", videos[first], videos[run_id])
        differ = (votes.videos().target != target).any(1)
        if differ.any():
            name = videos[run_id][int(differ.int().argmax())]
            raise ValueError(f"{ids} do not share the labels of {what} video {name}")


def _check_same(ids: str, what: str, names: list[str], other: list[str]) -> None:
    if names != other:
        apart = sorted(set(names) ^ set(other))
        how = f"only one has {apart[0]}" if apart else "in another order"
        raise ValueError(f"{ids} do not share the {what}: {len(names)} and {len(other)}, {how}")


# -- the record --------------------------------------------------------------------------------------------------------


def _make_record(ensemble: Ensemble, by_id: dict[str, Record], fusion: Fusion) -> Record:
    """The record: numbers of the fused scores, costs summed over the members, and what these share."""
    runs, members = [by_id[run_id] for run_id in ensemble.runs], [by_id[run_id] for run_id, _ in ensemble.members]
    rows = [_row_of(by_id[run_id], name) for run_id, name in ensemble.members]
    settings = [[row.name for row in rows], [record.settings for record in members], ensemble.fuse, ensemble.cost]
    first, packages = runs[0], ["numpy", "torch"] + ["scikit-learn"] * (ensemble.fuse == "svm")
    return replace(
        first,
        **{key: together(getattr(run, key) for run in runs) for key in SHARED},
        id=ensemble_id(ensemble, by_id),
        kind="ensemble",
        command=_command(ensemble),
        strategy=ensemble.name,
        settings=digest([*settings, [len(folds) for folds in ensemble.folds.values()]]),
        given=None,
        config=None,
        ensemble=Fused(
            of=ensemble,
            text=_text(ensemble, fusion),
            level="video" if fusion.clips is None else "clip",
            clips=fusion.facts,
            fit=fusion.fit,
            code=CODE,
            inputs={run_id: record.file_digest for run_id, record in by_id.items()},
        ),
        protocol=Protocol(*(together(own) for own in zip(*(astuple(run.protocol) for run in runs), strict=True))),
        videos=Videos(*(max(own) for own in zip(*(astuple(run.videos) for run in runs), strict=True))),
        rows=[_fused_row(ensemble.name, rows, first.data, fusion)],
        seconds={
            **{key: sum(run.seconds.get(key, 0.0) for run in runs) for key in ("train", "waiting", "test")},
            "flow": max(run.seconds.get("flow", 0.0) for run in runs),  # it is computed once, into the store
        },
        memory_mb=max(run.memory_mb for run in runs),
        code=Code(
            hash=digest([CODE, [run.code.hash for run in runs]]),
            commit=together(run.code.commit for run in runs),
            versions={name: version(name) for name in packages},
        ),
        data=Data(
            fingerprint=together(run.data.fingerprint for run in runs),
            files=together(run.data.files for run in runs),
            classes=first.data.classes,
            families=first.data.families,
            notes=first.data.notes,
        ),
    )


def _row_of(record: Record, name: str) -> RunRow:
    for row in record.rows:
        if row.name == name:
            return row
    raise ValueError(f"run {record.id} has no row {name}")


def _fused_row(name: str, rows: list[RunRow], data: Data, fusion: Fusion) -> RunRow:
    """Numbers of the fused scores; parameters, multiply-adds and frames are sums over the members' rows."""
    families = {family: [data.classes.index(of) for of in members] for family, members in data.families.items()}
    metrics, of_families = accuracies(fusion.clips, fusion.videos, 0, families, trained={})
    num_clips = together(row.clips_per_video for row in rows)
    return RunRow(
        name=name,
        metrics=metrics,
        families=of_families,
        clips_per_video=num_clips if isinstance(num_clips, float) else None,
        **{key: sum(getattr(row, key) for row in rows) for key in COSTS},
    )


def _command(ensemble: Ensemble) -> str:
    words = ["--ensemble", ensemble.name]
    if ensemble.name not in read_ensembles():
        members = ",".join(f"{run_id}/{row}" for run_id, row in ensemble.members)
        words += [f"members=[{members}]", f"fuse={ensemble.fuse}"]
    words += [f"cost={ensemble.cost}"] if ensemble.fuse == "svm" else []
    words += ["fit=oof", f"folds={len(ensemble.folds[ensemble.runs[0]])}"] if ensemble.folds else []
    return shlex.join(["python", "experiments/run.py", *words])


def _text(ensemble: Ensemble, fusion: Fusion) -> str:
    """What a table says about the row."""
    rows = [row for _, row in ensemble.members]
    names = rows if len(set(rows)) == len(rows) else [f"{row} of {run_id}" for run_id, row in ensemble.members]
    members = f"{', '.join(names[:-1])} and {names[-1]}"
    if fusion.fit is None:
        what = f"mean of the class probabilities of {members}"
        where = fusion.facts["reason"] or f"their clips' centres differ by {fusion.facts['apart']:.2g} s at most"
    else:
        what = f"linear SVM (Crammer & Singer, C = {ensemble.cost:g}) on the normalised probabilities of {members}"
        num_runs = sum(map(len, ensemble.folds.values()))
        held_out = f"left out in turn, for which {num_runs} networks were trained" if num_runs else "that they held out"
        where = f"fitted on {fusion.fit['videos']} training videos {held_out}; it fuses scores of videos"
    return f"{what}; {where}. Parameters, multiply-adds and frames are sums over the members."
