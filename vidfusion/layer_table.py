"""What a network is made of, layer by layer: output size, receptive field, parameters, multiply-adds.

Nothing is typed in. One clip passes through the module on the meta device, where nothing is computed, and every tensor
on the way is followed: what do its positions see of the clip?
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vidfusion.classifier import VideoClassifier

Vector = tuple[int, int, int]  # along time, height and width: in frames, pixels and pixels where it is of the clip
ZERO: Vector = (0, 0, 0)


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
        module.register_forward_pre_hook(lambda module, inputs, name=name: passage.enter(name, module))
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


# -- what the positions of a tensor see of the clip --------------------------------------------------------------------

Factor = tuple[int, Vector]  # so many positions, each of which looks a step further into the clip than the one before


def _plus(vector: Vector, step: Vector, times: int = 1) -> Vector:
    return (vector[0] + times * step[0], vector[1] + times * step[1], vector[2] + times * step[2])


def _least(vectors: Iterable[Vector]) -> Vector:
    return tuple(map(min, zip(*vectors, strict=True)))


def _most(vectors: Iterable[Vector]) -> Vector:
    return tuple(map(max, zip(*vectors, strict=True)))


def _still(size: int) -> tuple[Factor, ...]:
    return ((size, ZERO),)


def _length(factors: tuple[Factor, ...]) -> int:
    return math.prod(length for length, _ in factors)


def _moves(factors: tuple[Factor, ...]) -> bool:
    return any(step != ZERO for _, step in factors)


class _Window(NamedTuple):
    """How a convolution or pooling slides along one dimension."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


