"""The README says what is so: its commands parse, its trees are the readers', its table is what the records give."""

import re
import shlex
from pathlib import Path

import pytest

from datamodules.datasets import DATASETS
from experiments.launch.ensemble import SETTINGS
from experiments.launch.grid import SWEEPS, read_points
from experiments.layers import main as layers_main
from experiments.records.files import read_records
from experiments.run import _check, _parser
from experiments.settings.compose import compose
from experiments.settings.presets import names
from experiments.tables.comparisons import read_comparisons
from experiments.tables.published import read_published
from experiments.tables.table import tables
from experiments.tables.write import RENDERERS, fill_readme

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"python experiments/run\.py ([^`\n]*)", README)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_names_what_exists(words):
    options = _parser().parse_args([word.replace("PATH", "somewhere") for word in shlex.split(words)])
    _check(options)
    if options.sweep:
        assert len(read_points(options.sweep, options.settings, options.only)) >= 1
    elif options.ensemble:
        assert {setting.partition("=")[0] for setting in options.settings} <= set(SETTINGS)
    elif options.test:
        compose(["strategy=c3d", *options.settings])
    elif not (options.table or options.sync or options.predict):
        compose(options.settings)


def test_fusion_compares_seven_ways():
    assert len(read_points("fusion", [])) == 7


def test_every_sweep_and_strategy_is_named():
    for name in sorted(path.stem for path in SWEEPS.glob("*.yaml")):
        assert f"| `{name}` " in README
    for name in names("strategy"):
        starts = [0, *(place for place, letter in enumerate(name) if letter == "_")]  # in full, or `_ending`
        assert any(f"`{name[start:]}`" in README for start in starts), name


@pytest.mark.parametrize("words", re.findall(r"python experiments/layers\.py (.*)", README))
def test_layer_commands_run(words, capsys):
    assert layers_main(shlex.split(words)) == 0
    assert "sees time" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "sports1m", "folder"])
def test_trees_on_disk_are_those_of_the_readers(name):
    assert DATASETS[name].LAYOUT in README


def test_test_command_is_the_one_that_ci_runs():
    assert re.findall(r"^```bash test\n(.*)\n```$", README, re.M) == ["pip install -e '.[test]' && pytest"]


REFERENCE = ROOT / "results" / "reference"


def sections_of(folder):
    return tables(read_records(folder)[0], read_published(), read_comparisons(folder))


def test_table_is_what_the_committed_records_give():
    assert fill_readme(README, sections_of(REFERENCE)) == README


@pytest.mark.parametrize("folder", sorted(path.parent for path in REFERENCE.rglob("runs")), ids=lambda path: path.name)
def test_committed_tables_and_comparisons_are_of_the_committed_records(folder):
    for name, render in RENDERERS.items():
        assert (folder / name).read_text() == render(sections_of(folder))
    digests = {record.id: record.digest for record in read_records(folder)[0]}
    for name, compared in read_comparisons(folder).items():
        assert compared.inputs.items() <= digests.items(), f"{name} was made of other records"
