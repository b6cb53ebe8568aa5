"""An ensemble -> its record and scores, made of those of its members."""

from __future__ import annotations

import math
import shlex
from dataclasses import astuple, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.records.files import read_record
from experiments.records.make import accuracies
from experiments.records.record import Code, Data, Ensemble, Fused, Protocol, Record, RunRow, Videos, digest
from experiments.records.scores import read_clusters, read_scores, write_scores
from experiments.tables.ensembles import CODE, ensemble_id, read_ensembles, score_files, together
from experiments.tables.rows import COSTS
from experiments.tables.score_fusion import alignment, mean, svm
from vidfusion.votes import Votes

# Of the record of an ensemble: what all members share, or else each in turn.
SHARED = ("sweep", "dataset", "split", "seed", "recipe", "size", "clip", "selection", "pretrained", "device")


def derive(results: Path, ensemble: Ensemble) -> Record:
    """Fuse the members' scores and write the ensemble's record and scores; returns the record.

    The same inputs give the same record, byte for byte. Raises ValueError where members or their scores are missing, or
    where they were not tested on the same videos, and says how they differ.
    """
    by_id = {run_id: _record_of(results, run_id) for run_id in ensemble.inputs}
    records = [by_id[run_id] for run_id, _ in ensemble.members]
    _check_comparable(records)
    _check_scores(score_files(results, ensemble))
    runs = results / "runs"
    saved = [read_scores(runs / run_id / "scores.npz", row) for run_id, row in ensemble.members]
    _check_same_videos("test", records, saved)
    members, names = [votes for votes, _ in saved], saved[0][1]
    clusters = read_clusters(runs / ensemble.members[0][0] / "scores.npz")
    fit = None
    if ensemble.fuse == "mean":
        apart, reason = alignment(members, names)
        clips = None if reason else mean(members)
        videos = mean([votes.videos() for votes in members])
    else:
        held_out = [
            _together([read_scores(runs / fold / "validation.npz", row) for fold in ensemble.fitted_on(run_id)])
            for run_id, row in ensemble.members
        ]
        _check_same_videos("validation", records, held_out)
        clips, apart, reason = None, None, "an SVM fuses scores of videos"
        videos, fit = svm([votes for votes, _ in held_out], members, ensemble.cost)
    videos = videos._replace(clip=videos.clip * 0, center=videos.center * math.nan)
    facts = {"fused": clips is not None, "apart": apart, "reason": reason}
    record = _make_record(ensemble, by_id, clips, videos, facts, fit)
    folder = runs / record.id
    folder.mkdir(parents=True, exist_ok=True)
    write_scores(folder / "scores.npz", videos if clips is None else clips, [ensemble.name], names, clusters)
    record.write(folder / "record.json")
    return record


def _record_of(results: Path, run_id: str) -> Record:
    record = read_record(results / "runs" / run_id)
    if record is None:
        raise ValueError(f"there is no finished run {run_id} in {results / 'runs'}")
    if record.given is None:
        raise ValueError(f"run {run_id} is of an earlier version, run it again: {record.command}")
    return record


# -- are the members alike? --------------------------------------------------------------------------------------------


def _check_scores(paths: list[Path]) -> None:
    """Raise ValueError where scores are missing."""
    for path in paths:
        if not path.exists():
            remedy = "run it again"
            if path.name == "validation.npz":
                remedy = "an SVM is fitted on videos that the members held out (data.validation=0.2), or with fit=oof"
            raise ValueError(f"run {path.parent.name} has no {path.name}: {remedy}")


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


def _check_same_videos(what: str, records: list[Record], saved: list[tuple[Votes, list[str]]]) -> None:
    """Raise ValueError unless members have scores of the same videos with the same labels."""
    votes, names = saved[0]
    target = votes.videos().target
    for record, (other, other_names) in zip(records[1:], saved[1:], strict=True):
        ids = f"{records[0].id} and {record.id}"
        _check_same(ids, f"{what} videos", names, other_names)
        differ = (other.videos().target != target).any(1)
        if differ.any():
            raise ValueError(f"{ids} do not share the labels of {what} video {names[int(differ.int().argmax())]}")


