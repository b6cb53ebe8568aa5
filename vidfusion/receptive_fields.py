"""What the positions of a tensor see of a clip, followed through the calls that a network makes.

One clip passes. So the shape of a tensor says where the clip's frames are: in a batch above 1, in a dimension of their
own, or else in the channels. Known shapes: (N, C, T, H, W), (N, C, H, W), (N, T, F) and (N, F).

A call that is not named here counts as one that mixes all positions, so that no field comes out too small. A test
compares strategies with gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

Vector = tuple[int, int, int]  # along time, height and width

SIGNATURES = {
    "conv": ("input", "weight", "bias", "stride", "padding", "dilation"),
    "adaptive": ("input", "output_size"),
    "pool": ("input", "kernel_size", "stride", "padding", "dilation"),
}
REDUCTIONS = {"mean": "average pool", "amax": "max pool", "max": "max pool"}
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
MIXES = (*RECURRENT, "matmul", "__matmul__", "bmm", "einsum", "scaled_dot_product_attention")
# Calls that work on each position by itself, or only give a tensor another shape.
BY_ITSELF = {
    *("add", "add_", "__add__", "__radd__", "sub", "__sub__", "__rsub__", "mul", "mul_", "__mul__", "__rmul__", "div"),
    *("__truediv__", "neg", "clamp", "clip", "abs", "norm", "relu", "relu_", "leaky_relu", "gelu", "silu", "sigmoid"),
    *("tanh", "softmax", "log_softmax", "dropout", "dropout3d", "batch_norm", "local_response_norm", "to", "float"),
    *("contiguous", "clone", "detach", "cat", "stack", "flatten", "unflatten", "view", "reshape", "permute"),
    *("transpose", "movedim", "squeeze", "unsqueeze", "expand", "chunk", "split"),
}


class Window(NamedTuple):
    """How a convolution or pooling slides along one axis."""

    kernel: int
    stride: int
    padding: int = 0
    dilation: int = 1

    @staticmethod
    def adaptive(before: int, after: int) -> Window:
        """Of an adaptive pooling from one size to another."""
        return Window(max(-(-(i + 1) * before // after) - i * before // after for i in range(after)), before // after)


class Line(NamedTuple):
    """Along one axis, position i of `size` sees `field` places of the clip from `start + i * jump` on.

    These may lie beyond the clip's edges. `low` to `high` is the part of the clip that there is to be seen.
    """

    start: int
    field: int
    jump: int
    size: int
    low: int
    high: int

    def slid(self, window: Window, size: int) -> Line:
        """Through a window, which leaves `size` positions."""
        field = self.field + (window.kernel - 1) * window.dilation * self.jump
        start = self.start - window.padding * self.jump
        return self._replace(start=start, field=field, jump=self.jump * window.stride, size=size)

    def merged(self) -> Line:
        """All positions become one."""
        return self._replace(field=self.field + (self.size - 1) * self.jump, size=1)

    def within(self, other: Line) -> bool:
        """Whether `other` sees the same and more at each position."""
        ends = self.start + self.field <= other.start + other.field and self.start >= other.start
        return self[2:] == other[2:] and ends


class Seen(NamedTuple):
    """What a tensor's positions see.

    axes:       along t, h and w one line for each way from the clip
    modalities: `rgb`, `flow` or both
    window:     frames along the last dimension, if `unfold` has made it
    pieces:     windows of the clip in the batch, of which the lines tell the first
    """

    axes: tuple[tuple[Line, ...], ...]
    modalities: frozenset[str]
    window: int = 0
    pieces: int = 1

    @staticmethod
    def of_clip(modality: str, clip: Tensor) -> Seen:
        """A clip (1, C, T, H, W) as it enters: a pixel sees itself, a flow field two frames."""
        fields = (2 if modality == "flow" else 1, 1, 1)
        sizes = zip(fields, clip.shape[2:], strict=True)
        return Seen(tuple((Line(0, f, 1, n, 0, n - 1 + f),) for f, n in sizes), frozenset([modality]))

    @staticmethod
    def together(parts: Sequence[Seen]) -> Seen:
        """What several tensors see, whose positions lie on each other."""
        axes = []
        for several in zip(*(part.axes for part in parts), strict=True):
            lines = {line for axis in several for line in axis}
            axes.append(tuple(x for x in lines if not any(x != y and x.within(y) for y in lines)))
        modalities = frozenset().union(*(part.modalities for part in parts))
        window, pieces = max(part.window for part in parts), max(part.pieces for part in parts)
        return Seen(tuple(axes), modalities, window, pieces)

    @property
    def sizes(self) -> Vector:
        """Positions along t, h, w."""
        return tuple(max(line.size for line in axis) for axis in self.axes)

    @property
    def field(self) -> Vector:
        """t, h, w that a position sees at most, over the clip's edges where padding reaches there."""

        def width(axis: Iterable[Line], last: bool) -> int:
            starts = [(line, line.start + last * (line.size - 1) * line.jump) for line in axis]
            return max(start + line.field for line, start in starts) - min(start for _, start in starts)

        return tuple(max(width(axis, False), width(axis, True)) for axis in self.axes)

    @property
    def clipped(self) -> Vector:
        """The same, at most what there is to be seen."""
        parts = (max(line.high for line in axis) - min(line.low for line in axis) for axis in self.axes)
        return tuple(map(min, self.field, parts))

    def changed(self, *axes: int, change: Any) -> Seen:
        """With the lines of some axes changed."""
        lines = (tuple(map(change, axis)) if i in axes else axis for i, axis in enumerate(self.axes))
        return self._replace(axes=tuple(lines))

    def merged(self, *axes: int) -> Seen:
        """One position is left along some axes, which sees what all saw."""
        return self.changed(*axes, change=Line.merged)

    def everything(self, *axes: int) -> Seen:
        """Every position sees all that there is to be seen along some axes, or along all."""

        def all_of(line: Line) -> Line:
            return line._replace(start=line.low, field=line.high - line.low, jump=0)

        return self.changed(*(axes or range(3)), change=all_of)


