"""Which code and packages made a record."""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from experiments import ROOT
from experiments.records.record import FORMAT
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


# Every run executes the files of SHARED, and of OWN those of its strategy and its data set. They are read when this is
# imported: the code that runs is what was there then, also in a process that is forked later.
OWN_FOLDERS = ("vidfusion/strategies", "datamodules/datasets")
SHARED_FOLDERS = ("experiments/settings", "experiments/records", "experiments/training", "datamodules", "vidfusion")
USED_BY_ALL = ("base", "official_lists")  # files of OWN_FOLDERS
NOT_RUN = ("doctor",)  # folders in SHARED_FOLDERS
OWN = _digests(path for folder in OWN_FOLDERS for path in (ROOT / folder).glob("*.py") if path.stem not in USED_BY_ALL)
SHARED = _digests(
    path
    for folder in SHARED_FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if path not in OWN and path.parent.name not in NOT_RUN
)


def shared_code() -> str:
    """16 hex digits of the code that every run executes, whichever its strategy and data set."""
    return _digest(SHARED)


def code_hash(run: RunConfig) -> str:
    """16 hex digits of the code that a run executes, without comments, docstrings and layout.

    Files of other strategies and data sets are left out: changing one network leaves the others' results valid.
    """
    classes = [base for own in (run.strategy_class, *map(type, run.datasets())) for base in own.__mro__]
    files = {Path(getattr(sys.modules[base.__module__], "__file__", None) or "").resolve() for base in classes}
    return _digest(SHARED | {path: OWN[path] for path in sorted(files & OWN.keys())})


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
