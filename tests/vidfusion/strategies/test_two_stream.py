"""Trajectories, training modes and the second data set (Simonyan & Zisserman 2014, sections 3.1, 4 and 6)."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests.factories import network
from vidfusion.strategies.two_stream import TwoStream, trajectory_stack

CLASSES = 5


def batch(model: TwoStream, count: int = 4, classes: int = CLASSES) -> dict[str, Tensor]:
    generator, crop, fields = torch.Generator().manual_seed(1), model.clip.crop, model.clip.flow_frames
    return {
        "rgb": torch.randint(0, 256, (count, 1, crop, crop, 3), generator=generator, dtype=torch.uint8),
        "flow": torch.randint(1, 256, (count, fields, crop, crop, 2), generator=generator, dtype=torch.uint8),
        "flow_mean": torch.rand(count, fields, 2, generator=generator),
        "target": torch.eye(classes, dtype=torch.bool)[torch.arange(count) % classes],
    }


# -- trajectories ----------------------------------------------------------------------------------------------------


def test_trajectories_are_those_of_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    flow = 2 * torch.randn(1, 2, 3, 6, 7, dtype=torch.float64, generator=generator)
    found = trajectory_stack(flow)

    def sample(field: Tensor, x: float, y: float) -> list[float]:
        x, y = min(max(x, 0.0), 6.0), min(max(y, 0.0), 5.0)
        left, top = min(int(x), 5), min(int(y), 4)
        a, b = x - left, y - top
        corners = [((1 - a) * (1 - b), 0, 0), (a * (1 - b), 0, 1), ((1 - a) * b, 1, 0), (a * b, 1, 1)]
        return [sum(w * float(field[c, top + i, left + j]) for w, i, j in corners) for c in range(2)]

    for row, column in ((0, 0), (2, 3), (5, 6), (4, 1)):
        x, y = float(column), float(row)
        for field in range(3):
            step = sample(flow[0, :, field], x, y)
            assert found[0, :, field, row, column].tolist() == pytest.approx(step)
            x, y = x + step[0], y + step[1]


def test_the_mean_of_the_whole_field_is_subtracted_after_the_path_was_followed():
    with_mean = network("two_stream_trajectory_no_mean")
    without = network("two_stream_trajectory")
    clips = batch(with_mean)
    path, less = with_mean.inputs(clips)["flow"], without.inputs(clips)["flow"]
    torch.testing.assert_close(less, path - clips["flow_mean"].mT[..., None, None])
    pixels = (clips["flow"].permute(0, 4, 1, 2, 3).float() - 128) * (with_mean.clip.flow_bound / 127)
    torch.testing.assert_close(path, trajectory_stack(pixels))


def test_a_path_leads_forwards_only():
    with pytest.raises(ValueError, match=r"model\.stacking=trajectory: .* do not follow each other"):
        network("two_stream_bidirectional", "model.stacking=trajectory")
    for word in ("sampling.stride=2", "sampling.fps=5", "sampling.span=segments"):
        with pytest.raises(ValueError, match=r"do not follow each other; expected sampling\.flow_direction=forward"):
            network("two_stream_trajectory", word)


# -- what is trained -------------------------------------------------------------------------------------------------


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_only_the_last_layer_of_the_spatial_stream_is_trained_where_asked(tmp_path):
    (tmp_path / "weights").write_bytes(b"")
    model = network("two_stream", "model.spatial_training=last_layer", f"model.weights={tmp_path}/weights")
    model.freeze()
    every = {name for name, _ in model.named_parameters()}
    last = f"spatial.{len(model.spatial) - 1}."
    assert trained(model) == {name for name in every if name.startswith(("temporal.", last))}
    groups = model.configure_optimizers()["optimizer"].param_groups
    assert sum(len(group["params"]) for group in groups) == len(trained(model))
    with pytest.raises(ValueError, match=r"model\.spatial_training=last_layer: .*model\.weights="):
        network("two_stream", "model.spatial_training=last_layer")


def test_each_stream_has_its_own_dropout():
    model = network("two_stream", "model.size=small", "model.dropout=0.9", "model.spatial_dropout=0.5")
    for stream, rate in ((model.spatial, 0.5), (model.temporal, 0.9)):
        assert {layer.p for layer in stream if isinstance(layer, nn.Dropout)} == {rate}


def test_the_last_layers_of_each_stream_are_the_ones_trained():
    model = network("two_stream", "model.size=small", training={"trained_layers": 3})
    model.freeze()
    for stream in (model.spatial, model.temporal):
        layers = [layer for layer in stream if isinstance(layer, nn.Conv3d | nn.Linear)]
        assert [layer.weight.requires_grad for layer in layers] == [False] * 5 + [True] * 3


# -- two data sets ---------------------------------------------------------------------------------------------------


def test_a_batch_of_one_data_set_leaves_the_others_classifier_untouched(monkeypatch):
    model = network("two_stream_multi_task", "model.second_classes=7").eval()
    monkeypatch.setattr(model, "log", lambda *_, **__: None)
    main, second = batch(model), batch(model, classes=7)
    alone = TwoStream.training_step(model, main, 0)["loss"]
    alone.backward(retain_graph=True)
    assert {name for name, value in model.named_parameters() if value.grad is None} == {"second.weight", "second.bias"}

    model.zero_grad()
    (model.training_step({"main": main, "second": second}, 0)["loss"] - alone).backward()
    moved = {name.split(".")[0] for name, value in model.named_parameters() if value.grad.abs().max() > 1e-6}
    assert moved == {"temporal", "second"}, "the temporal stream's alone"
    assert model.temporal[-1].weight.grad.abs().max() < 1e-6


def test_the_losses_of_both_data_sets_are_summed(monkeypatch):
    model = network("two_stream_multi_task", "model.second_classes=7").eval()
    monkeypatch.setattr(model, "log", lambda *_, **__: None)
    main, second = batch(model), batch(model, 6, classes=7)
    with torch.no_grad():
        both = model.training_step({"main": main, "second": second}, 0)["loss"]
        alone = TwoStream.training_step(model, main, 0)["loss"]
        logits = model.second(model.temporal[:-1](model._stack(model.inputs(second)["flow"])))
        expected = -logits.log_softmax(1)[second["target"]].mean()
    assert float(both - alone) == pytest.approx(float(expected), rel=1e-5)


def test_a_second_data_set_with_other_classes_is_refused():
    model = network("two_stream_multi_task", "model.second_classes=7")
    model.trainer = SimpleNamespace(datamodule=SimpleNamespace(second=SimpleNamespace(num_classes=6)))
    with pytest.raises(
        ValueError, match=r"model\.second_classes=7: moving_shapes has 6 .* set model\.second_classes=6"
    ):
        model.setup("fit")
