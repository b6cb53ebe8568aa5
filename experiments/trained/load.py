"""A trained network out of its checkpoint."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from datamodules.text import printable
from experiments.records.record import NAME
from experiments.settings.compose import compose, parse
from experiments.settings.presets import WORDS
from experiments.settings.schema import SENDS_LESS, RunConfig, flat, is_place
from experiments.training.build import make_model
from vidfusion.classifier import VideoClassifier
from vidfusion.weights import oversized, unfounded

# Settings that a test may change: no others leave the network what it is and the videos those that it has not seen.
OF_THE_TEST = ("sampling.test_", "trainer.", "wandb.", "results", "data.root", "data.stores", "data.max_store")
# What a network sees of videos, and what was held out, which stay as they were in training where the data are others.
KEPT = ("data.flow.", "data.store_fps", "data.mirror", "data.validation", "data.fold")


@dataclass(frozen=True)
class Trained:
    """A network as it came out of its training.

    run:        its settings, with those of the test that were changed
    provenance: what the checkpoint says of its training: `id` of the run, `classes`, `made_of`, ...
    steps:      optimiser steps that it was trained for
    changed:    the settings that are not as they were in training, by dotted name, but for places
    """

    checkpoint: Path
    run: RunConfig
    model: VideoClassifier
    provenance: dict[str, Any]
    steps: int
    changed: dict[str, Any]

    @cached_property
    def id(self) -> str:
        """The id of its run, as it can be printed."""
        return printable(self.provenance["id"])

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes in the order of its scores, as they can be printed."""
        return [printable(name) for name in self.provenance["classes"]]


def load_trained(checkpoint: Path, changes: Sequence[str] = (), other_data: bool = False) -> Trained:
    """The network of a checkpoint, with `key=value` changes to its test, and with `other_data` to its data.

    Neither the data set nor the weights that training began with need to be there. Raises ValueError for a file that is
    no checkpoint of this suite or does not fit its code, and for a change that is none of the test.
    """
    content = _read(checkpoint)
    provenance = content["vidfusion"]["provenance"]
    run = _composed(provenance, checkpoint, changes, other_data)
    model = make_model(run, provenance["classes"], trained=True)
    try:
        model.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        _, first, *_ = map(str.strip, str(error).splitlines())
        raise ValueError(
            f"{checkpoint}: its weights do not fit the network that its settings describe ({printable(first)}); use "
            "the code that it was made by"
        ) from None
    model.provenance, model.trained = provenance, content["vidfusion"]["trained"]
    before = flat(provenance["config"])
    now = {name: value for name, value in flat(dataclasses.asdict(run)).items() if not is_place(name)}
    changed = {name: value for name, value in now.items() if before.get(name, value) != value}
    return Trained(checkpoint, run, model.eval(), provenance, content["global_step"], changed)


def _read(checkpoint: Path) -> dict[str, Any]:
    """What is in a checkpoint of this suite. Raises ValueError for any other file."""

    def refusal(found: str) -> ValueError:
        expected = "expected a checkpoint of this suite, such as results/runs/<id>/last.ckpt"
        return ValueError(f"{checkpoint}: {found}; {expected}")

    if not checkpoint.is_file():
        raise refusal("is a folder" if checkpoint.is_dir() else "no such file")
    if not zipfile.is_zipfile(checkpoint):
        raise refusal("no checkpoint, or one that is cut short")
    if found := oversized(checkpoint):
        raise refusal(found)
    try:
        content = torch.load(checkpoint, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise refusal(f"holds {named[1]}, which is no plain data" if named else "does not hold plain data") from None
    except Exception as error:  # torch.load raises a kind of its own for every way in which a file can be wrong
        reason = printable((str(error).splitlines() or [type(error).__name__])[0])
        raise refusal(f"cannot be read ({reason})") from None
    if not _is_whole(content):
        raise refusal("does not say which run it is of (model.weights= of a new run takes weights alone)")
    if found := unfounded(content["state_dict"]):
        raise refusal(found)
    return content


def _is_whole(content: Any) -> bool:
    """Whether everything is there, and of its kind, that is read of a checkpoint."""
    match content:
        case {
            "state_dict": dict(state),
            "global_step": int(),
            "vidfusion": {
                "trained": dict(),
                "provenance": {
                    "id": str(run_id),
                    "classes": list(classes),
                    "made_of": [str(), str(), *_],
                    "pretrained": str(),
                    "dataset": str(),
                    "split": int(),
                    "config": {"strategy": str(), "dataset": str(), "overrides": list(overrides)},
                },
            },
        }:
            named = all(isinstance(name, str) for name in (*state, *classes, *overrides))
            tensors = all(isinstance(tensor, torch.Tensor) for tensor in state.values())
            try:
                json.dumps(content["vidfusion"])  # or it could not stand in a record
            except (TypeError, ValueError, RecursionError):
                return False
            return named and tensors and re.fullmatch(NAME, run_id) is not None and "\\" not in run_id
    return False


def _composed(provenance: dict[str, Any], checkpoint: Path, changes: Sequence[str], other_data: bool) -> RunConfig:
    """The settings of a checkpoint's run with some changed. What presets say now does not matter: the checkpoint holds.

    Raises ValueError for a change that does not exist or is not allowed.
    """
    config, changed = provenance["config"], parse(changes)
    words = [f"{word}={config[word]}" for word in (*WORDS, "sweep") if config.get(word)]
    own = [w for w in config["overrides"] if not w.startswith("wandb.") or w in SENDS_LESS]
    own = [word for word in own if not ("dataset" in changed and word.startswith("data.")) or word.startswith(KEPT)]
    runs = checkpoint.absolute().parent.parent
    results = runs.parent if runs.name == "runs" else "results"
    words = [*words, *own, f"results={os.path.relpath(results)}", *changes]
    run = compose(words)
    of_data = [key for key in changed if key == "dataset" or key.startswith("data.")]
    for key in changed:
        if key.startswith(OF_THE_TEST) or (other_data and key in of_data):
            continue
        if key in of_data:
            raise ValueError(
                f"{key}={changed[key]}: the network was trained on {printable(provenance['dataset'])}, split "
                f"{provenance['split']}, and may know test videos of others from its training; add --other-data to "
                "test it there all the same"
            )
        allowed = ", ".join(name + "*" * name.endswith(("_", ".")) for name in OF_THE_TEST)
        raise ValueError(f"{key}={changed[key]}: belongs to the training, which is over; a test can change {allowed}")
    now = flat(dataclasses.asdict(run))
    for name, value in flat(config).items():
        free = is_place(name) or name in changed or (of_data and name.startswith("data.") and not name.startswith(KEPT))
        if name in now and now[name] != value and not free:
            words.append(f"{name}={value if isinstance(value, str) else json.dumps(value)}")
    return compose(words)
