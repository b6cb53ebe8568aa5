"""A stopped run goes on to the bit, and nothing finished is lost before the next result is whole."""

import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.settings.compose import compose
from experiments.training import train
from experiments.training.callbacks import Progress
from experiments.training.checkpoint import KeepCheckpoint
from experiments.training.folder import PARTS, clean, publish, unfinished
from experiments.training.progress import read_progress
from experiments.training.train import run_point
from tests.factories import record_in, weights_in
from vidfusion.classifier import VideoClassifier


class Asked(BaseException):
    """What a signal raises here, as in a process of run.py."""


@pytest.fixture(scope="module")
def small(small):
    """Settings of small runs of two epochs of 13 steps."""
    return ["strategy=single_frame", *small, "training.steps=24"]


@pytest.fixture
def asked():
    """SIGTERM raises Asked."""

    def stop(signum, frame):
        raise Asked

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def terminate_at(monkeypatch, step):
    """Send SIGTERM to this process while a step is under way."""
    shown = Progress.on_train_batch_end

    def step_ends(self, trainer, *rest):
        shown(self, trainer, *rest)
        if trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Progress, "on_train_batch_end", step_ends)


def outcome(run):
    """All that must not depend on an interruption."""
    with np.load(run.folder / "scores.npz") as saved:
        scores = {name: saved[name].tobytes() for name in saved}
    weights = {name: tensor.numpy().tobytes() for name, tensor in weights_in(run.folder).items()}
    return weights, scores, record_in(run.folder)["rows"]


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """The outcome of a run that nothing interrupts."""
    run = compose([*small, "model.dropout=0.5", f"results={tmp_path_factory.mktemp('whole')}"])
    run_point(run)
    return outcome(run)


@pytest.mark.parametrize(
    ("step", "workers"),
    [(3, 0), (13, 0), pytest.param(20, 1, marks=pytest.mark.slow)],
    ids=["first epoch", "its end", "second epoch, with a process that loads clips"],
)
def test_a_run_stopped_by_sigterm_goes_on_to_the_bit(small, whole, tmp_path, monkeypatch, capsys, asked, step, workers):
    cut = compose([*small, "model.dropout=0.5", f"trainer.workers={workers}", f"results={tmp_path}"])
    with monkeypatch.context() as patch, pytest.raises(Asked):
        terminate_at(patch, step)
        run_point(cut)
    saved = torch.load(unfinished(cut.folder) / "last.ckpt", weights_only=True)
    assert saved["global_step"] == step
    assert f"stopped after step {step} of 24" in capsys.readouterr().out
    run_point(cut)
    assert f"goes on from its last checkpoint, after step {step} of 24" in capsys.readouterr().out
    assert outcome(cut) == whole
    assert record_in(cut.folder)["seconds"]["train"] > saved["vidfusion"]["trained"]["seconds"], "both parts count"
    assert not unfinished(cut.folder).exists()


@pytest.mark.slow
def test_a_run_stopped_within_a_validation_begins_that_anew_and_goes_on_to_the_bit(small, tmp_path, monkeypatch, asked):
    """In the second of three epochs of 9 steps. The first one is made the best, and stays it."""
    words = [*small, "training.steps=27", "model.dropout=0.5", "data.validation=0.3", "training.select=best"]
    words += ["trainer.test_batch_size=8"]
    whole, cut = (compose([*words, f"results={tmp_path}/{name}"]) for name in ("whole", "cut"))
    seen, scored, ends = [], VideoClassifier.validation_step, VideoClassifier.on_validation_epoch_end

    def made_up(self):
        log, hit1 = self.log, torch.tensor({0: 0.9}.get(self.current_epoch, 0.5))
        self.log = lambda name, value, **how: log(name, hit1 if name == "val/video_hit1" else value, **how)
        ends(self)
        del self.log

    def step(self, batch, batch_index):
        seen.append(batch_index)
        if batch_index == 1 and seen.count(1) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        scored(self, batch, batch_index)

    monkeypatch.setattr(VideoClassifier, "on_validation_epoch_end", made_up)
    run_point(whole)
    monkeypatch.setattr(VideoClassifier, "validation_step", step)
    with pytest.raises(Asked):
        run_point(cut)
    assert seen[-3:] == [seen[-3], 0, 1], "it stops after this batch"
    assert read_progress(unfinished(cut.folder) / "last.ckpt").step == 18
    stopped = len(seen)
    run_point(cut)
    assert seen[stopped : stopped + 3] == [0, 1, 2]
    assert outcome(whole) == outcome(cut)
    for run in (whole, cut):
        assert torch.load(run.folder / "best.ckpt", weights_only=True)["epoch"] == 0


def test_checkpoints_are_written_by_minutes(small, tmp_path, monkeypatch):
    run = compose([*small, f"results={tmp_path}", "trainer.checkpoint_minutes=1e-9", "training.steps=5"])
    written, save = [], KeepCheckpoint._write

    def write(self, trainer, model, due):
        save(self, trainer, model, due)
        written.append(read_progress(self.path).step)

    monkeypatch.setattr(KeepCheckpoint, "_write", write)
    run_point(run)
    assert written == [1, 2, 3, 4, 5]


