"""Sweep files: each is one of W&B's that an agent and a local sweep read alike; a malformed one is said in one line."""

import dataclasses
import itertools
import json
import re

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from experiments.launch.grid import SWEEPS, read_axes, read_points
from experiments.settings.compose import compose
from experiments.settings.presets import WORDS
from experiments.settings.schema import RunConfig

FILES = sorted(SWEEPS.glob("*.yaml"))
# The schema that W&B publishes in its package `sweeps` 0.3.0.
TOP = {
    "name", "description", "program", "entity", "project", "run_cap", "command", "metric", "metrics", "method",
    "scheduler", "controller", "early_terminate", "job", "image_uri", "apiVersion", "kind", "parameters",
}  # fmt: skip
COMMAND = ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_a_sweep_of_wandb(path):
    sweep = yaml.safe_load(path.read_text())
    assert set(sweep) <= TOP and sweep["method"] == "grid" and sweep["command"] == COMMAND
    assert (SWEEPS.parents[1] / sweep["program"]).is_file()
    assert sweep["metric"] == {"name": "test/video_hit1", "goal": "maximize"}
    assert sweep["parameters"]["sweep"] == {"value": path.stem}


def grid(config):
    """The points of a grid search; the settings of each in another order than a local sweep's."""
    axes = {name: choice.get("values", [choice.get("value")]) for name, choice in config["parameters"].items()}
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return [dict(sorted(point.items(), reverse=True)) for point in points]


def words_of_an_agent(point):
    """The file goes to W&B as JSON, and its agent spells the words of a point."""
    args = json.loads(json.dumps({name: {"value": value} for name, value in point.items()}))
    return create_sweep_command_args({"args": args})["args_no_hyphens"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_agent_is_given_the_points_of_a_local_sweep(path):
    runs, points = read_points(path.stem, []), grid(yaml.safe_load(path.read_text()))
    assert len({run.id for run in runs}) == len(runs) == len(points) >= 1
    for run, point in ((runs[0], points[0]), (runs[-1], points[-1])):
        assert compose(words_of_an_agent(point)) == run
    nodes = {field.name for field in dataclasses.fields(RunConfig)} - {*WORDS, "seed", "sweep"}
    assert not nodes & set(points[0]), "W&B locks a sweep's keys: a word must not be the name of a node"


def axes_of(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return read_axes(path)


@pytest.mark.parametrize("value", ["2024_05_01", "007", "12:30:45", "on", "0.10", "'a b'"])
def test_a_value_is_taken_as_it_is_written(tmp_path, value):
    axes = axes_of(
        tmp_path, f"method: grid\nparameters:\n  sweep: {{values: [{value}]}}\n  results: {{value: {value}}}"
    )
    assert axes == {"sweep": [value.strip("'")], "results": [value.strip("'")]}


@pytest.mark.parametrize("value", ["007", "on", "1e3"])
def test_text_in_quotes_is_the_same_here_and_for_an_agent(tmp_path, value):
    text = f"method: grid\nparameters:\n  sweep: {{value: '{value}'}}"
    assert words_of_an_agent({"sweep": yaml.safe_load(text)["parameters"]["sweep"]["value"]}) == [f"sweep={value}"]
    assert axes_of(tmp_path, text) == {"sweep": [value]}


def test_a_list_is_one_value(tmp_path):
    text = "method: grid\nparameters:\n  data.families: {values: [[motion, order], [shift, 'a, b']]}"
    assert axes_of(tmp_path, text) == {"data.families": ["[motion,order]", '[shift,"a, b"]']}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a W&B sweep"),
        ("method: [grid", "not YAML: "),
        ("method: \udcff", "not YAML: "),
        ("method: bayes", "method 'bayes'; only `grid` runs here"),
        ("method: grid", "expected `parameters:`"),
        ("method: grid\nmethod: grid", "method stands there twice"),
        ("method: grid\nparameters: {seed: {value: 1}, seed: {value: 2}}", "seed stands there twice"),
        ("method: grid\nparameters: {seed: {min: 1, max: 2}}", "parameter seed has ['max', 'min']; expected `value`"),
        ("method: grid\nparameters: {seed: {values: []}}", "parameter seed has no list of values"),
        ("method: grid\nparameters: {seed: {value: null}}", "parameter seed has the value None; expected text"),
        ("method: grid\nparameters: {seed: {values: [[[1]]]}}", "parameter seed has the value [['1']]; expected text"),
    ],
)
def test_a_malformed_file_is_said_in_one_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        axes_of(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/mine.yaml: ") and "\n" not in str(caught.value)
