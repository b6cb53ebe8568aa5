import dataclasses
import inspect

import pytest
import torch
from torch import Tensor, nn

from experiments.settings.compose import compose
from experiments.settings.presets import names
from vidfusion.classifier import ClipShape, VideoClassifier
from vidfusion.layer_table import multiply_adds
from vidfusion.optimisation import TrainingConfig
from vidfusion.strategies import STRATEGIES

every_preset = pytest.mark.parametrize("preset", names("strategy"))
runnable_sizes = pytest.mark.parametrize("size", ["tiny", "small"])
CLASSES = 5


def build(
    name: str, size: str, frames: int, flow_frames: int = 0, crop: int | None = None, classes: int = CLASSES
) -> VideoClassifier:
    kind = STRATEGIES[name]
    clip = ClipShape(frames, flow_frames, crop or kind.nets[size].crop, 20.0)
    torch.manual_seed(0)
    return kind(kind.Config(size=size), clip, classes, TrainingConfig())


def built_preset(preset: str, size: str, *words: str, **changes: int) -> VideoClassifier:
    run = compose([f"strategy={preset}", f"model.size={size}", *words])
    torch.manual_seed(0)
    return run.strategy_class(run.model, run.clip_shape()._replace(**changes), CLASSES, TrainingConfig())


def little_crop(preset: str) -> int:
    """Pixels; few, but the small networks can live on them."""
    return {"two_stream": 44, "lecture": 16}.get(preset.split("_")[0], 44 if "two_stream" in preset else 32)


def exact(model: VideoClassifier) -> VideoClassifier:
    """For checks of wiring: no dropout, running statistics, 64 bits."""
    return model.eval().double()


