"""`run.py --look`: where a network looks, in space and time."""

import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import nn

from experiments.run import main
from experiments.settings.compose import compose
from experiments.settings.presets import names
from experiments.trained.grad_cam import last_convolution, look_at
from experiments.trained.look import draw
from experiments.training.build import make_model
from tests.experiments.trained.small_runs import folder_of, videos_of


def batch_of(run, clips=1, seed=0):
    """Clips of noise as a test gives them to a network."""
    rng, spec = np.random.default_rng(seed), run.sampling
    side = (spec.crop, spec.crop)
    batch = {"rgb": rng.integers(0, 256, (clips, spec.frames, *side, 3), np.uint8)} if spec.frames else {}
    if spec.flow_frames:
        batch["flow"] = rng.integers(100, 156, (clips, spec.flow_frames, *side, 2), np.uint8)
        batch["flow_mean"] = np.zeros((clips, spec.flow_frames, 2), np.float32)
    return {name: torch.from_numpy(values) for name, values in batch.items()}


@pytest.mark.parametrize("strategy", [name for name in names("strategy") if name != "single_frame_fovea"])
def test_every_strategys_map_has_its_clips_shape(strategy):
    run = compose([f"strategy={strategy}"])
    model, batch = make_model(run, ["a", "b", "c"]).eval(), batch_of(run)
    looks = look_at(model, batch, 1)
    assert [look.stream for look in looks] == list(model.streams or [""])
    for look in looks:
        assert look.heat.shape == batch[look.reads].shape[1:4] and look.heat.isfinite().all() and look.heat.min() >= 0
        layer = model.get_submodule(look.layer)
        assert isinstance(layer, nn.Conv3d) and look.layer.startswith(look.stream)
        assert 1 <= look.size[0] <= len(look.heat) and not look.heat.requires_grad


def test_a_map_of_windows_is_of_each_window_alone():
    """Baccouche's network reads six windows of 9 frames, and its last convolution has one step for each."""
    run = compose(["strategy=conv3d_lstm"])
    model, batch = make_model(run, ["a", "b"]).eval(), batch_of(run)
    (look,) = look_at(model, batch, 0)
    assert look.size[0] == 6 and len(look.heat) == 54
    windows = look.heat.unflatten(0, (6, 9))
    assert all(torch.allclose(window, window[:1].expand_as(window)) for window in windows), "one step of 9 frames each"
    assert len({float(window.sum()) for window in windows}) == 6


def toy(size=24, frames=20):
    """The lecture's 3-D toy network: 5 steps of time, and the mean over all places under the classifier."""
    run = compose(["strategy=lecture_3d", f"sampling.crop={size}", f"sampling.frames={frames}"])
    return run, make_model(run, ["red", "blue"])


def test_below_a_mean_over_places_the_map_is_the_classifiers_own_sum():
    """Then Grad-CAM is CAM (Zhou et al. 2016): the last maps, weighted by the classifier."""
    run, model = toy()
    batch = batch_of(run)
    (look,) = look_at(model.eval(), batch, 1)
    with torch.no_grad():
        maps = model.trunk(model.inputs(batch)["rgb"])
        weights = model.head[-1].weight[1] / maps[0, 0].numel()
        expected = torch.einsum("c,cthw->thw", weights, maps[0]).relu()
    assert look.layer == "trunk.3" and look.size == tuple(expected.shape) == (5, 6, 6)
    spread = nn.functional.interpolate(expected[None, None], (20, 24, 24), mode="trilinear")[0, 0]
    assert torch.allclose(look.heat, spread, atol=1e-7)


def easy_clips(count, rng, size=24, frames=20):
    """Noise in grey; somewhere, for a third of the time, an 8x8 square that is red or blue, which is the class.

    Returns clips (N, T, H, W, 3) uint8, labels (N,) and where and when the squares are, bool (N, T, H, W).
    """
    clips = np.repeat(rng.integers(60, 180, (count, frames, size, size, 1), np.uint8), 3, 4)
    labels, there = rng.integers(0, 2, count), np.zeros(clips.shape[:4], bool)
    for number, (time, row, column) in enumerate(rng.integers(0, [frames - 7, size - 8, size - 8], (count, 3))):
        there[number, time : time + 7, row : row + 8, column : column + 8] = True
    clips[there] = np.array([(230, 30, 30), (30, 30, 230)], np.uint8)[labels].repeat(there[0].sum(), 0)
    return clips, labels, there


