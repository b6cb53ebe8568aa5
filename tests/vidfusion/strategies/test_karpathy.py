"""The resolution streams of Karpathy et al. 2014, section 3.2."""

import pytest
import torch
from torch import nn

from experiments.settings.compose import compose
from tests.factories import network, parameters
from vidfusion.strategies.karpathy import context, fovea


@pytest.mark.parametrize("size", ["published", "tiny"])
def test_each_stream_gives_maps_of_the_full_networks_size(size):
    full = network("single_frame", f"model.size={size}", device="meta")
    both = network("single_frame_multires", f"model.size={size}", device="meta")
    expected = full.trunk(torch.empty(1, 3, 1, *(2 * (full.clip.crop,)), device="meta")).shape
    found = both.trunk(torch.empty(1, 3, 1, *(2 * (both.clip.crop,)), device="meta")).shape
    assert found == (1, 2 * expected[1], *expected[2:])
    for stream in both.trunk.streams.values():
        pools = [sum(isinstance(layer, nn.MaxPool3d) for layer in part) for part in (full.trunk, stream)]
        assert pools[1] == pools[0] - 1


def test_fovea_is_the_centre_crop_and_context_the_halved_frame():
    rgb = torch.rand(2, 3, 4, 178, 178, dtype=torch.float64)
    assert torch.equal(fovea(rgb), rgb[:, :, :, 44:133, 44:133])
    halved = context(rgb)
    assert halved.shape == (2, 3, 4, 89, 89)
    expected = (rgb[..., ::2, ::2] + rgb[..., 1::2, ::2] + rgb[..., ::2, 1::2] + rgb[..., 1::2, 1::2]) / 4
    torch.testing.assert_close(halved, expected)


def test_each_stream_sees_its_view_only():
    model = network("single_frame_multires").double().eval()
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
    model = network(preset, "model.resolution=multires")
    assert model(torch.rand(2, 3, model.clip.frames, 32, 32)).shape == (2, 5)


def test_average_pooling_leaves_the_edge_alone():
    model = network("slow_fusion", "model.pooling=average", "model.size=published", device="meta")
    pools = [layer for layer in model.trunk if isinstance(layer, nn.AvgPool3d)]
    assert len(pools) == 3 and not [layer for layer in model.trunk if isinstance(layer, nn.MaxPool3d)]
    edge = pools[0](torch.arange(7.0).expand(1, 1, 1, 7, 7))[0, 0, 0, 3]
    assert edge.tolist() == [0.5, 2.5, 4.5, 6]
    plain = network("slow_fusion", "model.size=published", device="meta")
    assert parameters(model) == parameters(plain)


def test_streams_need_karpathys_own_net():
    with pytest.raises(ValueError, match=r"model\.resolution=multires.*model\.backbone=resnet18"):
        compose(["strategy=single_frame_multires", "model.backbone=resnet18"])
