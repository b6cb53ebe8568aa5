"""The lesson: its notebook is made of its script, and what it says is what comes out."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LESSON = Path(__file__).parents[2] / "experiments" / "lesson.py"


def cells_of_script() -> list[tuple[str, str]]:
    """Kind and text of each cell, as jupytext reads them."""
    parts = re.split(r"^# %%(.*)\n", LESSON.read_text(encoding="utf-8"), flags=re.M)[1:]
    kinds = ["markdown" if mark.strip() else "code" for mark in parts[::2]]
    return [
        (kind, text.strip().removeprefix('"""').removesuffix('"""').strip())
        for kind, text in zip(kinds, parts[1::2], strict=True)
    ]


def test_the_notebook_is_made_of_the_script():
    path = LESSON.with_suffix(".ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    assert found == cells_of_script(), "make it again: see experiments/README.md"
    pictures = [output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(pictures) == "".join(text for _, text in found).count("plt.show()") == 10
    assert not [output for cell in cells for output in cell.get("outputs", []) if output["output_type"] == "error"]
    assert path.stat().st_size < 500_000


@pytest.mark.slow
def test_the_lesson_runs_as_a_plain_script_and_finds_what_it_says(tmp_path):
    variables = os.environ | {"MPLBACKEND": "Agg", "TMPDIR": str(tmp_path), "PYTHONPATH": str(LESSON.parents[1])}
    done = subprocess.run(
        [sys.executable, str(LESSON)], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert not list(tmp_path.rglob("*.mp4")), "its videos are gone"
    said = re.findall(r"^([^:\n]+):.*?(\d+)%", done.stdout, re.M)
    percent = {name: int(value) for name, value in said}
    assert percent["early fusion"] > 50 and percent["3-D convolution"] == 0  # another time, another answer
    assert percent["mean"] == 0 and percent["LSTM"] > 50  # another order
    assert percent["single_frame"] < 35 and percent["early_fusion"] == percent["forward"] > 75
    assert percent["reversed"] < 20 and percent["shuffled"] < 60 and percent["frozen"] < 35
    for sees in ("1x14x14", "20x14x14", "14x14x14"):  # the lecture's second convolutions
        assert f" {sees} " in done.stdout
