"""The points of a sweep file."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

from experiments import ROOT
from experiments.settings.compose import compose, parse
from experiments.settings.presets import did_you_mean
from experiments.settings.schema import RunConfig

SWEEPS = ROOT / "experiments" / "sweeps"
AXES = ("strategy", "dataset", "recipe", "clip", "seed", "data.split")  # of which a word can name several


def read_points(name: str, overrides: list[str], only: Sequence[str] = ()) -> list[RunConfig]:
    """The runs of `sweeps/<name>.yaml`, `overrides` applied to each: the same set as W&B's grid search makes.

    An override of one of AXES may name several values, as `seed=0,1,2`. `only` keeps the points that have one of the
    values that each of its words names. Raises ValueError for a sweep that does not exist or that is no grid.
    """
    path = SWEEPS / f"{name}.yaml"
    if not path.exists():
        known = sorted(path.stem for path in SWEEPS.glob("*.yaml"))
        raise ValueError(f"--sweep {name}: no such sweep. {did_you_mean(name, known)}")
    sweep = yaml.safe_load(path.read_text())
    if sweep.get("method") != "grid":
        raise ValueError(f"{path}: method {sweep.get('method')!r}; only `grid` runs here, others with `wandb agent`")
    axes: dict[str, list[Any]] = {}
    for key, choice in sweep["parameters"].items():
        if set(choice) not in ({"value"}, {"values"}):
            raise ValueError(f"{path}: parameter {key} has {sorted(choice)}; expected `value` or `values`")
        axes[key] = choice.get("values", [choice.get("value")])
    for key, value in parse(overrides).items():
        axes[key] = list(dict.fromkeys(value.split(","))) if key in AXES else [value]
    for key, choices in axes.items():
        if not choices:
            raise ValueError(f"{path}: parameter {key} has no value")
    for word in only:
        key, value = next(iter(parse([word]).items()))
        wanted = value.split(",")
        if key not in axes or (unknown := set(wanted) - set(map(str, axes[key]))):
            known = list(axes) if key not in axes else list(map(str, axes[key]))
            unknown = key if key not in axes else sorted(unknown)[0]
            raise ValueError(f"--only {key}={value}: {name} has no {unknown}. {did_you_mean(unknown, known)}")
        axes[key] = [known for known in axes[key] if str(known) in wanted]
    keys = sorted(axes)
    points = [dict(zip(keys, values, strict=True)) for values in itertools.product(*(axes[key] for key in keys))]
    return _composed(points)


def _composed(points: list[dict[str, Any]]) -> list[RunConfig]:
    """The run of each point. Points that differ in their seeds only are composed once: a grid may have many of them."""
    known: dict[tuple[str, ...], RunConfig] = {}
    composed = []
    for point in points:
        others = tuple(f"{key}={value}" for key, value in point.items() if key != "seed")
        seed = str(point.get("seed", ""))
        if others in known and seed.isdecimal() and int(seed) < 2**32:
            given = [f"seed={seed}" if word.startswith("seed=") else word for word in known[others].overrides]
            composed.append(replace(known[others], seed=int(seed), overrides=given))
        else:
            composed.append(compose([f"{key}={value}" for key, value in point.items()]))
            known[others] = composed[-1]
    return composed
