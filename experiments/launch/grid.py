"""The points of a sweep file: one run for each combination of its values."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from experiments import ROOT
from experiments.settings.compose import compose
from experiments.settings.schema import RunConfig, with_seed
from experiments.settings.words import did_you_mean, list_word, parse

SWEEPS = ROOT / "experiments" / "sweeps"
AXES = ("strategy", "dataset", "recipe", "clip", "seed", "data.split")  # a word can give several values of these


def read_points(name: str, overrides: Sequence[str], only: Sequence[str] = ()) -> list[RunConfig]:
    """The runs of `sweeps/<name>.yaml`, the same set as W&B's grid search makes.

    `overrides` are words that replace the file's values; for AXES they may name several, as `seed=0,1,2`. `only` keeps
    the points with one of the values that each of its words names. Raises ValueError for a sweep that does not exist or
    is no grid.
    """
    if name == "claims":
        return _of_claims(overrides, only)
    path = SWEEPS / f"{name}.yaml"
    if not path.is_file():
        known = sorted(["claims", *(path.stem for path in SWEEPS.glob("*.yaml"))])
        raise ValueError(f"--sweep {name}: no such sweep. {did_you_mean(name, known)}")
    axes = read_axes(path)
    for key, value in parse(overrides).items():
        axes[key] = list(dict.fromkeys(value.split(","))) if key in AXES else [value]
    for word in only:
        key, values = _kept(name, axes, word)
        axes[key] = values
    keys = sorted(axes)
    points = _compose([dict(zip(keys, values, strict=True)) for values in itertools.product(*map(axes.get, keys))])
    return list({repr(replace(point, overrides=[])): point for point in points}.values())  # seed=7 and seed=07 are one


def _of_claims(overrides: Sequence[str], only: Sequence[str]) -> list[RunConfig]:
    """The points of the sweeps that `claims.yaml` names.

    One that chooses families of generated videos is left out on other data. It has the split of its own file: `shift`
    has no other.
    """
    from experiments.tables.claims import read_claims  # here: no other sweep needs it

    points = []
    for name in read_claims().sweeps:
        words = overrides
        if "data.families" in read_axes(SWEEPS / f"{name}.yaml"):
            if "dataset" in parse(overrides):
                print(f"claims: {name} is about generated videos and is left out", file=sys.stderr)
                continue
            words = [word for word in overrides if not word.startswith("data.split=")]
        points += read_points(name, words, only)
    return points


def read_axes(path: Path) -> dict[str, list[str]]:
    """The values of each parameter of a sweep file, as words. Raises ValueError, in one line, for any other file."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        sweep = _plain(node) if node else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(sweep, dict):
        raise ValueError(f"{path}: expected a W&B sweep, with `method: grid` and `parameters:`")
    if sweep.get("method") != "grid":
        raise ValueError(f"{path}: method {sweep.get('method')!r}; only `grid` runs here, others with `wandb agent`")
    if not isinstance(sweep.get("parameters"), dict) or not sweep["parameters"]:
        raise ValueError(f"{path}: expected `parameters:` with a `value` or `values` each")
    return {key: _values(path, key, choice) for key, choice in sweep["parameters"].items()}


def _plain(node: yaml.Node) -> Any:
    """A YAML node as dicts, lists, and scalars as they are written; None for null. Raises ValueError for equal keys."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(value) for value in node.value]
    if isinstance(node, yaml.MappingNode):
        keys = [str(key.value) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"{twice[0]} stands there twice")
        return {key: _plain(value) for key, (_, value) in zip(keys, node.value, strict=True)}
    return None if node.tag.endswith(":null") else node.value


def _values(path: Path, key: str, choice: Any) -> list[str]:
    """The values of one parameter as words. Raises ValueError."""
    if not isinstance(choice, dict) or set(choice) not in ({"value"}, {"values"}):
        found = sorted(choice) if isinstance(choice, dict) else choice
        raise ValueError(f"{path}: parameter {key} has {found}; expected `value` or `values`")
    values = choice["values"] if "values" in choice else [choice["value"]]
    if not isinstance(values, list) or not values:
        raise ValueError(f"{path}: parameter {key} has no list of values; expected such as [1, 2]")
    for value in values:
        flat = value if isinstance(value, list) else [value]
        if not all(isinstance(part, str) for part in flat):
            raise ValueError(f"{path}: parameter {key} has the value {value}; expected text, a number or a list")
    return list(dict.fromkeys(list_word(value) if isinstance(value, list) else value for value in values))


def _kept(name: str, axes: dict[str, list[str]], word: str) -> tuple[str, list[str]]:
    """The key of a word of --only, and those of its values that are kept. Raises ValueError for an unknown one."""
    ((key, value),) = parse([word]).items()
    wanted = value.split(",")
    if unknown := [one for one in ([key] if key not in axes else wanted) if one not in axes.get(key, [])]:
        known = axes.get(key, list(axes))
        raise ValueError(f"--only {word}: {name} has no {unknown[0]}. {did_you_mean(unknown[0], known)}")
    return key, [one for one in axes[key] if one in wanted]


def _compose(points: list[dict[str, str]]) -> list[RunConfig]:
    """The run of each point. Points that differ in their seeds only are composed once: a grid may have many of them."""
    composed: dict[tuple[str, ...], RunConfig] = {}
    runs = []
    for point in points:
        seed = point.pop("seed", None)
        words = tuple(f"{key}={value}" for key, value in point.items())
        if words not in composed:
            composed[words] = compose(words)
        runs.append(composed[words] if seed is None else with_seed(composed[words], seed))
    return runs
