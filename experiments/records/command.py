"""The words that a run was made from."""

from __future__ import annotations

import shlex

from experiments.settings.schema import RunConfig, is_place
from experiments.settings.words import parse


def command(run: RunConfig) -> str:
    """The command that makes this run, from the settings that differ from its presets' defaults."""
    words = [f"strategy={run.strategy}", f"dataset={run.dataset}", f"recipe={run.recipe}", f"clip={run.clip}"]
    return shlex.join(["python", "experiments/run.py", *words, *run.overrides])


def given(run: RunConfig) -> list[str]:
    """The settings given by hand that change the numbers, without the split.

    Runs that share these, and all presets but the strategy's, are points of one comparison.
    """
    words = parse(run.overrides).items()
    return sorted(f"{key}={value}" for key, value in words if not is_place(key) and key != "data.split")