def test_a_trained_network_looks_where_and_when_the_shape_is():
    _, model = toy()
    rng, optimiser = np.random.default_rng(0), torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        clips, labels, _ = easy_clips(8, rng)
        loss = nn.functional.cross_entropy(
            model(**model.inputs({"rgb": torch.from_numpy(clips)})), torch.from_numpy(labels)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()  # before its training, no ratio below is above 1 on all clips
    clips, labels, there = easy_clips(12, rng)
    for clip, label, where in zip(clips, labels, there, strict=True):
        batch = {"rgb": torch.from_numpy(clip[None])}
        assert int(model(**model.inputs(batch)).argmax()) == label
        heat = look_at(model, batch, int(label))[0].heat.numpy()
        place, time = where.any(0), where.any((1, 2))
        assert heat[where].mean() > 2 * heat[~where].mean()
        assert heat[time][:, place].mean() > 2 * heat[time][:, ~place].mean(), "in space"
        assert heat[time][:, place].mean() > 1.3 * heat[~time][:, place].mean(), "in time"


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_film_shows_the_clips_and_the_map_over_them():
    clip = np.full((2, 20, 20, 3), 100, np.uint8)
    _, model = toy()
    look = look_at(model.eval(), batch_of(toy()[0]), 0)[0]
    hot = look._replace(heat=torch.zeros(2, 20, 20))
    hot.heat[1, :10] = 3
    plain, mixed = np.split(draw([clip], [hot]), 2, axis=2)
    assert plain.shape == (2, 160, 160, 3) and (plain == 100).all() and (mixed[0] == 100).all()
    assert (mixed[1, 120:] == 100).all() and (mixed[1, :40] != 100).any(2).all(), "hot in its upper half only"


def test_films_lie_beside_the_checkpoint_or_among_the_predictions(runs, apart, tmp_path, capsys):
    run, checkpoint = runs["two_stream"], apart["two_stream"]
    own = videos_of(run, folder_of(run))[0][0]
    shutil.copy(own, tmp_path / "mine.mp4")
    assert main(["--look", str(checkpoint), str(own), str(tmp_path / "mine.mp4"), "gone.mp4"]) == 1
    said = capsys.readouterr()
    assert said.err == "error: gone.mp4: no such file\n"
    beside = sorted(checkpoint.parent.glob("look-*.mp4"))
    others = sorted((tmp_path / "results" / "predictions").iterdir())
    for found, stem in ((beside, own.stem), (others, "mine")):
        assert [path.name.startswith(f"look-{stem}-") for path in found] == [True, True]
        assert [path.stem.rpartition("-")[2] for path in found] == ["spatial", "temporal"]
        assert all(str(path) in said.out for path in found)
        assert [len(decoded(path)) for path in found] == [2 * 1, 2 * 2], "two clips of a frame, or of two fields"
    crop = run.sampling.crop
    side = -(-160 // crop) * crop
    assert decoded(beside[0]).shape[1:] == (side, 2 * side, 3)
    assert "layer spatial." in said.out and "layer temporal." in said.out


def test_what_cannot_be_shown_is_said(runs, checkpoint, tmp_path, monkeypatch, capsys):
    assert main(["--look", str(checkpoint)]) == 1
    assert "no video is given" in capsys.readouterr().err
    model = make_model(compose(["strategy=single_frame_fovea"]), ["a", "b"])
    with pytest.raises(ValueError, match=r"model\.resolution=fovea: this network sees the middle"):
        last_convolution(model)
    model = make_model(compose(["strategy=single_frame"]), ["a", "b"])
    model.trunk = nn.Identity()
    with pytest.raises(ValueError, match="SingleFrame has no convolution"):
        last_convolution(model)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    video = str(videos_of(runs["early_fusion"], checkpoint.parent)[0][0])
    assert main(["--look", str(checkpoint), video, f"results={tmp_path}"]) == 1
    assert capsys.readouterr().err == "error: --look needs captum: pip install -e '.[look]'\n"
    assert not list(Path(checkpoint).parent.glob("look-*"))


def test_a_backbones_maps_are_those_of_all_of_it():
    run = compose(["strategy=slow_fusion", "model.backbone=resnet18"])
    model = make_model(run, ["a", "b"]).eval()
    name, layer = last_convolution(model)
    assert (name, layer) == ("trunk", model.trunk)
