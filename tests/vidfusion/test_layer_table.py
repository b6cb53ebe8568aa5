import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from vidfusion.classifier import ClipShape, VideoClassifier
from vidfusion.layer_table import Layer, clip_inputs, layer_table, multiply_adds
from vidfusion.optimisation import TrainingConfig
from vidfusion.strategies import STRATEGIES

CLIPS = {"single_frame": (3, 0), "late_fusion": (2, 0), "slow_fusion": (11, 0), "c3d": (9, 0), "two_stream": (1, 4)}


def build(name: str, frames: int, flow_frames: int, crop: int = 32, **config: str) -> VideoClassifier:
    kind = STRATEGIES[name]
    return kind(kind.Config(**config), ClipShape(frames, flow_frames, crop, 20.0), 5, TrainingConfig())


def published(name: str, frames: int, flow_frames: int, crop: int, num_classes: int) -> VideoClassifier:
    kind, clip = STRATEGIES[name], ClipShape(frames, flow_frames, crop, 20.0)
    with torch.device("meta"):
        return kind(kind.Config(size="published"), clip, num_classes, TrainingConfig())


class Net(nn.Module):
    """Any layers and any way through them, on clips of 3 x `frames` and 2 x `flow_frames` x `crop` x `crop`."""

    def __init__(self, way: Callable, *, frames: int = 0, flow_frames: int = 0, crop: int = 32, **layers: nn.Module):
        super().__init__()
        self.clip = ClipShape(frames, flow_frames, crop, 20.0)
        self.modalities = ("rgb",) * bool(frames) + ("flow",) * bool(flow_frames)
        self.way = way
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, **clip: Tensor) -> Tensor:
        return self.way(self, **clip)


@pytest.mark.parametrize("name", CLIPS)
def test_multiply_adds_are_half_of_pytorchs_count_of_operations(name):
    model = build(name, *CLIPS[name])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(**clip_inputs(model, "cpu"))
    assert sum(multiply_adds(model).values()) * 2 == counter.get_total_flops()


def test_an_lstm_multiplies_its_input_and_its_state_in_four_gates_at_every_step():
    model = build("cnn_lstm", 6, 0)
    inputs, hidden = model.lstm.input_size, model.lstm.hidden_size
    assert multiply_adds(model)["lstm"] == 6 * 4 * hidden * (inputs + hidden)
    # Everything below and above it works on each frame.
    other = build("cnn_lstm", 3, 0)
    assert multiply_adds(model) == {layer: 2 * macs for layer, macs in multiply_adds(other).items()}


def test_a_convolution_by_hand():
    model = build("early_fusion", 4, 0)
    convs = [layer for layer in model.trunk if isinstance(layer, torch.nn.Conv3d)]
    counts = multiply_adds(model)
    first = convs[0]
    side = (32 + 2 * first.padding[1] - first.kernel_size[1]) // first.stride[1] + 1
    assert counts["trunk.0"] == first.out_channels * 3 * 4 * first.kernel_size[1] ** 2 * side**2
    weights = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    assert {f"{layer}.weight" for layer in counts} == weights


