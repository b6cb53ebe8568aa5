"""What every strategy must do, for each line of the registry and each preset; and how each one sees time."""

import inspect

import pytest
import torch
from torch import Tensor, nn

from experiments.settings.compose import compose
from experiments.settings.presets import names
from tests.factories import clips_of, network, one_hot, parameters
from vidfusion.classifier import VideoClassifier
from vidfusion.layer_table import multiply_adds
from vidfusion.settings import ClipShape, TrainingConfig
from vidfusion.strategies import STRATEGIES, strategy_class

# All but those of two_stream that differ in a clip or a number only.
PRESETS = [name for name in names("strategy") if not name.startswith("two_stream_") or "multi_task" in name]
every_preset = pytest.mark.parametrize("preset", PRESETS)
every_strategy = pytest.mark.parametrize("name", STRATEGIES)
CLASSES = 5
CLIPS = {"cnn_lstm": (16, 16, 16), "conv3d_lstm": (18, 0, 2), "tsn": (3, 6, 3)}  # frames, fields, snippets


def of_registry(name: str, size: str = "tiny", **settings: object) -> VideoClassifier:
    """A strategy on a clip that suits it, without a preset."""
    kind, config = strategy_class(name), STRATEGIES[name].settings(size=size, **settings)
    flow = "flow" in inspect.signature(kind.forward).parameters
    frames, fields, snippets = CLIPS.get(name, (1, 4, 1) if flow else (16, 0, 1))
    clip = ClipShape(frames, fields, config.network().crop, 20.0, snippets=snippets)
    return kind(config, clip, CLASSES, TrainingConfig())


def small_crop(preset: str) -> int:
    """Pixels; few, but the small networks can live on them."""
    return 16 if preset.startswith("lecture") else 44 if preset.startswith("two_stream") else 32


def exact(preset: str, **clip: int) -> VideoClassifier:
    """For checks of wiring: a small crop, no dropout, running statistics, 64 bits."""
    clip = {"crop": small_crop(preset)} | clip
    return network(preset, **clip).eval().double()


def differ(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() > 1e-6)


def frames_seen(value: Tensor, rgb: Tensor) -> set[int]:
    """The frames of `rgb` that change `value`."""
    (gradient,) = torch.autograd.grad(value.square().sum(), rgb, retain_graph=True)
    return {frame for frame in range(rgb.shape[2]) if gradient[:, :, frame].any()}


def outputs_of(layers: list[nn.Module], model: VideoClassifier, clips: dict[str, Tensor]) -> list[Tensor]:
    """What some layers make of the clips, in the order of the computation."""
    found: list[Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda layer, inputs, output: found.append(output))
    model(**clips)
    return found


def convolutions(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv3d)]


# -- the contract of a strategy ----------------------------------------------------------------------------------------


def test_every_strategy_has_a_preset():
    classes = {compose([f"strategy={preset}"]).strategy_class for preset in names("strategy")}
    assert classes == set(map(strategy_class, STRATEGIES))


@every_preset
def test_learns_in_every_parameter(preset):
    model = network(preset, crop=small_crop(preset))
    logits = model(**clips_of(model))
    if model.streams:
        assert list(logits) == list(model.streams)
        assert all(isinstance(getattr(model, stream), nn.Module) for stream in model.streams)
    for logit in logits.values() if model.streams else [logits]:
        assert logit.shape in ((2, CLASSES), (2, model.clip.frames, CLASSES), (2, model.clip.snippets, CLASSES))
    scores = model.probabilities(logits)
    assert scores.shape == (2, len(model.rows), CLASSES)
    torch.testing.assert_close(scores.sum(-1), torch.ones(2, len(model.rows)))
    loss = model.loss(logits, one_hot(0, 1))
    assert loss.ndim == 0 and loss.isfinite()
    loss.backward()
    for name, parameter in model.named_parameters():
        if not name.startswith("second."):  # which waits for clips of its own
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@every_preset
@pytest.mark.parametrize("size", ["small", "published"])
def test_every_size_takes_its_own_crop(preset, size):
    model = network(preset, f"model.size={size}", device="meta").eval()
    assert model.net.crop <= min(model.net.resize)
    with torch.device("meta"):
        logits = model(**clips_of(model, 1, "meta"))
    assert all(logit.shape[-1] == CLASSES for logit in (logits.values() if model.streams else [logits]))


@every_strategy
def test_too_few_frames_are_refused(name):
    least = strategy_class(name).least_frames
    shape = of_registry(name).clip._replace(frames=least - 1, snippets=1)
    with pytest.raises(ValueError, match=rf"^{name} needs sampling\.frames >= {least}, got {least - 1}$"):
        strategy_class(name)(STRATEGIES[name].settings(), shape, CLASSES, TrainingConfig())


