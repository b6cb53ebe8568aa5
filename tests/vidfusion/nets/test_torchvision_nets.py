"""torchvision's networks as 3-D layers, against torchvision's own."""

from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from tests.factories import clips_of, network, one_hot
from vidfusion.nets.choice import load_imagenet
from vidfusion.nets.torchvision_nets import TorchvisionTrunk

NETWORKS = ["resnet18", "alexnet", "googlenet"]
FUSIONS = ["single_frame", "late_fusion", "slow_fusion", "c3d", "two_stream", "cnn_lstm"]


def original(name: str) -> nn.Module:
    """torchvision's network with weights of a fixed draw."""
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None, **options)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):  # statistics that matter
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.8, 1.2)
    return network.eval()


def features(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """What enters torchvision's final pooling."""
    found: list[torch.Tensor] = []
    network.avgpool.register_forward_pre_hook(lambda layer, inputs: found.append(inputs[0]))
    with torch.no_grad():
        network(image)
    return found[0]


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """Weights of that name as if they had been downloaded before."""

    def put(name: str) -> nn.Module:
        network = original(name)
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        url = torchvision.models.get_model_weights(name)["DEFAULT"].url
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        torch.save(network.state_dict(), tmp_path / "checkpoints" / url.rpartition("/")[2])
        return network

    return put


@pytest.mark.parametrize("name", NETWORKS)
def test_a_frame_gives_torchvisions_features(name, cached):
    network = cached(name)
    trunk = TorchvisionTrunk(name, 3)
    trunk.load_imagenet("DEFAULT")
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = trunk.eval()(image.unsqueeze(2))
    torch.testing.assert_close(found[:, :, 0], features(network, image), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "extents"), [("resnet18", ((4, 2), (2, 2), (2, 2))), ("googlenet", ((10, 1),))])
def test_a_still_clip_gives_its_frames_features(name, extents, cached):
    network = cached(name)
    trunk = TorchvisionTrunk(name, 3, extents)
    trunk.load_imagenet("DEFAULT")
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = trunk.eval()(image.unsqueeze(2).expand(-1, -1, 10, -1, -1))
    assert found.shape[2] == 1
    torch.testing.assert_close(found[:, :, 0], features(network, image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "frames"), list(zip(NETWORKS, (2, 3, 2), strict=True)))
def test_inflated_kernels_reach_into_time_and_the_stem_keeps_it(name, frames):
    with torch.device("meta"):
        trunk = TorchvisionTrunk(name, 3, inflate=True)
        first = next(layer for layer in trunk.modules() if isinstance(layer, nn.Conv3d))
        assert trunk(torch.empty(1, 3, 16, 224, 224)).shape[2] == frames
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv3d):
            assert layer.kernel_size[0] == (3 if layer.kernel_size[1] > 1 else 1)
            assert layer.padding[0] == layer.kernel_size[0] // 2
            assert layer.stride[0] == (1 if layer is first else layer.stride[1])
    pools = [layer for layer in trunk.modules() if isinstance(layer, nn.MaxPool3d)]
    assert pools[0].kernel_size[0] == 1 and all(pool.kernel_size[0] == pool.kernel_size[1] for pool in pools[1:])


@pytest.mark.parametrize("preset", FUSIONS)
def test_every_way_of_fusion_takes_the_same_backbone(preset):
    model = network(preset, "model.backbone=resnet18")
    model.loss(model(**clips_of(model)), one_hot(0, 1)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    trunks = [layer for layer in model.modules() if isinstance(layer, TorchvisionTrunk)]
    assert len(trunks) == max(1, len(model.streams))
    assert model.net.mean == pytest.approx((123.675, 116.28, 103.53))


def test_slow_fusion_steps_through_time_where_resnet_halves_space():
    model = network("slow_fusion", "model.backbone=resnet50", device="meta")
    times = {}
    for name in ("conv1", "layer1", "layer2", "layer3", "layer4"):
        getattr(model.trunk, name).register_forward_hook(
            lambda layer, inputs, output, name=name: times.update({name: output.shape[2]})
        )
    with torch.no_grad():
        model.eval()(torch.empty(1, 3, 10, 32, 32, device="meta"))
    assert times == {"conv1": 4, "layer1": 4, "layer2": 2, "layer3": 1, "layer4": 1}


def test_only_the_stream_that_sees_colours_takes_imagenets_weights(cached):
    original_net = cached("resnet18")
    model = network("two_stream", "model.backbone=resnet18", "model.pretrained=DEFAULT")
    before = model.temporal[0].layer1[0].conv1.weight.clone()
    load_imagenet(model, "DEFAULT")
    assert torch.equal(model.spatial[0].conv1.weight[:, :, 0], original_net.conv1.weight)
    assert torch.equal(model.temporal[0].layer1[0].conv1.weight, before)
    assert model.temporal[0].conv1.in_channels == 20


def test_mistakes_are_named(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"model\.backbone=resnet17: .*Did you mean resnet1"):
        network("single_frame", "model.backbone=resnet17")
    with pytest.raises(ValueError, match=r"model\.pretrained=DEFAULT: only a model\.backbone"):
        network("single_frame", "model.pretrained=DEFAULT")
    trunk = TorchvisionTrunk("resnet18", 3)
    with pytest.raises(ValueError, match=r"model\.pretrained=BEST: resnet18 has IMAGENET1K_V1, DEFAULT"):
        trunk.load_imagenet("BEST")

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(OSError, match=rf"download https.*resnet18.*\(no route\); copy that file into {tmp_path}"):
        trunk.load_imagenet("DEFAULT")