def random_clips(model: VideoClassifier, count: int = 2, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    clip, generator = model.clip, torch.Generator().manual_seed(1)
    shapes = {"rgb": (3, clip.frames), "flow": (2, clip.flow_frames)}
    return {
        name: torch.randn(count, *shapes[name], clip.crop, clip.crop, generator=generator, dtype=dtype)
        for name in model.modalities
    }


def streams(logits: Tensor | dict[str, Tensor]) -> list[Tensor]:
    return list(logits.values()) if isinstance(logits, dict) else [logits]


def differ(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() > 1e-6)


def on_meta(name: str, size: str, frames: int, flow_frames: int, classes: int, crop: int | None) -> VideoClassifier:
    with torch.device("meta"):
        return build(name, size, frames, flow_frames, crop, classes)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# -- the contract of a strategy ------------------------------------------------------------------------------------


def test_every_strategy_has_a_preset():
    classes = {compose([f"strategy={preset}"]).strategy_class for preset in names("strategy")}
    assert classes == set(STRATEGIES.values())


@every_preset
@runnable_sizes
def test_learns_in_every_parameter(preset, size):
    model = built_preset(preset, size, crop=little_crop(preset))
    target = torch.eye(CLASSES, dtype=torch.bool)[:2]
    logits = model(**random_clips(model, dtype=torch.float32))
    assert isinstance(logits, dict) == bool(model.streams)
    if isinstance(logits, dict):
        assert tuple(logits) == model.streams
        assert all(isinstance(getattr(model, stream), nn.Module) for stream in model.streams)
    for logit in streams(logits):
        assert logit.shape in ((2, CLASSES), (2, model.clip.frames, CLASSES))
    scores = model.probabilities(logits)
    assert scores.shape == (2, len(model.rows), CLASSES)
    torch.testing.assert_close(scores.sum(-1), torch.ones(2, len(model.rows)))
    loss = model.loss(logits, target)
    assert loss.ndim == 0 and loss.isfinite()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@every_preset
@pytest.mark.parametrize("size", ["tiny", "small", "published"])
def test_every_size_takes_its_own_crop(preset, size):
    with torch.device("meta"):
        model = built_preset(preset, size)
        assert model.net.crop <= min(model.net.resize)
        logits = model.eval()(**random_clips_on_meta(model))
    assert all(logit.shape[-1] == CLASSES for logit in streams(logits))


def random_clips_on_meta(model: VideoClassifier) -> dict[str, Tensor]:
    clip = model.clip
    shapes = {"rgb": (3, clip.frames), "flow": (2, clip.flow_frames)}
    return {name: torch.empty(1, *shapes[name], clip.crop, clip.crop, device="meta") for name in model.modalities}


@pytest.mark.parametrize("name", STRATEGIES)
def test_forwards_signature_names_the_modalities(name):
    names = [parameter for parameter in inspect.signature(STRATEGIES[name].forward).parameters if parameter != "self"]
    clips = {"two_stream": (1, 10)}.get(name, (16, 0))
    assert list(build(name, "tiny", *clips).modalities) == names
    assert set(names) <= {"rgb", "flow"}


@pytest.mark.parametrize(
    ("name", "frames", "flow_frames", "least"),
    [
        ("single_frame", 0, 10, 1),
        ("early_fusion", 1, 0, 2),
        ("late_fusion", 1, 0, 2),
        ("slow_fusion", 9, 0, 10),
        ("c3d", 7, 0, 8),
        ("cnn_lstm", 1, 0, 2),
        ("two_stream", 1, 0, 1),
        ("two_stream", 2, 10, 1),
        ("snippets_lstm", 1, 0, 2),
        ("snippets_pool", 1, 0, 2),
        ("lecture", 3, 0, 4),
    ],
)
def test_too_few_frames_are_refused(name, frames, flow_frames, least):
    with pytest.raises(ValueError, match=rf"{name} needs sampling\.(flow_)?frames") as error:
        build(name, "tiny", frames, flow_frames)
    assert str(least) in str(error.value) and f"got {frames}" in str(error.value)
    assert "\n" not in str(error.value)
    if name != "two_stream":
        build(name, "tiny", least)


@pytest.mark.parametrize("name", STRATEGIES)
def test_dropout_is_the_networks_own_unless_set(name):
    kind, clips = STRATEGIES[name], {"two_stream": (1, 10)}.get(name, (16, 0))
    shape = ClipShape(*clips, kind.nets["small"].crop, 20.0)
    for given, expected in ((None, kind.nets["small"].dropout), (0.25, 0.25), (0.0, 0.0)):
        with torch.device("meta"):
            model = kind(kind.Config(size="small", dropout=given), shape, CLASSES, TrainingConfig())
        rates = {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)}
        assert rates == {expected} or (rates == set() and expected == 0)


# -- published sizes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "frames", "crop", "classes", "count", "macs"),
    [
        # Karpathy et al. 2014; Tran et al. 2015; Donahue et al. 2015 (with the two LSTM biases of PyTorch)
        ("single_frame", "published", 1, 170, 487, 73_908_071, 1.227e9),
        ("early_fusion", "published", 10, 170, 487, 74_221_703, 2.141e9),
        ("late_fusion", "published", 2, 170, 487, 125_288_295, 2.434e9),
        ("slow_fusion", "published", 10, 170, 487, 75_511_751, 4.268e9),
        ("c3d", "published", 16, 112, 101, 78_409_573, 38.547e9),
        ("c3d", "published", 16, 112, 487, 79_991_015, 38.549e9),
        ("c3d", "published", 16, 112, 51, 78_204_723, 38.547e9),
        ("cnn_lstm", "published", 16, 227, 101, 65_422_309, 19.11e9),
        ("single_frame", "small", 1, 112, 101, 4_054_533, 195e6),
        ("early_fusion", "small", 10, 112, 101, 4_118_037, 395e6),
        ("late_fusion", "small", 2, 112, 101, 7_265_797, 391e6),
        ("slow_fusion", "small", 10, 112, 101, 4_301_493, 820e6),
        ("single_frame", "small", 1, 64, 101, 1_891_845, 64e6),
        ("early_fusion", "small", 10, 64, 101, 1_955_349, 129e6),
        ("late_fusion", "small", 2, 64, 101, 2_940_421, 128e6),
        ("slow_fusion", "small", 10, 64, 101, 2_138_805, 268e6),
        ("c3d", "small", 16, 64, 101, 9_118_693, 3.23e9),
        ("c3d", "small", 16, 112, 101, 12_264_421, 9.89e9),
    ],
)
def test_parameters_and_multiply_adds(name, size, frames, crop, classes, count, macs):
    model = on_meta(name, size, frames, 0, classes, crop)
    assert parameters(model) == count
    assert sum(multiply_adds(model).values()) == pytest.approx(macs, rel=3e-3 if macs < 4e8 else 1e-3)