@dataclass(frozen=True)
class _Seen:
    """What the positions of a tensor see.

    The first position sees `start` to `stop` of the clip, which may lie beyond its edges. `dims` says for each
    dimension how far apart its positions look: its factors, from the slowest to the fastest, of which it has several
    where others were flattened into it. `first` to `last` is the part of the clip that there is to be seen.
    """

    start: Vector
    stop: Vector
    dims: tuple[tuple[Factor, ...], ...]
    first: Vector
    last: Vector
    modalities: frozenset[str]

    def with_dim(self, place: int, *dims: tuple[Factor, ...]) -> _Seen:
        """With these dimensions in the place of one."""
        return dataclasses.replace(self, dims=(*self.dims[:place], *dims, *self.dims[place:][1:]))

    def broadcasts_to(self, shape: Sequence[int]) -> bool:
        """Whether this can be of a tensor that is broadcast to this shape."""
        sizes = [_length(factors) for factors in reversed(self.dims)]
        return len(sizes) <= len(shape) and all(a in (1, b) for a, b in zip(sizes, reversed(shape), strict=False))

    def moved(self, step: Vector, times: int) -> _Seen:
        """So many steps further."""
        return dataclasses.replace(self, start=_plus(self.start, step, times), stop=_plus(self.stop, step, times))

    def all_of(self, places: Iterable[int]) -> _Seen:
        """See all positions along some dimensions at once; one position of these is left."""
        seen = self
        for place in places:
            step, stop = ZERO, seen.stop
            for length, step in seen.dims[place]:
                stop = _plus(stop, step, length - 1)
            seen = dataclasses.replace(seen, stop=stop).with_dim(place, ((1, step),))
        return seen

    def spread(self, shape: Sequence[int]) -> _Seen:
        """See everything at every position of a tensor of this shape."""
        return dataclasses.replace(self.all_of(range(len(self.dims))), dims=tuple(map(_still, shape)))

    def windows(self, place: int, window: _Window, size: int) -> _Seen:
        """See through `size` windows that slide along a dimension."""
        factors = self.dims[place]
        if window == _Window(1) and size == _length(factors):
            return self
        if len(factors) > 1:
            return self.all_of([place]).with_dim(place, _still(size))
        ((_, step),) = factors
        stop = _plus(self.stop, step, (window.kernel - 1) * window.dilation)
        wider = dataclasses.replace(self, stop=stop).moved(step, -window.padding)
        return wider.with_dim(place, ((size, _plus(ZERO, step, window.stride)),))

    def part(self, place: int, start: int, size: int, stride: int = 1) -> _Seen:
        """`size` of the positions along a dimension, every `stride`-th from `start` on."""
        seen, factors = self, self.dims[place]
        if size == _length(factors):
            return self
        if size == 1:
            for length, step in reversed(factors):
                start, index = divmod(start, length)
                seen = seen.moved(step, index)
            seen = seen.with_dim(place, _still(1))
        else:
            seen = seen.windows(place, _Window(1, stride, -start), size)
        reach = seen.all_of(range(len(seen.dims)))
        return dataclasses.replace(seen, first=_most([seen.first, reach.start]), last=_least([seen.last, reach.stop]))

    def viewed(self, shape: Sequence[int]) -> _Seen:
        """The same positions in the same order, in another shape."""
        left = [factor for factors in self.dims for factor in factors]
        dims = []
        for size in shape:
            taken: list[Factor] = [left.pop(0)] if size == 1 and left and left[0][0] == 1 else []
            missing = size
            while missing > 1:
                length, step = left.pop(0)
                if length % missing == 0 and length > missing:  # a part of it: the rest belongs to the next dimension
                    left.insert(0, (length // missing, step))
                    length, step = missing, _plus(ZERO, step, length // missing)
                if missing % length:
                    return self.spread(shape)
                missing //= length
                taken += [(length, step)] if length > 1 else []
            dims.append(tuple(taken) or _still(size))
        return dataclasses.replace(self, dims=tuple(dims))


def _clip(modality: str, pixels: Tensor) -> _Seen:
    """A clip as it enters: a pixel sees itself, in a flow field in two frames."""
    _, channels, frames, height, width = pixels.shape
    depth = 2 if modality == "flow" else 1
    dims = (_still(1), _still(channels), ((frames, (1, 0, 0)),), ((height, (0, 1, 0)),), ((width, (0, 0, 1)),))
    return _Seen(ZERO, (depth, 1, 1), dims, ZERO, (frames - 1 + depth, height, width), frozenset([modality]))


def _together(seen: Sequence[_Seen], shape: Sequence[int]) -> _Seen:
    """Each position of a tensor of this shape sees what all of these see there, broadcast to it."""
    seen = [dataclasses.replace(s, dims=(*[_still(1)] * (len(shape) - len(s.dims)), *s.dims)) for s in seen]
    dims = []
    for place, size in enumerate(shape):
        moving = {s.dims[place] for s in seen if _moves(s.dims[place]) and _length(s.dims[place]) == size}
        if len(moving) > 1:  # they part: only what all positions see together holds for each
            seen = [s.all_of([place]) for s in seen]
        dims.append(moving.pop() if len(moving) == 1 else _still(size))
    return _Seen(
        _least(s.start for s in seen),
        _most(s.stop for s in seen),
        tuple(dims),
        _least(s.first for s in seen),
        _most(s.last for s in seen),
        frozenset().union(*(s.modalities for s in seen)),
    )


def _stacked(seen: Sequence[_Seen], place: int, shape: Sequence[int]) -> _Seen:
    """Side by side along a new dimension. Where each looks a step further than the one before, so do its positions."""
    first, step = seen[0], _plus(seen[-1].start, seen[0].start, -1)
    step = tuple(distance // max(len(seen) - 1, 1) for distance in step)
    together = _together(seen, [*shape[:place], *shape[place + 1 :]])
    steps = [first.moved(step, index) for index in range(shape[place])]
    if min(step) >= 0 and [(s.start, s.stop, s.dims) for s in seen] == [(s.start, s.stop, s.dims) for s in steps]:
        together = dataclasses.replace(together, start=first.start, stop=first.stop)
    else:
        step = ZERO
    return together.with_dim(place, ((shape[place], step),), *together.dims[place : place + 1])


# -- operations --------------------------------------------------------------------------------------------------------

POOLS = {
    "max_pool2d_with_indices": "max pool",
    "max_pool3d_with_indices": "max pool",
    "avg_pool2d": "average pool",
    "avg_pool3d": "average pool",
    "adaptive_max_pool2d": "max pool",
    "adaptive_max_pool3d": "max pool",
    "_adaptive_avg_pool2d": "average pool",
    "_adaptive_avg_pool3d": "average pool",
}
REDUCTIONS = {"mean": "average pool", "amax": "max pool", "max": "max pool", "sum": "sum", "amin": "min", "min": "min"}
PRODUCTS = {"mm": ("self", "mat2"), "bmm": ("self", "mat2"), "addmm": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2")}
VIEWS = ("view", "_unsafe_view", "_reshape_alias")
SPLITS = ("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "unbind")
ALONG = ("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod")  # mix what lies along `dim`
ANYWHERE = ("index", "index_select", "gather", "flip", "roll", "sort", "topk", "repeat")  # put things elsewhere
CONTENTLESS = ("_like", "new_empty", "new_zeros", "new_ones", "new_full")  # take a shape from a tensor and no more


class _Work(NamedTuple):
    """What an operation or layer has to say in the table."""

    kind: str
    kernel: Vector | None = None
    stride: Vector | None = None
    multiply_adds: int = 0


class _Operation(NamedTuple):
    """A call of PyTorch: the operation's name, its arguments by their names, and the tensors that it returns."""

    name: str
    given: dict[str, Any]
    outputs: list[Tensor]

    @property
    def input(self) -> Tensor | None:
        """The tensor that is worked upon, of operations that have one."""
        return self.given.get("self", self.given.get("input"))

    @property
    def shape(self) -> list[int]:
        """Of the first tensor that it returns."""
        return list(self.outputs[0].shape)

    @property
    def places(self) -> list[int]:
        """The dimensions that are named, counted from the first; all where none is."""
        rank = max(self.input.dim(), len(self.shape))
        dim = self.given.get("dim")
        return sorted(place % rank for place in ([dim] if isinstance(dim, int) else dim or range(rank)))

    def windows(self) -> list[_Window]:
        """Of a convolution or pooling, along the dimensions after the channels; none for other operations."""
        given = self.given
        if self.name == "convolution":
            columns = [given["weight"].shape[2:], given["stride"], given["padding"], given["dilation"]]
        elif self.name not in POOLS:
            return []
        elif "output_size" in given:
            pairs = list(zip(self.input.shape, self.shape, strict=True))[-len(given["output_size"]) :]
            extents = [max(-(-(i + 1) * n // m) - i * n // m for i in range(m)) for n, m in pairs]
            columns = [extents, [n // m for n, m in pairs]]
        else:
            kernel = given["kernel_size"]
            columns = [kernel, given["stride"] or kernel, given["padding"], given.get("dilation", [1])]
        count = max(map(len, columns))
        return [_Window(*row) for row in zip(*(list(c) * (count // len(c)) for c in columns), strict=True)]

    def work(self, seen: _Seen | None) -> _Work | None:
        """What it says in the table, if anything; its input has `seen` something of the clip."""
        if self.name in PRODUCTS:
            left, right = (self.given[key] for key in PRODUCTS[self.name])
            return _Work("linear", multiply_adds=left.numel() * right.shape[-1])
        windows = self.windows()
        if windows:
            kernel, stride = _vector([w.kernel for w in windows]), _vector([w.stride for w in windows])
            if self.name == "convolution":
                return _Work("conv", kernel, stride, self.given["weight"][0].numel() * self.outputs[0].numel())
            along = seen.dims[-len(windows) :] if seen else ()
            pools = any(w != _Window(1) and _moves(factors) for w, factors in zip(windows, along, strict=False))
            return _Work(POOLS[self.name], kernel, stride) if pools else None  # else it pools channels, as an LRN does
        if self.name in REDUCTIONS and seen:
            factors = [factor for place in self.places for factor in seen.dims[place]]
            kernel = tuple(math.prod(length for length, step in factors if step[axis]) for axis in range(3))
            return _Work(REDUCTIONS[self.name], kernel) if _moves(tuple(factors)) else None
        return None


def _vector(values: Sequence[int]) -> Vector:
    """Sizes along the dimensions after the channels as t, h, w: all three, those of an image, or that of a series."""
    return {1: (*values, 1, 1), 2: (1, *values), 3: tuple(values)}[len(values)]


class _Passage(TorchDispatchMode):
    """Follows a clip, given by modality, on its way through the modules and operations of a network."""

    def __init__(self, clip: dict[str, Tensor]) -> None:
        super().__init__()
        self.layers: dict[str, Layer] = {}
        # By identity; each tensor is kept beside, so that no other takes its identity.
        self.seen = {id(pixels): (pixels, _clip(modality, pixels)) for modality, pixels in clip.items()}
        self.inside: list[_Inside] = []
        self.counted: set[int] = set()

    def see(self, tensor: Any) -> _Seen | None:
        """What a tensor's positions see; None where it holds nothing of the clip."""
        return self.seen.get(id(tensor), (None, None))[1]

    # -- modules and their rows

    def enter(self, name: str, module: nn.Module) -> None:
        """A module begins."""
        self.inside.append(_Inside(name, module))

    def leave(self, output: Any) -> None:
        """The innermost module ends: a row, if it is a layer with weights or pooling."""
        inside = self.inside.pop()
        if not inside.is_layer:
            return
        module, works = inside.module, inside.works
        parameters = self.own_parameters(module)
        if works or parameters:
            kind = type(module).__name__
            if isinstance(module, nn.RNNBase):
                kind = kind.lower()
            elif works:
                kind = works[0].kind
            elif "Norm" in kind:
                kind = "norm"
            work = (works or [_Work(kind)])[0]._replace(kind=kind, multiply_adds=sum(w.multiply_adds for w in works))
            self.add(inside.name, work, next(x for x in tree_leaves(output) if isinstance(x, Tensor)), parameters)

    def own_parameters(self, module: nn.Module) -> int:
        """Parameters of the module itself, without its parts', that no row has counted yet."""
        own = {id(x): x.numel() for x in module.parameters(recurse=False) if id(x) not in self.counted}
        self.counted |= own.keys()
        return sum(own.values())

    def add(self, name: str, work: _Work, output: Tensor | None, parameters: int = 0) -> None:
        """A row; or more of one, where the clip passes a layer again."""
        seen = self.see(output)
        field = clipped = ZERO
        if seen:
            field = _plus(seen.stop, seen.start, -1)
            clipped = _least([field, _plus(seen.last, seen.first, -1)])
        size = (0, 0, 0, 0) if output is None else _size(output.shape, work.kind, seen)
        modalities = tuple(sorted(seen.modalities)) if seen else ()
        layer = Layer(
            name, work.kind, work.kernel, work.stride, size, field, clipped, modalities, parameters, work.multiply_adds
        )
        if before := self.layers.get(name):
            layer = layer._replace(
                output=(size[0], before.output[1] + size[1], *size[2:]),
                receptive_field=_most([before.receptive_field, field]),
                clipped=_most([before.clipped, clipped]),
                modalities=tuple(sorted({*before.modalities, *modalities})),
                parameters=before.parameters + parameters,
                multiply_adds=before.multiply_adds + work.multiply_adds,
            )
        self.layers[name] = layer

    # -- operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        arguments = func._schema.arguments
        given = {argument.name: argument.default_value for argument in arguments}
        given |= dict(zip((argument.name for argument in arguments), args, strict=False)) | (kwargs or {})
        outputs = [x for x in tree_leaves(output) if isinstance(x, Tensor)]
        if not outputs:
            return output
        operation = _Operation(func._schema.name.removeprefix("aten::"), given, outputs)
        if work := operation.work(self.see(operation.input)):
            inside = self.inside[-1]
            if inside.is_layer:
                inside.works.append(work)
        self._follow(operation)
        if work and not inside.is_layer:
            self.add(inside.name_of(operation.name), work, outputs[0])
        return output

    def _follow(self, operation: _Operation) -> None:
        inputs = [seen for x in tree_leaves(operation.given) if (seen := self.see(x))]
        if not inputs or operation.name.endswith(CONTENTLESS):
            return
        outcomes = self._outcomes(operation, inputs)
        for tensor, seen in zip(operation.outputs, outcomes, strict=True):
            assert list(map(_length, seen.dims)) == list(tensor.shape), operation.name
            self.seen[id(tensor)] = tensor, seen
            base = tensor._base
            if operation.name.endswith("_") and base is not None:  # what is written into a part is in the whole
                parts = [seen.spread(base.shape), *filter(None, [self.see(base)])]
                self.seen[id(base)] = base, _together(parts, base.shape)

    def _outcomes(self, operation: _Operation, inputs: list[_Seen]) -> list[_Seen]:
        """What each tensor that an operation returns sees of the clip, of which its `inputs` have seen something."""
        name, given, shape, outputs = operation.name, operation.given, operation.shape, operation.outputs
        if name in PRODUCTS:
            left, right = (self.see(given[key]) for key in PRODUCTS[name])
            row, column = len(shape) - 2, len(shape) - 1
            left = left and left.all_of([column]).with_dim(column, _still(shape[column]))
            right = right and right.all_of([row]).with_dim(row, _still(shape[row]))
            return [_together([seen for seen in (left, right) if seen], shape)]
        if name in ("cat", "stack"):
            place = given["dim"] % len(shape)
            if name == "stack":
                return [_stacked(inputs, place, shape)]
            return [_together([seen.all_of([place]) for seen in inputs], shape)]
        if name.startswith("grid_sampler"):  # each position looks where the clip or the network says, and counts once
            image, points = self.see(given["input"]), self.see(given["grid"])
            if image and given["input"].shape != outputs[0].shape:
                image = image.spread(shape)
            if points:
                last = len(shape) - 1
                points = points.all_of([last]).with_dim(last)
                points = points.with_dim(1, _still(1), *points.dims[1:2])
            return [_together([seen for seen in (image, points) if seen], shape)]
        seen = self.see(operation.input)
        if seen and (outcomes := _rearranged(operation, seen)):
            return outcomes
        if name in ALONG:
            inputs = [seen.all_of(operation.places) for seen in inputs]
        outcomes = []
        for output in outputs:
            if name in ANYWHERE or not all(seen.broadcasts_to(output.shape) for seen in inputs):
                inputs = [seen.spread(output.shape) for seen in inputs]
            outcomes.append(_together(inputs, output.shape))
        return outcomes


@dataclass
class _Inside:
    """A module that the clip is in: what its operations have said so far, and how often each has run by itself."""

    name: str
    module: nn.Module
    works: list[_Work] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)

    @property
    def is_layer(self) -> bool:
        """Whether its operations make one row together, rather than one each."""
        own = next(self.module.parameters(recurse=False), None)
        return bool(self.name) and (own is not None or next(self.module.children(), None) is None)

    def name_of(self, operation: str) -> str:
        """A row's name for an operation that no module of its own stands for."""
        name = operation.removesuffix("_with_indices").strip("_")
        self.names[name] += 1
        name += f"_{self.names[name]}" if self.names[name] > 1 else ""
        return f"{self.name}.{name}" if self.name else name


def _size(shape: Sequence[int], kind: str, seen: _Seen | None) -> tuple[int, int, int, int]:
    """A layer's output as C, T, H, W. One clip makes a batch of 1, unless its frames are in it."""
    batch, *others = (1, *shape)[-max(len(shape), 2) :]
    channels = 0
    if kind in ("linear", "lstm", "gru", "rnn"):
        channels = -1
    elif len(others) == 2 and kind != "conv":  # features in a series, where those do not lie along time
        channels = 0 if seen and _moves(seen.dims[2]) and not _moves(seen.dims[1]) else -1
    size = others.pop(channels)
    times, area = (others, [1, 1]) if len(others) < 2 else (others[:-2], others[-2:])
    return (size, batch * math.prod(times), *area)


def _rearranged(operation: _Operation, seen: _Seen) -> list[_Seen] | None:
    """What the outputs see of operations that take positions apart, put them together or leave some out; else None."""
    given, shape, outputs = operation.given, operation.shape, operation.outputs
    before = operation.input.shape
    rank = len(before)
    if windows := operation.windows():
        first = rank - len(windows)
        if operation.name == "convolution":
            if given["transposed"]:
                return None
            seen = seen.all_of([first - 1]).with_dim(first - 1, _still(shape[first - 1]))
        for place, window in enumerate(windows, first):
            seen = seen.windows(place, window, shape[place])
        return [seen] * len(outputs)
    if operation.name in REDUCTIONS:
        places = operation.places
        seen = seen.all_of(places)
        for place in () if given.get("keepdim") else reversed(places):
            seen = seen.with_dim(place)
        return [seen] * len(outputs)
    if operation.name in VIEWS:
        return [seen.viewed(shape)]
    if operation.name in SPLITS:
        place, start, parts = given["dim"] % rank, 0, []
        for output in outputs:
            size = 1 if operation.name == "unbind" else output.shape[place]
            part = seen.part(place, start, size)
            parts.append(part.with_dim(place) if operation.name == "unbind" else part)
            start += size
        return parts
    match operation.name:
        case "t" | "transpose" | "permute":
            order = list(range(rank))
            one, other = given.get("dim0", 0), given.get("dim1", rank - 1)
            order[one], order[other] = order[other], order[one]
            return [dataclasses.replace(seen, dims=tuple(seen.dims[place] for place in given.get("dims", order)))]
        case "unsqueeze":
            place = given["dim"] % (rank + 1)
            return [seen.with_dim(place, _still(1), *seen.dims[place : place + 1])]
        case "squeeze":
            for place in reversed(operation.places):
                seen = seen.with_dim(place) if before[place] == 1 else seen
            return [seen]
        case "select":
            (place,) = operation.places
            return [seen.part(place, given["index"] % before[place], 1).with_dim(place)]
        case "slice":
            (place,) = operation.places
            start, _, stride = slice(given["start"], given["end"], given["step"]).indices(before[place])
            return [seen.part(place, start, shape[place], stride)]
        case "unfold":
            place = given["dimension"] % rank
            windows = seen.windows(place, _Window(1, given["step"]), shape[place])
            step = seen.dims[place][0][1] if len(seen.dims[place]) == 1 else ZERO
            return [dataclasses.replace(windows, dims=(*windows.dims, ((given["size"], step),)))]
        case "constant_pad_nd":
            for index, padding in enumerate(given["pad"][::2]):
                place = rank - 1 - index
                seen = seen.windows(place, _Window(1, 1, padding), shape[place])
            return [seen]
    return None
