"""From words on the command line to one typed configuration.

Dataclass defaults < presets (`strategy=`, `dataset=`, `recipe=`, `clip=`, YAML files in `configs/`) < `key=value`.
After `compose` the code sees dataclasses only.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datamodules.datasets import DATASETS
from experiments.settings.presets import WORDS, did_you_mean, names, read_preset
from experiments.settings.schema import RunConfig, defaults_of
from vidfusion.strategies import STRATEGIES


def parse(arguments: list[str]) -> dict[str, str]:
    """`key=value` words as a dict; the last of equal keys holds."""
    pairs = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key or key.startswith("-"):
            raise ValueError(f"{argument!r}: expected key=value, such as strategy=c3d or training.steps=500")
        pairs[key] = value
    return pairs


def compose(arguments: list[str]) -> RunConfig:
    """The configuration that the words describe. Raises ValueError for a key or value that does not exist."""
    pairs = parse(arguments)
    chosen = {
        "strategy": pairs.get("strategy", ""),
        "dataset": pairs.get("dataset", "moving_shapes"),
        "recipe": pairs.get("recipe", "quick"),
        "clip": pairs.get("clip", "native"),
    }
    if not chosen["strategy"]:
        raise ValueError(f"strategy= is missing. Known: {', '.join(names('strategy'))}")
    presets = {word: read_preset(word, name) for word, name in chosen.items()}
    strategy = STRATEGIES[presets["strategy"].pop("class")]
    # A strategy may have something to add to presets of other words, such as its own schedule to recipe=published.
    for words, addition in presets["strategy"].pop("with", {}).items():
        if all(chosen.get(word) == name for word, name in parse(words.split()).items()):
            presets[f"strategy/{chosen['strategy']}.yaml with {words}"] = addition
    config = OmegaConf.structured(defaults_of(strategy, DATASETS[chosen["dataset"]]))
    for source, preset in presets.items():
        config = _merge(config, preset, f"configs/{source}")
    given = [f"{key}={_spelt(value)}" for key, value in pairs.items() if key not in WORDS]
    # Sorted, and spelt in one way: the record is the same however W&B's agent writes the words.
    config = _merge(config, {**chosen, "overrides": sorted(given)}, "the command line")
    for key, value in pairs.items():
        if key not in WORDS:
            _check_key(config, key)
            config = _merge(config, _setting(key, value), f"{key}={value}")
    net = strategy.network(OmegaConf.to_object(config.model))
    if config.sampling.resize is None:
        config.sampling.resize = list(net.resize)
    if config.sampling.crop is None:
        config.sampling.crop = net.crop
    if OmegaConf.is_missing(config.data, "root"):
        raise ValueError(f"data.root is missing: dataset={chosen['dataset']} needs the folder of its videos")
    run: RunConfig = OmegaConf.to_object(config)
    _check(run)
    return run


def _spelt(value: str) -> str:
    """A list in one spelling: [a,b] for ['a', 'b']. What is not a plain list stays as it is."""
    match = re.fullmatch(r"\[([^][]*)\]", value)
    parts = [part.strip() for part in match[1].split(",")] if match else []
    plain = [re.fullmatch(r"(['\"]?)([\w.+-]+)\1", part) for part in parts]
    if not plain or not all(part and (not part[1] or isinstance(yaml.safe_load(part[2]), str)) for part in plain):
        return value
    return f"[{','.join(part[2] for part in plain if part)}]"


def _setting(key: str, value: str) -> DictConfig:
    try:
        return OmegaConf.from_dotlist([f"{key}={value}"])
    except yaml.YAMLError:
        raise ValueError(f"{key}={value}: YAML cannot read this value; put it into quotes of its own") from None


def _merge(config: DictConfig, update: Any, source: str) -> DictConfig:
    try:
        return OmegaConf.merge(config, update)
    except OmegaConfBaseException as error:
        raise ValueError(f"{source}: {str(error).splitlines()[0]}") from None


def _check_key(config: DictConfig, key: str) -> None:
    node, parts = config, key.split(".")
    for depth, part in enumerate(parts):
        known = list(node) if isinstance(node, DictConfig) else []
        if OmegaConf.is_dict(node) and OmegaConf.get_type(node) is dict:
            return  # a free dict, such as clips per family: its keys are checked by whoever reads it
        if part not in known:
            prefix = ".".join(parts[:depth])
            dotted = [f"{prefix}.{name}" if prefix else str(name) for name in known]
            raise ValueError(
                f"{key}: no such setting. {did_you_mean('.'.join(parts[: depth + 1]), dotted or [prefix])}"
            )
        child = None if OmegaConf.is_missing(node, part) else node[part]
        node = child if OmegaConf.is_config(child) else None
        if node is None and depth < len(parts) - 1:
            raise ValueError(f"{key}: {'.'.join(parts[: depth + 1])} is a single value")


def _check(run: RunConfig) -> None:
    training = run.training
    for name, value, least in (
        ("seed", run.seed, 0),
        ("training.steps", training.steps, 1),
        ("training.batch_size", training.batch_size, 1),
        ("trainer.devices", run.trainer.devices, 1),
        ("trainer.threads", run.trainer.threads, 1),
        ("trainer.workers", run.trainer.workers, 0),
        ("trainer.test_batch_size", run.trainer.test_batch_size, 1),
    ):
        if value < least:
            raise ValueError(f"{name}={value}: expected {least} or more")
    if run.seed >= 2**32:
        raise ValueError(f"seed={run.seed}: expected less than 2**32")
    if training.select == "best" and not (run.data.validation or run.data.folds):
        raise ValueError("training.select=best needs a validation split: set data.validation, such as 0.2")
    if training.batch_size % run.trainer.devices:
        raise ValueError(
            f"training.batch_size={training.batch_size}: expected a multiple of trainer.devices={run.trainer.devices}"
        )
    run.datasets()  # raises ValueError where the second one does not exist
