import numpy as np
import pytest
import torch

import datamodules.tvl1 as tvl1_module
from datamodules.errors import DataError
from datamodules.flow import FlowConfig, FlowEstimator
from datamodules.tvl1 import tvl1, tvl1_fields

Y, X = np.mgrid[:48, :64].astype(np.float64)

# What cv2.optflow.DualTVL1OpticalFlow_create() of OpenCV 5.0.0's contributed modules says of `picture(0, 0)` and
# `picture(1.6, -0.8)`, at rows 10, 26, 42 and columns 2, 10 ... 58: x, then y. The method's bias is part of it.
OPENCV = [
    [
        [1.622, 1.637, 1.639, 1.644, 1.639, 1.629, 1.632, 1.643],
        [1.631, 1.628, 1.632, 1.635, 1.632, 1.619, 1.618, 1.604],
        [1.643, 1.637, 1.625, 1.623, 1.636, 1.660, 1.637, 1.662],
    ],
    [
        [-0.844, -0.840, -0.843, -0.836, -0.850, -0.847, -0.836, -0.788],
        [-0.844, -0.845, -0.829, -0.842, -0.850, -0.837, -0.845, -0.838],
        [-0.861, -0.832, -0.831, -0.849, -0.809, -0.822, -0.829, -0.860],
    ],
]


def picture(right: float, down: float) -> np.ndarray:
    """A smooth pattern that has moved, (48, 64) uint8."""
    x, y = X - right, Y - down
    grey = 128 + 50 * np.sin(x / 3.1) * np.cos(y / 4.3) + 40 * np.sin(x / 7 + y / 5)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def test_it_agrees_with_opencv():
    (field,) = tvl1_fields([(picture(0, 0), picture(1.6, -0.8))])
    assert field.shape == (48, 64, 2) and field.dtype == np.float32
    apart = np.abs(field[10::16, 2::8].transpose(2, 0, 1) - OPENCV)
    assert apart.mean() < 0.01 and apart.max() < 0.05, (apart.mean(), apart.max())


def test_a_pair_does_not_feel_the_others_of_its_batch():
    """They need different numbers of steps."""
    moved = [picture(*motion)[:32, :40] for motion in ((0, 0), (1.6, -0.8), (-3.2, 2.1))]
    pairs = [(moved[0], after) for after in moved]
    for together, pair in zip(tvl1_fields(pairs), pairs, strict=True):
        np.testing.assert_allclose(together, tvl1_fields([pair])[0], atol=0.02)


def test_what_does_not_move_has_no_flow():
    still = torch.from_numpy(picture(0, 0))[None]
    assert tvl1(still, still).abs().max() < 0.001


@pytest.mark.parametrize("backward", [False, True])
def test_an_estimator_takes_frames_one_by_one_or_several_at_once(monkeypatch, backward):
    frames = [np.repeat(picture(number, -number)[:24, :32, None], 3, axis=2) for number in range(3)]
    one, several = (FlowEstimator(FlowConfig(method="tvl1_torch"), backward) for _ in range(2))
    expected = [field for frame in frames if (field := one(frame)) is not None]
    found = several.several(frames[:1]) + several.several(frames[1:])
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.median(found[0][..., 0]) == pytest.approx(-1 if backward else 1, abs=0.1)
    monkeypatch.setattr(tvl1_module, "PIXELS_AT_ONCE", 2_500)
    for gpu, count in ((True, 3), (False, 1)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert several.at_once(frames[0]) == count and FlowEstimator(FlowConfig()).at_once(frames[0]) == 1


def test_a_batch_that_does_not_fit_is_halved(monkeypatch):
    pairs = [(picture(0, 0)[:20, :24], picture(step, 0)[:20, :24]) for step in range(3)]
    expected = tvl1_fields(pairs)

    def small(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        if len(before) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tvl1(before, after)

    monkeypatch.setattr(tvl1_module, "tvl1", small)
    fits = 1
    np.testing.assert_allclose(tvl1_fields(pairs), expected, atol=0.02)
    fits = 0
    with pytest.raises(DataError, match="the GPU has no memory for a pair of frames"):
        tvl1_fields(pairs)