def test_counting_leaves_the_network_as_it_was():
    model = build("c3d", 8, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = multiply_adds(model)
    assert model.training and not any(layer._forward_hooks for layer in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert multiply_adds(model) == first


# -- the tables of the papers and of the lecture -----------------------------------------------------------------------


def rows(table: list[Layer], *columns: str) -> list[tuple]:
    """Some columns of all rows but norms'."""
    return [tuple(getattr(layer, column) for column in columns) for layer in table if layer.kind != "norm"]


def test_c3d_is_the_published_table():
    model = published("c3d", 16, 0, 112, 101)
    table = layer_table(model)
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
    found = rows(table, "kind", "output", "parameters", "multiply_adds", "receptive_field")
    assert [(*row[:3], round(row[3] / 1e6, 1), row[4]) for row in found] == expected
    kernels = [(layer.kernel, layer.stride) for layer in table]
    first, last = ((1, 2, 2), (1, 2, 2)), ((2, 2, 2), (2, 2, 2))
    assert [k for k, layer in zip(kernels, table, strict=True) if layer.kind == pool] == [first, last, last, last, last]
    assert {k for k, layer in zip(kernels, table, strict=True) if layer.kind == conv} == {((3, 3, 3), (1, 1, 1))}
    assert {k for k, layer in zip(kernels, table, strict=True) if layer.kind == fc} == {(None, None)}
    assert all(
        layer.clipped == tuple(map(min, layer.receptive_field, (16, 112, 112))) and layer.modalities == ("rgb",)
        for layer in table
    )
    assert sum(layer.parameters for layer in table) == 78_409_573
    assert sum(layer.multiply_adds for layer in table) == 38_547_378_176


KARPATHY_FIELDS = [11, 14, 38, 44, 68, 92, 116, 128]  # conv1 pool1 conv2 pool2 conv3 conv4 conv5 pool5
KARPATHY_SIZES = [(96, 54), (96, 27), (256, 27), (256, 14), (384, 14), (384, 14), (256, 14), (256, 7)]


@pytest.mark.parametrize(
    ("name", "frames", "times", "fields", "fc6", "parameters", "macs"),
    [
        # T of the eight outputs, frames that they see, frames that fc6 sees, and the totals at 487 classes
        ("single_frame", 1, [1] * 8, [1] * 8, 1, 73_908_071, 1.227),
        ("early_fusion", 10, [1] * 8, [10] * 8, 10, 74_221_703, 2.141),
        ("late_fusion", 2, [2] * 8, [1] * 8, 2, 125_288_295, 2.434),
        ("slow_fusion", 10, [4, 4, 2, 2, 1, 1, 1, 1], [4, 4, 6, 6, 10, 10, 10, 10], 10, 75_511_751, 4.268),
    ],
)
def test_karpathys_networks_are_the_published_tables(name, frames, times, fields, fc6, parameters, macs):
    model = published(name, frames, 0, 170, 487)
    table = layer_table(model)
    *trunk, first, second, last = rows(table, "output", "receptive_field")
    sizes = [(channels, t, side, side) for (channels, side), t in zip(KARPATHY_SIZES, times, strict=True)]
    seen = [(t, side, side) for t, side in zip(fields, KARPATHY_FIELDS, strict=True)]
    assert trunk == list(zip(sizes, seen, strict=True))
    assert [first[0], second[0], last[0]] == [(4096, 1, 1, 1), (4096, 1, 1, 1), (487, 1, 1, 1)]
    assert {row[1] for row in (first, second, last)} == {(fc6, 272, 272)}  # 128 + 6 * 24
    assert sum(layer.parameters for layer in table) == parameters
    assert round(sum(layer.multiply_adds for layer in table) / 1e9, 3) == macs


def test_two_streams_are_the_published_table():
    table = layer_table(published("two_stream", 1, 10, 224, 101))
    shapes = [(96, 109), (96, 54), (256, 26), (256, 13), (512, 13), (512, 13), (512, 13), (512, 6)]
    fields = [7, 11, 27, 43, 75, 107, 139, 171]
    for stream, modality, frames, parameters, macs in (
        ("spatial", "rgb", 1, 90_627_813, 1.664),
        ("temporal", "flow", 11, 90_707_781, 2.614),  # 10 flow fields lie between 11 frames
    ):
        part = [layer for layer in table if layer.name.startswith(stream)]
        assert [layer.output for layer in part[:8]] == [(c, 1, side, side) for c, side in shapes]
        assert [layer.receptive_field for layer in part[:8]] == [(frames, side, side) for side in fields]
        assert [layer.output for layer in part[8:]] == [(4096, 1, 1, 1), (2048, 1, 1, 1), (101, 1, 1, 1)]
        assert {layer.modalities for layer in part} == {(modality,)}
        assert sum(layer.parameters for layer in part) == parameters
        assert round(sum(layer.multiply_adds for layer in part) / 1e9, 3) == macs


def test_lrcn_is_the_published_table():
    table = layer_table(published("cnn_lstm", 16, 0, 227, 101))
    *trunk, fc6, lstm, classifier = rows(table, "kind", "output", "receptive_field", "parameters", "multiply_adds")
    shapes = [(96, 111), (96, 55), (384, 26), (384, 13), (512, 13), (512, 13), (384, 13), (384, 6)]
    fields = [7, 11, 27, 43, 75, 107, 139, 171]  # the same kernels and strides as the two streams'
    assert [row[1] for row in trunk] == [(channels, 16, side, side) for channels, side in shapes]
    assert [row[2] for row in trunk] == [(1, side, side) for side in fields]
    assert fc6[:3] == ("linear", (4096, 16, 1, 1), (1, 331, 331))
    assert sum(row[3] for row in (*trunk, fc6)) == 60_937_856
    assert round(sum(row[4] for row in (*trunk, fc6)) / 16e9, 3) == 1.190
    assert lstm == ("lstm", (256, 16, 1, 1), (16, 331, 331), 4_458_496, 16 * 4 * 256 * (4096 + 256))
    assert classifier[:3] == ("linear", (101, 16, 1, 1), (16, 331, 331))
    assert round(sum(layer.multiply_adds for layer in table) / 1e9, 1) == 19.1


def toy(fusion: str) -> Net:
    """The lecture's networks on 3x20x64x64."""
    extent = 3 if fusion == "3d" else 1
    kernel, padding, pool = (extent, 3, 3), (extent // 2, 1, 1), (4, 4, 4) if fusion == "3d" else (1, 4, 4)

    def way(net: Net, rgb: Tensor) -> Tensor:
        return net.layers(rgb.transpose(1, 2).flatten(1, 2).unsqueeze(2) if fusion == "early" else rgb)

    return Net(
        way,
        frames=20,
        crop=64,
        layers=nn.Sequential(
            nn.Conv3d(60 if fusion == "early" else 3, 12, kernel, padding=padding),
            nn.ReLU(),
            nn.MaxPool3d(pool),
            nn.Conv3d(12, 24, kernel, padding=padding),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
        ),
    )


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        # size, receptive field as the lecture prints it, its unclipped form, parameters, millions of multiply-adds
        (
            "late",
            [
                ((12, 20, 64, 64), (1, 3, 3), (1, 3, 3), 336, 26.54),
                ((12, 20, 16, 16), (1, 6, 6), (1, 6, 6), 0, 0),
                ((24, 20, 16, 16), (1, 14, 14), (1, 14, 14), 2_616, 13.27),
                ((24, 1, 1, 1), (20, 64, 64), (20, 74, 74), 0, 0),
            ],
        ),
        (
            "early",
            [
                ((12, 1, 64, 64), (20, 3, 3), (20, 3, 3), 6_492, 26.54),
                ((12, 1, 16, 16), (20, 6, 6), (20, 6, 6), 0, 0),
                ((24, 1, 16, 16), (20, 14, 14), (20, 14, 14), 2_616, 0.66),
                ((24, 1, 1, 1), (20, 64, 64), (20, 74, 74), 0, 0),
            ],
        ),
        (
            "3d",
            [
                ((12, 20, 64, 64), (3, 3, 3), (3, 3, 3), 984, 79.63),
                ((12, 5, 16, 16), (6, 6, 6), (6, 6, 6), 0, 0),
                ((24, 5, 16, 16), (14, 14, 14), (14, 14, 14), 7_800, 9.95),
                ((24, 1, 1, 1), (20, 64, 64), (30, 74, 74), 0, 0),
            ],
        ),
    ],
)
def test_the_lectures_toy_networks(fusion, expected):
    table = layer_table(toy(fusion))
    found = rows(table, "output", "clipped", "receptive_field", "parameters", "multiply_adds")
    assert [(*row[:4], round(row[4] / 1e6, 2)) for row in found] == expected
    assert [layer.kind for layer in table] == ["conv", "max pool", "conv", "average pool"]


@pytest.mark.parametrize(("name", "field"), [("alexnet", 195), ("vgg16", 212)])
def test_receptive_fields_of_well_known_networks(name, field):
    """As computed in Araujo et al. 2019, "Computing receptive fields of convolutional neural networks"."""
    import torchvision

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


# Frames, flow fields and pixels of clips on which some position of each layer sees as much as it can.
TINY = {
    "single_frame": (3, 0, 32),
    "early_fusion": (4, 0, 32),
    "late_fusion": (2, 0, 32),
    "slow_fusion": (11, 0, 32),
    "c3d": (20, 0, 36),
    "two_stream": (1, 3, 32),
    "cnn_lstm": (3, 0, 32),
}


@pytest.mark.parametrize("name", TINY)
def test_receptive_fields_of_strategies_are_where_gradients_come_from(name):
    model = build(name, *TINY[name])
    expected = {layer.name: layer.clipped for layer in layer_table(model)}
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


def frames_in_the_batch(net: Net, rgb: Tensor) -> Tensor:
    frames = net.pool(net.frame(rgb.transpose(1, 2).flatten(0, 1)))  # (N*T, C, H, W)
    series = frames.mean((2, 3)).unflatten(0, (len(rgb), -1)).transpose(1, 2)  # (N, C, T)
    return net.last(net.series(series).transpose(1, 2))


def frame_after_frame(net: Net, rgb: Tensor) -> Tensor:
    steps = torch.stack([net.frame(rgb[:, :, t]).flatten(1) for t in range(rgb.shape[2])], 1)  # (N, T, F)
    windows = net.step(steps).unfold(1, 4, 2).mean(-1)
    states, _ = net.lstm(net.window(windows))
    return net.last(states)


def odd_windows(net: Net, rgb: Tensor) -> Tensor:
    maps = net.causal(F.pad(rgb[:, :, ::2], (0, 0, 0, 0, 2, 0)))
    return net.adaptive(net.even(net.norm(net.dilated(maps))))


def time_as_channels(net: Net, rgb: Tensor) -> Tensor:
    early, late = rgb.chunk(2, 2)
    halves = torch.cat([net.early(early.transpose(1, 2).reshape(1, -1, *rgb.shape[3:])), net.late(late.mean(2))], 1)
    return net.last(halves.permute(0, 2, 3, 1)).movedim(-1, 1)  # a linear layer at each place


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
    "frames_in_the_batch": lambda: Net(
        frames_in_the_batch,
        frames=9,
        crop=16,
        frame=nn.Conv2d(3, 2, 3, padding=1),
        pool=nn.AvgPool2d(3, 2, 1),
        series=nn.Conv1d(2, 3, 3, 2),
        last=nn.Linear(3, 5),
    ),
    "frame_after_frame": lambda: Net(
        frame_after_frame,
        frames=10,
        crop=8,
        frame=nn.Conv2d(3, 2, 3),
        step=nn.Linear(72, 4),
        window=nn.Linear(4, 3),
        lstm=nn.LSTM(3, 4, 2, batch_first=True),
        last=nn.Linear(4, 5),
    ),
    "odd_windows": lambda: Net(
        odd_windows,
        frames=16,
        causal=nn.Conv3d(3, 4, (3, 1, 1)),
        dilated=nn.Conv3d(4, 4, 3, padding=(0, 2, 2), dilation=(1, 2, 2), groups=2),
        norm=nn.LocalResponseNorm(3),
        even=nn.AvgPool3d((1, 4, 4), (1, 3, 3), ceil_mode=True),
        adaptive=nn.AdaptiveAvgPool3d((2, 1, 11)),
    ),
    "time_as_channels": lambda: Net(
        time_as_channels,
        frames=6,
        crop=12,
        early=nn.Conv2d(9, 2, 3, padding=1),
        late=nn.Conv2d(3, 2, 5, padding=2),
        last=nn.Linear(4, 3),
    ),
}


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("name", NETS)
def test_receptive_fields_of_any_network_are_where_gradients_come_from(name):
    model = NETS[name]()
    modules = dict(model.named_modules())
    table = layer_table(model)
    expected = {layer.name: layer.clipped for layer in table if layer.name in modules}
    assert set(expected) >= {name for name, layer in modules.items() if isinstance(layer, nn.Conv2d | nn.Conv3d)}
    assert extents_by_gradient(model, list(expected)) == expected
    assert sum(layer.parameters for layer in table) == sum(parameter.numel() for parameter in model.parameters())


