"""What each position of a tensor sees of a clip, followed through PyTorch's operations.

Each position has six numbers: how far it sees back and forth along time, height and width. They lie in six tensors of
the same shape. An operation that moves positions moves these tensors alike. One that mixes positions takes the
largest. One that works on each position keeps them. After any other, each position counts as seeing everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

Vector = tuple[int, int, int]  # along time, height and width

AXES = {1: (0,), 2: (1, 2), 3: (0, 1, 2)}  # of t, h, w those along which windows of so many dimensions slide
REDUCTIONS = {"mean": "average pool", "amax": "max pool", "max": "max pool", "sum": "sum", "amin": "min", "min": "min"}
PRODUCTS = {"mm": ("self", "mat2"), "bmm": ("self", "mat2"), "addmm": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2")}
VIEWS = ("view", "_unsafe_view", "_reshape_alias")
MOVES = ("t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "repeat", "select", "slice", "unfold", "flip")
MOVES += ("roll", "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "unbind")
MIXES = ("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", "index", "index_select", "gather", "sort")
MIXES += ("topk", "grid_sampler_2d", "grid_sampler_3d")
TAKES_A_SHAPE = ("_like", "new_empty", "new_zeros", "new_ones", "new_full")  # and no content


class Window(NamedTuple):
    """A window that slides along a dimension; `first` and `last` are the inputs at its ends, for each output."""

    kernel: int
    stride: int
    first: Tensor
    last: Tensor

    @staticmethod
    def sliding(size: int, kernel: int, stride: int, padding: int, dilation: int) -> Window:
        """Of a convolution or pooling with an output of this size."""
        first = torch.arange(size, device="cpu") * stride - padding
        return Window(kernel, stride, first, first + (kernel - 1) * dilation)

    @staticmethod
    def adaptive(before: int, after: int) -> Window:
        """Of an adaptive pooling from one size to another."""
        index = torch.arange(after, device="cpu")
        first, stop = index * before // after, -(-(index + 1) * before // after)
        return Window(int((stop - first).max()), before // after, first, stop - 1)


@dataclass(frozen=True)
class Operation:
    """A call of PyTorch: the operation, its arguments by name, and the tensors that it returns."""

    func: Any
    given: dict[str, Any]
    outputs: list[Tensor]

    @staticmethod
    def called(func: Any, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> Operation:
        """The call, with names and defaults from the operation's schema."""
        given = {argument.name: argument.default_value for argument in func._schema.arguments}
        given |= dict(zip(given, args, strict=False)) | kwargs
        return Operation(func, given, [x for x in tree_leaves(output) if isinstance(x, Tensor) and x.numel()])

    @property
    def name(self) -> str:
        """Such as `convolution`."""
        return self.func._schema.name.removeprefix("aten::")

    @property
    def input(self) -> Tensor | None:
        """The tensor that is worked upon, of operations that have one."""
        return self.given.get("self", self.given.get("input"))

    @property
    def dims(self) -> list[int]:
        """The dimensions that are named, counted from the first; all where none is."""
        dim, rank = self.given.get("dim"), self.input.dim()
        return [place % rank for place in ([dim] if isinstance(dim, int) else dim or range(rank))]

    @property
    def pools(self) -> str:
        """What kind of pooling it is; "" for all else."""
        return "max pool" if "max_pool" in self.name else "average pool" if "avg_pool" in self.name else ""

    def windows(self) -> list[Window]:
        """How it slides along each of its last dimensions; empty if it is no convolution, pooling or padding."""
        given, before, after = self.given, self.input, self.outputs[0].shape
        if self.pools and "output_size" in given:
            rank = len(given["output_size"])
            return [Window.adaptive(*sizes) for sizes in zip(before.shape[-rank:], after[-rank:], strict=True)]
        if self.pools:
            kernel = given["kernel_size"]
            columns = [kernel, given["stride"] or kernel, given["padding"], given.get("dilation", [1])]
        elif self.name == "convolution" and not given["transposed"]:
            columns = [given["weight"].shape[2:], given["stride"], given["padding"], given["dilation"]]
        elif self.name == "constant_pad_nd" and len(given["pad"]) <= 6:
            columns = [[1], [1], given["pad"][::2][::-1], [1]]
        else:
            return []
        rank = max(map(len, columns))
        columns = [list(column) * (rank // len(column)) for column in columns]
        return [Window.sliding(*row) for row in zip(after[-rank:], *columns, strict=True)]


def _small(numbers: Tensor) -> Tensor:
    """The same, with size 1 along each dimension in which they are only repeated."""
    return numbers[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in numbers.stride())]


@dataclass(frozen=True)
class Seen:
    """What the positions of a tensor see of a clip.

    reach:       a position sees from -reach[i] to reach[3 + i] of the clip along t, h, w; maybe beyond the clip's edges
    steps:       how far apart neighbours look along t, h, w; for dimensions that have one position left
    first, last: the part of the clip that there is to be seen
    modalities:  `rgb`, `flow` or both
    """

    reach: tuple[Tensor, ...]
    steps: Vector
    first: Vector
    last: Vector
    modalities: frozenset[str]

    @staticmethod
    def of_clip(modality: str, clip: Tensor) -> Seen:
        """A clip (N, C, T, H, W) as it enters: a pixel sees itself, in a flow field in two frames."""
        extents, reach = (2 if modality == "flow" else 1, 1, 1), []
        for axis, size in enumerate(clip.shape[2:]):
            reach.append(torch.arange(size, device="cpu").view([-1 if dim == 2 + axis else 1 for dim in range(5)]))
        last = tuple(size - 1 + extent for size, extent in zip(clip.shape[2:], extents, strict=True))
        both = [-start for start in reach] + [start + extent for start, extent in zip(reach, extents, strict=True)]
        return Seen(tuple(x.expand(clip.shape) for x in both), (1, 1, 1), (0, 0, 0), last, frozenset([modality]))

    @staticmethod
    def together(seen: Sequence[Seen], join: Callable[[Sequence[Tensor]], Tensor]) -> Seen:
        """What several see, with their numbers joined."""
        return Seen(
            tuple(map(join, zip(*(part.reach for part in seen), strict=True))),
            tuple(map(max, zip(*(part.steps for part in seen), strict=True))),
            tuple(map(min, zip(*(part.first for part in seen), strict=True))),
            tuple(map(max, zip(*(part.last for part in seen), strict=True))),
            frozenset().union(*(part.modalities for part in seen)),
        )

    @property
    def shape(self) -> torch.Size:
        """Of the tensor."""
        return self.reach[0].shape

    @property
    def field(self) -> Vector:
        """t, h, w that a position sees at most, over the clip's edges where padding reaches there."""
        pairs = zip(map(_small, self.reach[:3]), map(_small, self.reach[3:]), strict=True)
        return tuple(int((back + forth).max()) for back, forth in pairs)

    @property
    def clipped(self) -> Vector:
        """The same, at most what there is to be seen."""
        return tuple(map(min, self.field, (last - first for first, last in zip(self.first, self.last, strict=True))))

    def step(self, number: int, dim: int, axis: int | None = None) -> int:
        """By how much one of the six numbers grows from a position to the next along a dimension.

        Where one position is left, it is what it was along this `axis` of the clip.
        """
        numbers = _small(self.reach[number])
        if numbers.shape[dim] > 1:
            return int((numbers.select(dim, 1) - numbers.select(dim, 0)).flatten()[0])
        alone = self.shape[dim] == 1 and number % 3 == axis
        return self.steps[axis] * (-1 if number < 3 else 1) if alone else 0

    def varies(self, dim: int) -> bool:
        """Whether neighbours along a dimension see different parts of the clip."""
        return any(self.step(number, dim) for number in (3, 4, 5))

    def places(self, dims: Iterable[int]) -> Vector:
        """At how many places along t, h, w the positions along some dimensions look."""
        some = tuple(slice(None) if dim in dims else 0 for dim in range(len(self.shape)))
        return tuple(len(_small(numbers[some]).unique()) for numbers in self.reach[3:])

    def changed(self, change: Callable[[Tensor], Tensor]) -> Seen:
        """With each of the six tensors changed."""
        return replace(self, reach=tuple(map(change, self.reach)))

    def mixed(self, dims: Sequence[int]) -> Seen:
        """All positions along some dimensions seen at once; one position of these is left."""
        shape = [1 if dim in dims else size for dim, size in enumerate(self.shape)]
        return self.changed(lambda x: _small(x).amax(tuple(dims), keepdim=True).expand(shape))

    def through(self, window: Window, dim: int, axis: int) -> Seen:
        """What windows see that slide along a dimension; neighbours look on in order, beyond the edges too."""
        if window.kernel == window.stride == 1 and len(window.first) == self.shape[dim]:
            return self
        sizes = [1] * len(self.shape)
        sizes[dim] = len(window.first)
        reach = []
        for number, numbers in enumerate(self.reach):
            small, step, ends = _small(numbers), self.step(number, dim, axis), []
            for index in window.first, window.last:
                inside = index.clamp(0, self.shape[dim] - 1)
                end = small.index_select(dim, inside) if small.shape[dim] > 1 else small
                ends.append(end + (index - inside).view(sizes) * step if step else end)
            largest = torch.maximum(*ends)
            reach.append(largest.expand([sizes[d] if d == dim else size for d, size in enumerate(self.shape)]))
        steps = list(self.steps)
        steps[axis] = self.step(3 + axis, dim, axis) * window.stride
        return replace(self, reach=tuple(reach), steps=tuple(steps))

    def part(self) -> Seen:
        """With no more of the clip to be seen than what these positions see."""
        furthest = [int(_small(numbers).max()) for numbers in self.reach]
        first = tuple(max(a, -b) for a, b in zip(self.first, furthest[:3], strict=True))
        return replace(self, first=first, last=tuple(map(min, self.last, furthest[3:])))


def at_each_position(seen: Sequence[Seen], shape: Sequence[int], apart: bool) -> Seen:
    """What all see at a position of a tensor of this shape: at the same position if these stay apart, else at any."""
    for part in seen:
        pairs = zip(reversed(part.shape), reversed(shape), strict=False)
        apart = apart and len(part.shape) <= len(shape) and all(own in (1, size) for own, size in pairs)
    if not apart:
        seen = [part.changed(lambda x: _small(x).max()) for part in seen]
    return Seen.together(seen, lambda numbers: reduce(torch.maximum, map(_small, numbers)).expand(shape))


def _side_by_side(seen: Sequence[Seen], dim: int, shape: Sequence[int]) -> Seen:
    def join(numbers: Sequence[Tensor]) -> Tensor:
        varies = [place == dim or any(x.stride(place) for x in numbers) for place in range(len(shape))]
        kept = tuple(slice(None) if wanted else slice(0, 1) for wanted in varies)
        return torch.cat([x[kept] for x in numbers], dim).expand(shape)

    return Seen.together(seen, join)


def _moved(operation: Operation, seen: Seen) -> list[Seen]:
    """After an operation that only moves positions or leaves some out: it moves the numbers too."""
    moved = [tree_leaves(operation.func(**operation.given | {"self": numbers})) for numbers in seen.reach]
    outcomes = [replace(seen, reach=reach) for reach in zip(*moved, strict=True) if reach[0].numel()]
    return [x.part() if x.shape.numel() < seen.shape.numel() else x for x in outcomes]


def follow(operation: Operation, see: Callable[[Any], Seen | None]) -> list[Seen]:
    """What each tensor sees that an operation returns; empty where its inputs hold nothing of the clip.

    `see` tells what a tensor sees, None for one that holds nothing of the clip.
    """
    name, given, outputs = operation.name, operation.given, operation.outputs
    inputs = [seen for x in tree_leaves(given) if (seen := see(x))]
    if not inputs or name.endswith(TAKES_A_SHAPE):
        return []
    shape, seen = outputs[0].shape, see(operation.input)
    if seen and name in VIEWS:
        return [seen.changed(lambda x: x.reshape(shape))]
    if seen and name in MOVES:
        return _moved(operation, seen)
    if seen and name in REDUCTIONS:
        dims, seen = operation.dims, seen.mixed(operation.dims)
        return [seen if given.get("keepdim") else seen.changed(lambda x: x.squeeze(dims))] * len(outputs)
    if name in ("cat", "stack") and len(inputs) == len(given["tensors"]):
        dim = given["dim"] % len(shape)
        parts = [part.changed(lambda x: x.unsqueeze(dim)) for part in inputs] if name == "stack" else inputs
        return [_side_by_side(parts, dim, shape)]
    if seen and (windows := operation.windows()):
        first = len(shape) - len(windows)
        seen = seen.mixed([first - 1]) if name == "convolution" else seen  # a convolution sees all channels
        for dim, (window, axis) in enumerate(zip(windows, AXES[len(windows)], strict=True), first):
            seen = seen.through(window, dim, axis)
        inputs = [seen]
    elif name in PRODUCTS:  # a row of the left factor times a column of the right one
        mixed = {key: len(shape) - 1 - place for place, key in enumerate(PRODUCTS[name])}
        followed = {key: part for key, x in given.items() if (part := see(x))}
        inputs = [part.mixed([mixed[key]]) if key in mixed else part for key, part in followed.items()]
    return [at_each_position(inputs, output.shape, name not in MIXES) for output in outputs]
