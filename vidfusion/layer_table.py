"""What a network is made of, layer by layer: output size, receptive field, parameters, multiply-adds.

Nothing is typed in. One clip passes through the module on the meta device, where nothing is computed. PyTorch's own
counter says what each operation costs, and `receptive_fields` follows what each tensor sees of the clip.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from vidfusion.classifier import VideoClassifier
from vidfusion.receptive_fields import PRODUCTS, REDUCTIONS, Operation, Seen, Vector, at_each_position, follow


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

    Activations, dropout and norms without parameters have no row, and norms do not widen a receptive field. Where an
    operation mixes positions in a way that is not followed here, each of them counts as seeing what all see together.

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
        module.register_forward_pre_hook(lambda module, inputs, name=name: passage.enter(name, module, inputs))
        module.register_forward_hook(lambda module, inputs, output: passage.leave(output))
    passage.enter("", meta)
    with torch.no_grad(), torch.device("meta"), passage:
        meta.forward(**clip)  # not meta(**clip), which may be compiled
    for name, module in meta.named_modules():
        if parameters := passage.own_parameters(module):
            passage.add(name or type(module).__name__, _Work("parameters"), None, parameters)
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


class _Work(NamedTuple):
    """What an operation or layer says in the table."""

    kind: str
    kernel: Vector | None = None
    stride: Vector | None = None
    multiply_adds: int = 0


def _work(operation: Operation, seen: Seen | None, multiply_adds: int) -> _Work | None:
    """What an operation says in the table, if anything; its input has `seen` something of the clip."""
    if operation.name in PRODUCTS:
        return _Work("linear", multiply_adds=multiply_adds)
    if windows := operation.windows():
        kernel, stride = _vector([w.kernel for w in windows]), _vector([w.stride for w in windows])
        if operation.name == "convolution":
            return _Work("conv", kernel, stride, multiply_adds)
        first = operation.input.dim() - len(windows)
        pools = seen and any(
            w.kernel > 1 and _moves(seen, operation.input, dim) for dim, w in enumerate(windows, first)
        )
        return _Work(operation.pools, kernel, stride) if pools else None  # else it pools channels
    if seen and operation.name in REDUCTIONS and any(_moves(seen, operation.input, dim) for dim in operation.dims):
        return _Work(REDUCTIONS[operation.name], seen.places(operation.dims))
    return None


def _moves(seen: Seen, tensor: Tensor, dim: int) -> bool:
    """Whether pooling along a dimension goes through the clip, as it does not where it pools channels."""
    return tensor.shape[dim] == 1 or seen.varies(dim)


def _vector(sizes: Sequence[int]) -> Vector:
    """Sizes along the dimensions after the channels as t, h, w: all three, those of an image, or that of a series."""
    return {1: (*sizes, 1, 1), 2: (1, *sizes), 3: tuple(sizes)}[len(sizes)]


@dataclass
class _Inside:
    """A module that the clip is in: what its operations have said so far, and how often each has run by itself."""

    name: str
    module: nn.Module
    inputs: tuple[Any, ...] = ()
    works: list[_Work] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)

    @property
    def is_layer(self) -> bool:
        """Whether its operations make one row together, rather than one each."""
        own = next(self.module.parameters(recurse=False), None)
        return bool(self.name) and (own is not None or next(self.module.children(), None) is None)

    @property
    def is_norm(self) -> bool:
        """Whether it is a norm, which does not widen a receptive field."""
        return "Norm" in type(self.module).__name__ or isinstance(self.module, nn.LocalResponseNorm)

    def name_of(self, operation: str) -> str:
        """A row's name for an operation that no module of its own stands for."""
        name = operation.removesuffix("_with_indices").strip("_")
        self.names[name] += 1
        name += f"_{self.names[name]}" if self.names[name] > 1 else ""
        return f"{self.name}.{name}" if self.name else name

    def row(self) -> _Work:
        """What its operations say together."""
        module, works = self.module, self.works
        kind = type(module).__name__
        if isinstance(module, nn.RNNBase):
            kind = kind.lower()
        elif works:
            kind = works[0].kind
        elif self.is_norm:
            kind = "norm"
        first = works[0] if works else _Work(kind)
        return first._replace(kind=kind, multiply_adds=sum(work.multiply_adds for work in works))


