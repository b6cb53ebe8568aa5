"""The fused scores of an ensemble, and the record made of these and of its members' records."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.svm import LinearSVC
from torch.nn import functional as F

from datamodules.files import write_atomically
from experiments.records.files import FORMAT, read_record
from experiments.records.make import accuracies
from experiments.records.scores import read_clusters, read_scores, write_scores
from experiments.tables.comparisons import digest
from experiments.tables.ensembles import CODE, Ensemble, input_digests, read_ensembles, score_files, together
from vidfusion.votes import Votes


def derive(results: Path, ensemble: Ensemble) -> dict[str, Any]:
    """Fuse the members' scores and write the ensemble's record and scores; returns the record.

    The same inputs give the same record, byte for byte. Raises ValueError where members or their scores are missing, or
    where they were not tested on the same videos, and says in what they differ.
    """
    by_id = {run_id: _record_of(results, run_id) for run_id in ensemble.inputs}
    records = [by_id[run_id] for run_id, _ in ensemble.members]
    _check_comparable(records)
    for path in score_files(results, ensemble):
        if not path.exists():
            remedy = "run it again"
            if path.name == "validation.npz":
                remedy = "an SVM is fitted on videos that the members held out (data.validation=0.2), or with fit=oof"
            raise ValueError(f"run {path.parent.name} has no {path.name}: {remedy}")
    runs = results / "runs"
    saved = [read_scores(runs / run_id / "scores.npz", row) for run_id, row in ensemble.members]
    _check_same_videos("test", records, saved)
    members, names = [votes for votes, _ in saved], saved[0][1]
    if ensemble.fuse == "mean":
        difference, reason = alignment(members, names)
        clips = None if reason else mean(members)
        videos = mean([votes.videos() for votes in members])
        facts: dict[str, Any] = {"clips": {"fused": clips is not None, "apart": difference, "reason": reason}}
    else:
        held_out = [
            _together([read_scores(runs / fold / "validation.npz", row) for fold in ensemble.fitted_on(run_id)])
            for run_id, row in ensemble.members
        ]
        _check_same_videos("validation", records, held_out)
        clips, (videos, fit) = None, svm([votes for votes, _ in held_out], members, ensemble.cost)
        facts = {"clips": {"fused": False, "apart": None, "reason": "an SVM fuses scores of videos"}, "fit": fit}
    videos = videos._replace(clip=videos.clip * 0, center=videos.center * math.nan)
    record = _make_record(ensemble, by_id, clips, videos, facts)
    record["ensemble"]["inputs"] = input_digests(results, ensemble)
    folder = runs / record["id"]
    folder.mkdir(parents=True, exist_ok=True)
    clusters = read_clusters(runs / ensemble.members[0][0] / "scores.npz")
    write_scores(folder / "scores.npz", videos if clips is None else clips, [ensemble.name], names, clusters)
    write_atomically(folder / "record.json", json.dumps(record, indent=1))
    return record


def _record_of(results: Path, run_id: str) -> dict[str, Any]:
    record = read_record(results / "runs" / run_id)
    if record is None:
        raise ValueError(f"there is no finished run {run_id} in {results / 'runs'}")
    if "given" not in record:
        raise ValueError(f"run {run_id} is of an earlier version, run it again: {record['command']}")
    return record


def _check_comparable(records: list[dict]) -> None:
    """Raise ValueError unless these runs share data set, classes, split and the content of the videos' files."""
    for first, other in ((records[0], other) for other in records[1:]):
        ids = f"{first['id']} and {other['id']}"
        for what in ("dataset", "split"):
            if first[what] != other[what]:
                raise ValueError(f"{ids} do not share the {what}: {first[what]} and {other[what]}")
        _check_same(ids, "classes", first["data"]["classes"], other["data"]["classes"])
        if first["data"]["files"] != other["data"]["files"]:
            raise ValueError(f"{ids} do not share the test videos: their files have another content")


def _check_same_videos(what: str, records: list[dict], saved: list[tuple[Votes, list[str]]]) -> None:
    """Raise ValueError unless members have scores of the same videos with the same labels."""
    votes, names = saved[0]
    target = votes.videos().target
    for record, (other, other_names) in zip(records[1:], saved[1:], strict=True):
        ids = f"{records[0]['id']} and {record['id']}"
        _check_same(ids, f"{what} videos", names, other_names)
        differ = (other.videos().target != target).any(1)
        if differ.any():
            raise ValueError(f"{ids} do not share the labels of {what} video {names[int(differ.int().argmax())]}")


