"""The fusion strategies by name; a new one is a file here and a line below."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vidfusion.nets.c3d import C3DConfig
from vidfusion.nets.choice import StrategyConfig
from vidfusion.nets.cnn_m import TSNConfig, TwoStreamConfig, TwoStreamMultiTaskConfig
from vidfusion.nets.karpathy import KarpathyConfig
from vidfusion.nets.lecture import LectureConfig
from vidfusion.nets.lrcn import CNNLSTMConfig, Conv3DLSTMConfig, SnippetsLSTMConfig, SnippetsPoolConfig

if TYPE_CHECKING:
    from vidfusion.classifier import VideoClassifier

# By the name of its file: the class there, and its settings. These are known without PyTorch.
STRATEGIES: dict[str, tuple[str, type[StrategyConfig]]] = {
    "single_frame": ("SingleFrame", KarpathyConfig),
    "early_fusion": ("EarlyFusion", KarpathyConfig),
    "late_fusion": ("LateFusion", KarpathyConfig),
    "slow_fusion": ("SlowFusion", KarpathyConfig),
    "c3d": ("C3D", C3DConfig),
    "two_stream": ("TwoStream", TwoStreamConfig),
    "two_stream_multi_task": ("TwoStreamMultiTask", TwoStreamMultiTaskConfig),
    "tsn": ("TSN", TSNConfig),
    "cnn_lstm": ("CNNLSTM", CNNLSTMConfig),
    "conv3d_lstm": ("Conv3DLSTM", Conv3DLSTMConfig),
    "snippets_lstm": ("SnippetsLSTM", SnippetsLSTMConfig),
    "snippets_pool": ("SnippetsPool", SnippetsPoolConfig),
    "lecture": ("Lecture", LectureConfig),
}


def strategy_class(name: str) -> type[VideoClassifier]:
    """The network of one of STRATEGIES; this imports PyTorch."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), STRATEGIES[name][0])