@pytest.mark.parametrize(
    ("size", "classes", "spatial", "temporal"),
    [
        ("published", 101, (90_627_813, 1.664e9), (90_707_781, 2.614e9)),
        ("published", 51, (90_525_363, 1.664e9), (90_605_331, 2.614e9)),
        ("small", 101, (4_573_093, 98e6), (4_613_077, 210e6)),
    ],
)
def test_parameters_and_multiply_adds_of_the_two_streams(size, classes, spatial, temporal):
    model = on_meta("two_stream", size, 1, 10, classes, None)
    costs = multiply_adds(model)
    for stream, (count, macs) in (("spatial", spatial), ("temporal", temporal)):
        assert parameters(getattr(model, stream)) == count
        found = sum(value for layer, value in costs.items() if layer.startswith(stream))
        assert found == pytest.approx(macs, rel=2e-3)
    assert parameters(model) == spatial[0] + temporal[0]


def test_a_quarter_of_c3d_and_a_small_temporal_stream_on_64_pixels(monkeypatch):
    quarter = dataclasses.replace(
        STRATEGIES["c3d"].nets["small"], stages=((16,), (32,), (64, 64), (128, 128), (128, 128)), fc=(512, 512)
    )
    monkeypatch.setitem(STRATEGIES["c3d"].nets, "small", quarter)
    model = on_meta("c3d", "small", 16, 0, 101, 64)
    assert parameters(model) == 2_307_109
    assert sum(multiply_adds(model).values()) == pytest.approx(0.85e9, rel=5e-3)
    temporal = on_meta("two_stream", "small", 1, 10, 101, 64)
    assert parameters(temporal.temporal) == 2_515_925
    found = sum(value for layer, value in multiply_adds(temporal).items() if layer.startswith("temporal"))
    assert found == pytest.approx(59e6, rel=5e-3)
    pool5 = next(layer for layer in reversed(temporal.temporal) if isinstance(layer, nn.MaxPool3d))
    shapes: list[torch.Size] = []
    pool5.register_forward_hook(lambda layer, inputs, output: shapes.append(output.shape[1:]))
    temporal.eval()(**random_clips_on_meta(temporal))
    assert shapes == [(256, 1, 1, 1)]


def test_small_cnn_lstm_is_the_single_frame_network_up_to_fc6_and_an_lstm():
    model, single = on_meta("cnn_lstm", "small", 16, 0, 101, None), on_meta("single_frame", "small", 1, 0, 101, None)
    assert [(layer.in_features, layer.out_features) for layer in model.fc6 if isinstance(layer, nn.Linear)] == [
        (6272, 512)
    ]
    assert parameters(model.trunk) == parameters(single.trunk)
    assert (model.lstm.input_size, model.lstm.hidden_size, model.lstm.num_layers) == (512, 256, 1)


@pytest.mark.parametrize(
    ("name", "frames", "conv1", "first_linear"),
    [
        ("single_frame", 1, 34_944, (12_544, 4096)),
        ("early_fusion", 10, 348_576, (12_544, 4096)),
        ("late_fusion", 2, 34_944, (25_088, 4096)),
        ("slow_fusion", 10, 139_488, (12_544, 4096)),
    ],
)
def test_what_karpathys_variants_change(name, frames, conv1, first_linear):
    model = on_meta(name, "published", frames, 0, 487, None)
    convs = [layer for layer in model.modules() if isinstance(layer, nn.Conv3d)]
    linears = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert parameters(convs[0]) == conv1
    assert (linears[0].in_features, linears[0].out_features) == first_linear
    assert len(convs) == 5 and len(linears) == 3


