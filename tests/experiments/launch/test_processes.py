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
from tests.experiments.launch.interruption import ROOT, wait_for_end


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


def wait_for_ever(run):
    """Say which process this is, and do not end."""
    (Path(run.results) / f"{run.seed}.part").write_text(str(os.getpid()))
    os.replace(Path(run.results) / f"{run.seed}.part", Path(run.results) / f"{run.seed}.pid")
    time.sleep(600)


POOL = """
import sys
from experiments.launch import processes, server
from experiments.settings.compose import compose
from tests.experiments.launch.test_processes import wait_for_ever
server.PRELOADED = []
runs = [compose(["strategy=single_frame", f"seed={seed}", f"results={sys.argv[1]}"]) for seed in range(2)]
sys.exit(any(end.exit_code for end in processes.in_processes(wait_for_ever, runs, 2, print)))
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["pool", "server"])
def test_nothing_is_left_when_the_pool_or_its_server_is_killed(victim, tmp_path):
    """A killed server costs its runs only, and the pool says so."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, "MARK": mark, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", POOL, str(tmp_path)], cwd=ROOT, env=environment)
    try:
        deadline = time.monotonic() + 120
        while len(pids := list(tmp_path.glob("*.pid"))) < 2:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        status = Path(f"/proc/{pids[0].read_text()}/stat").read_text()
        server = int(status.rpartition(")")[2].split()[1])  # the parent of a run's process
        assert server != process.pid
        os.kill({"pool": process.pid, "server": server}[victim], signal.SIGKILL)
        assert process.wait(60) == (-signal.SIGKILL if victim == "pool" else 1)
    finally:
        process.kill()
        wait_for_end(mark)
