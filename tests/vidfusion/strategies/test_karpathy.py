"""The resolution streams of Karpathy et al. 2014, section 3.2."""

import dataclasses

import pytest
import torch
from torch import nn

from experiments.settings.compose import compose
from vidfusion.layer_table import multiply_adds
from vidfusion.nets.karpathy import KARPATHY
from vidfusion.optimisation import TrainingConfig
from vidfusion.strategies.karpathy import KarpathyClassifier, context, fovea


def build(*words: str, classes: int = 487, device: str = "meta") -> KarpathyClassifier:
    run = compose(list(words))
    with torch.device(device):
        return run.strategy_class(run.model, run.clip_shape(), classes, TrainingConfig())


@pytest.mark.parametrize(
    ("preset", "parameters", "macs", "first_linear"),
    [
        ("single_frame_multires", 129_035_495, 0.717e9, 25_088),
        ("single_frame_fovea", 73_908_071, 0.368e9, 12_544),
        ("single_frame_context", 73_908_071, 0.368e9, 12_544),
    ],
)
def test_published_counts(preset, parameters, macs, first_linear):
    model = build(f"strategy={preset}", "model.size=published")
    assert model.clip.crop == 178
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert sum(multiply_adds(model).values()) == pytest.approx(macs, rel=1e-3)
    assert next(layer for layer in model.modules() if isinstance(layer, nn.Linear)).in_features == first_linear


@pytest.mark.parametrize("size", ["published", "small", "tiny"])
def test_each_stream_gives_maps_of_the_full_networks_size(size):
    full = build("strategy=single_frame", f"model.size={size}")
    both = build("strategy=single_frame_multires", f"model.size={size}")
    expected = full.trunk(torch.empty(1, 3, 1, *(2 * (full.clip.crop,)), device="meta")).shape
    found = both.trunk(torch.empty(1, 3, 1, *(2 * (both.clip.crop,)), device="meta")).shape
    assert found == (1, 2 * expected[1], *expected[2:])
    for stream in both.trunk.streams.values():
        pools = [sum(isinstance(layer, nn.MaxPool3d) for layer in part) for part in (full.trunk, stream)]
        assert pools[1] == pools[0] - 1


@pytest.mark.parametrize(("crop", "side"), [(112, 7), (64, 4)])
def test_small_streams_keep_the_map_of_the_small_net(crop, side):
    model = build("strategy=single_frame_multires", "model.size=small", f"sampling.crop={crop}")
    assert model.trunk(torch.empty(1, 3, 1, crop, crop, device="meta")).shape == (1, 256, 1, side, side)


def test_fovea_is_the_centre_crop_and_context_the_halved_frame():
    rgb = torch.rand(2, 3, 4, 178, 178, dtype=torch.float64)
    assert torch.equal(fovea(rgb), rgb[:, :, :, 44:133, 44:133])
    halved = context(rgb)
    assert halved.shape == (2, 3, 4, 89, 89)
    expected = (rgb[..., ::2, ::2] + rgb[..., 1::2, ::2] + rgb[..., ::2, 1::2] + rgb[..., 1::2, 1::2]) / 4
    torch.testing.assert_close(halved, expected)


def test_each_stream_sees_its_view_only():
    model = build("strategy=single_frame_multires", classes=5, device="cpu").double().eval()
    rgb = torch.rand(1, 3, 1, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        maps = model.trunk(rgb)
        edge = rgb.clone()
        edge[..., :8, :] = 0  # outside the fovea
        after = model.trunk(edge)
        channels = maps.shape[1] // 2
        assert torch.equal(after[:, :channels], maps[:, :channels])
        assert not torch.allclose(after[:, channels:], maps[:, channels:])
        swapped = rgb.clone()
        swapped[..., 0, 0], swapped[..., 1, 1] = rgb[..., 1, 1], rgb[..., 0, 0]  # their mean stays
        torch.testing.assert_close(model.trunk(swapped), maps)
    first, second = (list(stream.parameters()) for stream in model.trunk.streams.values())
    assert all(one is not other for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("preset", ["early_fusion", "late_fusion", "slow_fusion"])
def test_any_of_the_four_networks_can_have_two_streams(preset):
    model = build(f"strategy={preset}", "model.resolution=multires", classes=5, device="cpu")
    assert model(torch.rand(2, 3, model.clip.frames, 32, 32)).shape == (2, 5)


def test_average_pooling_leaves_the_edge_alone():
    model = build("strategy=slow_fusion", "model.pooling=average", "model.size=published")
    pools = [layer for layer in model.trunk if isinstance(layer, nn.AvgPool3d)]
    assert len(pools) == 3 and not [layer for layer in model.trunk if isinstance(layer, nn.MaxPool3d)]
    edge = pools[0](torch.arange(7.0).expand(1, 1, 1, 7, 7))[0, 0, 0, 3]
    assert edge.tolist() == [0.5, 2.5, 4.5, 6]
    plain = build("strategy=slow_fusion", "model.size=published")
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in plain.parameters())


def test_streams_need_karpathys_own_net():
    with pytest.raises(ValueError, match=r"model\.resolution=multires.*model\.backbone=resnet18"):
        compose(["strategy=single_frame_multires", "model.backbone=resnet18"])


def test_the_full_network_is_untouched_by_the_options():
    model = build("strategy=single_frame", "model.size=published")
    assert model.net == dataclasses.replace(KARPATHY["published"])
