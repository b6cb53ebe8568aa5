"""The fusion strategies by name; a new one is a file here and a line below."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from vidfusion.nets.c3d import C3DConfig
from vidfusion.nets.choice import StrategyConfig
from vidfusion.nets.cnn_m import TSNConfig, TwoStreamConfig, TwoStreamMultiTaskConfig
from vidfusion.nets.karpathy import KarpathyConfig, LateFusionConfig
from vidfusion.nets.lecture import LectureConfig
from vidfusion.nets.lrcn import CNNLSTMConfig, Conv3DLSTMConfig, SnippetsLSTMConfig, SnippetsPoolConfig
from vidfusion.settings import ClipShape, TrainingConfig

if TYPE_CHECKING:
    from vidfusion.classifier import VideoClassifier


class Strategy(NamedTuple):
    """What is known of a strategy without PyTorch: the class in its file, its settings, and its own clip."""

    network: str
    settings: type[StrategyConfig]
    frames: int = 0
    flow_frames: int = 0
    snippets: int = 1


STRATEGIES = {
    "single_frame": Strategy("SingleFrame", KarpathyConfig, frames=1),
    "early_fusion": Strategy("EarlyFusion", KarpathyConfig, frames=10),
    "late_fusion": Strategy("LateFusion", LateFusionConfig, frames=2),
    "slow_fusion": Strategy("SlowFusion", KarpathyConfig, frames=10),
    "c3d": Strategy("C3D", C3DConfig, frames=16),
    "two_stream": Strategy("TwoStream", TwoStreamConfig, frames=1, flow_frames=10),
    "two_stream_multi_task": Strategy("TwoStreamMultiTask", TwoStreamMultiTaskConfig, frames=1, flow_frames=10),
    "tsn": Strategy("TSN", TSNConfig, frames=3, flow_frames=15, snippets=3),
    "cnn_lstm": Strategy("CNNLSTM", CNNLSTMConfig, frames=8, flow_frames=8, snippets=8),
    "conv3d_lstm": Strategy("Conv3DLSTM", Conv3DLSTMConfig, frames=54, snippets=6),
    "snippets_lstm": Strategy("SnippetsLSTM", SnippetsLSTMConfig, frames=16, snippets=16),
    "snippets_pool": Strategy("SnippetsPool", SnippetsPoolConfig, frames=16, snippets=16),
    "lecture": Strategy("Lecture", LectureConfig, frames=20),
}


def list_strategies() -> list[str]:
    """The names that `create` takes."""
    return list(STRATEGIES)


def strategy_class(name: str) -> type[VideoClassifier]:
    """The network of one of STRATEGIES; this imports PyTorch."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), STRATEGIES[name].network)


def create(
    name: str,
    num_classes: int,
    *,
    frames: int | None = None,
    flow_frames: int | None = None,
    snippets: int | None = None,
    crop: int | None = None,
    flow_bound: float = 20.0,
    flow_follows: bool = True,
    training: dict[str, Any] | None = None,
    **settings: Any,
) -> VideoClassifier:
    """A strategy's network, with weights drawn anew, such as `create("slow_fusion", 101, size="published")`.

    frames, flow_frames, snippets, crop: what one clip is (None: the strategy's own, and its size's crop in pixels)
    flow_bound:   displacement in pixels that the largest value of 8-bit flow stands for
    flow_follows: whether each field of flow begins where the one before it ends
    training:     settings of `TrainingConfig`, such as {"lr": 0.001}
    settings:     the strategy's own, such as `size`, `dropout`, `backbone`

    Raises ValueError for a name or setting that does not exist, and for settings and clips that do not fit.
    """
    if not isinstance(name, str) or name not in STRATEGIES:
        raise ValueError(f"{name}: no such strategy. {_closest(str(name).lower(), STRATEGIES)}")
    for what, count in {"num_classes": num_classes, "frames": frames, "flow_frames": flow_frames, "crop": crop}.items():
        least = 0 if what in ("frames", "flow_frames") else 1
        if count is not None and (type(count) is not int or count < least):
            raise ValueError(f"{what}={count}: expected a whole number, {least} or more")
    own = STRATEGIES[name]
    config, how = _made(own.settings, settings), _made(TrainingConfig, training or {})
    given = {"frames": frames, "flow_frames": flow_frames, "snippets": snippets, "crop": crop}
    usual = {"frames": own.frames, "flow_frames": own.flow_frames, "snippets": own.snippets}
    usual["crop"] = config.network().crop
    shape = usual | {key: value for key, value in given.items() if value is not None}
    clip = ClipShape(**shape, flow_bound=flow_bound, flow_follows=flow_follows)
    return strategy_class(name)(config, clip, num_classes, how)


def _made(settings: type, values: dict[str, Any]) -> Any:
    for name, kind in get_type_hints(settings).items():
        if get_origin(kind) is Literal and name in values and values[name] not in get_args(kind):
            raise ValueError(f"{name}={values[name]}: expected one of {', '.join(get_args(kind))}")
    try:
        return settings(**values)
    except TypeError:
        unknown = next(name for name in values if name not in settings.__dataclass_fields__)
        raise ValueError(f"{unknown}: no such setting. {_closest(unknown, settings.__dataclass_fields__)}") from None


def _closest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=2)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known)}"
