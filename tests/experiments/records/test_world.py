"""Who is first of a run's processes, and worlds that do not fit the settings."""

import pytest

from experiments.records import world
from experiments.records.world import check_world, environment, forget_launcher, rank
from experiments.run import main

TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
SLURM = {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "train"}
LIGHTNING = {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0"}


@pytest.fixture
def launched(monkeypatch):
    """Sets a launcher's variables, and no others."""
    for name in world.launch_words():
        monkeypatch.delenv(name)
    for name in ("SLURM_NTASKS_PER_NODE", "SLURM_PROCID", "SLURM_LOCALID"):  # restored afterwards
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    return lambda words: [monkeypatch.setenv(name, value) for name, value in words.items()]


@pytest.mark.parametrize("words", [TORCHRUN, SLURM, LIGHTNING])
def test_a_second_process_knows_that_it_is_not_the_first(launched, words):
    launched(words)
    assert rank() == 1
    check_world(2)
    with pytest.raises(ValueError, match="=1: a launcher says that this run has 2 processes"):
        check_world(1)
    if words is SLURM:
        assert not environment().auto_requeue, "Lightning does not put the job back into the queue"


def test_without_a_launcher_a_process_is_the_first_of_any_number(launched):
    assert rank() == 0
    check_world(1)
    check_world(8)
    launched({"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "bash"})  # a terminal in a job: Lightning starts the processes
    assert rank() == 0
    check_world(2)


def test_a_rank_that_was_left_over_is_refused_for_two_devices(launched):
    launched({"LOCAL_RANK": "0"})
    check_world(1)
    with pytest.raises(ValueError, match=r"has 1 processes \(LOCAL_RANK=0\); set trainer.devices=1, or unset"):
        check_world(2)


@pytest.mark.parametrize("words", [TORCHRUN, SLURM, LIGHTNING, {"SLURM_NTASKS": "2"}])
def test_a_point_forgets_the_launcher_of_its_sweep(launched, words):
    launched(words)
    with pytest.raises(ValueError, match="this run has 2 processes"):
        check_world(1)
    forget_launcher()
    assert world.launch_words() == [] and rank() == 0
    check_world(1)


@pytest.mark.parametrize("words", [["strategy=c3d", "trainer.devices=2"], ["--predict", "last.ckpt", "a.mp4"]])
def test_a_world_that_does_not_fit_is_refused_before_anything_is_written(
    launched, tmp_path, monkeypatch, capsys, words
):
    launched({"SLURM_NTASKS": "4"})
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "SLURM_NTASKS=4" in said and list(tmp_path.iterdir()) == []
