import cv2
import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.flow import (
    FlowConfig,
    FlowEstimator,
    dequantise,
    quantise,
    resize,
    resize_flow,
)

GRID = np.stack(np.meshgrid(np.arange(96), np.arange(80)), axis=-1).astype(np.float32)  # (x, y) of each pixel, 80 x 96


def texture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (160, 192, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def moved(truth: np.ndarray) -> list[np.ndarray]:
    """Two frames, the second such that the texture at p in the first lies at p + truth(p), an affine map, there."""
    points = GRID.reshape(-1, 2)[[0, 95, 96 * 79]]
    inverse = cv2.getAffineTransform(points + truth.reshape(-1, 2)[[0, 95, 96 * 79]], points)
    back = GRID @ inverse[:, :2].T.astype(np.float32) + inverse[:, 2].astype(np.float32)
    return [cv2.remap(texture(), place[..., 0] + 48, place[..., 1] + 40, cv2.INTER_CUBIC) for place in (GRID, back)]


def estimate(frames: list[np.ndarray], method: str = "dis") -> np.ndarray:
    estimator = FlowEstimator(FlowConfig(method=method))
    assert estimator(frames[0]) is None
    return estimator(frames[1])


CONTRIBUTED = pytest.param("tvl1", marks=pytest.mark.skipif(not hasattr(cv2, "optflow"), reason="needs cv2.optflow"))


@pytest.mark.parametrize("method", ["dis", "farneback", "tvl1_torch", CONTRIBUTED])
@pytest.mark.parametrize("kind", ["still", "right", "down", "subpixel", "rotation"])
def test_flow_of_a_known_motion(kind, method):
    angle = np.deg2rad(3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=np.float32)
    truth = {
        "still": np.zeros_like(GRID),
        "right": np.full_like(GRID, 0) + np.float32([3, 0]),
        "down": np.full_like(GRID, 0) + np.float32([0, 2]),
        "subpixel": np.full_like(GRID, 0) + np.float32([-1.5, 0.75]),
        "rotation": (GRID - [48, 40]).astype(np.float32) @ turn.T - (GRID - [48, 40]).astype(np.float32),
    }[kind]
    error = np.linalg.norm(estimate(moved(truth), method) - truth, axis=-1)[8:-8, 8:-8]  # what enters has no flow
    assert error.mean() < 0.1 and error.max() < 0.6, (error.mean(), error.max())


def test_an_estimator_gives_the_flow_of_each_pair_in_either_direction():
    frames = [*moved(np.full_like(GRID, 1)), *moved(np.full_like(GRID, -2))]
    forward, backward = FlowEstimator(FlowConfig()), FlowEstimator(FlowConfig(), backward=True)
    there, back = zip(*((forward(frame), backward(frame)) for frame in frames), strict=True)
    assert there[0] is back[0] is None
    for index in (1, 2, 3):
        pair = frames[index - 1 : index + 1]
        np.testing.assert_array_equal(there[index], estimate(pair))
        np.testing.assert_array_equal(back[index], estimate(pair[::-1]))
        assert np.abs(back[index] + there[index]).max() > 0.1, "it is not the forward flow negated"


def test_a_resized_field_counts_stored_pixels():
    field = np.full((80, 96, 2), (6.0, -4.0), dtype=np.float32)
    small = resize_flow(field.copy(), 20, 48)
    np.testing.assert_allclose(small, np.full((20, 48, 2), (3.0, -1.0)))
    np.testing.assert_array_equal(resize_flow(field.copy(), 80, 96), field)


def test_resize_averages_areas_and_leaves_equal_sizes_alone():
    image = 4 * np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    assert resize(image, 4, 4) is image
    np.testing.assert_array_equal(resize(image, 2, 2)[0, 0], image[:2, :2].mean(axis=(0, 1)))
    assert resize(image, 8, 9).shape == (8, 9, 3)


def test_quantise_keeps_zero_mirrors_and_half_a_step():
    bound = 4.0
    field = np.random.default_rng(0).uniform(-6, 6, (500, 2)).astype(np.float32)
    stored = quantise(field, bound)
    assert quantise(np.zeros(2, np.float32), bound).tolist() == [128, 128]
    assert stored.dtype == np.uint8 and stored.min() == 1 and stored.max() == 255
    np.testing.assert_array_equal(quantise(-field, bound), 256 - stored.astype(int))
    halves = (np.arange(-20, 20) + 0.5).astype(np.float32) * 4 / 127  # ties, where rounding could lose the symmetry
    np.testing.assert_array_equal(quantise(-halves, bound), 256 - quantise(halves, bound).astype(int))
    error = np.abs(dequantise(stored, bound) - np.clip(field, -bound, bound))
    assert error.max() <= bound / 254 * 1.001
    np.testing.assert_array_equal(quantise(dequantise(stored, bound), bound), stored)


@pytest.mark.parametrize("bound", [0.0, float("nan")])
def test_a_bound_that_is_none_is_refused(bound):
    with pytest.raises(DataError, match=f"data.flow.bound is {bound}"):
        FlowConfig(bound=bound)
