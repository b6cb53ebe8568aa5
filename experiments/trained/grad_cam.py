"""Where a network looks: Grad-CAM at its last convolution, over space and time (Selvaraju et al. 2017).

The maps of the last convolution are summed, each weighted by the mean gradient of the class's score in it. What is left
above zero speaks for the class. A 3-D network's map has as many steps in time as its last convolution has; a network
that reads frames or windows one by one has a map of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vidfusion.classifier import VideoClassifier

READ_FLOW = ("temporal", "flow")  # streams; all others read frames


class Look(NamedTuple):
    """Where one stream looks in a clip.

    stream: its name, empty for a network without streams
    reads:  `rgb` or `flow`
    layer:  the layer whose maps these are, by its dotted name in the network
    size:   (steps in time, rows, columns) that it has for the whole clip
    heat:   (T, H, W), 0 or more, of the frames or flow fields that the stream reads
    """

    stream: str
    reads: str
    layer: str
    size: tuple[int, int, int]
    heat: Tensor


def look_at(model: VideoClassifier, batch: dict[str, Tensor], label: int) -> list[Look]:
    """Where each stream of a network looks for the class `label` in a clip, a batch of one as in a test.

    Raises ValueError where a network has no such layer, or captum is not installed.
    """
    inputs = model.inputs(batch)
    found = []
    for stream in model.streams or ("",):
        name, layer = last_convolution(model, stream)
        reads = "flow" if stream in READ_FLOW else "rgb"
        maps = _grad_cam(_score(model, stream), layer, tuple(inputs[own] for own in model.modalities), label)
        parts, _, steps, rows, columns = maps.shape  # frames or windows that are read one by one are parts
        heat = _spread(maps, inputs[reads].shape[2:])
        found.append(Look(stream, reads, name, (parts * steps, rows, columns), heat))
    return found


def last_convolution(model: VideoClassifier, stream: str = "") -> tuple[str, nn.Module]:
    """The last convolution of a network or of a stream of it, with its ReLU: the module after which its maps are, and
    the convolution's name. Of a torchvision network, whose last convolutions are added up, the whole.

    Raises ValueError for a network whose maps are not of the whole frame.
    """
    if getattr(model.config, "resolution", "") == "fovea":
        raise ValueError("model.resolution=fovea: this network sees the middle of a frame only, and no map is drawn")
    modules = [
        (name, module) for name, module in model.named_modules() if name.partition(".")[0] == stream or not stream
    ]
    if getattr(model.net, "backbone", ""):
        from vidfusion.nets.torchvision_nets import TorchvisionTrunk  # here: torchvision takes a second to import

        return [found for found in modules if isinstance(found[1], TorchvisionTrunk)][-1]
    places = [place for place, (_, module) in enumerate(modules) if isinstance(module, nn.Conv3d)]
    if not places:
        raise ValueError(
            f"{type(model).__name__} {stream}".strip() + " has no convolution, so there is nothing to show"
        )
    name, layer = modules[places[-1]]
    for _, module in modules[places[-1] :]:
        if isinstance(module, nn.Linear):
            break
        if isinstance(module, nn.ReLU):
            return name, module
    return name, layer


def _score(model: VideoClassifier, stream: str) -> Callable[..., Tensor]:
    """The network as a function of its inputs: logits (N, C) of a stream, the mean over its predictions along time."""

    def score(*inputs: Tensor) -> Tensor:
        logits = model(**dict(zip(model.modalities, inputs, strict=True)))
        logits = logits[stream] if isinstance(logits, dict) else logits
        return logits.mean(1) if logits.ndim == 3 else logits

    return score


def _grad_cam(score: Callable[..., Tensor], layer: nn.Module, inputs: tuple[Tensor, ...], label: int) -> Tensor:
    """Maps (parts, 1, T', H', W') of a layer, 0 or more."""
    try:
        from captum.attr import LayerGradCam
    except ImportError:
        raise ValueError("--look needs captum: pip install -e '.[look]'") from None
    with torch.enable_grad():
        return LayerGradCam(score, layer).attribute(inputs, target=label, relu_attributions=True).detach()


def _spread(maps: Tensor, clip: torch.Size) -> Tensor:
    """Maps (parts, 1, T', H', W') over the frames of a clip (T, H, W), linearly; each part over its own frames."""
    from captum.attr import LayerAttribution

    frames, *size = clip
    assert frames % len(maps) == 0, "every part has as many frames"
    return LayerAttribution.interpolate(maps, (frames // len(maps), *size), "trilinear").reshape(clip)
