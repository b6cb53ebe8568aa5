import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vidfusion.classifier import ClipShape, TrainingConfig, VideoClassifier
from vidfusion.layers import clip_inputs, multiply_adds
from vidfusion.strategies import STRATEGIES

CLIPS = {"single_frame": (3, 0), "late_fusion": (2, 0), "slow_fusion": (11, 0), "c3d": (9, 0), "two_stream": (1, 4)}


def build(name: str, frames: int, flow_frames: int, crop: int = 32) -> VideoClassifier:
    kind = STRATEGIES[name]
    return kind(kind.Config(), ClipShape(frames, flow_frames, crop, 20.0), 5, TrainingConfig())


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


def test_streams_are_told_apart_by_their_layers_names():
    counts = multiply_adds(build("two_stream", 1, 7))
    assert {name.split(".")[0] for name in counts} == {"spatial", "temporal"}
    spatial = {name: macs for name, macs in counts.items() if name.startswith("spatial")}
    temporal = [macs for name, macs in counts.items() if name.startswith("temporal")]
    first, *others = temporal
    assert first * 3 == spatial.pop("spatial.0") * 14  # 2 * 7 flow channels for 3 colours
    assert others == list(spatial.values())


def test_counting_leaves_the_network_as_it_was():
    model = build("c3d", 8, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = multiply_adds(model)
    assert model.training and not any(layer._forward_hooks for layer in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert multiply_adds(model) == first


def test_clip_inputs_are_one_clip_of_each_modality():
    inputs = clip_inputs(build("two_stream", 1, 3, crop=48))
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {
        "rgb": (1, 3, 1, 48, 48),
        "flow": (1, 2, 3, 48, 48),
    }
    assert all(value.device.type == "meta" for value in inputs.values())
    assert list(clip_inputs(build("single_frame", 2, 0))) == ["rgb"]