class Work(NamedTuple):
    """What a call does to positions, for a table of layers."""

    kind: str
    kernel: Vector | None = None
    stride: Vector | None = None


class Follow(TorchFunctionMode):
    """Knows what each tensor sees that is computed from a clip, given by modality."""

    def __init__(self, clip: dict[str, Tensor]) -> None:
        super().__init__()
        # By identity; each tensor is kept beside, so that no other takes its identity.
        self._seen = {id(pixels): (pixels, Seen.of_clip(modality, pixels)) for modality, pixels in clip.items()}

    def see(self, tensor: Any) -> Seen | None:
        """What a tensor's positions see; None where it holds nothing of the clip."""
        return self._seen.get(id(tensor), (None, None))[1]

    def called(self, name: str, work: Work | None, output: Tensor) -> None:
        """What a subclass does after each call."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        parts = [seen for x in tree_leaves((args, kwargs)) if (seen := self.see(x))]
        tensors = [x for x in tree_leaves(output) if isinstance(x, Tensor)]
        if parts and tensors:
            seen, work = _after(func.__name__, args, kwargs, tensors[0], Seen.together(parts))
            self._seen |= {id(x): (x, seen) for x in tensors}
            self.called(func.__name__, work, tensors[0])
        return output


def _after(name: str, args: Sequence[Any], kwargs: dict[str, Any], out: Tensor, seen: Seen) -> tuple[Seen, Work | None]:
    """What the output of a call sees, and what to say of it."""
    x = args[0]
    if windows := _windows(name, args, kwargs, out):
        return _slid(name, windows, x.shape, out.shape, seen)
    if name == "linear":
        rows = x.shape[:-1].numel()  # one for each moment, or one for all
        return seen.merged(1, 2) if rows == seen.sizes[0] else seen.merged(0, 1, 2), Work("linear")
    if name == "unflatten" and x.shape[args[1]] == seen.sizes[0] > out.shape[args[1] % x.dim() + 1]:
        count, length = out.shape[args[1] % x.dim() :][:2]
        return seen.changed(0, change=lambda line: line._replace(size=length))._replace(pieces=count), None
    if seen.pieces > 1 and name in (*MIXES, *REDUCTIONS):
        kind = REDUCTIONS.get(name) or (name if name in RECURRENT else "linear")
        return seen.everything(0)._replace(pieces=1), Work(kind)
    if name in MIXES:  # each position sees what all saw
        seen = seen.changed(0, 1, 2, change=lambda line: line.merged()._replace(jump=0, size=line.size))
        return seen, Work(name if name in RECURRENT else "linear")
    if name == "unfold":  # of (N, T, F), along time
        _, _, window, step = args
        slid = seen.changed(0, change=lambda line: line.slid(Window(window, step), out.shape[1]))
        return slid._replace(window=window), None
    if name in REDUCTIONS and seen.window:
        return seen._replace(window=0), Work(REDUCTIONS[name], (seen.window, 1, 1))
    if name in REDUCTIONS and out.numel() < x.numel():
        dim = kwargs.get("dim", args[1] if len(args) > 1 else range(x.dim()))
        dims = {d % x.dim() for d in ([dim] if isinstance(dim, int) else dim)}
        axes = [a for a, d in enumerate(_places(x.shape, seen)) if d in dims and x.shape[d] == seen.sizes[a] > 1]
        kernel = tuple(size if a in axes else 1 for a, size in enumerate(seen.sizes))
        return seen.merged(*axes), Work(REDUCTIONS[name], kernel) if axes else None
    if name == "__getitem__":
        return _part(args[1], x.shape, seen), None
    return (seen if name in BY_ITSELF else seen.everything()), None


def _places(shape: Sequence[int], seen: Seen) -> tuple[int, ...]:
    """The dimensions along which t, and h and w if it has them, lie."""
    rank = len(shape)
    if rank < 4:
        return (rank - 2,)
    return (2 if rank == 5 and (shape[0] == 1 or seen.pieces > 1) else 0, rank - 2, rank - 1)


def _windows(name: str, args: Sequence[Any], kwargs: dict[str, Any], out: Tensor) -> list[Window]:
    """How a convolution or pooling slides along its dimensions; empty for any other call."""
    signature = next((names for word, names in SIGNATURES.items() if word in name), ())
    rank = int(name[-2]) if signature and name[-2:] in ("1d", "2d", "3d") else 0
    if not rank:
        return []
    given = dict(zip(signature, args, strict=False)) | kwargs
    if "adaptive" in name:
        return [Window.adaptive(*sizes) for sizes in zip(args[0].shape[-rank:], out.shape[-rank:], strict=True)]
    kernel = given["weight"].shape[2:] if "conv" in name else given["kernel_size"]
    stride = given.get("stride") or (1 if "conv" in name else kernel)
    columns = [kernel, stride, given.get("padding", 0), given.get("dilation", 1)]
    columns = [[value] * rank if isinstance(value, int) else value for value in columns]
    return [Window(*row) for row in zip(*columns, strict=True)]


def _slid(
    name: str, windows: list[Window], before: torch.Size, after: torch.Size, seen: Seen
) -> tuple[Seen, Work | None]:
    """After windows along the last dimensions of a tensor of shape `before`."""
    axes, place = range(3)[-len(windows) :], _places(before, seen)[0]
    if "conv" in name and before[place] != seen.sizes[0]:
        seen = seen.merged(0)  # frames are in the channels, which a convolution sees all at once
    for axis, window, size in zip(axes, windows, after[-len(windows) :], strict=True):
        if axis or place == 2:  # frames in the batch stay apart
            seen = seen.changed(axis, change=lambda line, window=window, size=size: line.slid(window, size))
    rest = [Window(1, 1)] * (3 - len(windows))
    kernel, stride, *_ = map(tuple, zip(*rest, *windows, strict=True))
    kind = "conv" if "conv" in name else "max pool" if "max" in name else "average pool"
    if "adaptive" in name and after[-len(windows) :].numel() == 1:  # all in one
        return seen, Work(kind, kernel)
    return seen, Work(kind, kernel, stride) if kind == "conv" or max(kernel) > 1 else None


def _part(index: Any, shape: torch.Size, seen: Seen) -> Seen:
    """After an index into a tensor, which leaves no more to be seen than what the part sees."""
    for axis, dim in enumerate(_places(shape, seen)):
        numbers = torch.arange(shape[dim], device="cpu").view([-1 if d == dim else 1 for d in range(len(shape))])
        kept = numbers.expand(shape)[index].unique().tolist()
        step = kept[1] - kept[0] if len(kept) > 1 else 1

        def narrowed(line: Line, kept: list[int] = kept, step: int = step) -> Line:
            start, jump = line.start + kept[0] * line.jump, line.jump * step
            end = start + (len(kept) - 1) * jump + line.field
            return Line(start, line.field, jump, len(kept), max(line.low, start), min(line.high, end))

        if len(kept) < shape[dim] == seen.sizes[axis]:
            seen = seen.changed(axis, change=narrowed)
    return seen