class _Passage(TorchDispatchMode):
    """Follows a clip, given by modality, on its way through the modules and operations of a network."""

    def __init__(self, clip: dict[str, Tensor]) -> None:
        super().__init__()
        self.layers: dict[str, Layer] = {}
        # By identity; each tensor is kept beside, so that no other takes its identity.
        self.seen = {id(pixels): (pixels, Seen.of_clip(modality, pixels)) for modality, pixels in clip.items()}
        self.inside: list[_Inside] = []
        self.counted: set[int] = set()

    def see(self, tensor: Any) -> Seen | None:
        """What a tensor's positions see; None where it holds nothing of the clip."""
        return self.seen.get(id(tensor), (None, None))[1]

    def enter(self, name: str, module: nn.Module, inputs: tuple[Any, ...] = ()) -> None:
        """A module begins."""
        self.inside.append(_Inside(name, module, inputs))

    def leave(self, output: Any) -> None:
        """The innermost module ends: a row, if it is a layer with weights or pooling."""
        inside = self.inside.pop()
        tensor = next(x for x in tree_leaves(output) if isinstance(x, Tensor))
        if inside.is_norm and (seen := self.see(inside.inputs[0])):
            self.seen[id(tensor)] = tensor, seen
        if inside.is_layer:
            parameters = self.own_parameters(inside.module)
            if inside.works or parameters:
                self.add(inside.name, inside.row(), tensor, parameters)

    def own_parameters(self, module: nn.Module) -> int:
        """Parameters of the module itself, without its parts', that no row has counted yet."""
        own = {id(x): x.numel() for x in module.parameters(recurse=False) if id(x) not in self.counted}
        self.counted |= own.keys()
        return sum(own.values())

    def add(self, name: str, work: _Work, output: Tensor | None, parameters: int = 0) -> None:
        """A row; or more of one, where the clip passes a layer again."""
        seen = self.see(output)
        layer = Layer(
            name,
            work.kind,
            work.kernel,
            work.stride,
            output=(0, 0, 0, 0) if output is None else _size(output.shape, work.kind, seen),
            receptive_field=seen.field if seen else (0, 0, 0),
            clipped=seen.clipped if seen else (0, 0, 0),
            modalities=tuple(sorted(seen.modalities)) if seen else (),
            parameters=parameters,
            multiply_adds=work.multiply_adds,
        )
        if before := self.layers.get(name):
            channels, times, *area = layer.output
            layer = layer._replace(
                output=(channels, before.output[1] + times, *area),
                receptive_field=tuple(map(max, before.receptive_field, layer.receptive_field)),
                clipped=tuple(map(max, before.clipped, layer.clipped)),
                modalities=tuple(sorted({*before.modalities, *layer.modalities})),
                parameters=before.parameters + parameters,
                multiply_adds=before.multiply_adds + work.multiply_adds,
            )
        self.layers[name] = layer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        flops = flop_registry.get(func.overloadpacket)
        multiply_adds = flops(*args, **(kwargs or {}), out_val=output) // 2 if flops else 0
        operation, inside = Operation.called(func, args, kwargs or {}, output), self.inside[-1]
        if not operation.outputs or inside.is_norm:
            return output
        work = _work(operation, self.see(operation.input), multiply_adds)
        for tensor, seen in zip(operation.outputs, follow(operation, self.see), strict=False):
            self.seen[id(tensor)] = tensor, seen
            if operation.name.endswith("_") and tensor._base is not None:  # what is written into a part is in the whole
                whole = tensor._base
                parts = [seen, *filter(None, [self.see(whole)])]
                self.seen[id(whole)] = whole, at_each_position(parts, whole.shape, apart=False)
        if work and inside.is_layer:
            inside.works.append(work)
        elif work:
            self.add(inside.name_of(operation.name), work, operation.outputs[0])
        return output


def _size(shape: Sequence[int], kind: str, seen: Seen | None) -> tuple[int, int, int, int]:
    """A layer's output as C, T, H, W. One clip makes a batch of 1, unless its frames are in it."""
    batch, *others = (1, *shape)[-max(len(shape), 2) :]
    channels = 0
    if kind in ("linear", "lstm", "gru", "rnn"):
        channels = -1
    elif len(others) == 2 and kind != "conv":  # features in a series, where those do not lie along time
        channels = 0 if seen and seen.varies(2) and not seen.varies(1) else -1
    size = others.pop(channels)
    times, area = (others, [1, 1]) if len(others) < 2 else (others[:-2], others[-2:])
    return (size, batch * math.prod(times), *area)
