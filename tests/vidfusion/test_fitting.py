"""The networks that a sweep compares can learn: at size small, each fits one batch of clips."""

import numpy as np
import pytest
import torch

from datamodules.datasets.rendering import render
from datamodules.datasets.scenes import make_scene
from datamodules.flow import FlowConfig, FlowEstimator, quantise
from experiments.launch.grid import read_points
from tests.factories import network, one_hot
from vidfusion.optimisation import optimizer_and_schedule

SHAPES = ("AppearanceDisc", "AppearanceBar")
SIDE = 48  # pixels: less than the networks' own, so that it takes seconds
RATE = {"optimizer": "adamw", "lr": 0.001}  # what configs/recipe/quick.yaml advises for this size


def batch_of(clip):
    """One clip of each shape, as a DataModule gives it."""
    frames = [render(make_scene(0, "appearance", name, 8, 1, SIDE)) for name in SHAPES]
    flow = []
    for video in frames:
        estimate = FlowEstimator(FlowConfig())
        fields = [estimate(frame) for frame in video[: clip.flow_frames + 1]][1:]
        flow.append(np.stack(fields) if fields else np.zeros((0, SIDE, SIDE, 2), np.float32))
    flow = np.stack(flow)
    return {
        "rgb": torch.from_numpy(np.stack([video[: clip.frames] for video in frames])),
        "flow": torch.from_numpy(quantise(flow, clip.flow_bound)),
        "flow_mean": torch.from_numpy(flow.mean((2, 3))),
    }


@pytest.mark.slow
@pytest.mark.parametrize("strategy", sorted({run.strategy for run in read_points("fusion", [])}))
def test_one_batch_is_fitted(strategy):
    model = network(strategy, "model.size=small", "model.dropout=0", classes=2, training=RATE, crop=SIDE)
    optimizer = optimizer_and_schedule(model, model.training_config)["optimizer"]
    inputs, target = model.inputs(batch_of(model.clip)), one_hot(0, 1, classes=2)
    for _ in range(80):
        loss = model.loss(model(**inputs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss / max(1, len(model.streams)) < 0.1:
            return
    pytest.fail(f"the loss is still {loss.item():.3f}")
