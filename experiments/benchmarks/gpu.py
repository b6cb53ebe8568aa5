"""What `benchmark.py gpu` measures: C3D and two-stream on a GPU, and optical flow."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import torch

from datamodules.decode.frames import iter_frames
from datamodules.flow import FlowConfig, FlowEstimator
from experiments.benchmarks.clips import make_videos
from experiments.benchmarks.networks import measure_networks
from experiments.benchmarks.report import Report
from experiments.benchmarks.training import measure_training, training_plan
from experiments.settings.compose import compose

GPU_NETWORKS = ("strategy=c3d,two_stream", "trainer.precision=32-true,bf16-mixed", "trainer.compile=false,true")
TRAINING_PRECISION = "trainer.precision=bf16-mixed"
FIELDS = 100
FLOW_COLUMNS = {"Frames": "{size}", "TV-L1 fields/s": "{tvl1_torch:.1f}", "DIS fields/s": "{dis:.1f}"}
FLOW_NOTES = "- TV-L1 by PyTorch in batches, from frames in memory and back. DIS by OpenCV on one core."


def measure_gpu(settings: list[str]) -> int:
    """Measure C3D and two-stream on the GPU: each precision, translated or not, then from each source; and TV-L1 flow.

    Returns 1 if a network cannot be measured. Raises ValueError where there is no GPU.
    """
    if not torch.cuda.is_available():
        raise ValueError("PyTorch finds no GPU here; `benchmark.py networks` and `training` measure the processor")
    with tempfile.TemporaryDirectory() as temporary:
        training_plan(settings, Path(temporary))  # a wrong word is said before minutes are spent
    results = [word for word in settings if word.startswith("results=")]
    failed = measure_networks([*GPU_NETWORKS, *results])
    precision = [] if any(word.startswith("trainer.precision=") for word in settings) else [TRAINING_PRECISION]
    failed |= measure_training([*precision, *settings])
    report = Report("gpu", settings, compose(["strategy=two_stream", "trainer.accelerator=gpu", *results]))
    report.add("flow", [measure_flow()], FLOW_COLUMNS, FLOW_NOTES)
    return failed


def measure_flow() -> dict[str, Any]:
    """A row: fields of TV-L1 per second, where PyTorch computes them best, and by one thread's DIS."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        make_videos(Path(temporary), 1, FIELDS + 1)
        frames = [frame for file in Path(temporary).rglob("*.mp4") for frame in iter_frames(file)]
    seconds = {}
    for method in ("tvl1_torch", "dis"):
        estimator = FlowEstimator(FlowConfig(method=method))
        several = estimator.at_once(frames[0])
        estimator.several(frames[:several])  # a GPU's first work takes longer
        began = time.perf_counter()
        for start in range(0, FIELDS, several):
            estimator.several(frames[start : min(start + several, FIELDS)])
        seconds[method] = time.perf_counter() - began
    height, width = frames[0].shape[:2]
    return {"size": f"{width}x{height}", **{method: FIELDS / spent for method, spent in seconds.items()}}
