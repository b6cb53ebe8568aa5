"""Presets: the YAML files in `configs/`, each named by a word such as `strategy=c3d`.

A preset holds settings by node (`model`, `sampling`, `data`, `training`). One of a strategy also has

class:    the network, a name of vidfusion.strategies.STRATEGIES
extends:  another preset of the same folder; what stands here comes on top of that one
with:     additions for some choices of the other words, such as `recipe=published dataset=ucf101`; all that fit are
          added in the order of the file
"""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments import ROOT
from experiments.settings.words import did_you_mean, parse
from vidfusion.strategies import STRATEGIES

CONFIGS = ROOT / "experiments" / "configs"
WORDS = ("strategy", "dataset", "recipe", "clip")  # each names a preset, configs/<word>/<name>.yaml


def names(word: str) -> list[str]:
    """The presets that a word can name."""
    return sorted(path.stem for path in (CONFIGS / word).glob("*.yaml"))


@cache
def network_of(strategy: str) -> str:
    """The network that a strategy's preset names, one of STRATEGIES. Raises ValueError."""
    name = read_preset("strategy", strategy).get("class")
    if name not in STRATEGIES:
        raise ValueError(f"configs/strategy/{strategy}.yaml: class {name}: {did_you_mean(str(name), list(STRATEGIES))}")
    return name


def settings_of(chosen: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The settings that the chosen presets bring, by the place that says them; later ones win. Raises ValueError."""
    settings = {f"configs/{word}/{name}.yaml": read_preset(word, name) for word, name in chosen.items()}
    strategy = f"configs/strategy/{chosen['strategy']}.yaml"
    del settings[strategy]["class"]
    for words, addition in settings[strategy].pop("with", {}).items():
        if all(chosen[word] == name for word, name in parse(words.split()).items()):
            settings[f"{strategy} with {words}"] = addition
    return settings


def read_preset(word: str, name: str) -> dict[str, Any]:
    """What a preset's file says, on top of the preset that it extends. Raises ValueError."""
    if name not in names(word):
        raise ValueError(f"{word}={name}: no such preset. {did_you_mean(name, names(word))}")
    path = CONFIGS / word / f"{name}.yaml"
    try:
        loaded = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if "${" in path.read_text():
        raise ValueError(f"{path}: expected the values themselves; ${{...}} is not filled in")
    if not OmegaConf.is_dict(loaded):
        raise ValueError(f"{path}: expected settings by node, such as model: {{size: tiny}}")
    if "extends" in loaded:
        loaded = OmegaConf.merge(read_preset(word, loaded.pop("extends")), loaded)
    return OmegaConf.to_container(loaded)