def test_a_run_stopped_before_its_first_step_says_so(small, tmp_path, monkeypatch, capsys):
    run = compose([*small, f"results={tmp_path}"])
    monkeypatch.setattr(train, "make_data", lambda run: (_ for _ in ()).throw(Asked))
    with pytest.raises(Asked):
        run_point(run)
    assert "stopped before its first step; it begins from the start" in capsys.readouterr().out


@pytest.fixture(scope="module")
def finished_once(small, tmp_path_factory):
    run = compose([*small, "training.steps=3", f"results={tmp_path_factory.mktemp('finished')}"])
    run_point(run)
    return run


@pytest.fixture
def finished(finished_once, tmp_path):
    """A finished run of the test's own."""
    shutil.copytree(finished_once.results, tmp_path, dirs_exist_ok=True)
    return replace(finished_once, results=str(tmp_path))


def result(run):
    return (run.folder / "record.json").read_bytes(), (run.folder / "scores.npz").read_bytes()


@pytest.mark.parametrize("force", [True, False])
def test_a_finished_result_stays_until_the_next_one_is_whole(finished, monkeypatch, capsys, force):
    before, hash_before = result(finished), record_in(finished.folder)["code"]["hash"]

    def other_code(patch):
        if not force:
            for module in ("training.train", "records.make"):
                patch.setattr(f"experiments.{module}.code_hash", lambda run: "new")

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        other_code(patch)
        patch.setattr(train, "make_record", lambda *_: 1 / 0)
        run_point(finished, force)
    assert result(finished) == before
    other_code(monkeypatch)
    run_point(finished, force)
    kept = list(finished.folder.glob("stale-*"))
    assert len(kept) == (not force)
    for folder in kept:
        assert folder.name.startswith(f"stale-{hash_before[:8]}") and (folder / "last.ckpt").exists()
        assert ((folder / "record.json").read_bytes(), (folder / "scores.npz").read_bytes()) == before
    assert "that result is kept" in capsys.readouterr().out or force


def test_a_stopped_run_of_other_code_keeps_its_checkpoint_aside(small, tmp_path, monkeypatch, capsys, asked):
    run = compose([*small, f"results={tmp_path}"])
    with monkeypatch.context() as patch, pytest.raises(Asked):
        terminate_at(patch, 3)
        run_point(run)
    monkeypatch.setattr(train, "code_hash", lambda run: "new")
    monkeypatch.setattr(train, "make_record", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_point(run)
    (aside,) = run.folder.glob("stale-*")
    assert read_progress(aside / "last.ckpt").step == 3
    said = f"was stopped after step 3 with other code or data, so it begins anew; that checkpoint is kept in {aside}"
    assert said in capsys.readouterr().out


def test_an_exchange_of_results_that_was_killed_is_completed(finished, monkeypatch):
    """The process dies before each of the exchange's moves in turn."""
    new = [name for name in PARTS if (finished.folder / name).exists()]
    move, left = os.replace, 0

    def dies(source, target):
        nonlocal left
        if not left:
            raise Asked
        left -= 1
        move(source, target)

    for moves in range(len(new)):
        unfinished(finished.folder).mkdir()
        for name in new:
            shutil.copy(finished.folder / name, unfinished(finished.folder))
        left = moves
        with monkeypatch.context() as patch, pytest.raises(Asked):
            patch.setattr(os, "replace", dies)
            publish(finished.folder)
        assert record_in(finished.folder)["id"] == finished.id
        clean(finished.folder)
        assert not unfinished(finished.folder).exists()
        assert all((finished.folder / name).exists() for name in new)


def test_a_finished_run_is_skipped_and_folders_in_its_own_are_left_alone(finished, capsys):
    (finished.folder / ".ipynb_checkpoints").mkdir()
    (finished.folder / ".record.json.123").write_text("half a file")
    run_point(finished)
    assert "finished before, skipped" in capsys.readouterr().out
    assert (finished.folder / ".ipynb_checkpoints").is_dir()
    assert not (finished.folder / ".record.json.123").exists()


def test_a_diverged_run_is_no_result(small, tmp_path):
    run = compose([*small, f"results={tmp_path}", "training.optimizer=sgd", "training.lr=999", "training.clip_norm=0"])
    with pytest.raises(ValueError, match="step"):
        run_point(run)
    assert len((run.folder / "error.txt").read_text().splitlines()) == 1
    assert not (run.folder / "record.json").exists() and not (unfinished(run.folder) / "last.ckpt").exists()


def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(small, tmp_path, monkeypatch, capsys):
    run = compose([*small, f"results={tmp_path}", "training.steps=3"])

    def full(content, file=None, **_):
        file = file or content
        file.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as error:
        patch.setattr(torch, "save", full)
        run_point(run)
    said = str(error.value)
    assert f"{unfinished(run.folder) / 'last.ckpt'}: cannot be written (No space left on device; about " in said
    assert "MB are free); make room or choose another results=" in said and "\n" not in said
    assert not list(unfinished(run.folder).glob("last*"))
    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"cannot be written .*; make room or choose"):
        patch.setattr(np, "savez_compressed", full)  # of the scores
        run_point(run)
    assert "No space left on device" in (run.folder / "error.txt").read_text()
    assert not list(unfinished(run.folder).glob("scores*"))
    assert run_point(run) and "after step 3 of 3" in capsys.readouterr().out