def layer_outputs(model: VideoClassifier, kinds: type | tuple[type, ...]) -> list[Tensor]:
    """What each layer of these kinds makes of one clip, in the order of the computation."""
    found: list[Tensor] = []
    for layer in model.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(lambda layer, inputs, output: found.append(output))
    model.eval()(**random_clips_on_meta(model))
    return found


def test_c3d_has_the_published_layer_sizes():
    model = on_meta("c3d", "published", 16, 0, 101, None)
    shapes = [tuple(output.shape[1:]) for output in layer_outputs(model, (nn.Conv3d, nn.MaxPool3d))]
    assert shapes == [
        (64, 16, 112, 112), (64, 16, 56, 56),
        (128, 16, 56, 56), (128, 8, 28, 28),
        (256, 8, 28, 28), (256, 8, 28, 28), (256, 4, 14, 14),
        (512, 4, 14, 14), (512, 4, 14, 14), (512, 2, 7, 7),
        (512, 2, 7, 7), (512, 2, 7, 7), (512, 1, 4, 4),
    ]  # fmt: skip


def test_c3d_pools_like_caffe():
    pools = [layer for layer in on_meta("c3d", "published", 16, 0, 5, None).trunk if isinstance(layer, nn.MaxPool3d)]
    assert [pool.kernel_size for pool in pools] == [(1, 2, 2)] + [(2, 2, 2)] * 4
    edge = pools[-1](torch.arange(7.0).expand(1, 1, 2, 7, 7))[0, 0]
    assert edge.shape == (1, 4, 4)
    assert edge[0, 0].tolist() == [1, 3, 5, 6]  # windows {0,1} {2,3} {4,5} {6}


def test_two_stream_normalises_conv2_in_the_spatial_network_only():
    model = on_meta("two_stream", "published", 1, 10, 101, None)
    for stream, count in ((model.spatial, 2), (model.temporal, 1)):
        assert sum(isinstance(layer, nn.LocalResponseNorm) for layer in stream) == count
        kinds = [layer for layer in stream if isinstance(layer, nn.Conv3d | nn.LocalResponseNorm)]
        assert isinstance(kinds[1], nn.LocalResponseNorm), "after conv1"


# -- how frames are wired ------------------------------------------------------------------------------------------


@every_preset
@runnable_sizes
def test_order_matters_where_the_class_says_so(preset, size):
    clip = compose([f"strategy={preset}"]).clip_shape()
    longer = {"flow_frames": 2} if clip.flow_frames == 1 else {"frames": 4} if clip == (1, 0, *clip[2:]) else {}
    model = exact(built_preset(preset, size, crop=little_crop(preset), **longer))
    clips = random_clips(model)
    with torch.no_grad():
        forward = model.probabilities(model(**clips))[:, -1]
        backward = model.probabilities(model(**{name: clip.flip(2) for name, clip in clips.items()}))[:, -1]
    assert differ(forward, backward) == model.order_matters


@runnable_sizes
def test_single_frame_answers_for_each_frame_by_itself(size):
    model = exact(build("single_frame", size, 4, crop=32))
    rgb = random_clips(model)["rgb"]
    with torch.no_grad():
        logits = model(rgb)
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(model(rgb[:, :, order]), logits[:, order])
        torch.testing.assert_close(model(rgb[:, :, 1:2]), logits[:, 1:2])
        changed = rgb.clone()
        changed[:, :, 2] = 0
        after = model(changed)
    assert differ(after[:, 2], logits[:, 2])
    torch.testing.assert_close(after[:, [0, 1, 3]], logits[:, [0, 1, 3]])