def test_two_stream_needs_one_frame_and_flow():
    for clip in ({"frames": 2}, {"flow_frames": 0}):
        with pytest.raises(
            ValueError, match=r"two_stream needs sampling\.frames=1 and sampling\.flow_frames >= 1, got"
        ):
            network("two_stream", **clip)


@every_strategy
def test_dropout_is_the_networks_own_unless_set(name):
    for given in (None, 0.25, 0.0):
        with torch.device("meta"):
            model = of_registry(name, "small", dropout=given)
        expected = STRATEGIES[name].settings.nets["small"].dropout if given is None else given
        rates = {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)}
        assert rates == {expected} or (rates == set() and expected == 0)


# -- published sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "classes", "count", "macs"),
    [
        # Karpathy et al. 2014 on Sports-1M; Tran et al. 2015; Donahue et al. 2015 (with the two LSTM biases of PyTorch)
        ("single_frame", 487, 73_908_071, 1.227e9),
        ("early_fusion", 487, 74_221_703, 2.141e9),
        ("late_fusion", 487, 125_288_295, 2.434e9),
        ("slow_fusion", 487, 75_511_751, 4.268e9),
        ("single_frame_multires", 487, 129_035_495, 0.717e9),
        ("single_frame_fovea", 487, 73_908_071, 0.368e9),
        ("single_frame_context", 487, 73_908_071, 0.368e9),
        ("c3d", 101, 78_409_573, 38.547e9),
        ("c3d_search", 101, 17_444_965, 19.26e9),
        ("cnn_lstm", 101, 2 * 65_422_309, 2 * 19.11e9),
        ("two_stream", 101, 90_627_813 + 90_707_781, 1.664e9 + 2.614e9),
    ],
)
def test_published_parameters_and_multiply_adds(preset, classes, count, macs):
    model = network(preset, "recipe=published", classes=classes, device="meta")
    assert parameters(model) == count
    assert sum(multiply_adds(model).values()) == pytest.approx(macs, rel=1e-3)


def test_two_stream_normalises_conv2_in_the_spatial_network_only():
    model = network("two_stream", "model.size=published", device="meta")
    for stream, count in ((model.spatial, 2), (model.temporal, 1)):
        assert sum(isinstance(layer, nn.LocalResponseNorm) for layer in stream) == count
        kinds = [layer for layer in stream if isinstance(layer, nn.Conv3d | nn.LocalResponseNorm)]
        assert isinstance(kinds[1], nn.LocalResponseNorm), "after conv1"


# -- how frames are wired ----------------------------------------------------------------------------------------------


@every_preset
def test_order_matters_where_the_class_says_so(preset):
    clip = compose([f"strategy={preset}"]).clip_shape()
    longer = {"flow_frames": 2} if clip.flow_frames == 1 else {"frames": 4} if clip[:2] == (1, 0) else {}
    model = exact(preset, **longer)
    clips = clips_of(model)
    with torch.no_grad():
        forward = model.probabilities(model(**clips))[:, -1]
        backward = model.probabilities(model(**{name: clip.flip(2) for name, clip in clips.items()}))[:, -1]
    assert differ(forward, backward) == model.order_matters


def test_single_frame_answers_for_each_frame_by_itself():
    model = exact("single_frame", frames=4)
    rgb = clips_of(model)["rgb"]
    with torch.no_grad():
        logits = model(rgb)
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(model(rgb[:, :, order]), logits[:, order])
        torch.testing.assert_close(model(rgb[:, :, 1:2]), logits[:, 1:2])


def test_late_fusions_towers_share_weights_and_see_one_frame_each():
    model = exact("late_fusion")
    rgb = clips_of(model)["rgb"]
    with torch.no_grad():
        maps = model.towers(rgb)
        assert maps.shape[2] == 2
        for frame in range(2):
            torch.testing.assert_close(model.towers(rgb[:, :, frame : frame + 1]), maps[:, :, frame : frame + 1])
            changed = rgb.clone()
            changed[:, :, frame] = 0
            assert differ(model(changed), model(rgb)), "both frames count"
    assert parameters(model.towers) == parameters(exact("single_frame").trunk)


def test_slow_fusion_sees_4_then_6_then_all_frames_but_the_last_of_longer_clips():
    model = exact("slow_fusion", frames=16)
    rgb = clips_of(model, 1)["rgb"].requires_grad_()
    outputs = outputs_of(convolutions(model.trunk)[:3], model, {"rgb": rgb})
    for output, expected in zip(outputs, (4, 6, 14), strict=True):
        assert frames_seen(output[:, :, 0], rgb) == set(range(expected))
    assert frames_seen(model(rgb), rgb) == set(range(14))


