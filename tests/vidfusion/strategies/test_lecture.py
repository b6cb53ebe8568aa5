"""The lecture's three toy networks."""

import pytest
import torch
from torch import nn

from tests.factories import network
from vidfusion.layer_table import layer_table
from vidfusion.strategies.lecture import Lecture

CLASSES = 10


@pytest.mark.parametrize(
    ("preset", "rows"),
    [
        # The lecture's tables: size CxTxHxW, receptive field TxHxW; the mean's is clipped to the clip there.
        (
            "lecture_late",
            [((12, 20, 64, 64), (1, 3, 3)), ((12, 20, 16, 16), (1, 6, 6)), ((24, 20, 16, 16), (1, 14, 14))],
        ),
        (
            "lecture_early",
            [((12, 1, 64, 64), (20, 3, 3)), ((12, 1, 16, 16), (20, 6, 6)), ((24, 1, 16, 16), (20, 14, 14))],
        ),
        (
            "lecture_3d",
            [((12, 20, 64, 64), (3, 3, 3)), ((12, 5, 16, 16), (6, 6, 6)), ((24, 5, 16, 16), (14, 14, 14))],
        ),
    ],
)
def test_layer_table_is_the_lectures(preset, rows):
    *layers, mean, _ = layer_table(network(preset, classes=CLASSES, device="meta"))
    assert [(layer.output, layer.receptive_field) for layer in layers] == rows
    assert mean.output == (24, 1, 1, 1)
    assert mean.receptive_field == ({"lecture_3d": 30}.get(preset, 20), 74, 74) and mean.clipped == (20, 64, 64)
    parameters = {"lecture_late": [336, 2_616], "lecture_early": [6_492, 2_616], "lecture_3d": [984, 7_800]}[preset]
    assert [layer.parameters for layer in layers if layer.parameters] == parameters
    macs = {"lecture_late": 39.81, "lecture_early": 27.21, "lecture_3d": 89.58}[preset]
    assert round(sum(layer.multiply_adds for layer in layers) / 1e6, 2) == macs


def test_flattened_late_fusion_reads_every_place_of_every_frame():
    model = network("lecture_late_flatten", device="meta")
    assert next(layer for layer in model.head if isinstance(layer, nn.Linear)).in_features == 122_880
    assert model.order_matters and not network("lecture_late", device="meta").order_matters


def features(model: Lecture, rgb: torch.Tensor) -> torch.Tensor:
    if model.config.fusion == "early":
        rgb = rgb.transpose(1, 2).flatten(1, 2).unsqueeze(2)
    return model.trunk(rgb)


def test_a_clip_that_is_4_frames_later_shifts_the_3d_networks_features_by_one_and_not_the_early_ones():
    generator = torch.Generator().manual_seed(0)
    longer = torch.rand(1, 3, 32, 64, 64, generator=generator, dtype=torch.float64)
    clip, later = longer[:, :, 4:], longer[:, :, :28]  # `later` shows at frame t + 4 what `clip` shows at t
    with torch.no_grad():
        model = network("lecture_3d").double()
        before, after = features(model, clip), features(model, later)
        # Position j sees frames 4j - 5 to 4j + 8, of 28: 2, 3 and 4 do not see beyond the clip's ends.
        torch.testing.assert_close(after[:, :, 3:5], before[:, :, 2:4])
        assert not torch.allclose(after[:, :, 2:4], before[:, :, 2:4], atol=1e-3)

        model = network("lecture_early", frames=28).double()
        before, after = features(model, clip), features(model, later)
        assert before.shape[2] == 1
        assert not torch.allclose(after, before, atol=1e-3)


def test_what_the_lecture_does_not_have_is_refused():
    with pytest.raises(ValueError, match="the lecture's networks have neither"):
        network("lecture_3d", "model.batch_norm=true")