@runnable_sizes
@pytest.mark.parametrize("name", ["early_fusion", "slow_fusion"])
def test_permuting_frames_changes_early_and_slow_fusion(name, size):
    model = exact(build(name, size, 10, crop=32))
    rgb = random_clips(model)["rgb"]
    with torch.no_grad():
        logits = model(rgb)
        for first, second in ((0, 1), (4, 5), (8, 9)):
            order = list(range(10))
            order[first], order[second] = second, first
            assert differ(model(rgb[:, :, order]), logits)


def test_early_fusion_has_no_time_after_conv1():
    for shape in layer_outputs(on_meta("early_fusion", "published", 10, 0, 487, None), nn.Conv3d):
        assert shape.shape[2] == 1


@runnable_sizes
def test_late_fusions_towers_share_weights_and_see_one_frame_each(size):
    model = exact(build("late_fusion", size, 2, crop=32))
    rgb = random_clips(model)["rgb"]
    with torch.no_grad():
        maps = model.towers(rgb)
        assert maps.shape[2] == 2
        for frame in range(2):
            torch.testing.assert_close(model.towers(rgb[:, :, frame : frame + 1]), maps[:, :, frame : frame + 1])
        torch.testing.assert_close(model.towers(rgb.flip(2)), maps.flip(2))
        logits = model(rgb)
        for frame in range(2):
            changed = rgb.clone()
            changed[:, :, frame] = 0
            assert differ(model(changed), logits), "both frames count"
    assert parameters(model.towers) == parameters(build("single_frame", size, 1, crop=32).trunk)


def test_late_fusion_sees_two_frames_15_apart():
    sampling = compose(["strategy=late_fusion"]).sampling
    assert (sampling.frames, sampling.stride) == (2, 15)


def test_slow_fusion_shortens_time_to_4_2_1():
    outputs = layer_outputs(on_meta("slow_fusion", "published", 10, 0, 487, None), nn.Conv3d)
    assert [output.shape[2] for output in outputs] == [4, 2, 1, 1, 1]


@runnable_sizes
@pytest.mark.parametrize("frames", [10, 14])
def test_slow_fusions_third_convolution_sees_every_frame(size, frames):
    model = exact(build("slow_fusion", size, frames, crop=32))
    seen: list[Tensor] = []
    convs = [layer for layer in model.trunk if isinstance(layer, nn.Conv3d)]
    for conv in convs[:3]:
        conv.register_forward_hook(lambda layer, inputs, output: seen.append(output))
    rgb = random_clips(model, count=1)["rgb"].requires_grad_()
    model(rgb)
    for output, expected in zip(seen, ({0, 1, 2, 3}, {0, 1, 2, 3, 4, 5}, set(range(frames))), strict=True):
        # The first moment of conv1 sees 4 frames, of conv2 6, and conv3's only one all of them.
        (gradient,) = torch.autograd.grad(output[:, :, 0].square().sum(), rgb, retain_graph=True)
        assert {frame for frame in range(frames) if gradient[:, :, frame].any()} == expected


def test_slow_fusion_leaves_out_the_last_frames_of_longer_clips_as_it_says():
    model = exact(build("slow_fusion", "tiny", 16))
    rgb = random_clips(model, count=1)["rgb"].requires_grad_()
    (gradient,) = torch.autograd.grad(model(rgb).square().sum(), rgb)
    assert [frame for frame in range(16) if not gradient[:, :, frame].any()] == [14, 15]


@runnable_sizes
def test_c3d_sees_every_frame_and_three_at_first(size):
    model = exact(build("c3d", size, 16, crop=32))
    first: list[Tensor] = []
    model.trunk[0].register_forward_hook(lambda layer, inputs, output: first.append(output))
    rgb = random_clips(model, count=1)["rgb"].requires_grad_()
    logits = model(rgb)
    (gradient,) = torch.autograd.grad(first[0][:, :, 5].square().sum(), rgb, retain_graph=True)
    assert [frame for frame in range(16) if gradient[:, :, frame].any()] == [4, 5, 6]
    (gradient,) = torch.autograd.grad(logits.square().sum(), rgb)
    assert all(gradient[:, :, frame].any() for frame in range(16))