# -- what rows there are -----------------------------------------------------------------------------------------------


def test_pooling_without_a_module_has_a_row_of_its_own():
    found = {
        layer.name: (layer.kind, layer.kernel, layer.output, layer.clipped)
        for layer in layer_table(NETS["two_resolutions"]())
    }
    assert list(found)[:3] == ["fovea.0", "fovea.1", "avg_pool3d"]
    assert found["avg_pool3d"] == ("average pool", (1, 2, 2), (3, 1, 16, 16), (1, 2, 2))
    assert found["fovea.1"][-1] == (1, 6, 6)
    assert found["last"][-1] == (1, 32, 32)
    found = {
        layer.name: (layer.kind, layer.kernel, layer.output, layer.clipped)
        for layer in layer_table(NETS["frame_after_frame"]())
    }
    assert found["mean"] == ("average pool", (4, 1, 1), (4, 4, 1, 1), (4, 8, 8))


def test_a_fovea_sees_no_more_than_what_it_is_given():
    net = Net(lambda net, rgb: net.last(rgb[..., 8:24, 8:24].flatten(1)), frames=1, last=nn.Linear(3 * 16 * 16, 2))
    (layer,) = layer_table(net)
    assert layer.receptive_field == layer.clipped == (1, 16, 16)


def test_a_layer_that_the_clip_passes_again_is_one_row():
    net = NETS["frame_after_frame"]()
    layer = next(layer for layer in layer_table(net) if layer.name == "frame")
    assert layer.output == (2, 10, 6, 6)  # once for each frame
    assert layer.multiply_adds == 10 * 2 * 27 * 36
    assert layer.parameters == 2 * 27 + 2