def test_c3d_sees_every_frame_and_three_at_first():
    model = exact("c3d")
    rgb = clips_of(model, 1)["rgb"].requires_grad_()
    (first,) = outputs_of([model.trunk[0]], model, {"rgb": rgb})
    assert frames_seen(first[:, :, 5], rgb) == {4, 5, 6}
    assert frames_seen(model(rgb), rgb) == set(range(16))


def test_cnn_lstms_answers_do_not_depend_on_later_frames():
    model = exact("cnn_lstm", frames=6, flow_frames=6)
    clips = {name: clip.requires_grad_() for name, clip in clips_of(model, 1).items()}
    for name, logits in model(**clips).items():
        assert logits.shape == (1, 6, CLASSES)
        for step in (0, 3, 5):
            assert frames_seen(logits[:, step], clips[name]) == set(range(step + 1)), "and it remembers all before"


def test_conv3d_lstm_sees_a_window_at_a_time_and_remembers_those_before():
    model = exact("conv3d_lstm", frames=27, snippets=3)
    rgb = clips_of(model, 1)["rgb"].requires_grad_()
    logits = model(rgb)
    for step in range(3):
        assert frames_seen(logits[:, step], rgb) == set(range(9 * step + 9))


def test_tsn_learns_the_mean_of_its_snippets_whatever_their_order():
    model = exact("tsn", frames=3, flow_frames=6, snippets=3)
    clips = clips_of(model)
    parts = {"rgb": [clips["rgb"][:, :, k : k + 1] for k in range(3)]}
    parts["flow"] = [clips["flow"][:, :, 2 * k : 2 * k + 2].transpose(1, 2).flatten(1, 2)[:, :, None] for k in range(3)]
    with torch.no_grad():
        logits = model(**clips)
        for stream, snippets in parts.items():
            expected = torch.stack([getattr(model, stream)(snippet) for snippet in snippets]).mean(0)
            torch.testing.assert_close(logits[stream], expected)
    fused = model.probabilities(logits)
    torch.testing.assert_close(fused[:, 2], 0.4 * fused[:, 0] + 0.6 * fused[:, 1])  # section 4.2, 1 to 1.5


def test_two_streams_do_not_see_each_other():
    model = exact("two_stream")
    clips = clips_of(model)
    with torch.no_grad():
        logits = model(**clips)
        other_flow = model(clips["rgb"], torch.zeros_like(clips["flow"]))
        other_frame = model(torch.zeros_like(clips["rgb"]), clips["flow"])
    assert torch.equal(other_flow["spatial"], logits["spatial"]) and differ(other_flow["temporal"], logits["temporal"])
    assert torch.equal(other_frame["temporal"], logits["temporal"])
    assert differ(other_frame["spatial"], logits["spatial"])


def test_two_stream_stacks_x1_y1_x2_y2():
    model = network("two_stream", flow_frames=4).eval()
    stacks: list[Tensor] = []
    model.temporal[0].register_forward_pre_hook(lambda layer, inputs: stacks.append(inputs[0]))
    flow = torch.zeros(1, 2, 4, 32, 32)
    for field in range(4):
        flow[:, 0, field], flow[:, 1, field] = 10 + field, 20 + field  # x, y
    model(torch.zeros(1, 3, 1, 32, 32), flow)
    assert stacks[0].shape == (1, 8, 1, 32, 32)
    assert stacks[0][0, :, 0, 0, 0].tolist() == [10, 20, 11, 21, 12, 22, 13, 23]


@pytest.mark.parametrize("subtract", [True, False])
def test_two_stream_subtracts_each_whole_fields_mean_displacement(subtract):
    words = [f"model.mean_subtraction={str(subtract).lower()}", "data.flow.bound=20"]
    model = network("two_stream", *words, flow_frames=3)
    levels = torch.tensor([128, 255, 1], dtype=torch.uint8)  # no motion, 20 pixels, -20 pixels
    means = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    batch = {
        "rgb": torch.zeros(1, 1, 32, 32, 3, dtype=torch.uint8),
        "flow": levels[None, :, None, None, None].expand(1, 3, 32, 32, 2),
        "flow_mean": means.mT,
    }
    pixels = torch.tensor([[[0.0, 20.0, -20.0]] * 2])
    expected = (pixels - means if subtract else pixels)[..., None, None].expand(1, 2, 3, 32, 32)
    torch.testing.assert_close(model.inputs(batch)["flow"], expected)
