"""Which code and packages made a record."""

from __future__ import annotations

import ast
import hashlib
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from experiments import ROOT
from experiments.records.record import FORMAT
from experiments.settings.presets import network_of
from experiments.settings.schema import RunConfig

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "numpy", "av", "opencv-python-headless")


def _parsed(path: Path) -> ast.Module:
    """A file's code without comments, docstrings and layout."""
    tree = ast.parse(path.read_text())
    statements: list[ast.AST] = [tree]  # all of the file: to walk its expressions too would take five times as long
    for node in statements:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            statements += getattr(node, block, [])
    return tree


def _digest_of(tree: ast.Module) -> bytes:
    return hashlib.sha256(ast.dump(tree).encode()).digest()


# Every run executes the files of SHARED, and of OWN those of its strategy and its data set, and what these import. They
# are read when this is imported: the code that runs is what was there then, also in a process that is forked later.
OWN_FOLDERS = ("vidfusion/strategies", "vidfusion/nets", "datamodules/datasets")
SHARED_FOLDERS = ("experiments/settings", "experiments/records", "experiments/training", "datamodules", "vidfusion")
USED_BY_ALL = ("base", "official_lists", "blocks", "choice", "frame_net", "torchvision_nets")  # files of OWN_FOLDERS
NOT_RUN = ("doctor",)  # folders in SHARED_FOLDERS
OWN = {
    path: _parsed(path)
    for folder in OWN_FOLDERS
    for path in sorted((ROOT / folder).glob("*.py"))
    if path.stem not in USED_BY_ALL
}
SHARED = {
    path: _digest_of(_parsed(path))
    for folder in SHARED_FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path not in OWN and path.parent.name not in NOT_RUN
}


def shared_code() -> str:
    """16 hex digits of the code that every run executes, whichever its strategy and data set."""
    return _digest(SHARED)


def code_hash(run: RunConfig) -> str:
    """16 hex digits of the code that a run executes, without comments, docstrings and layout.

    Files of other strategies and data sets are left out: changing one network leaves the others' results valid.
    """
    modules = {type(settings).__module__ for settings in (run.model, *run.datasets())}
    modules.add(f"vidfusion.strategies.{network_of(run.strategy)}")
    return _digest(SHARED | {path: _digest_of_own(path) for path in sorted(_with_imports(modules))})


@cache
def _digest_of_own(path: Path) -> bytes:
    return _digest_of(OWN[path])


def _with_imports(modules: set[str]) -> set[Path]:
    """The files in OWN of some modules, and of all that they import in turn."""
    found: set[Path] = set()
    while modules:
        path = ROOT / f"{modules.pop().replace('.', '/')}.py"
        if path in OWN and path not in found:
            found.add(path)
            for node in ast.walk(OWN[path]):
                if isinstance(node, ast.ImportFrom) and node.module:
                    modules |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def _digest(files: Mapping[Path, bytes]) -> str:
    digest = hashlib.sha256(f"format {FORMAT}".encode())
    for path, content in files.items():
        digest.update(path.relative_to(ROOT).as_posix().encode() + content)
    return digest.hexdigest()[:16]


def git_commit() -> str:
    """The checked-out commit, with `+` if tracked files differ from it. Empty outside a git checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
