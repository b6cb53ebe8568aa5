from dataclasses import replace

import pytest
import torch
from torch import nn

from vidfusion.nets.blocks import classifier_head, feature_shape, frame_cnn
from vidfusion.nets.cnn_m import CNN_M_2048
from vidfusion.nets.frame_net import Conv, FrameNet
from vidfusion.nets.karpathy import KARPATHY
from vidfusion.nets.lrcn import LRCN_HYBRID

PUBLISHED = {"karpathy": KARPATHY["published"], "cnn_m_2048": CNN_M_2048["published"], "lrcn": LRCN_HYBRID}


@pytest.mark.parametrize(
    ("net", "kinds"),
    [
        ("cnn_m_2048", "conv relu norm pool conv relu norm pool conv relu conv relu conv relu pool"),
        ("lrcn", "conv relu pool norm conv relu pool norm conv relu conv relu conv relu pool"),
    ],
)
def test_published_layers_come_in_the_published_order(net, kinds):
    names = {nn.Conv3d: "conv", nn.ReLU: "relu", nn.MaxPool3d: "pool", nn.LocalResponseNorm: "norm"}
    with torch.device("meta"):
        layers = frame_cnn(PUBLISHED[net], 3)
    assert [next(names[kind] for kind in names if isinstance(layer, kind)) for layer in layers] == kinds.split()


@pytest.mark.parametrize(
    ("net", "alpha", "beta", "k"),
    # Krizhevsky's alpha, which multiplies the plain sum over 5 channels; Caffe's 1e-4 of LRCN is five times smaller.
    [("karpathy", 1e-4, 0.5, 2.0), ("cnn_m_2048", 1e-4, 0.75, 2.0), ("lrcn", 2e-5, 0.75, 1.0)],
)
def test_local_response_norm_is_krizhevskys_formula(net, alpha, beta, k):
    norm = next(layer for layer in frame_cnn(PUBLISHED[net], 3) if isinstance(layer, nn.LocalResponseNorm))
    maps = 100 * torch.randn(2, 7, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.empty_like(maps)
    for channel in range(7):
        near = maps[:, max(channel - 2, 0) : channel + 3]
        expected[:, channel] = maps[:, channel] / (k + alpha * near.square().sum(1)) ** beta
    found = norm(maps)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert found.dtype == torch.float64
    assert not torch.allclose(found, maps / k**beta, rtol=1e-2), "the sum matters at this scale"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_local_response_norm_computes_in_float32_under_mixed_precision(dtype):
    norm = next(layer for layer in frame_cnn(KARPATHY["small"], 3) if isinstance(layer, nn.LocalResponseNorm))
    maps = (1000 * torch.randn(1, 6, 1, 3, 3, generator=torch.Generator().manual_seed(0))).to(dtype)
    found = norm(maps)  # 1000 squared is beyond float16
    assert found.dtype == dtype
    assert torch.equal(found, norm(maps.float()).to(dtype))


def test_pooling_keeps_the_ragged_edge():
    pool = frame_cnn(FrameNet(convs=(Conv(1, 1, pool=(2, 2)),), fc=(), resize=(7, 7), crop=7), 1)[-1]
    edge = pool(torch.arange(7.0).expand(1, 1, 1, 7, 7))[0, 0, 0, 0]
    assert edge.tolist() == [1, 3, 5, 6]  # windows {0,1} {2,3} {4,5} {6}, as Caffe's, and no padding


def test_feature_shape_is_the_shape_and_leaves_the_module_alone():
    net = FrameNet(convs=(Conv(4, 3, norm=True, pool=(3, 2)), Conv(6, 3)), fc=(), resize=(16, 16), crop=16)
    layers = frame_cnn(net, 3)
    assert feature_shape(layers, (3, 2, 16, 16)) == layers(torch.rand(1, 3, 2, 16, 16)).shape[1:]
    assert layers.training and all(parameter.device.type == "cpu" for parameter in layers.parameters())


def test_a_crop_of_which_nothing_is_left_is_refused():
    layers = frame_cnn(FrameNet(convs=(Conv(4, 3, pool=(2, 2)), Conv(6, 5)), fc=(), resize=(9, 9), crop=9), 3)
    with pytest.raises(ValueError, match=r"sampling\.crop=9 is too small"):
        feature_shape(layers, (3, 1, 9, 9))


def test_heads():
    maps = torch.rand(2, 5, 1, 3, 3)
    net = FrameNet(convs=(), fc=(), resize=(3, 3), crop=3, dropout=0.0)
    averaging = classifier_head(nn.Identity(), net, maps.shape[1:], 4)
    torch.testing.assert_close(averaging(maps), averaging[-1](maps.mean((2, 3, 4))))
    connected = classifier_head(nn.Identity(), replace(net, fc=(8, 7), dropout=0.25), maps.shape[1:], 4)
    linear = [layer for layer in connected if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(45, 8), (8, 7), (7, 4)]
    assert [layer.p for layer in connected if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    assert isinstance(connected[-1], nn.Linear), "logits: nothing follows the last layer"
