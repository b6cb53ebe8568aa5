"""What a network is made of, layer by layer: output size, receptive field, parameters, multiply-adds.

Nothing is typed in. One clip passes through the module on the meta device, where nothing is computed. PyTorch's own
counter says what each layer costs, and `receptive_fields` follows what each tensor sees of the clip.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from vidfusion.classifier import VideoClassifier
from vidfusion.receptive_fields import Follow, Vector, Work


class Layer(NamedTuple):
    """A layer with weights or pooling, as one clip passes it.

    name:            dotted name of the module; pooling that is no module has the name of its operation
    kind:            `conv`, `linear`, `lstm`, `norm`, `max pool`, `average pool`, ...; `parameters` of a module that
                     the clip does not pass
    kernel, stride:  t, h, w; None where a layer has none
    output:          C, T, H, W; frames that are folded into the batch count as T
    receptive_field: t, h, w of the clip that one position of the output sees, over its edges where padding reaches
                     there: r += (kernel - 1) * jump, jump *= stride. A flow field sees two frames
    clipped:         the same, at most what there is of the clip (or of the part of it that the layer is given)
    modalities:      what it sees, `rgb`, `flow` or both
    """

    name: str
    kind: str
    kernel: Vector | None
    stride: Vector | None
    output: tuple[int, int, int, int]
    receptive_field: Vector
    clipped: Vector
    modalities: tuple[str, ...]
    parameters: int
    multiply_adds: int


def clip_inputs(model: VideoClassifier, device: str = "meta") -> dict[str, Tensor]:
    """One clip of the shape that `model` was built for, by modality: `rgb` (1, 3, T, H, W), `flow` (1, 2, L, H, W)."""
    clip = model.clip
    shapes = {"rgb": (1, 3, clip.frames, clip.crop, clip.crop), "flow": (1, 2, clip.flow_frames, clip.crop, clip.crop)}
    return {name: torch.empty(shapes[name], device=device) for name in model.modalities}


def layer_table(model: VideoClassifier) -> list[Layer]:
    """All layers in the order in which one clip passes them; their parameters add up to the model's.

    Activations, dropout and norms without parameters have no row, and norms do not widen a receptive field.

    One multiply-add is one multiplication and one addition (the `GFLOPs` of most papers count these once). Biases,
    norms, pooling and activations are not counted.
    """
    # The copy's tensors are on the meta device from the start, so that it takes no memory.
    memo: dict[int, Any] = {id(x): torch.empty_like(x, device="meta") for x in model.buffers()}
    memo |= {id(x): nn.Parameter(torch.empty_like(x, device="meta"), x.requires_grad) for x in model.parameters()}
    meta = copy.deepcopy(model, memo).eval()
    clip = clip_inputs(meta)
    passage = _Passage(clip)
    for name, module in meta.named_modules():
        module.register_forward_pre_hook(lambda module, inputs, name=name: passage.enter(name, module))
        module.register_forward_hook(lambda module, inputs, output: passage.leave(output))
    passage.enter("", meta)
    with torch.no_grad(), torch.device("meta"), passage.counter, passage:
        meta.forward(**clip)  # not meta(**clip), which may be compiled
    for name, module in meta.named_modules():
        if parameters := passage.own_parameters(module):
            passage.add(name or type(module).__name__, Work("parameters"), None, parameters)
    return list(passage.layers.values())


def multiply_adds(model: VideoClassifier) -> dict[str, int]:
    """Multiply-adds of every layer that has any, by its name, for the forward pass of one clip."""
    return {layer.name: layer.multiply_adds for layer in layer_table(model) if layer.multiply_adds}


def training_multiply_adds(model: VideoClassifier) -> dict[str, int]:
    """Multiply-adds of a training step for each clip of its batch, by stream ("" for a network without streams).

    A backward pass costs two forward passes.
    """
    counts, training = multiply_adds(model), {}
    for stream in model.streams or ("",):
        forward = sum(macs for layer, macs in counts.items() if layer.startswith(stream))
        training[stream] = 3 * forward * model.clips_per_step.get(stream, 1)
    return training


class _Passage(Follow):
    """Follows a clip through the modules of a network and writes down its layers."""

    def __init__(self, clip: dict[str, Tensor]) -> None:
        super().__init__(clip)
        self.counter = FlopCounterMode(display=False)
        self.layers: dict[str, Layer] = {}
        self.inside: list[tuple[str, nn.Module]] = []
        self.work: Work | None = None  # of the layer that the clip is in
        self.names: Counter[str] = Counter()  # of calls that are no module's
        self.counted: set[int] = set()  # parameters
        self.spent = 0  # operations that a row has

    def enter(self, name: str, module: nn.Module) -> None:
        """A module begins."""
        self.inside.append((name, module))
        self.work = None

    def leave(self, output: Any) -> None:
        """The innermost module ends: a row, if it is a layer with weights or pooling."""
        is_layer = self.is_layer()
        name, module = self.inside.pop()
        parameters = self.own_parameters(module) if is_layer else 0
        if is_layer and (self.work or parameters):
            kind = "norm" if "Norm" in type(module).__name__ else type(module).__name__
            tensor = next(x for x in tree_leaves(output) if isinstance(x, Tensor))
            self.add(name, self.work or Work(kind), tensor, parameters)
        self.work = None

    def is_layer(self) -> bool:
        """Whether the calls of the innermost module make one row together, rather than one each."""
        name, module = self.inside[-1]
        own = next(module.parameters(recurse=False), None)
        return bool(name) and (own is not None or next(module.children(), None) is None)

    def called(self, name: str, work: Work | None, output: Tensor) -> None:
        """A row for a call that no module of its own stands for."""
        if work and self.is_layer():
            self.work = self.work or work
        elif work:
            name = ".".join(filter(None, [self.inside[-1][0], name]))
            self.names[name] += 1
            self.add(f"{name}_{self.names[name]}" if self.names[name] > 1 else name, work, output)

    def own_parameters(self, module: nn.Module) -> int:
        """Parameters of the module itself, without its parts', that no row has counted yet."""
        own = {id(x): x.numel() for x in module.parameters(recurse=False) if id(x) not in self.counted}
        self.counted |= own.keys()
        return sum(own.values())

    def add(self, name: str, work: Work, output: Tensor | None, parameters: int = 0) -> None:
        """A row; or more of one, where the clip passes a layer again."""
        seen, spent = self.see(output), self.counter.get_total_flops()
        layer = Layer(
            name,
            work.kind,
            work.kernel,
            work.stride,
            output=(0, 0, 0, 0) if output is None else _size(output.shape),
            receptive_field=seen.field if seen else (0, 0, 0),
            clipped=seen.clipped if seen else (0, 0, 0),
            modalities=tuple(sorted(seen.modalities)) if seen else (),
            parameters=parameters,
            multiply_adds=(spent - self.spent) // 2,
        )
        if before := self.layers.get(name):
            channels, times, *area = layer.output
            layer = layer._replace(
                output=(channels, before.output[1] + times, *area),
                receptive_field=tuple(map(max, before.receptive_field, layer.receptive_field)),
                clipped=tuple(map(max, before.clipped, layer.clipped)),
                parameters=before.parameters + parameters,
                multiply_adds=before.multiply_adds + layer.multiply_adds,
            )
        self.layers[name], self.spent = layer, spent


def _size(shape: torch.Size) -> tuple[int, int, int, int]:
    """A layer's output as C, T, H, W. One clip makes a batch of 1, unless its frames are in it."""
    if len(shape) < 4:  # (N, T, F) or (N, F)
        return (shape[-1], math.prod(shape[:-1]), 1, 1)
    return (shape[1], shape[0] * math.prod(shape[2:-2]), *shape[-2:])
