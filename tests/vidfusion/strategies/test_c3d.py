"""C3D's poolings, its search network and temporal depths (Tran et al. 2015, sections 3.2 and 3.3)."""

import pytest
import torch
from torch import nn

from tests.factories import network, parameters


@pytest.mark.parametrize(
    ("pool5", "fc6", "edge"),
    [
        ("ceil", 33_558_528, [1, 3, 5, 6]),  # windows {0,1} {2,3} {4,5} {6}, as Caffe's
        ("padded", 33_558_528, [0, 2, 4, 6]),  # windows {0} {1,2} {3,4} {5,6}, as the PyTorch ports'
        ("floor", 18_878_464, [1, 3, 5]),
    ],
)
def test_the_last_pooling_treats_the_odd_edge_as_asked(pool5, fc6, edge):
    model = network("c3d", "model.size=published", f"model.pool5={pool5}", device="meta")
    assert parameters(model.head[1]) == fc6
    pools = [layer for layer in model.trunk if isinstance(layer, nn.MaxPool3d)]
    found = pools[-1](torch.arange(7.0).expand(1, 1, 2, 7, 7))[0, 0]
    assert found[0, 0].tolist() == edge
    assert found.shape == (1, len(edge), len(edge)), "both frames are pooled into one"
    assert all(pool.ceil_mode for pool in pools[:-1])


DEPTHS = [[1] * 5, [3, 3, 5, 5, 7], [7, 5, 5, 3, 3]]


@pytest.mark.parametrize("depths", DEPTHS)
def test_temporal_depths_keep_the_clips_length_and_change_what_a_kernel_spans(depths):
    words = f"model.temporal_depths=[{','.join(map(str, depths))}]"
    model = network("c3d_search", "model.size=published", words, device="meta")
    convs = [layer for layer in model.trunk if isinstance(layer, nn.Conv3d)]
    assert [conv.kernel_size for conv in convs] == [(depth, 3, 3) for depth in depths]
    assert model.trunk(torch.empty(1, 3, 16, 112, 112, device="meta")).shape == (1, 256, 1, 4, 4)


@pytest.mark.parametrize("depths", ["[3,3,3]", "[3,3,2,3,3]", "[3,3,-1,3,3]", "[3,3,[3],3,3]"])
def test_impossible_depths_are_refused(depths):
    with pytest.raises(ValueError, match=r"model\.temporal_depths=.*expected five odd numbers"):
        network("c3d", f"model.temporal_depths={depths}")


def test_a_backbone_has_none_of_c3ds_own_options():
    with pytest.raises(ValueError, match=r"model\.pool5=floor.*leave them out with model\.backbone=resnet18"):
        network("c3d", "model.pool5=floor", "model.backbone=resnet18")
