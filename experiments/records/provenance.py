"""Which code and packages made a record."""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from experiments import ROOT
from experiments.records.files import FORMAT
from experiments.settings.schema import RunConfig

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "numpy", "av", "opencv-python-headless")


def _without_docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.dump(tree)


def _digests(paths: Iterable[Path]) -> dict[Path, bytes]:
    return {path: hashlib.sha256(_without_docstrings(path).encode()).digest() for path in sorted(paths)}


# Every run executes SHARED, and of OWN the files of its strategy and its data sets. Read when this is imported: what
# runs is what was there then, also in a process that is forked later from one that imported it.
OWN = _digests(
    path
    for folder in ("vidfusion/strategies", "datamodules/datasets")
    for path in (ROOT / folder).glob("*.py")
    if path.stem not in ("base", "official_lists")
)
SHARED = _digests(
    path
    for folder in ("experiments/settings", "experiments/records", "experiments/training", "datamodules", "vidfusion")
    for path in (ROOT / folder).rglob("*.py")
    if path not in OWN and path.parent.name != "doctor"
)


def code_hash(run: RunConfig) -> str:
    """16 hex digits of the code that a run executes, without comments, docstrings and layout.

    Other strategies' and data sets' files are left out: changing one network leaves the others' results valid.
    """
    classes = [base for own in (run.strategy_class, *map(type, run.datasets())) for base in own.__mro__]
    files = {Path(getattr(sys.modules[base.__module__], "__file__", None) or "").resolve() for base in classes}
    digest = hashlib.sha256(f"format {FORMAT}".encode())
    for path, content in [*SHARED.items(), *((path, OWN[path]) for path in sorted(files & OWN.keys()))]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + content)
    return digest.hexdigest()[:16]


def git_commit() -> str:
    """The checked-out commit, with `+` where tracked files differ from it; empty outside a git checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
