"""The READMEs say what is so: commands run, links lead to files, trees and tables are the current ones."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
READMES = [ROOT / "README.md", *(ROOT / name / "README.md" for name in
           ("vidfusion", "datamodules", "experiments", "results", "tests"))]  # fmt: skip
TEXT = "\n".join(path.read_text() for path in READMES)
README = READMES[0].read_text()


def commands(program: str) -> list[str]:
    """What follows `python <program>` in code of any README."""
    return sorted(set(re.findall(rf"python {re.escape(program)} ?([^`\n]*)", TEXT)))


@pytest.mark.parametrize("words", commands("experiments/run.py"))
def test_every_run_names_what_exists(words):
    options = _parser().parse_args([word.replace("PATH", "somewhere") for word in shlex.split(words)])
    _check(options)
    if options.sweep:
        assert len(read_points(options.sweep, options.settings, options.only)) >= 1
    elif options.ensemble:
        assert {setting.partition("=")[0] for setting in options.settings} <= set(SETTINGS)
    elif options.test:
        compose(["strategy=c3d", *options.settings])
    elif not (options.table or options.sync or options.predict or options.look):
        compose(options.settings)


@pytest.mark.parametrize("words", commands("experiments/layers.py"))
def test_layers_are_shown(words, capsys):
    assert layers_main(shlex.split(words)) == 0
    assert "sees time" in capsys.readouterr().out


@pytest.mark.parametrize("program", ["experiments/check.py", "experiments/prepare.py"])
def test_checks_and_stores_name_settings_that_exist(program):
    assert commands(program)
    for words in commands(program):
        settings = [word.replace("PATH", "somewhere") for word in shlex.split(words) if not word.startswith("--")]
        settings = [word.partition(",")[0] if word.startswith("strategy=") else word for word in settings]
        compose(["strategy=c3d", *settings])


def test_the_figure_is_what_its_script_draws():
    drawing = runpy.run_path(str(ROOT / "results" / "figures" / "draw_fusion.py"))
    for name, colours in drawing["COLOURS"].items():
        assert (ROOT / "results" / "figures" / f"fusion-{name}.svg").read_text() == drawing["figure"](colours)


def test_every_sweep_strategy_and_folder_is_named():
    for name in sorted(path.stem for path in SWEEPS.glob("*.yaml")):
        assert f"| `{name}` " in TEXT
    for name in names("strategy"):
        starts = [0, *(place for place, letter in enumerate(name) if letter == "_")]  # in full, or `_ending`
        assert any(f"`{name[start:]}`" in README for start in starts), name
    for folder in (path.parent for path in (ROOT / "experiments").glob("*/__init__.py")):
        assert f"({folder.name})" in READMES[3].read_text(), folder


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_links_lead_to_files(path):
    for target in re.findall(r"\]\(([^)]+)\)|srcset=\"([^\"]+)\"|src=\"([^\"]+)\"", path.read_text()):
        target = "".join(target)
        assert target.startswith("https://") or (path.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "sports1m", "folder"])
def test_trees_on_disk_are_those_of_the_readers(name):
    assert DATASETS[name].LAYOUT in TEXT


def test_the_test_command_is_the_one_that_ci_runs():
    assert re.findall(r"^```bash test\n(.*)\n```$", README, re.M) == ["pip install -e '.[test]' && pytest -n auto"]


REFERENCE = ROOT / "results" / "reference"


def sections_of(folder):
    return tables(read_records(folder)[0], read_published(), read_comparisons(folder)[0])


def test_the_table_is_what_the_committed_records_give():
    assert fill_readme(README, sections_of(REFERENCE)) == README


@pytest.mark.parametrize("folder", sorted(path.parent for path in REFERENCE.rglob("runs")), ids=lambda path: path.name)
def test_committed_tables_and_comparisons_are_of_the_committed_records(folder):
    for name, render in RENDERERS.items():
        assert (folder / name).read_text() == render(sections_of(folder))
    digests = {record.id: record.digest for record in read_records(folder)[0]}
    for name, compared in read_comparisons(folder)[0].items():
        assert compared.inputs.items() <= digests.items(), f"{name} was made of other records"


@pytest.mark.slow
def test_the_python_example_runs_anywhere(tmp_path):
    from tests.factories import folder_of_videos

    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in code.splitlines() if line.strip() and "import" not in line]) <= 10
    videos = folder_of_videos(tmp_path / "videos")
    places = {"PATH": str(tmp_path / "videos"), "my_video.mp4": str(next(videos.rglob("*.mp4")))}
    for word, here in {**places, "max_steps=run.training.steps": "max_steps=2, accelerator='cpu'"}.items():
        code = code.replace(word, here)
    code += """
import glob
from vidfusion.classifier import VideoClassifier
(path,) = glob.glob("lightning_logs/**/*.ckpt", recursive=True)
loaded = VideoClassifier.load_from_checkpoint(path)
print("same weights:", all(x.equal(y) for x, y in zip(loaded.parameters(), model.parameters())))
"""
    (tmp_path / "example.py").write_text(code)  # as it stands: what it starts does not run it again
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "same weights: True" in done.stdout and "'probability': " in done.stdout
    assert re.search(r"torch\.Size\(\[\d+, 1, 2\]\)", done.stdout)


def test_the_networks_of_the_reference_are_those_of_today():
    """A network that became another one would make its numbers somebody else's."""
    records = [record for record in read_records(REFERENCE)[0] if record.sweep == "fusion" and record.kind == "run"]
    assert len({record.strategy for record in records}) == 8
    for record in {record.strategy: record for record in records}.values():
        run = compose(shlex.split(record.command)[2:])
        with torch.device("meta"):
            model = run.strategy_class(run.model, run.clip_shape(), record.num_classes, run.training)
        rows = {f"{run.strategy}_{name}" if name else run.strategy: name for name in model.rows}
        for row in record.rows:
            part = getattr(model, rows[row.name]) if rows[row.name] else model
            assert sum(parameter.numel() for parameter in part.parameters()) == row.parameters, row.name
