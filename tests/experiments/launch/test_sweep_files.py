"""Every sweep file is one of W&B's: its schema, and values that mean the same to W&B, to its agent and here."""

import dataclasses
import itertools
import re
from collections.abc import Iterator

import pytest
import yaml
from omegaconf import OmegaConf

from experiments.launch.grid import SWEEPS, read_points
from experiments.settings.compose import compose
from experiments.settings.presets import WORDS
from experiments.settings.schema import RunConfig
from tests.experiments.tracking.wandb_server import grid

FILES = sorted(SWEEPS.glob("*.yaml"))
# The schema that W&B publishes in its package `sweeps` 0.3.0.
TOP = {
    "name", "description", "program", "entity", "project", "run_cap", "command", "metric", "metrics", "method",
    "scheduler", "controller", "early_terminate", "job", "image_uri", "apiVersion", "kind", "parameters",
}  # fmt: skip
METHODS = {"grid", "random", "bayes", "custom"}
FORMS = ({"value"}, {"values"})  # of a grid; `parameters`, nested, would reach the command line as one literal
COMMAND = ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]


def problems(text: str) -> Iterator[str]:
    """What keeps a sweep file from being one that W&B, its agent and the sweeps here read alike."""
    sweep, written = yaml.safe_load(text), yaml.load(text, yaml.BaseLoader)
    yield from (f"{name}: no key of a sweep" for name in sorted(set(sweep) - TOP))
    if sweep.get("method") not in METHODS:
        yield f"method: {sweep.get('method')}"
    if sweep.get("command") != COMMAND or not isinstance(sweep.get("program"), str):
        yield "command: does not run our program with key=value"
    metric = sweep.get("metric", {})
    if set(metric) != {"name", "goal"} or metric["goal"] not in ("maximize", "minimize"):
        yield "metric: needs a name and a goal"
    parameters = sweep.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        yield "parameters: none"
        return
    for name, choice in parameters.items():
        if not isinstance(choice, dict) or set(choice) not in FORMS:
            yield f"{name}: neither value nor values"
            continue
        if "values" in choice and not (isinstance(choice["values"], list) and choice["values"]):
            yield f"{name}: values is no list"
            continue
        both = [entry.get("values", [entry.get("value")]) for entry in (choice, written["parameters"][name])]
        for value, raw in zip(*both, strict=True):
            if not all(map(_plain, *_leaves(value, raw))):
                yield f"{name}: {raw} is not the same to every reader of YAML"
            elif OmegaConf.to_container(OmegaConf.from_dotlist([f"{name}={value}"])) != _nested(name, value):
                yield f"{name}: {raw} changes on the command line"


def _leaves(value, raw):
    if not isinstance(value, list):
        return [value], [raw]
    pairs = [_leaves(*pair) for pair in zip(value, raw, strict=True)]
    return [list(itertools.chain.from_iterable(side)) for side in zip(*pairs, strict=True)] or [[], []]


def _plain(value, raw):
    """Whether a value is the one that every version of YAML sees in what is written."""
    if isinstance(value, bool):
        return raw in ("true", "false")
    if isinstance(value, str):
        return raw == value
    number = isinstance(value, int | float) and re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?(e[+-]\d+)?", raw)
    return bool(number) and float(raw) == value


def _nested(name, value):
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_a_sweep_of_wandb(path):
    assert list(problems(path.read_text())) == []
    sweep = yaml.safe_load(path.read_text())
    assert (SWEEPS.parents[1] / sweep["program"]).is_file()
    assert sweep["parameters"]["sweep"] == {"value": path.stem}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_agent_is_given_the_points_of_a_local_sweep(path):
    runs, points = read_points(path.stem, []), grid(yaml.safe_load(path.read_text()))
    assert len({run.id for run in runs}) == len(runs) == len(points) > 1
    for run, point in ((runs[0], points[0]), (runs[-1], points[-1])):
        assert compose([f"{name}={value}" for name, value in point.items()]).id == run.id
    nodes = {field.name for field in dataclasses.fields(RunConfig)} - {*WORDS, "seed", "sweep"}
    assert not nodes & set(points[0]), "W&B locks a sweep's keys: a word must not be the name of a node"


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("method: grid", "vidfusion: {}\nmethod: grid", "vidfusion: no key of a sweep"),
        ("method: grid", "method: all", "method: all"),
        ("method: grid", "", "method: None"),
        ("_no_hyphens", "", "command: does not run our program with key=value"),
        ("goal: maximize", "goal: more", "metric: needs a name and a goal"),
        ("parameters:", "parameters: {}\nother:", "parameters: none"),
        ("value: fusion", "parameters: {a: {value: 1}}", "sweep: neither value nor values"),
        ("value: fusion", "min: 1\n    max: 2", "sweep: neither value nor values"),
        ("value: fusion", "values: fusion", "sweep: values is no list"),
        ("value: fusion", "value: null", "sweep: null is not the same to every reader of YAML"),
        ("value: fusion", "value: off", "sweep: off is not the same to every reader of YAML"),
        ("value: fusion", "value: [a, yes]", "sweep: ['a', 'yes'] is not the same to every reader of YAML"),
        ("value: fusion", "value: 1:30", "sweep: 1:30 is not the same to every reader of YAML"),
        ("value: fusion", "value: 010", "sweep: 010 is not the same to every reader of YAML"),
        ("value: fusion", "value: {a: 1}", "sweep: {'a': '1'} is not the same to every reader of YAML"),
        ("value: fusion", "value: 1e-3", "sweep: 1e-3 changes on the command line"),
        ("value: fusion", "value: '7'", "sweep: 7 changes on the command line"),
    ],
)
def test_the_check_finds_what_is_wrong(before, after, found):
    text = (SWEEPS / "fusion.yaml").read_text()
    assert before in text
    assert found in list(problems(text.replace(before, after)))


@pytest.mark.parametrize("value", ["0.001", "-3", "2.0e+12", "true", "r(2+1)d", "[motion, order]", "[5, 6]", "0"])
def test_the_check_lets_plain_values_pass(value):
    text = (SWEEPS / "fusion.yaml").read_text().replace("value: fusion", f"value: {value}")
    assert list(problems(text)) == []