def test_parameters_that_the_clip_does_not_pass_are_listed():
    net = Net(lambda net, rgb: net.used(rgb), frames=2, used=nn.Conv3d(3, 2, 1), unused=nn.Linear(4, 5))
    used, unused = layer_table(net)
    assert (used.name, used.kind, used.parameters) == ("used", "conv", 8)
    assert (unused.name, unused.kind, unused.parameters, unused.multiply_adds) == ("unused", "parameters", 25, 0)


def test_shared_parameters_count_once():
    first, second = nn.Linear(48, 48), nn.Linear(48, 48)
    second.weight = first.weight
    net = Net(lambda net, rgb: net.second(net.first(rgb.flatten(1))), frames=1, crop=4, first=first, second=second)
    assert [layer.parameters for layer in layer_table(net)] == [48 * 48 + 48, 48]


def test_what_cannot_be_followed_sees_everything():
    def way(net: Net, rgb: Tensor) -> Tensor:
        return net.conv(rgb[:, :, torch.tensor([3, 0, 1, 2], device=rgb.device)])

    (layer,) = layer_table(Net(way, frames=4, crop=8, conv=nn.Conv3d(3, 2, 1)))
    assert layer.clipped == (4, 8, 8)


def test_activations_dropout_and_flattening_have_no_row():
    model = build("cnn_lstm", 3, 0)
    modules = dict(model.named_modules())
    names = {layer.name for layer in layer_table(model)}
    assert not [name for name in names if isinstance(modules.get(name), nn.ReLU | nn.Dropout | nn.Flatten)]


def test_pooling_two_resolutions_side_by_side_has_a_row():
    model = build("single_frame", 1, 0, resolution="multires")
    pool = next(layer for layer in layer_table(model) if layer.name == "head.0")
    assert (pool.kind, pool.kernel, pool.clipped) == ("average pool", (1, 8, 8), (1, 32, 32))


def test_a_compiled_network_has_the_same_table():
    model = build("early_fusion", 4, 0)
    before = layer_table(model)
    model.compile()
    assert layer_table(model) == before
