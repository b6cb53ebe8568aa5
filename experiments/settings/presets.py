"""Presets: the YAML files in `configs/`."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from experiments import ROOT
from vidfusion.classifier import VideoClassifier
from vidfusion.strategies import STRATEGIES

CONFIGS = ROOT / "experiments" / "configs"
# Each names a preset, configs/<word>/<name>.yaml.
WORDS = ("strategy", "dataset", "recipe", "clip")


@cache
def class_of(strategy: str) -> type[VideoClassifier]:
    """The network's class that a strategy's preset names."""
    return STRATEGIES[read_preset("strategy", strategy)["class"]]


def names(word: str) -> list[str]:
    """The presets that a word can name."""
    return sorted(path.stem for path in (CONFIGS / word).glob("*.yaml"))


def did_you_mean(name: str, known: list[str]) -> str:
    """Closest known names as a question, or all of them."""
    close = difflib.get_close_matches(name, known, n=2)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known)}"


def read_preset(word: str, name: str) -> dict[str, Any]:
    """What a preset's file says; over what the one says that it `extends`."""
    if name not in names(word):
        raise ValueError(f"{word}={name}: no such preset. {did_you_mean(name, names(word))}")
    loaded = OmegaConf.load(CONFIGS / word / f"{name}.yaml")
    if "extends" in loaded:
        base = read_preset(word, loaded.pop("extends"))
        loaded = OmegaConf.merge(base, loaded)
    preset = OmegaConf.to_container(loaded)
    return preset if isinstance(preset, dict) else {}  # a file of comments only changes nothing
