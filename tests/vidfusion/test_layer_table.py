"""The table of layers: counts by hand, published tables, and receptive fields against what gradients say."""

import copy
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from tests.factories import network, parameters
from vidfusion.layer_table import clip_inputs, layer_table, multiply_adds
from vidfusion.settings import ClipShape


class Net(nn.Module):
    """Any layers and any way through them, on clips of 3 x `frames` x `crop` x `crop`."""

    def __init__(self, way: Callable, *, frames: int, crop: int = 32, **layers: nn.Module):
        super().__init__()
        self.clip, self.modalities, self.way = ClipShape(frames, 0, crop, 20.0), ("rgb",), way
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, **clip: Tensor) -> Tensor:
        return self.way(self, **clip)


# -- multiply-adds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["single_frame", "c3d", "two_stream"])
def test_multiply_adds_are_half_of_pytorchs_count_of_operations(preset):
    model = network(preset)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(**clip_inputs(model, "cpu"))
    assert sum(multiply_adds(model).values()) * 2 == counter.get_total_flops()


def test_an_lstm_multiplies_its_input_and_its_state_in_four_gates_at_every_step():
    model = network("cnn_lstm", frames=6)
    inputs, hidden = model.rgb.lstm.input_size, model.rgb.lstm.hidden_size
    assert multiply_adds(model)["rgb.lstm"] == 6 * 4 * hidden * (inputs + hidden)


def test_counting_leaves_the_network_as_it_was():
    model = network("early_fusion")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table = layer_table(model)
    assert model.training and not any(layer._forward_hooks for layer in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.compile()
    assert layer_table(model) == table


# -- published tables --------------------------------------------------------------------------------------------------


def test_c3d_is_the_published_table():
    table = layer_table(network("c3d", "model.size=published", classes=101, device="meta"))
    conv, pool, fc = "conv", "max pool", "linear"
    expected = [  # kind, output, parameters, millions of multiply-adds, receptive field
        (conv, (64, 16, 112, 112), 5_248, 1_040.4, (3, 3, 3)),
        (pool, (64, 16, 56, 56), 0, 0, (3, 4, 4)),
        (conv, (128, 16, 56, 56), 221_312, 11_098.1, (5, 8, 8)),
        (pool, (128, 8, 28, 28), 0, 0, (6, 10, 10)),
        (conv, (256, 8, 28, 28), 884_992, 5_549.1, (10, 18, 18)),
        (conv, (256, 8, 28, 28), 1_769_728, 11_098.1, (14, 26, 26)),
        (pool, (256, 4, 14, 14), 0, 0, (16, 30, 30)),
        (conv, (512, 4, 14, 14), 3_539_456, 2_774.5, (24, 46, 46)),
        (conv, (512, 4, 14, 14), 7_078_400, 5_549.1, (32, 62, 62)),
        (pool, (512, 2, 7, 7), 0, 0, (36, 70, 70)),
        (conv, (512, 2, 7, 7), 7_078_400, 693.6, (52, 102, 102)),
        (conv, (512, 2, 7, 7), 7_078_400, 693.6, (68, 134, 134)),
        (pool, (512, 1, 4, 4), 0, 0, (76, 150, 150)),
        (fc, (4096, 1, 1, 1), 33_558_528, 33.6, (76, 246, 246)),  # the 4x4 places of pool5 are 32 pixels apart
        (fc, (4096, 1, 1, 1), 16_781_312, 16.8, (76, 246, 246)),
        (fc, (101, 1, 1, 1), 413_797, 0.4, (76, 246, 246)),
    ]
    found = [(row.kind, row.output, row.parameters, row.multiply_adds, row.receptive_field) for row in table]
    assert [(*row[:3], round(row[3] / 1e6, 1), row[4]) for row in found] == expected
    windows = {kind: {(row.kernel, row.stride) for row in table if row.kind == kind} for kind in (conv, pool, fc)}
    pools = {((1, 2, 2), (1, 2, 2)), ((2, 2, 2), (2, 2, 2))}
    assert windows == {conv: {((3, 3, 3), (1, 1, 1))}, pool: pools, fc: {(None, None)}}
    assert all(row.clipped == tuple(map(min, row.receptive_field, (16, 112, 112))) for row in table)


@pytest.mark.parametrize(("name", "field"), [("alexnet", 195), ("vgg16", 212)])
def test_receptive_fields_of_well_known_networks(name, field):
    """As computed in Araujo et al. 2019, "Computing receptive fields of convolutional neural networks"."""
    with torch.device("meta"):
        features = torchvision.models.get_model(name).features
    table = layer_table(Net(lambda net, rgb: net.features(rgb.squeeze(2)), frames=1, crop=224, features=features))
    assert table[-1].receptive_field == (1, field, field)


# -- against what gradients say ----------------------------------------------------------------------------------------


def positive(model: nn.Module) -> nn.Module:
    """A copy through which each input that a layer can see has a gradient: positive weights, means for maxima."""
    model = copy.deepcopy(model).double().eval()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.MaxPool3d):
                pool = nn.AvgPool3d(child.kernel_size, child.stride, child.padding, ceil_mode=child.ceil_mode)
                setattr(parent, name, pool)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(0.5, 1).div_(parameter[0].numel() if parameter.ndim > 1 else 1)
    return model


