"""Rules of the tree: who may import whom, what lies at the top, what the files are called."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for area in ("vidfusion", "datamodules", "experiments") for path in (ROOT / area).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """First parts of the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_imports_run_one_way():
    """The contracts of pyproject.toml, kept by import-linter."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_only_random_access_imports_decord():
    assert [path.name for path in SOURCES if "decord" in imported(path)] == ["random_access.py"]


def test_no_file_of_experiments_hides_a_standard_module():
    # `python experiments/run.py` puts experiments/ itself first on the module path.
    names = {path.stem for path in (ROOT / "experiments").iterdir()}
    assert not names & sys.stdlib_module_names


def test_top_level_is_as_agreed():
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    allowed = {"pyproject.toml", "README.md", "LICENSE", "experiments", "vidfusion", "datamodules", "tests", "results"}
    top = {name.split("/")[0] for name in listed.stdout.split()}
    assert {name for name in top if not name.startswith(".")} <= allowed


def test_reading_tables_and_help_stays_light():
    """`run.py --table` and `--help` do not pay for torch or NumPy."""
    modules = "experiments.run, experiments.report.update"
    code = f"import sys; sys.argv = ['run.py']; import {modules}; print({{'torch', 'numpy'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["check", "format"])
def test_ruff(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
