"""Initial weights, learning rates, decay and schedules."""

import math

import pytest
import torch
from torch import nn

from tests.factories import network
from vidfusion.optimisation import highest_rate, initialise, remedy
from vidfusion.settings import TrainingConfig

# Standard deviations and biases of the layers: Krizhevsky et al. 2012, section 5, whose network Karpathy's is; C3D's
# release; LRCN's; and of CNN-M, Gaussians and no more.
PAPERS = {
    "slow_fusion": ([0.01] * 8, [0, 1, 0, 1, 1, 1, 1, 0]),
    "c3d": ([0.01] * 8 + [0.005] * 2 + [0.01], [0] + [1] * 9 + [0]),
    "two_stream": ([0.01] * 16, [0] * 16),
    "cnn_lstm": (([0.01] * 5 + [0.005, 0.01]) * 2, [0, 1, 0, 1, 1, 1, 0] * 2),
}


@pytest.mark.parametrize("preset", PAPERS)
def test_weights_are_drawn_as_each_paper_says(preset):
    model = network(preset, "model.size=published")
    torch.manual_seed(0)
    initialise(model, "paper", model.net.init, model.input_channels)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv3d | nn.Linear)]
    sigmas, biases = PAPERS[preset]
    assert [layer.bias.unique().tolist() for layer in layers] == [[bias] for bias in biases]
    assert [float(layer.weight.detach().std()) for layer in layers] == pytest.approx(sigmas, rel=0.06)
    for lstm in (layer for layer in model.modules() if isinstance(layer, nn.LSTM)):  # LRCN's release
        for name, parameter in lstm.named_parameters():
            largest = float(parameter.detach().abs().max())
            assert largest == 0 if "bias" in name else 0.0099 < largest <= 0.01


def test_sizes_that_are_no_papers_keep_pytorchs_weights():
    model = network("slow_fusion", "model.size=small")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    initialise(model, "paper", model.net.init, model.input_channels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_kaiming_weights_keep_the_size_of_gradients():
    model = network("two_stream")
    torch.manual_seed(0)
    initialise(model, "kaiming", model.net.init, model.input_channels)
    conv = [layer for layer in model.temporal if isinstance(layer, nn.Conv3d)][1]
    fan_out = conv.out_channels * math.prod(conv.kernel_size)
    assert float(conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
    assert float(model.temporal[-1].weight.detach().std()) == pytest.approx(0.01, rel=0.15)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm3d)]
    assert norms and all(torch.equal(norm.weight, torch.ones_like(norm.weight)) for norm in norms)


def test_learning_rates_of_the_classifier_and_of_biases_have_their_own_factors():
    model = network(
        "late_fusion", training={"lr": 0.5, "head_lr_factor": 10, "bias_lr_factor": 2, "weight_decay": 0.25}
    )
    groups = model.configure_optimizers()["optimizer"].param_groups
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in groups
        for name, parameter in model.named_parameters()
        if any(parameter is member for member in group["params"])
    }
    assert found.keys() == dict(model.named_parameters()).keys()
    last = max(int(name.split(".")[1]) for name in found if name.startswith("head."))
    assert found[f"head.{last}.weight"] == (5.0, 0.25) and found[f"head.{last}.bias"] == (10.0, 0.0)
    assert found["towers.0.weight"] == (0.5, 0.25)
    assert found["towers.1.weight"] == (0.5, 0.0) and found["towers.1.bias"] == (1.0, 0.0)  # BatchNorm


def learning_rates(count: int, **training: object) -> list[float]:
    parts = network("single_frame", training={"lr": 0.5, **training}).configure_optimizers()
    assert parts["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(count):
        rates.append(parts["optimizer"].param_groups[0]["lr"])
        parts["optimizer"].step()
        parts["lr_scheduler"]["scheduler"].step()
    return rates


def test_schedules_at_hand_computed_steps():
    assert learning_rates(4) == [0.5] * 4
    assert learning_rates(6, warmup=4) == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5, 0.5])
    assert learning_rates(7, schedule="step", milestones=[2, 5]) == pytest.approx([0.5, 0.5, *[0.05] * 3, *[0.005] * 2])
    assert learning_rates(4, schedule="step", milestones=[1, 3], gamma=0.5, warmup=2) == pytest.approx(
        [0.25, 0.5, 0.25, 0.125]
    )
    half = 0.5 * (1 + math.sqrt(0.5))  # cosine at a quarter of the way
    cosine = [0.25, 0.5, 0.5, 0.5 * half, 0.25, 0.5 * (1 - half), 0.0, 0.0]
    assert learning_rates(8, schedule="cosine", warmup=2, steps=6) == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("preset", ["cnn_lstm", "two_stream"])
def test_weights_decay_and_biases_and_norms_do_not(preset, optimizer):
    model = network(preset, training={"optimizer": optimizer, "weight_decay": 0.25})
    decayed, others = model.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.25, 0.0)
    expected = {
        parameter
        for layer in model.modules()
        for key, parameter in layer.named_parameters(recurse=False)
        if "weight" in key and not isinstance(layer, nn.BatchNorm3d)
    }
    assert set(decayed["params"]) == expected and expected
    assert set(decayed["params"]) | set(others["params"]) == set(model.parameters())
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))


def test_more_layers_than_there_are_cannot_be_trained():
    with pytest.raises(ValueError, match=r"training\.trained_layers=9: the network has 7 layers with weights"):
        network("late_fusion", training={"trained_layers": 9}).freeze()


def test_a_classifier_holds_the_rate_that_a_diverged_run_is_told_and_no_much_higher_one():
    classes, features = 7, torch.full((70, 64), 5.0)
    features += torch.randn(features.shape, generator=torch.Generator().manual_seed(0)) / 10
    target = torch.arange(70) % classes
    config = TrainingConfig(momentum=0.9)
    highest = highest_rate(config, float(features.square().sum(1).mean()), classes)

    def loss_at(rate):
        torch.manual_seed(0)
        layer = nn.Linear(64, classes)
        nn.init.normal_(layer.weight, std=1e-3)  # near even probabilities
        sgd = torch.optim.SGD(layer.parameters(), lr=rate, momentum=config.momentum)
        for _ in range(200):
            loss = nn.functional.cross_entropy(layer(features), target)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        return float(loss.detach())

    assert loss_at(0.7 * highest) < math.log(classes) < 2 * math.log(classes) < loss_at(1.5 * highest)
    assert f"a rate of {highest:.2g} at most" in remedy(config, highest)
    assert highest_rate(TrainingConfig(optimizer="adamw"), 1.0, 7) is None
