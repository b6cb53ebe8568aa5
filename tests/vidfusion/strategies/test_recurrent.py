"""CNN + LSTM, and the recurrent and pooling networks of Ng et al. 2015."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.factories import clips_of, network, one_hot, parameters
from vidfusion.strategies.snippets_pool import STEP, WINDOW

CLASSES = 5
POOLINGS = ["conv", "late", "slow", "local", "time_conv"]


@pytest.mark.parametrize(
    ("preset", "words", "count", "layers"),
    [
        ("cnn_lstm", (), 4_458_496, 1),  # 4096 -> 256, with the two biases of PyTorch
        ("cnn_lstm", ("model.hidden=1024",), 20_979_712, 1),  # of the flow network; one bias would be 20,975,616
        ("snippets_lstm", (), 11_554_816, 5),  # GoogLeNet's 1024 -> 5 x 512
    ],
)
def test_published_lstms(preset, words, count, layers):
    model = network(preset, "model.size=published", *words, device="meta")
    part = model.flow if preset == "cnn_lstm" else model.reader
    assert parameters(part.lstm) == count
    assert part.lstm.num_layers == layers


def test_every_lstm_layer_starts_with_open_forget_gates():
    model = network("snippets_lstm", "model.size=small")
    for layer in range(3):
        bias = getattr(model.reader.lstm, f"bias_ih_l{layer}")
        assert torch.equal(bias[256:512], torch.ones(256)) and not torch.equal(bias[:256], torch.ones(256))


def test_gain_rises_linearly_over_the_steps():
    model = network("snippets_lstm")
    logits = torch.randn(3, 4, CLASSES, generator=torch.Generator().manual_seed(0))
    target = one_hot(1, 4, 0)
    by_step = [F.cross_entropy(logits[:, step], target.float().argmax(1)) for step in range(4)]
    expected = sum(gain * loss for gain, loss in zip((0.25, 0.5, 0.75, 1.0), by_step, strict=True)) / 4
    torch.testing.assert_close(model.loss(logits, target), expected)
    constant = network("snippets_lstm", "model.gain=constant")
    torch.testing.assert_close(constant.loss(logits, target), sum(by_step) / 4)


@pytest.mark.parametrize("answer", ["mean", "last", "max", "weighted"])
def test_the_four_ways_to_answer(answer):
    model = network("snippets_lstm", f"model.answer={answer}")
    logits = 2 * torch.randn(2, 3, CLASSES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps = logits.softmax(-1)
    expected = {
        "mean": (steps[:, 0] + steps[:, 1] + steps[:, 2]) / 3,
        "last": steps[:, 2],
        "max": steps.max(1).values / steps.max(1).values.sum(1, keepdim=True),
        "weighted": (1 * steps[:, 0] + 2 * steps[:, 1] + 3 * steps[:, 2]) / 6,
    }[answer]
    found = model.probabilities(logits)[:, -1]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.sum(1), torch.ones(2))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_the_slow_loops(pooling):
    model = network("snippets_pool", f"model.pooling={pooling}", "sampling.frames=21").double().eval()
    rgb = clips_of(model)["rgb"]
    with torch.no_grad():
        found = model(rgb)
        maps = [model.trunk(rgb[:, :, t : t + 1]).flatten(1) for t in range(21)]
        starts = range(0, 21 - WINDOW + 1, STEP)  # 0, 5, 10

        def largest(features: list[Tensor]) -> Tensor:
            return torch.stack(features).max(0).values

        if pooling == "conv":
            expected = model.fc2(model.fc1(largest(maps)))
        elif pooling == "late":
            expected = largest([model.fc2(model.fc1(frame)) for frame in maps])
        elif pooling == "slow":
            expected = model.fc2(largest([model.fc1(largest(maps[s : s + WINDOW])) for s in starts]))
        elif pooling == "local":
            expected = torch.cat([model.fc1(largest(maps[s : s + WINDOW])) for s in starts], 1)
        else:
            conv = model.time_conv[0]
            assert (conv.kernel_size, conv.stride, conv.out_channels) == ((10, 3, 3), (5, 1, 1), 256)
            volume = torch.stack([model.trunk(rgb[:, :, t : t + 1])[:, :, 0] for t in range(21)], 2)
            windows = [F.conv3d(volume[:, :, s : s + 10], conv.weight, conv.bias, padding=(0, 1, 1)) for s in starts]
            expected = model.fc2(model.fc1(largest([window.relu().flatten(1) for window in windows])))
        torch.testing.assert_close(found, model.classifier(expected))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_who_can_tell_the_order_of_frames(pooling):
    model = network("snippets_pool", f"model.pooling={pooling}").double().eval()
    assert model.order_matters == (pooling in ("slow", "local", "time_conv"))
    rgb = clips_of(model)["rgb"]
    with torch.no_grad():
        shuffled = model(rgb[:, :, torch.randperm(16, generator=torch.Generator().manual_seed(0))])
        assert torch.allclose(shuffled, model(rgb), atol=1e-9) != model.order_matters


def test_pooling_needs_its_window_and_its_two_layers():
    network("snippets_pool", "sampling.frames=9")
    with pytest.raises(ValueError, match=r"sampling\.frames >= 10 with model\.pooling=slow, got 9"):
        network("snippets_pool", "sampling.frames=9", "model.pooling=slow")
    with pytest.raises(ValueError, match=r"two fully connected layers"):
        network("snippets_pool", "model.head=gap")


def test_pooling_takes_a_backbone_and_its_imagenet_weights():
    model = network("snippets_pool", "model.backbone=resnet18")
    assert model.fc1[0].in_features == 512 and model.net.fc == (128, 128)
    published = network("snippets_pool", "model.size=published", "model.pretrained=DEFAULT", device="meta")
    assert published.net.backbone == "googlenet"