def extents_by_gradient(model: nn.Module, names: list[str]) -> dict[str, tuple[int, int, int]]:
    """The largest t, h, w between the inputs with a gradient at one position of each module's output."""
    model, outputs = positive(model), {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda layer, inputs, output, name=name: outputs.update({name: output})
        )
    torch.manual_seed(0)
    clip = {name: torch.rand(x.shape).double().requires_grad_() for name, x in clip_inputs(model, "cpu").items()}
    model(**clip)
    extents = {}
    for name, output in outputs.items():
        features_last = isinstance(model.get_submodule(name), nn.Linear | nn.LSTM)
        places = output[0] if isinstance(output, tuple) else output
        places = places if features_last else places.movedim(1, -1)
        count, largest = max(places.shape[:-1]), [0, 0, 0]
        for index in range(count) if count < 9 else (count // 2 - 1, count // 2, count // 2 + 1):
            place = places[tuple(index * size // count for size in places.shape[:-1])].sum()
            gradients = torch.autograd.grad(place, list(clip.values()), retain_graph=True, allow_unused=True)
            for modality, gradient in zip(clip, gradients, strict=True):
                if gradient is None:
                    continue
                for axis, other in enumerate(((0, 1, 3, 4), (0, 1, 2, 4), (0, 1, 2, 3))):
                    seen = gradient.ne(0).sum(other).nonzero().flatten().tolist()
                    extent = seen[-1] - seen[0] + 1 if seen else 0
                    extent += bool(seen) and axis == 0 and modality == "flow"  # a field lies between two frames
                    largest[axis] = max(largest[axis], extent)
        extents[name] = tuple(largest)
    return extents


# Clips on which some position of each layer sees as much as it can.
CLIPS = {
    "single_frame": {"frames": 3},
    "early_fusion": {"frames": 4},
    "late_fusion": {},
    "slow_fusion": {"frames": 11},
    "c3d": {"frames": 20, "crop": 36},
    "two_stream": {"flow_frames": 3},
    "cnn_lstm": {"frames": 3, "flow_frames": 3, "snippets": 3},
    "conv3d_lstm": {"frames": 18, "snippets": 2},
    "tsn": {"frames": 2, "flow_frames": 6, "snippets": 2},
    "snippets_pool": {"frames": 3},
    "lecture_early": {"frames": 4, "crop": 24},
}


@pytest.mark.parametrize("preset", CLIPS)
def test_receptive_fields_of_strategies_are_where_gradients_come_from(preset):
    model = network(preset, **CLIPS[preset])
    modules = dict(model.named_modules())
    expected = {row.name: row.clipped for row in layer_table(model) if row.name in modules}
    assert extents_by_gradient(model, list(expected)) == expected


class Residual(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, width, 3, stride, padding=1)
        self.conv2 = nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1))
        self.short = nn.Conv3d(channels, width, 1, stride)

    def forward(self, maps: Tensor) -> Tensor:
        out = self.conv2(self.conv1(maps).relu_())
        out += self.short(maps)
        return out.relu_()


def branches(net: Net, rgb: Tensor) -> Tensor:
    maps = net.conv(rgb)
    return net.last(torch.cat([net.one(maps), net.three(maps), net.pool(maps)], 1))


def two_resolutions(net: Net, rgb: Tensor) -> Tensor:
    fovea, context = net.fovea(rgb[..., 8:24, 8:24]), net.context(F.avg_pool3d(rgb, (1, 2, 2)))
    return net.last(torch.cat([fovea, context], 1).flatten(1))


NETS = {
    "residual": lambda: Net(
        lambda net, rgb: net.blocks(rgb),
        frames=16,
        blocks=nn.Sequential(nn.Conv3d(3, 2, 3, padding=1), Residual(2, 3, 2), Residual(3, 2, 1), Residual(2, 2, 2)),
    ),
    "branches": lambda: Net(
        branches,
        frames=8,
        crop=24,
        conv=nn.Conv3d(3, 2, (1, 3, 3), (1, 2, 2)),
        one=nn.Conv3d(2, 2, 1),
        three=nn.Sequential(nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 3, padding=1)),
        pool=nn.MaxPool3d((1, 3, 3), 1, (0, 1, 1)),
        last=nn.Conv3d(6, 2, 3, 2, padding=1),
    ),
    "two_resolutions": lambda: Net(
        two_resolutions,
        frames=1,
        fovea=nn.Sequential(nn.Conv3d(3, 2, (1, 3, 3), padding=(0, 1, 1)), nn.MaxPool3d((1, 4, 4))),
        context=nn.Sequential(nn.Conv3d(3, 2, (1, 3, 3), padding=(0, 1, 1)), nn.MaxPool3d((1, 4, 4))),
        last=nn.Linear(2 * 2 * 16, 5),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_receptive_fields_of_branching_networks_are_where_gradients_come_from(name):
    model = NETS[name]()
    modules = dict(model.named_modules())
    expected = {row.name: row.clipped for row in layer_table(model) if row.name in modules}
    assert extents_by_gradient(model, list(expected)) == expected


def test_what_cannot_be_followed_sees_everything():
    layers = layer_table(Net(lambda net, rgb: net.conv(rgb.roll(1, 2)), frames=4, crop=8, conv=nn.Conv3d(3, 2, 1)))
    assert layers[0].clipped == (4, 8, 8)


# -- what rows there are -----------------------------------------------------------------------------------------------


def test_pooling_without_a_module_has_a_row_of_its_own():
    found = {
        row.name: (row.kind, row.kernel, row.output, row.clipped) for row in layer_table(NETS["two_resolutions"]())
    }
    assert list(found)[:3] == ["fovea.0", "fovea.1", "avg_pool3d"]
    assert found["avg_pool3d"] == ("average pool", (1, 2, 2), (3, 1, 16, 16), (1, 2, 2))
    rows = [row for row in layer_table(network("snippets_pool", "model.pooling=slow")) if row.name.startswith("amax")]
    assert [(row.name, row.kernel, row.output, row.clipped) for row in rows] == [
        ("amax", (10, 1, 1), (2048, 2, 1, 1), (10, 32, 32)),
        ("amax_2", (2, 1, 1), (128, 1, 1, 1), (15, 32, 32)),
    ]


def test_a_fovea_sees_no_more_than_what_it_is_given():
    net = Net(lambda net, rgb: net.last(rgb[..., 8:24, 8:24].flatten(1)), frames=1, last=nn.Linear(3 * 16 * 16, 2))
    (layer,) = layer_table(net)
    assert layer.receptive_field == layer.clipped == (1, 16, 16)


def test_a_layer_that_the_clip_passes_again_is_one_row():
    def frame_after_frame(net: Net, rgb: Tensor) -> Tensor:
        return torch.stack([net.frame(rgb[:, :, t]) for t in range(rgb.shape[2])], 2)

    (layer,) = layer_table(Net(frame_after_frame, frames=10, crop=8, frame=nn.Conv2d(3, 2, 3)))
    assert (layer.output, layer.clipped) == ((2, 10, 6, 6), (1, 3, 3))
    assert (layer.multiply_adds, layer.parameters) == (10 * 2 * 27 * 36, 2 * 27 + 2)


def test_each_parameter_is_listed_once_also_where_no_clip_passes_it():
    first, second = nn.Linear(48, 48), nn.Linear(48, 48)
    second.weight = first.weight
    layers = {"first": first, "second": second, "unused": nn.Linear(4, 5)}
    net = Net(lambda net, rgb: net.second(net.first(rgb.flatten(1))), frames=1, crop=4, **layers)
    rows = [(row.name, row.kind, row.parameters) for row in layer_table(net)]
    assert rows == [("first", "linear", 48 * 48 + 48), ("second", "linear", 48), ("unused", "parameters", 25)]
    assert sum(count for *_, count in rows) == parameters(net)
