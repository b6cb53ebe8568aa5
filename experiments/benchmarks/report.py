"""The page and the numbers of a benchmark: what was measured, on which machine, with which code."""

from __future__ import annotations

import json
import os
import platform
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from datamodules.files import write_atomically
from datamodules.processes import available_cores
from experiments.records.provenance import PACKAGES, git_commit
from experiments.settings.presets import did_you_mean
from experiments.settings.schema import RunConfig
from experiments.tables.text import aligned


class Report:
    """`<results>/benchmark/<name>.json` with all numbers, and the same as a page, `<name>.md`."""

    def __init__(self, name: str, settings: list[str], run: RunConfig) -> None:
        self.path = Path(run.results) / "benchmark" / name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.numbers: dict[str, Any] = {
            "command": shlex.join(["python", "experiments/benchmark.py", name, *settings]),
            "commit": git_commit() or "unknown",
            "processor": f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})",
            "threads": f"{run.trainer.threads} on {available_cores()} cores",
            "load before": round(os.getloadavg()[0], 1),
            "measured on": torch.cuda.get_device_name() if run.trainer.accelerator == "gpu" else "the processor",
            **{name: version(name) for name in PACKAGES},
        }
        self.lines = [f"# Benchmark: {name}", "", *(f"- {what}: {value}" for what, value in self.numbers.items())]
        print("\n".join(self.lines), flush=True)

    def add(self, name: str, rows: list[dict[str, Any]], columns: dict[str, str], notes: str) -> None:
        """Add a table to both files and print it. `columns` has a format of a row's values for each title.

        A row with an `error` has this in place of its numbers.
        """
        self.numbers[name] = rows
        cells = [[_cell(form, row) for form in columns.values()] for row in rows]
        errors = [f"- {cells[0]}: {row['error']}" for row, cells in zip(rows, cells, strict=True) if "error" in row]
        lines = [
            "",
            f"## {name.capitalize()}",
            "",
            *aligned(list(columns), cells, markdown=True),
            "",
            *notes.splitlines(),
            *errors,
        ]
        print("\n".join(lines), flush=True)
        self.lines += lines
        for suffix, text in ((".json", json.dumps(self.numbers, indent=1)), (".md", "\n".join([*self.lines, ""]))):
            write_atomically(self.path.with_suffix(suffix), text)


def _cell(form: str, row: dict[str, Any]) -> str:
    try:
        return form.format(**row)
    except KeyError:  # it was not measured
        return "—"


def _processor() -> str:
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def count(word: str, value: str) -> int:
    """The number of a word such as `batch=4`. Raises ValueError for anything below 1."""
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"{word}={value}: expected a whole number, 1 or more")
    return int(value)


def check_words(given: dict[str, str], known: tuple[str, ...]) -> None:
    """Raise ValueError for a word that is neither one of these nor a dotted setting."""
    for key in given:
        if "." not in key and key not in known:
            raise ValueError(f"{key}: no such word. {did_you_mean(key, list(known))}")
