"""One run: the same numbers again, after an interruption, with other weights, data and settings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.settings.compose import compose
from experiments.training.build import make_data, make_model, public_config
from experiments.training.callbacks import Progress
from experiments.training.train import run_point
from tests.factories import record_in, weights_in
from vidfusion.classifier import VideoClassifier


@pytest.fixture
def run(small, tmp_path):
    return compose(["strategy=early_fusion", *small, f"results={tmp_path}/results"])


@pytest.fixture
def validated(run):
    """Words of a run that is tested with the weights that were best on validation."""
    return ["strategy=single_frame", *run.overrides, "training.select=best", "data.validation=0.3"]


def interrupt(monkeypatch, step):
    """Let runs fail after a step."""
    shown = Progress.on_train_batch_end

    def step_ends(self, trainer, *rest):
        shown(self, trainer, *rest)
        if trainer.global_step == step:
            raise RuntimeError("stopped on purpose")

    monkeypatch.setattr(Progress, "on_train_batch_end", step_ends)


def scores_in(folder: Path, name: str = "scores.npz") -> dict[str, np.ndarray]:
    with np.load(folder / name) as saved:
        return dict(saved)


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_other_code_or_data_makes_a_record_stale(small, tmp_path, monkeypatch, capsys):
    run = compose(["strategy=single_frame", *small, "training.steps=2", f"results={tmp_path}"])
    run_point(run)
    run_point(run)
    assert "finished before, skipped" in capsys.readouterr().out
    monkeypatch.setattr("experiments.training.train.code_hash", lambda run: "other")
    run_point(run)
    assert "finished before with other code or data" in capsys.readouterr().out


def test_best_on_validation_is_tested_where_the_recipe_says_so(validated):
    run = compose(validated)
    run_point(run)
    assert record_in(run.folder)["selection"] == "best on validation"
    data = make_data(run)
    data.prepare_data()
    data.setup()
    held_out, trained = ({video.group for video in part.videos} for part in (data.validation_views, data.train_clips))
    assert held_out.isdisjoint(trained)
    model = make_model(run, data.lists.classes).eval()
    model.load_state_dict(weights_in(run.folder, "best.ckpt"))
    for name, loader, videos in (
        ("scores.npz", data.test_dataloader(), data.lists.test),
        ("validation.npz", data.val_dataloader(), data.validation_views.videos),
    ):
        saved, batch = scores_in(run.folder, name), next(iter(loader))
        with torch.no_grad():
            scores = model.probabilities(model(**model.inputs(batch))).numpy()
        assert saved["videos"].tolist() == [video.path for video in videos]
        assert np.allclose(saved["scores"][: len(scores)], scores, atol=1e-5)
        assert (saved["target"][: len(scores)] == batch["target"].numpy()).all()


def test_the_best_on_validation_is_the_same_after_an_interruption(validated, tmp_path, monkeypatch):
    """The second epoch of 9 steps is made the best one, and the run is cut off in the third."""
    validated = [*validated, "training.steps=27"]
    whole, cut = compose(validated), compose([*validated, f"results={tmp_path}/cut"])
    ends = VideoClassifier.on_validation_epoch_end

    def made_up(self):
        log, hit1 = self.log, torch.tensor({0: 0.1, 1: 0.9}.get(self.current_epoch, 0.5))
        self.log = lambda name, value, **how: log(name, hit1 if name == "val/video_hit1" else value, **how)
        ends(self)
        del self.log

    monkeypatch.setattr(VideoClassifier, "on_validation_epoch_end", made_up)
    run_point(whole)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="on purpose"):
        interrupt(patch, 22)
        run_point(cut)
    assert "stopped on purpose" in (cut.folder / "error.txt").read_text()
    assert torch.load(cut.folder / "unfinished/last.ckpt", weights_only=True)["global_step"] == 18
    run_point(cut)
    assert not (cut.folder / "error.txt").exists()
    assert record_in(whole.folder)["rows"] == record_in(cut.folder)["rows"]
    for run in (whole, cut):
        assert torch.load(run.folder / "best.ckpt", weights_only=True)["epoch"] == 1
    assert_equal(weights_in(whole.folder, "best.ckpt"), weights_in(cut.folder, "best.ckpt"))


def test_a_run_starts_from_anothers_weights_and_trains_the_last_layer_only(run):
    run_point(run)
    words = [f"model.weights={run.folder}/last.ckpt", "training.trained_layers=1", "training.steps=3"]
    second = compose(["strategy=early_fusion", *run.overrides, *words])
    run_point(second)
    before, after = weights_in(run.folder), weights_in(second.folder)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.2.weight", "head.2.bias"}
    assert record_in(second.folder)["pretrained"] == f"last.ckpt (vidfusion layout, {len(before)} tensors loaded)"
    assert record_in(run.folder)["pretrained"] == "none"


def test_what_wandb_is_told_holds_no_path_of_this_machine(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"")
    for words in (
        ["strategy=two_stream_multi_task", f"model.second_data.root={tmp_path}"],
        ["strategy=c3d", f"model.weights={tmp_path}/weights.pt"],
        ["strategy=c3d", "dataset=ucf101", f"data.lists={tmp_path}/file"],
        ["strategy=c3d", "dataset=folder", f"data.manifest={tmp_path}/file"],
    ):
        told = public_config(compose([*words, f"data.root={tmp_path}", f"data.stores={tmp_path}"]))
        assert str(tmp_path.parent) not in json.dumps(told), words


def test_a_budget_of_multiply_adds_decides_the_steps(run):
    budget = compose(["strategy=single_frame", *run.overrides, "training.multiply_adds=1.5e8"])
    run_point(budget)
    row = record_in(budget.folder)["rows"][0]
    per_step = 3 * row["macs_per_clip"] * 8
    assert abs(row["macs_training"] - 1.5e8) <= per_step / 2
    saved = torch.load(budget.folder / "last.ckpt", weights_only=True)
    assert saved["global_step"] == round(1.5e8 / per_step)


@pytest.mark.slow
def test_a_second_data_set_is_trained_on_beside_the_first(small, run):
    moved = [word.replace("data.", "model.second_data.", 1) for word in small if word.startswith("data.")]
    words = [*run.overrides, *(word for word in moved if "stores" not in word), "training.steps=3"]
    both = compose(["strategy=two_stream_multi_task", *words])
    run_point(both)
    record = record_in(both.folder)
    spatial, temporal, fused = record["rows"]
    prints = record["data"]["fingerprints"]
    assert len(prints) == 2 and record["data"]["fingerprint"] == prints[0]
    assert spatial["macs_training"] == 3 * spatial["macs_per_clip"] * 3 * 8
    assert temporal["macs_training"] == 2 * 3 * temporal["macs_per_clip"] * 3 * 8, "a batch of each data set"
    assert fused["macs_training"] == spatial["macs_training"] + temporal["macs_training"]
    assert [name for name in weights_in(both.folder) if name.startswith("second")] == ["second.weight", "second.bias"]


@pytest.mark.slow
def test_an_undecodable_test_video_counts_as_wrong_and_is_shown(run, tmp_path):
    data = make_data(run)
    source = data.dataset.folder()
    copy = tmp_path / "spoilt" / source.name
    shutil.copytree(source, copy)
    (copy / data.lists.test[0].path).write_bytes(b"not a video")
    words = [*run.overrides, f"data.root={copy.parent}", "training.steps=2"]
    spoilt = compose(["strategy=single_frame", *words])
    run_point(spoilt)
    videos, metrics = (record_in(spoilt.folder)[name] for name in ("videos", "rows"))
    assert (videos["expected"], videos["scored"], videos["undecodable"]) == (42, 41, 1)
    metrics = metrics[0]["metrics"]
    assert metrics["test/video_hit1"] * 42 == pytest.approx(metrics["test/scored_video_hit1"] * 41)
    (copy / data.lists.train[0].path).write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 108 training videos cannot be decoded whole.*data\.undecodable=skip"):
        run_point(spoilt)
