"""Processes that scripts of users start."""

import subprocess
import sys

import pytest

SCRIPT = """
import math
from datamodules.processes import in_processes

def double(number):
    return 2 * number

print("the script runs")
if __name__ == "__main__" or {guarded}:
    print(sorted(result for _, result in in_processes({function}, [1, 4], 2)))
"""


@pytest.mark.parametrize(
    ("function", "guarded", "found"), [("math.sqrt", "True", "[1.0, 2.0]"), ("double", "False", "[2, 8]")]
)
def test_a_script_needs_no_guard_and_may_define_what_is_done(function, guarded, found, tmp_path):
    """Without a guard it would start processes from each of its processes."""
    (tmp_path / "script.py").write_text(SCRIPT.format(function=function, guarded=guarded))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines()[-1] == found, done.stderr
    assert (done.stdout.count("the script runs") == 1) == (function == "math.sqrt")
