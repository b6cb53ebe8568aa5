"""Files of weights that tests make: the public ports' layouts, written out from their sources, and a run's."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.settings.compose import compose
from vidfusion.classifier import VideoClassifier
from vidfusion.nets.c3d import NETS
from vidfusion.settings import TrainingConfig
from vidfusion.weights import load_weights

CLASSES = 5
NARROW = dataclasses.replace(
    NETS["published"], stages=((3,), (4,), (5, 6), (6, 7), (7, 8)), fc=(9, 10), crop=48
)  # its last maps are 3x3: pool5 makes 2x2 of them, with other windows by each setting but `floor`

# Layers in the ports' own names and order, and the input that their weights were trained on.
KEYS = {
    "c3d-pytorch": [
        *("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7", "fc8"),
    ],
    "mmaction2": [
        *("backbone.conv1a.conv", "backbone.conv2a.conv", "backbone.conv3a.conv", "backbone.conv3b.conv"),
        *("backbone.conv4a.conv", "backbone.conv4b.conv", "backbone.conv5a.conv", "backbone.conv5b.conv"),
        *("backbone.fc6", "backbone.fc7", "cls_head.fc_cls"),
    ],
    "mmaction2-backbone": [
        *("conv1a.conv", "conv2a.conv", "conv3a.conv", "conv3b.conv"),
        *("conv4a.conv", "conv4b.conv", "conv5a.conv", "conv5b.conv", "fc6", "fc7"),
    ],
}
INPUTS = {
    "c3d-pytorch": {"pool5": "padded", "channel_order": "bgr", "mean": [90.25, 97.66, 101.41], "std": [1.0] * 3},
    "mmaction2": {"pool5": "padded", "channel_order": "rgb", "mean": [104.0, 117.0, 128.0], "std": [1.0] * 3},
}
INPUTS["mmaction2-backbone"] = INPUTS["mmaction2"]
PUBLISHED = [
    *((64, 3, 3, 3, 3), (128, 64, 3, 3, 3), (256, 128, 3, 3, 3), (256, 256, 3, 3, 3), (512, 256, 3, 3, 3)),
    *(3 * [(512, 512, 3, 3, 3)]),
    *((4096, 8192), (4096, 4096)),
]
every_port = pytest.mark.parametrize("port", KEYS)


def build(preset: str = "c3d", classes: int = CLASSES, seed: int = 0, **config: object) -> VideoClassifier:
    config = {"size": "small" if preset == "c3d" else "tiny"} | config
    lists = {name: f"[{','.join(map(str, value))}]" for name, value in config.items() if isinstance(value, list)}
    settings = {name: value for name, value in (config | lists).items() if value is not None}
    run = compose([f"strategy={preset}", *(f"model.{name}={value}" for name, value in settings.items())])
    torch.manual_seed(seed)
    return run.strategy_class(run.model, run.clip_shape(), classes, TrainingConfig())


def weights_of(model: VideoClassifier) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def port_state(port: str, classes: int = CLASSES) -> dict[str, Tensor]:
    """Random weights of NARROW in a port's layout."""
    generator, shapes, channels = torch.Generator().manual_seed(7), [], 3
    for width in (width for stage in NARROW.stages for width in stage):
        shapes.append((width, channels, 3, 3, 3))
        channels = width
    shapes += [(9, 8 * 2 * 2), (10, 9), (classes, 10)]
    state = {}
    for name, shape in zip(KEYS[port], shapes, strict=False):
        scale = (2 / torch.Size(shape[1:]).numel()) ** 0.5
        state[f"{name}.weight"] = scale * torch.randn(shape, generator=generator)
        state[f"{name}.bias"] = torch.randn(shape[0], generator=generator)
    return state


def functional_c3d(state: dict[str, Tensor], port: str, clips: Tensor, windows: dict) -> Tensor:
    """The ports' network with `windows` for the last pool, in float64: (N, 3, T, H, W) -> logits (N, C)."""
    layers = [(state[f"{name}.weight"].double(), state[f"{name}.bias"].double()) for name in KEYS[port]]
    maps = clips.double()
    for index, (weight, bias) in enumerate(layers[:8]):
        maps = F.relu(F.conv3d(maps, weight, bias, stride=1, padding=1))
        if index == 0:
            maps = F.max_pool3d(maps, (1, 2, 2), (1, 2, 2))
        elif index in (1, 3, 5):
            maps = F.max_pool3d(maps, 2, 2)
        elif index == 7:
            maps = F.max_pool3d(maps, 2, 2, **windows)
    features = maps.flatten(1)
    for weight, bias in layers[8:10]:
        features = F.relu(F.linear(features, weight, bias))
    return F.linear(features, *layers[10])


def saved(folder, content: object, **how: bool):
    torch.save(content, folder / "weights.pth", **how)
    return folder / "weights.pth"


def refused(model: VideoClassifier, path) -> str:
    """The one-line message with which a file is refused; the network is left as it was."""
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"^model\.weights=") as caught:
        load_weights(model, path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert equal(before, weights_of(model))
    return message
