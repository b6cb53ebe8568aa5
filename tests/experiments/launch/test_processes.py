"""The pool of processes: what a function returns, crashes, and that nothing outlives a killed sweep."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from experiments.launch.processes import in_processes
from experiments.launch.server import point_server
from experiments.settings.compose import compose
from tests.experiments.launch.interruption import ROOT, marked, wait_for_end

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


def act(run):
    """What a run's seed asks for."""
    if run.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if run.seed == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    if run.seed == 3:
        raise KeyError("unforeseen")
    return f"seed {run.seed}, {os.environ.get('SLURM_NTASKS')}"


@pytest.mark.slow
def test_each_run_has_a_process_whose_end_is_its_own(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "7")  # a point is no part of the sweep's job
    point_server()
    runs = [compose(["strategy=single_frame", f"seed={seed}"]) for seed in range(5)]
    started = []
    ended = list(in_processes(act, runs, 2, lambda number, run: started.append((number, run.seed))))
    assert started == [(number + 1, number) for number in range(5)]
    found = {end.number - 1: (end.exit_code, end.result) for end in ended}
    assert found == {0: (0, "seed 0, None"), 1: (-9, None), 2: (143, None), 3: (1, None), 4: (0, "seed 4, None")}


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["sweep", "server", "point"])
def test_nothing_is_left_when_one_process_of_a_sweep_is_killed(victim, tmp_path):
    """A killed sweep leaves no process. A killed server or point costs those points only, and the sweep ends."""
    words = ["--sweep", "fusion", "--jobs", "2", "--only", "strategy=single_frame,early_fusion"]
    words += ["data.families=[motion]", "data.clips.motion=1", "data.size=32", "training.steps=100000"]
    words += [f"data.root={tmp_path}/data", f"data.stores={tmp_path}/stores", f"results={tmp_path}/results"]
    mark, err = uuid.uuid4().hex, tmp_path / "err"
    environment = {**os.environ, "MARK": mark, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "experiments" / "run.py"), *words, "wandb.mode=disabled"]
    with err.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
        try:
            points, deadline = [], time.monotonic() + 240
            while len(points) < 2:
                assert time.monotonic() < deadline and process.poll() is None, err.read_text()
                time.sleep(0.5)
                locks = [lock.read_text().split() for lock in (tmp_path / "results" / "runs").glob("*/lock")]
                points = [int(lock[1]) for lock in locks if lock]
            server = parent_of(points[0])
            assert parent_of(server) == process.pid
            os.kill({"sweep": process.pid, "server": server, "point": points[0]}[victim], signal.SIGKILL)
            if victim == "point":
                time.sleep(1)
                os.kill(points[1], signal.SIGTERM)
            assert process.wait(60) == (-signal.SIGKILL if victim == "sweep" else 1), err.read_text()
        finally:
            process.kill()
            wait_for_end(mark)
    assert not marked(mark)
    if victim == "point":
        assert "ended by SIGKILL" in err.read_text() and "stopped by SIGTERM" in err.read_text()
