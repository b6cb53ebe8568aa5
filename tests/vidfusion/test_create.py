"""Networks from Python, by name."""

import re

import pytest
import torch

from experiments.settings.compose import compose
from vidfusion.classifier import VideoClassifier
from vidfusion.strategies import create, list_strategies

CLASSES = 5


@pytest.mark.parametrize("name", list_strategies())
def test_a_created_network_is_the_presets(name):
    run = compose([f"strategy={'lecture_3d' if name == 'lecture' else name}", "dataset=ucf101", "training.lr=0.3"])
    with torch.device("meta"):
        model = create(name, CLASSES, training={"lr": 0.3})
        expected = run.strategy_class(run.model, run.clip_shape(), CLASSES, run.training)
    assert model.clip == run.clip_shape()._replace(flow_follows=True) and model.training_config.lr == 0.3
    assert [p.shape for p in model.parameters()] == [p.shape for p in expected.parameters()]
    assert model.example_input_array.keys() == set(model.modalities)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("slow_fusio", {}, "slow_fusio: no such strategy. Did you mean slow_fusion or late_fusion?"),
        ("C3D", {}, "C3D: no such strategy. Did you mean c3d?"),
        ("c3d", {"size": "huge"}, "size=huge: expected one of tiny, small, published"),
        ("c3d", {"crop": 0}, "crop=0: expected a whole number, 1 or more"),
        ("c3d", {"frames": True}, "frames=True: expected a whole number, 0 or more"),
        ("c3d", {"siz": "small"}, "siz: no such setting. Did you mean size?"),
        ("c3d", {"training": {"l_r": 1}}, "l_r: no such setting. Did you mean lr?"),
        ("c3d", {"dropout": 2}, "model.dropout=2: expected 0 or more, below 1"),
        ("slow_fusion", {"frames": 4}, "slow_fusion needs sampling.frames >= 10, got 4"),
    ],
)
def test_what_does_not_exist_or_fit_is_said_as_on_the_command_line(name, settings, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        create(name, CLASSES, **settings)


@pytest.mark.parametrize("content", [b"", b"PK cut off", b"text"])
def test_a_file_that_is_no_checkpoint_is_said_in_one_line(content, tmp_path):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.ckpt: no checkpoint, or cut short"):
        VideoClassifier.load_from_checkpoint(tmp_path / "a.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="does not say which network it is of"):
        VideoClassifier.load_from_checkpoint(tmp_path / "a.ckpt")
