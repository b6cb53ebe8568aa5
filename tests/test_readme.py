"""The README says what is so: its commands parse, its trees are the readers', its table is what the records give."""

import re
import shlex
from pathlib import Path

import pytest

from datamodules import DATASETS
from experiments.config import compose
from experiments.sweep import read_points
from experiments.table import fill_readme, read_published, read_records, tables

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"python experiments/run\.py (.*)", README)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_names_what_exists(words):
    options = shlex.split(words)
    settings = [word.replace("PATH", "somewhere") for word in options if "=" in word]
    if "--sweep" in options:
        assert len(read_points(options[options.index("--sweep") + 1], settings)) == 7
    elif "--table" not in options:
        compose(settings)


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "folder"])
def test_trees_on_disk_are_those_of_the_readers(name):
    assert DATASETS[name].LAYOUT in README


def test_test_command_is_the_one_that_ci_runs():
    assert re.findall(r"^```bash test\n(.*)\n```$", README, re.M) == ["pip install -e '.[test]' && pytest"]


def test_committed_tables_are_what_the_committed_records_give():
    reference = ROOT / "results" / "reference"
    sections = tables(read_records(reference), read_published())
    assert fill_readme(README, sections) == README
