"""Points of a sweep: which there are, where each stands, and that nothing is lost when they are killed or stopped."""

import errno
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.launch import point, sweep
from experiments.launch.processes import device_groups
from experiments.launch.signals import Stopped, stop_on_signals
from experiments.launch.status import Ingredients, State, made_from, state_of, states_of
from experiments.records.command import command
from experiments.records.lock import Busy, holder
from experiments.records.provenance import code_hash
from experiments.run import main
from experiments.settings.compose import compose
from experiments.training.train import run_point
from tests.experiments.launch.interruption import ROOT, Moment, run_sweep, what_came_out

SMALL = [
    "data.families=[motion]", "data.clips.motion=1", "data.size=32", "data.frames=24",
    "training.batch_size=8", "training.warmup=2", "sampling.test_clips=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    return [*SMALL, f"data.root={folder}/data", f"data.stores={folder}/stores"]


@pytest.fixture
def run(place, tmp_path):
    words = ["strategy=single_frame", *place, "training.steps=13", f"results={tmp_path}/results"]
    return compose([*words, "wandb.mode=disabled"])


# -- where a point stands ----------------------------------------------------------------------------------------------


@pytest.fixture
def unprepared(monkeypatch):
    """Sweeps whose points are stood in for need no frames."""
    monkeypatch.setattr(sweep, "prepare_tracks", lambda *_, **__: None)


@pytest.fixture
def held(run):
    """The run's folder, held by another process."""
    folder = run.folder
    folder.mkdir(parents=True)
    program = "import sys, pathlib; from experiments.records.lock import locked\n"
    program += "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process


def test_a_run_that_another_process_makes_is_running_and_refused(run, held, unprepared, capsys):
    (state,) = states_of([run])
    assert state.name == "running" and f"process {held.pid} on " in state.detail
    with pytest.raises(Busy, match=f"is being run by process {held.pid}"):
        run_point(run)
    assert not (run.folder / "error.txt").exists()
    assert point._attempt(False, run) == (point.BUSY, "")
    outcomes = [point.outcome_of(run, point.BUSY)]
    assert sweep.run_all("one", [run], False, 1, lambda *_: iter(outcomes)).unfinished == [run]
    captured = capsys.readouterr()
    assert "0 of 1 points of one are finished" in captured.out
    assert f"not run: {run.id}: is being run by process {held.pid}" in captured.err
    os.kill(held.pid, signal.SIGKILL)
    held.wait()
    assert (run.folder / "lock").exists() and holder(run.folder) is None
    assert states_of([run])[0].name == "to do"


@pytest.mark.slow
def test_every_state_is_derived_from_the_folder(run, monkeypatch, capsys):
    folder = run.folder
    status = ["--status", "strategy=single_frame", *run.overrides]

    def shown(*words: str) -> str:
        assert main([*status, *words]) == 0
        return capsys.readouterr().out

    def of_other_code(*words: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr("experiments.launch.status.code_hash", lambda run: "other")
            return shown(*words)

    assert shown().startswith("to do")
    with monkeypatch.context() as patch:
        patch.setattr("experiments.training.train.make_record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_point(run)
    capsys.readouterr()
    assert shown().startswith("failed") and "ZeroDivisionError" in shown()
    (folder / "error.txt").unlink()
    assert shown().startswith("interrupted") and "after step 13" in shown()
    run_point(run)
    capsys.readouterr()
    assert shown().startswith("finished") and f"{run.id}: 1 finished" in shown()
    assert of_other_code().startswith("stale") and "made with other code" in of_other_code()
    now = made_from(run, {})
    assert now.code == code_hash(run) and now.files is None
    assert state_of(run, now._replace(data="another")) == ("stale", "made with other data")
    elsewhere = Ingredients(now.code, files="other files")  # the videos are here, their frames are not
    assert state_of(run, elsewhere) == ("stale", "made with other files")

    no_store, nothing = "data.stores=/nowhere", ("data.stores=/nowhere", "data.root=/nowhere")
    assert shown(no_store).startswith("finished") and "not here" not in shown(no_store)
    assert shown(*nothing).startswith("finished") and "the data are not here to be compared" in shown(*nothing)
    assert of_other_code(*nothing).startswith("stale"), "the code can be compared anywhere"
    (folder / "unfinished").mkdir()
    checkpoint = (folder / "last.ckpt").read_bytes()
    (folder / "unfinished/last.ckpt").write_bytes(checkpoint)
    assert shown().startswith("interrupted"), "run again by --force, and not at its end yet"
    (folder / "record.json").unlink()
    (folder / "unfinished/last.ckpt").write_bytes(checkpoint[:1000])
    assert shown().startswith("stale") and "last.ckpt cannot be read" in shown()


def test_nothing_is_started_for_points_that_are_finished(run, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "states_of", lambda runs: [State("finished") for _ in runs])
    monkeypatch.setattr("experiments.launch.processes.point_server", lambda: pytest.fail("started"))
    monkeypatch.setattr(sweep, "prepare_tracks", lambda *_, **__: pytest.fail("prepared"))
    assert sweep.run_all("one", [run], force=False, jobs=1) == ([], True)
    assert "one: 1 of 1 points were finished before" in capsys.readouterr().out


def test_a_foreign_file_that_the_table_leaves_out_is_in_the_exit_code(run, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "states_of", lambda runs: [State("finished") for _ in runs])
    monkeypatch.setattr("experiments.run.point_server", lambda: None)
    words = ["--sweep", "fusion", "--only", "strategy=single_frame", *run.overrides]
    assert main(words) == 0
    foreign = run.folder.parent / "foreign"
    foreign.mkdir(parents=True)
    (foreign / "record.json").write_text("[1]")
    assert main(words) == main(["--table", f"results={run.results}"]) == 1
    assert "foreign" in capsys.readouterr().err


def test_a_point_that_dies_leaves_an_error_and_its_state(run, unprepared, capsys):
    assert point.outcome_of(run, 143) == (run, 143, "stopped by SIGTERM")
    assert point.outcome_of(run, 255) == (run, 255, "ended with exit code 255")
    shutil.rmtree(run.folder)  # it died before it made one
    assert point.outcome_of(run, -9) == (run, -9, "ended by SIGKILL, perhaps for want of memory")
    assert states_of([run])[0] == ("failed", "ended by SIGKILL, perhaps for want of memory")
    (run.folder / "error.txt").write_text("Traceback (most recent call last):\nValueError: why\n")
    assert point.outcome_of(run, 1).why == "why"

    assert sweep.run_all("one", [run], False, 1, lambda *_: iter([point.outcome_of(run, 1)])) == ([run], True)
    captured = capsys.readouterr()
    assert f"failed: {command(run)}\n    why" in captured.err
    assert "1 points are not finished; the same command tries only these again" in captured.err


def test_an_error_common_to_all_points_is_said_once(tmp_path, capsys):
    words = [f"data.root={tmp_path}/no such folder", f"results={tmp_path}/results", "dataset=ucf101"]
    runs = [compose(["strategy=single_frame", f"seed={seed}", *words]) for seed in range(3)]
    why, other = point._attempt(False, runs[0])[1], compose(["strategy=c3d", *words])
    assert why == f"data.root={tmp_path}/no such folder: no such folder; expected"
    outcomes = [*(point.Outcome(run, 1, why) for run in runs), point.Outcome(other, 1, "other")]
    sweep.run_all("four", [*runs, other], False, 1, lambda *_: iter(outcomes))
    said = capsys.readouterr().err
    assert said.count("no such folder; expected") == 1 and f"failed: 3 points: {why}\n" in said
    for run in runs:  # each can be pasted
        (line,) = (line for line in said.splitlines() if f"seed={run.seed}" in line)
        assert compose(shlex.split(line)[2:]) == run
    assert "\n    other\n" in said


def test_a_full_disk_of_one_point_does_not_end_the_sweep(run, unprepared, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(point, "write_atomically", full)
    monkeypatch.setattr(sweep, "update", full)
    other = replace(run, seed=5)
    outcomes = [point.outcome_of(run, 1, "No space left on device"), point.outcome_of(other, -9)]
    assert sweep.run_all("two", [run, other], False, 1, lambda *_: iter(outcomes)) == ([run, other], False)
    said = capsys.readouterr().err
    assert "no tables: [Errno 28] No space left on device" in said
    assert "No space left on device" in said and "ended by SIGKILL" in said


def test_points_take_the_devices_in_turn(monkeypatch):
    one, two = compose(["strategy=c3d"]), compose(["strategy=c3d", "trainer.devices=2"])
    assert device_groups([one]) == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device_groups([one]) == ["0", "1", "2", "3", "4"]
    assert device_groups([one, two]) == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,GPU-a")
    assert device_groups([one]) == ["7", "GPU-a"]
    assert device_groups([compose(["strategy=c3d", "trainer.accelerator=cpu"])]) == []


def test_a_signal_stops_once_and_only_its_own_process():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        stop_on_signals()
        with pytest.raises(Stopped, match="SIGTERM") as stopped:
            signal.raise_signal(signal.SIGTERM)
        assert stopped.value.exit_code == 143
        signal.raise_signal(signal.SIGINT)  # while it ends: nothing more
        stop_on_signals()
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGINT)
            os._exit(0)  # not reached
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


# -- killed and stopped ------------------------------------------------------------------------------------------------

TWO = ["--sweep", "fusion", "--only", "strategy=single_frame,early_fusion", "training.steps=52"]


@pytest.fixture(scope="module")
def undisturbed(place, tmp_path_factory):
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    assert main([*TWO, *place, f"results={results}", "wandb.mode=disabled"]) == 0
    return results


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for orphans in /proc")
def test_a_sweep_that_is_killed_and_stopped_ends_as_if_it_had_not_been(place, undisturbed, tmp_path):
    results = tmp_path / "results"
    words = [*TWO, *place, f"results={results}", "wandb.mode=offline"]
    # The first process alone is killed, just before a checkpoint takes its name.
    done = run_sweep(words, tmp_path / "hook", Moment("last.ckpt", 2))
    assert done.returncode == -signal.SIGKILL and "Traceback" not in done.stderr
    # All are stopped in training, also those that load clips: as by Ctrl-C or a job queue.
    moment = Moment("last.ckpt", 1, 0.05, group=True, signal="SIGTERM")
    done = run_sweep([*words, "trainer.workers=1"], tmp_path / "hook", moment)
    assert done.returncode == 128 + signal.SIGTERM and "Traceback" not in done.stderr
    assert "stopped by SIGTERM; the same command goes on with what is not finished" in done.stderr
    done = run_sweep(words, tmp_path / "hook")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on from its last checkpoint" in done.stdout
    assert what_came_out(results) == what_came_out(undisturbed)
    assert not [path for path in (results / "runs").rglob(".*") if path.is_file()]
    for path in (undisturbed / "runs").glob("*/last.ckpt"):
        own, other = (torch.load(p, weights_only=True) for p in (path, results / path.relative_to(undisturbed)))
        assert all(torch.equal(tensor, other["state_dict"][name]) for name, tensor in own["state_dict"].items())


# -- on Ray ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed")
def test_points_on_ray_have_the_same_records(place, undisturbed, tmp_path):
    results = tmp_path / "results"
    words = [*TWO, *place, f"results={results}", "wandb.mode=disabled", "--launcher", "ray", "--jobs", "2"]
    assert main(words) == 0
    assert what_came_out(results) == what_came_out(undisturbed)
