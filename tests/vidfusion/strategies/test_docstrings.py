"""Each strategy's docstring shows the published network, layer by layer, as `layer_table` finds it."""

import re
import sys

import pytest
import torch

from experiments.settings.compose import compose
from vidfusion.classifier import VideoClassifier
from vidfusion.layer_table import layer_table
from vidfusion.nets.blocks import feature_shape
from vidfusion.nets.torchvision_nets import TorchvisionTrunk
from vidfusion.strategies import STRATEGIES


def size(sizes: tuple[int, ...]) -> str:
    """C x T x H x W, or what is left of it without the last ones: 4096x1x1x1 is 4096."""
    return re.sub(r"(?<=\d)(x1)+$", "", "x".join(map(str, sizes)))


def rows(model: VideoClassifier) -> list[str]:
    """A line for each layer: name, kernel /stride, output C x T x H x W, that of its pooling, frames that it sees.

    A torchvision network is one line, and so is a module that no clip passes.
    """
    lines: list[list[str]] = []
    table, side = layer_table(model), model.clip.crop
    for name, part in model.named_modules():
        if isinstance(part, TorchvisionTrunk):
            shape = size(feature_shape(part, (part.in_channels, 1, side, side)))
            last = [layer for layer in table if layer.name.startswith(f"{name}.")][-1]
            lines.append([name, part.name, shape, "", f"sees {last.clipped[0]}"])
    trunks = tuple(f"{line[0]}." for line in lines)
    for layer in table:
        if layer.kind == "norm" or layer.name.startswith(trunks):
            continue
        sees = f"sees {layer.clipped[0]}"
        kernel, stride = (
            ("x".join(map(str, layer.kernel)), "x".join(map(str, layer.stride or ()))) if layer.kernel else ("", "")
        )
        if layer.kind == "max pool" and lines and lines[-1][1].startswith("conv"):
            lines[-1][3:] = [f"pool {kernel}: {size(layer.output)}", sees]
        elif layer.kind == "parameters":
            lines.append([layer.name, f"{layer.parameters:,} weights and biases", "", "", ""])
        else:
            what = f"{layer.kind} {kernel}" + (f" /{stride}" if layer.kind == "conv" and stride != "1x1x1" else "")
            lines.append([layer.name, what.strip(), size(layer.output), "", sees])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["    " + "   ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_docstring_shows_the_published_network(name):
    preset = "lecture_3d" if name == "lecture" else name
    run = compose([f"strategy={preset}", "recipe=published", "model.size=published", "dataset=ucf101"])
    with torch.device("meta"):
        model = run.strategy_class(run.model, run.clip_shape(), 101, run.training)
    expected = rows(model)
    if "multi_task" in name:  # the others are those of two_stream
        expected = [" ".join(expected[-1].split())]
    docstring = sys.modules[f"vidfusion.strategies.{name}"].__doc__
    assert "\n".join(expected) in docstring, "expected:\n" + "\n".join(expected)