def _check_same(ids: str, what: str, names: list[str], other: list[str]) -> None:
    if names != other:
        apart = sorted(set(names) ^ set(other))
        how = f"only one has {apart[0]}" if apart else "in another order"
        raise ValueError(f"{ids} do not share the {what}: {len(names)} and {len(other)}, {how}")


def _together(parts: list[tuple[Votes, list[str]]]) -> tuple[Votes, list[str]]:
    """Scores of the videos that a run held out, or that the runs of all folds did, one after the other."""
    names = [name for _, own in parts for name in own]
    assert len(names) == len(set(names)), "a video is held out of one fold only"
    videos = [votes.videos() for votes, _ in parts]
    first = np.cumsum([0, *(len(own) for _, own in parts)])
    videos = [votes._replace(video=votes.video + int(start)) for votes, start in zip(videos, first, strict=False)]
    return Votes(*(torch.cat(fields) for fields in zip(*videos, strict=True))), names


# -- the record --------------------------------------------------------------------------------------------------------


def _make_record(
    ensemble: Ensemble,
    by_id: dict[str, Record],
    clips: Votes | None,
    videos: Votes,
    facts: dict[str, Any],
    fit: dict[str, Any] | None,
) -> Record:
    """The record: numbers of the fused scores, costs summed over the members, and what these share."""
    runs, members = [by_id[run_id] for run_id in ensemble.runs], [by_id[run_id] for run_id, _ in ensemble.members]
    rows = [next(row for row in by_id[run_id].rows if row.name == name) for run_id, name in ensemble.members]
    first = runs[0]
    settings = [[row.name for row in rows], [record.settings for record in members], ensemble.fuse, ensemble.cost]
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
            text=_text(ensemble, facts, fit),
            level="video" if clips is None else "clip",
            clips=facts,
            fit=fit,
            code=CODE,
            inputs={run_id: record.file_digest for run_id, record in by_id.items()},
        ),
        protocol=Protocol(*(together(own) for own in zip(*(astuple(run.protocol) for run in runs), strict=True))),
        videos=Videos(*(max(own) for own in zip(*(astuple(run.videos) for run in runs), strict=True))),
        rows=[_row(ensemble.name, rows, first.data, clips, videos)],
        seconds={
            **{key: sum(run.seconds.get(key, 0.0) for run in runs) for key in ("train", "waiting", "test")},
            "flow": max(run.seconds["flow"] for run in runs),  # it is computed once, into the store
        },
        memory_mb=max(run.memory_mb for run in runs),
        code=Code(
            hash=digest([CODE, [run.code.hash for run in runs]]),
            commit=together(run.code.commit for run in runs),
            versions={name: version(name) for name in ("numpy", "torch", *["scikit-learn"] * (fit is not None))},
        ),
        data=Data(
            fingerprint=together(run.data.fingerprint for run in runs),
            files=together(run.data.files for run in runs),
            classes=first.data.classes,
            families=first.data.families,
            notes=first.data.notes,
        ),
    )


def _row(name: str, rows: list[RunRow], data: Data, clips: Votes | None, videos: Votes) -> RunRow:
    """Numbers of the fused scores; parameters, multiply-adds and frames are sums over the members' rows."""
    families = {name: [data.classes.index(member) for member in own] for name, own in data.families.items()}
    metrics, of_families = accuracies(clips, videos, 0, families, trained={})
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


def _text(ensemble: Ensemble, clips: dict[str, Any], fit: dict[str, Any] | None) -> str:
    """What a table says about the row."""
    rows = [row for _, row in ensemble.members]
    names = rows if len(set(rows)) == len(rows) else [f"{row} of {run_id}" for run_id, row in ensemble.members]
    members = f"{', '.join(names[:-1])} and {names[-1]}"
    if fit is None:
        what = f"mean of the class probabilities of {members}"
        where = clips["reason"] or f"their clips' centres differ by {clips['apart']:.2g} s at most"
    else:
        what = f"linear SVM (Crammer & Singer, C = {ensemble.cost:g}) on the normalised probabilities of {members}"
        num_runs = sum(map(len, ensemble.folds.values()))
        held_out = f"left out in turn, for which {num_runs} networks were trained" if num_runs else "that they held out"
        where = f"fitted on {fit['videos']} training videos {held_out}; it fuses scores of videos"
    return f"{what}; {where}. Parameters, multiply-adds and frames are sums over the members."
