"""A run and its trained network -> the record."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from datamodules.datamodule import VideoDataModule
from experiments.records.command import command, given
from experiments.records.provenance import PACKAGES, code_hash, git_commit, shared_code
from experiments.records.record import Code, Data, Family, Metrics, Protocol, Record, RunRow, Videos
from experiments.settings.schema import RunConfig
from vidfusion.classifier import VideoClassifier
from vidfusion.layer_table import multiply_adds, training_multiply_adds
from vidfusion.metrics import HitAtK, PerClassHits, hits_at_k
from vidfusion.votes import Votes


def row_names(run: RunConfig, model: VideoClassifier) -> list[str]:
    """The table rows that a run fills: one per stream, such as `two_stream_spatial`, and one of the strategy's name."""
    return [f"{run.strategy}_{row}" if row else run.strategy for row in model.rows]


def make_record(run: RunConfig, model: VideoClassifier, data: VideoDataModule, test_seconds: float) -> Record:
    """Everything there is to say about a finished run."""
    lists, provenance = data.lists, model.provenance
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    return Record(
        id=run.id,
        kind="fold" if run.data.folds else "run",
        sweep=run.sweep,
        command=command(run),
        strategy=run.strategy,
        dataset=run.dataset_label,
        split=run.data.split,
        seed=run.seed,
        settings=run.settings_hash,
        recipe=run.recipe,
        size=run.model.size,
        clip=run.clip,
        selection="best on validation" if run.training.select == "best" else "last checkpoint",
        pretrained=provenance["pretrained"],
        given=given(run),
        num_classes=len(lists.classes),
        families={family: len(members) for family, members in lists.families.items()},
        chance=dict(lists.chance),
        protocol=_protocol(run, data),
        videos=_videos(data),
        rows=_rows(run, model, data),
        seconds={
            "train": model.trained["seconds"],
            "waiting": model.trained["waiting"],
            "test": test_seconds,
            "flow": data.store.flow_seconds if run.sampling.flow_frames else 0.0,
        },
        memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20),
        code=Code(code_hash(run), git_commit(), versions, shared_code()),
        data=Data(
            fingerprint=data.fingerprint(),
            fingerprints=data.fingerprints(),
            files=data.store.folder.name.rpartition("-")[2],
            classes=list(lists.classes),
            families={family: list(members) for family, members in lists.families.items()},
            training_videos=len(data.train_clips.videos),
            store=data.store.settings,
            built_with=list(data.store.versions),
            notes=list(lists.notes),
        ),
        device=torch.cuda.get_device_name() if model.device.type == "cuda" else platform.processor() or "cpu",
        config=dataclasses.asdict(run),
    )


def _protocol(run: RunConfig, data: VideoDataModule) -> Protocol:
    clips = run.sampling
    views = f"{clips.test_views} view" + ("" if data.dataset.mirror else ", no mirror images")
    time = "" if clips.test_time == "forward" else f" played {clips.test_time}"
    text = f"{clips.test_sampling} clips{time} x {views}; a clip's score is the mean probability over its views, "
    return Protocol(clips.test_sampling, clips.test_views, f"{text}a video's the mean over its clips")


def _videos(data: VideoDataModule) -> Videos:
    stored = [data.store.videos[video.path] for video in data.lists.test]
    undecodable = sum(not video.frames for video in stored)
    drifting = [video for video in stored if video.times is not None]
    return Videos(
        expected=len(stored),
        scored=len(stored) - undecodable,
        undecodable=undecodable,
        truncated=sum(video.truncated for video in stored),
        padded_clips=data.test_views.padded_clips,
        damaged=sum(video.damaged for video in stored),
        drifting=len(drifting),
        drift=round(max((video.drift for video in drifting), default=0.0), 3),
    )


def _rows(run: RunConfig, model: VideoClassifier, data: VideoDataModule) -> list[RunRow]:
    """One row per stream, where there are several, and one for the whole network."""
    clips = model.test_votes
    assert clips is not None, "the run was not tested"
    videos, classes = clips.videos(), data.lists.classes
    families = {family: [classes.index(name) for name in members] for family, members in data.lists.families.items()}
    clip = {"rgb": run.sampling.frames, "flow": run.sampling.flow_frames}
    costs, training = multiply_adds(model), training_multiply_adds(model)
    clips_per_video = data.test_views.num_clips / len(data.lists.test)
    rows = []
    for index, (stream, name) in enumerate(zip(model.rows, row_names(run, model), strict=True)):
        part = getattr(model, stream) if stream else model
        per_clip = training[stream] if stream else sum(training.values())
        frames = clip[model.streams[stream]] if stream else sum(clip.values())
        metrics, of_families = accuracies(clips, videos, index, families, {} if stream else model.trained)
        rows.append(
            RunRow(
                name=name,
                metrics=metrics,
                families=of_families,
                parameters=sum(parameter.numel() for parameter in part.parameters()),
                macs_per_clip=sum(macs for layer, macs in costs.items() if layer.startswith(stream)),
                macs_training=per_clip * model.training_config.steps * run.training.batch_size,
                frames_per_clip=frames,
                clips_per_video=round(clips_per_video, 2),
                frames_per_video=round(frames * data.test_views.num_clips / len(data.lists.test), 2),
            )
        )
    return rows


def accuracies(
    clips: Votes | None, videos: Votes, row: int, families: dict[str, list[int]], trained: dict[str, Any]
) -> tuple[Metrics, dict[str, Family]]:
    """Metrics of one row over all test videos, and hits per family of classes; None where a metric is undefined.

    `clips` is None where only whole videos have scores. `families` holds class indices. `trained` holds the accuracy in
    training (`clip_hit1`, `per_class`), for the rows that have one.
    """
    metrics: Metrics = {}
    for level, scored in (("clip", clips), ("video", videos)):
        for k in (1, 5):
            for prefix, only in (("", False), ("scored_", True)):
                # A metric that is called counts these scores only. Its `compute` would wait for other processes.
                metric = HitAtK(k, scored_only=only)
                value = None if scored is None else _number(metric(scored.scores[:, row], scored.target))
                metrics[f"test/{prefix}{level}_hit{k}"] = value
    per_class = PerClassHits(videos.target.shape[1])
    metrics["test/class_accuracy"] = _number(per_class(videos.scores[:, row], videos.target).nanmean())
    metrics["train/clip_hit1"] = trained.get("clip_hit1")
    train = np.array(trained.get("per_class", []))
    return metrics, {
        family: Family(
            videos=int(per_class.total[indices].sum()),
            video_hit1=_number(per_class.hits[indices].sum() / per_class.total[indices].sum()),
            train_clip_hit1=float(np.nanmean(train[indices])) if train.size else None,
            within_hit1=within(videos.scores[:, row], videos.target, indices),
        )
        for family, indices in families.items()
    }


def within(scores: torch.Tensor, target: torch.Tensor, classes: list[int]) -> float | None:
    """The share of a family's videos whose best class among its own `classes` is right; scores and target (N, C).

    A video without scores counts as wrong. None where the family has no video.
    """
    own = target[:, classes].any(1)
    return _number(hits_at_k(scores[own][:, classes], target[own][:, classes], 1).double().mean())


def _number(value: torch.Tensor) -> float | None:
    return None if value.isnan() else float(value)