def _check_same(ids: str, what: str, names: list[str], other: list[str]) -> None:
    if names != other:
        apart = sorted(set(names) ^ set(other))
        how = f"only one has {apart[0]}" if apart else "in another order"
        raise ValueError(f"{ids} do not share the {what}: {len(names)} and {len(other)}, {how}")


def mean(members: list[Votes]) -> Votes:
    """Mean class probabilities over members whose clips (or videos) are the same ones; NaN where one has no score."""
    return members[0]._replace(scores=torch.stack([votes.scores for votes in members]).mean(0).float())


def alignment(members: list[Votes], names: list[str]) -> tuple[float | None, str]:
    """Largest difference between the centres of the members' clips, in seconds, and why they are not aligned, or "".

    They are if each video has as many clips in every member, and the centres of a clip differ by less than half the
    distance between neighbouring clips. A long clip cannot lie as near to the ends of a video as a short one.
    """
    counts = [np.bincount(votes.video, minlength=len(names)) for votes in members]
    for other in counts[1:]:
        if (other != counts[0]).any():
            video = int(np.argmax(other != counts[0]))
            return None, f"the members have {counts[0][video]} and {other[video]} clips of {names[video]}"
    centers = np.stack([votes.center.double().numpy() for votes in members])  # (members, M)
    num_clips = counts[0][counts[0] > 0]
    last = num_clips.cumsum() - 1
    # The member whose clips are the least held back by the ends tells the distance.
    spread = (centers[:, last] - centers[:, last - num_clips + 1]).max(0)
    distance = np.where(num_clips > 1, spread / np.maximum(num_clips - 1, 1), np.inf).repeat(num_clips)
    apart = np.ptp(centers, axis=0)
    too_far = (apart > 0) & (apart >= distance / 2)
    if not too_far.any():
        return float(apart.max()), ""
    clip = int(np.argmax(apart * too_far))
    return float(apart.max()), (
        f"the members' clips of {names[members[0].video[clip]]} are {apart[clip]:.2g} s apart, neighbouring ones "
        f"{distance[clip]:.2g} s"
    )


def _together(parts: list[tuple[Votes, list[str]]]) -> tuple[Votes, list[str]]:
    """Scores of the videos that a run held out, or that the runs of all folds did, one after the other."""
    names = [name for _, own in parts for name in own]
    assert len(names) == len(set(names)), "a video is held out of one fold only"
    videos = [votes.videos() for votes, _ in parts]
    first = np.cumsum([0, *(len(own) for _, own in parts)])
    videos = [votes._replace(video=votes.video + int(start)) for votes, start in zip(videos, first, strict=False)]
    return Votes(*(torch.cat(fields) for fields in zip(*videos, strict=True))), names


def svm(held_out: list[Votes], members: list[Votes], cost: float) -> tuple[Votes, dict[str, Any]]:
    """Scores of the test videos by an SVM that is fitted on held-out videos, and facts of the fit.

    Both lists have the members in the same order. The features are the members' L2-normalised class probabilities, side
    by side (Simonyan & Zisserman 2014, section 5); a held-out video of several labels is one sample of each. The scores
    are the softmax of the decision values: they rank the classes as these do, but are no probabilities. A class that no
    held-out video has is never chosen. The labels of the test are not looked at.
    """

    def features(votes: list[Votes]) -> np.ndarray:
        return torch.cat([F.normalize(of.videos().scores[:, 0], dim=1) for of in votes], 1).numpy()

    known, target = features(held_out), held_out[0].videos().target.numpy()
    scored = ~np.isnan(known).any(1)
    sample, label = np.nonzero(target[scored])
    classes = np.unique(label)
    if len(classes) < 2:
        raise ValueError(f"the held-out videos have {len(classes)} classes, an SVM needs 2 or more")
    machine = LinearSVC(multi_class="crammer_singer", C=cost, max_iter=100_000, random_state=0)
    machine.fit(known[scored][sample], label)

    asked, videos = features(members), members[0].videos()
    decisions = np.full(videos.target.shape, -np.inf)
    # What cannot be scored is asked as zeros and then set to NaN.
    values = machine.decision_function(np.nan_to_num(asked))
    # Of two classes, it is the second's value less the first's.
    decisions[:, classes] = np.stack([-values / 2, values / 2], 1) if values.ndim == 1 else values
    decisions[np.isnan(asked).any(1)] = np.nan
    scores = torch.from_numpy(decisions).softmax(1)[:, None].float()
    fit = {"videos": int(scored.sum()), "classes": len(classes), "scores": "softmax of decision values"}
    return videos._replace(scores=scores), fit


