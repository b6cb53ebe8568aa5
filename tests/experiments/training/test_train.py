"""One run from settings to record: with validation, other weights, a budget, a second data set, broken videos."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.settings.compose import compose
from experiments.training.build import make_data, make_model, public_config, set_arithmetic
from experiments.training.train import run_point
from tests.factories import folder_of_videos, record_in, weights_in


@pytest.fixture
def run(small, tmp_path):
    return compose(["strategy=early_fusion", *small, f"results={tmp_path}/results"])


def scores_in(folder: Path, name: str = "scores.npz") -> dict[str, np.ndarray]:
    with np.load(folder / name) as saved:
        return dict(saved)


def test_best_on_validation_is_tested_where_the_recipe_says_so(run):
    """Its weights give the scores that were written, of the test videos and of those held out."""
    run = compose(["strategy=single_frame", *run.overrides, "training.select=best", "data.validation=0.3"])
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


def test_the_settings_say_how_exactly_a_gpu_multiplies():
    for allowed in (False, True):  # True last: it is the default
        set_arithmetic(compose(["strategy=c3d", f"trainer.tf32={str(allowed).lower()}"]))
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == allowed


def test_a_budget_of_multiply_adds_decides_the_steps(run):
    budget = compose(["strategy=single_frame", *run.overrides, "training.multiply_adds=1.5e8"])
    run_point(budget)
    row = record_in(budget.folder)["rows"][0]
    per_step = 3 * row["macs_per_clip"] * 8
    assert row["macs_training"] == round(1.5e8 / per_step) * per_step
    saved = torch.load(budget.folder / "last.ckpt", weights_only=True)
    assert saved["global_step"] * per_step == row["macs_training"]


@pytest.fixture
def folder(tmp_path):
    """Words of short runs on a folder of 6 videos to train on and 2 to test."""
    places = [f"data.root={folder_of_videos(tmp_path / 'videos')}", f"data.stores={tmp_path}/stores"]
    small = ["training.steps=3", "training.batch_size=2", "wandb.mode=disabled"]
    return ["dataset=folder", *places, f"results={tmp_path}", *small]


def test_a_second_data_set_is_trained_on_beside_the_first(folder, tmp_path):
    second = folder_of_videos(tmp_path / "second", classes=("up", "down", "still"))
    words = ["model.second_dataset=folder", f"model.second_data.root={second}", "model.second_classes=3"]
    both = compose(["strategy=two_stream_multi_task", *folder, *words])
    run_point(both)
    record = record_in(both.folder)
    spatial, temporal, fused = record["rows"]
    prints = record["data"]["fingerprints"]
    assert len(prints) == 2 and record["data"]["fingerprint"] == prints[0]
    assert spatial["macs_training"] == 3 * spatial["macs_per_clip"] * 3 * 2
    assert temporal["macs_training"] == 2 * 3 * temporal["macs_per_clip"] * 3 * 2, "a batch of each data set"
    assert fused["macs_training"] == spatial["macs_training"] + temporal["macs_training"]
    second = {name: tuple(value.shape) for name, value in weights_in(both.folder).items() if name.startswith("second")}
    assert list(second) == ["second.weight", "second.bias"] and second["second.bias"] == (3,)


def test_an_undecodable_test_video_counts_as_wrong_and_is_shown(folder, tmp_path):
    spoilt = compose(["strategy=single_frame", *folder])
    (tmp_path / "videos/test/left/3.mp4").write_bytes(b"not a video")
    run_point(spoilt)
    record = record_in(spoilt.folder)
    assert [record["videos"][name] for name in ("expected", "scored", "undecodable")] == [2, 1, 1]
    metrics = record["rows"][0]["metrics"]
    assert metrics["test/video_hit1"] * 2 == pytest.approx(metrics["test/scored_video_hit1"] * 1)
    (tmp_path / "videos/train/left/0.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 6 training videos cannot be decoded whole.*data\.undecodable=skip"):
        run_point(spoilt)