@runnable_sizes
def test_cnn_lstms_answers_do_not_depend_on_later_frames(size):
    model = exact(build("cnn_lstm", size, 6, crop=32))
    rgb = random_clips(model)["rgb"]
    with torch.no_grad():
        logits = model(rgb)
        assert logits.shape == (2, 6, CLASSES)
        for step in (0, 3):
            changed = rgb.clone()
            changed[:, :, step + 1] = 0
            after = model(changed)
            torch.testing.assert_close(after[:, : step + 1], logits[:, : step + 1], rtol=0, atol=1e-12)
            assert all(differ(after[:, later], logits[:, later]) for later in range(step + 1, 6)), "it remembers"


@runnable_sizes
def test_two_streams_do_not_see_each_other(size):
    model = exact(build("two_stream", size, 1, 6, crop=44))
    clips = random_clips(model)
    with torch.no_grad():
        logits = model(**clips)
        other_flow = model(clips["rgb"], torch.zeros_like(clips["flow"]))
        other_frame = model(torch.zeros_like(clips["rgb"]), clips["flow"])
    assert torch.equal(other_flow["spatial"], logits["spatial"]) and differ(other_flow["temporal"], logits["temporal"])
    assert torch.equal(other_frame["temporal"], logits["temporal"]) and differ(
        other_frame["spatial"], logits["spatial"]
    )


def test_two_streams_train_as_if_each_were_alone():
    model = build("two_stream", "tiny", 1, 4)
    clips, target = random_clips(model, dtype=torch.float32), torch.eye(CLASSES, dtype=torch.bool)[:2]
    weights = {stream: list(getattr(model, stream).parameters()) for stream in model.streams}
    logits = model(**clips)
    together = {stream: torch.autograd.grad(model.loss(logits, target), weights[stream], retain_graph=True)
                for stream in model.streams}  # fmt: skip
    for stream in model.streams:
        alone = torch.autograd.grad(model.loss(logits[stream], target), weights[stream], retain_graph=True)
        assert all(torch.equal(one, other) for one, other in zip(together[stream], alone, strict=True))


def test_two_stream_stacks_x1_y1_x2_y2():
    model = build("two_stream", "tiny", 1, 4)
    stacks: list[Tensor] = []
    model.temporal[0].register_forward_pre_hook(lambda layer, inputs: stacks.append(inputs[0]))
    flow = torch.zeros(1, 2, 4, 32, 32)
    for field in range(4):
        flow[:, 0, field], flow[:, 1, field] = 10 + field, 20 + field  # x, y
    model.eval()(torch.zeros(1, 3, 1, 32, 32), flow)
    assert stacks[0].shape == (1, 8, 1, 32, 32)
    assert stacks[0][0, :, 0, 0, 0].tolist() == [10, 20, 11, 21, 12, 22, 13, 23]


@pytest.mark.parametrize("subtract", [True, False])
def test_two_stream_subtracts_each_whole_fields_mean_displacement(subtract):
    kind = STRATEGIES["two_stream"]
    model = kind(kind.Config(mean_subtraction=subtract), ClipShape(1, 3, 32, 20.0), CLASSES, TrainingConfig())
    levels = torch.tensor([128, 255, 1], dtype=torch.uint8)  # no motion, 20 pixels, -20 pixels
    means = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    batch = {
        "rgb": torch.zeros(1, 3, 1, 32, 32, dtype=torch.uint8),
        "flow": levels[None, None, :, None, None].expand(1, 2, 3, 32, 32),
        "flow_mean": means,
    }
    pixels = torch.tensor([[[0.0, 20.0, -20.0]] * 2])
    expected = (pixels - means if subtract else pixels)[..., None, None].expand(1, 2, 3, 32, 32)
    torch.testing.assert_close(model.inputs(batch)["flow"], expected)