def _make_record(
    ensemble: Ensemble, by_id: dict[str, dict], clips: Votes | None, videos: Votes, facts: dict[str, Any]
) -> dict[str, Any]:
    """The record: numbers of the fused scores, costs summed over the members, and what these share."""
    runs = [by_id[run_id] for run_id in ensemble.runs]
    rows = [next(row for row in by_id[run_id]["rows"] if row["name"] == name) for run_id, name in ensemble.members]
    data = runs[0]["data"]
    families = {name: [data["classes"].index(member) for member in own] for name, own in data["families"].items()}
    num_clips = together(row["clips_per_video"] for row in rows)
    sums = ("parameters", "macs_per_clip", "macs_training", "frames_per_clip", "frames_per_video")
    shared = ("sweep", "dataset", "split", "seed", "recipe", "size", "clip", "selection", "pretrained")
    packages = ["numpy", "torch"] + ["scikit-learn"] * (ensemble.fuse == "svm")
    settings = [[row["name"] for row in rows], [by_id[run_id]["settings"] for run_id, _ in ensemble.members]]
    settings += [ensemble.fuse, ensemble.cost, [len(folds) for folds in ensemble.folds.values()]]
    return {
        "format": FORMAT,
        "id": ensemble.id(by_id),
        "kind": "ensemble",
        "command": _command(ensemble),
        "strategy": ensemble.name,
        **{key: together(run[key] for run in runs) for key in shared},
        "settings": digest(settings),
        "ensemble": {
            "of": dataclasses.asdict(ensemble),
            "text": _text(ensemble, facts),
            "level": "video" if clips is None else "clip",
            **facts,
            "code": CODE,
        },
        **{key: runs[0][key] for key in ("num_classes", "families", "chance")},
        "protocol": {key: together(run["protocol"][key] for run in runs) for key in runs[0]["protocol"]},
        "videos": {key: max(run["videos"][key] for run in runs) for key in runs[0]["videos"]},
        "rows": [
            {
                "name": ensemble.name,
                **accuracies(clips, videos, 0, families, trained={}),
                **{key: sum(row[key] for row in rows) for key in sums},
                "clips_per_video": num_clips if isinstance(num_clips, float) else None,
            }
        ],
        "seconds": {
            **{key: sum(run["seconds"][key] for run in runs) for key in ("train", "waiting", "test")},
            "flow": max(run["seconds"]["flow"] for run in runs),  # computed once, into the store
        },
        "memory_mb": max(run["memory_mb"] for run in runs),
        "code": {
            "hash": digest([CODE, [run["code"]["hash"] for run in runs]]),
            "commit": together(run["code"]["commit"] for run in runs),
            "versions": {name: version(name) for name in packages},
        },
        "data": {
            **{key: together(run["data"][key] for run in runs) for key in ("fingerprint", "files")},
            **{key: data[key] for key in ("classes", "families", "notes")},
        },
        "device": together(run["device"] for run in runs),
    }


def _command(ensemble: Ensemble) -> str:
    words = ["--ensemble", ensemble.name]
    if ensemble.name not in read_ensembles():
        members = ",".join(f"{run_id}/{row}" for run_id, row in ensemble.members)
        words += [f"members=[{members}]", f"fuse={ensemble.fuse}"]
    words += [f"cost={ensemble.cost}"] if ensemble.fuse == "svm" else []
    words += ["fit=oof", f"folds={len(ensemble.folds[ensemble.runs[0]])}"] if ensemble.folds else []
    return shlex.join(["python", "experiments/run.py", *words])


def _text(ensemble: Ensemble, facts: dict[str, Any]) -> str:
    """What a table says of the row."""
    rows = [row for _, row in ensemble.members]
    names = rows if len(set(rows)) == len(rows) else [f"{row} of {run_id}" for run_id, row in ensemble.members]
    members = f"{', '.join(names[:-1])} and {names[-1]}"
    if ensemble.fuse == "mean":
        what = f"mean of the class probabilities of {members}"
        clips = facts["clips"]
        where = clips["reason"] or f"their clips' centres differ by {clips['apart']:.2g} s at most"
    else:
        what = f"linear SVM (Crammer & Singer, C = {ensemble.cost:g}) on the normalised probabilities of {members}"
        num_runs = sum(map(len, ensemble.folds.values()))
        held_out = f"left out in turn, for which {num_runs} networks were trained" if num_runs else "that they held out"
        where = f"fitted on {facts['fit']['videos']} training videos {held_out}; it fuses scores of videos"
    return f"{what}; {where}. Parameters, multiply-adds and frames are sums over the members."
