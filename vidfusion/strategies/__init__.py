"""The fusion strategies by name; a new one is a file here and a line below."""

from vidfusion.classifier import VideoClassifier
from vidfusion.strategies.c3d import C3D
from vidfusion.strategies.cnn_lstm import CNNLSTM
from vidfusion.strategies.conv3d_lstm import Conv3DLSTM
from vidfusion.strategies.early_fusion import EarlyFusion
from vidfusion.strategies.late_fusion import LateFusion
from vidfusion.strategies.lecture import Lecture
from vidfusion.strategies.single_frame import SingleFrame
from vidfusion.strategies.slow_fusion import SlowFusion
from vidfusion.strategies.snippets_lstm import SnippetsLSTM
from vidfusion.strategies.snippets_pool import SnippetsPool
from vidfusion.strategies.tsn import TSN
from vidfusion.strategies.two_stream import TwoStream
from vidfusion.strategies.two_stream_multi_task import TwoStreamMultiTask

STRATEGIES: dict[str, type[VideoClassifier]] = {
    "single_frame": SingleFrame,
    "early_fusion": EarlyFusion,
    "late_fusion": LateFusion,
    "slow_fusion": SlowFusion,
    "c3d": C3D,
    "two_stream": TwoStream,
    "two_stream_multi_task": TwoStreamMultiTask,
    "tsn": TSN,
    "cnn_lstm": CNNLSTM,
    "conv3d_lstm": Conv3DLSTM,
    "snippets_lstm": SnippetsLSTM,
    "snippets_pool": SnippetsPool,
    "lecture": Lecture,
}
