"""Rendered frames and their true flow."""

from hashlib import sha256

import cv2
import numpy as np
import pytest

from datamodules.datasets.moving_shapes import MovingShapes
from datamodules.datasets.rendering import _around, coverage, render
from datamodules.datasets.scenes import CLASSES, Scene, draw_scene, make_ground, make_scene
from datamodules.flow import FlowEstimator


def draw(family: str, name: str, seed: int, frames: int = 96, late: bool = False) -> Scene:
    return draw_scene(np.random.default_rng(seed), family, name, make_ground(0, 1, 64), frames, late)


def true_flow(scene: Scene, t: int) -> np.ndarray:
    """Where each pixel of frame `t` goes in frame `t + 1`: (size, size, 2) float32, x and y in pixels.

    A pixel belongs to the shape if the shape covers at least half of it.
    """
    rotation, centre, rows, columns = _around(scene, t)
    tile = np.stack(np.meshgrid(*map(np.arange, scene.period)), axis=-1) - centre
    turned = tile @ rotation.T @ _around(scene, t + 1)[0]
    pan = scene.camera[t + 1] - scene.camera[t]
    motion = (turned - tile)[rows, columns] + pan + scene.positions[t + 1] - scene.positions[t]
    return np.where(coverage(scene, t)[..., None] >= 0.5, motion, pan).astype(np.float32)


def warp_error(scene: Scene, t: int, flow: np.ndarray) -> float:
    """Mean difference between frame `t` and frame `t + 1` pulled back along `flow`, over the shape."""
    frames = render(scene, noise=False)
    y, x = np.mgrid[:64, :64].astype(np.float32)
    pulled = cv2.remap(frames[t + 1], x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return float(abs(pulled.astype(float) - frames[t])[coverage(scene, t) >= 0.5].mean())


@pytest.mark.parametrize(("family", "motion"), [("motion", "Clockwise"), ("camouflage", "Left")])
def test_true_flow_explains_the_next_frame(family, motion):
    scene = draw(family, f"{family.capitalize()}{motion}", 5)
    zero = np.zeros((64, 64, 2), np.float32)
    times = range(0, 90, 9)
    explained = np.mean([warp_error(scene, t, true_flow(scene, t)) for t in times])
    assert explained < 0.4 * np.mean([warp_error(scene, t, zero) for t in times])


def test_true_flow_is_the_cameras_outside_the_shape():
    scene = draw("motion", "MotionLeft", 0)
    flow, inside = true_flow(scene, 10), coverage(scene, 10) >= 0.5
    assert flow.shape == (64, 64, 2) and flow.dtype == np.float32
    np.testing.assert_allclose(
        flow[~inside], np.tile(np.diff(scene.camera, axis=0)[10], ((~inside).sum(), 1)), rtol=1e-5
    )
    assert (flow[inside][:, 0] < flow[~inside][0, 0] - 0.9).all()


def endpoint_errors(flow_of, names=tuple(CLASSES["motion"])):
    """Mean distance in pixels between a flow and the true one, over the shape and over all pixels, of noisy frames."""
    inside, everywhere = [], []
    for group, name in enumerate(names, start=8):
        scene = make_scene(0, "motion", name, group, 1)
        frames = render(scene)
        estimator = FlowEstimator(MovingShapes().flow)
        estimator(frames[30])
        error = np.linalg.norm(flow_of(estimator, frames[31]) - true_flow(scene, 30), axis=-1)
        inside.append(error[coverage(scene, 30) > 0.99].mean())
        everywhere.append(error.mean())
    return np.mean(inside), np.mean(everywhere)


def test_computed_flow_is_near_the_true_flow():
    inside, everywhere = endpoint_errors(lambda estimator, frame: estimator(frame))
    still, still_everywhere = endpoint_errors(lambda estimator, frame: np.zeros((64, 64, 2)))
    assert still > 1, "the shapes move"
    assert inside < 0.45 * still, (inside, still)
    assert everywhere < 0.8 * still_everywhere, "the ground hardly moves, and flow must not make it"


@pytest.mark.parametrize(
    ("family", "name", "digest", "brightness"),
    [
        ("appearance", "AppearanceRing", "96f31c5f7474e210", 84.14),
        ("motion", "MotionClockwise", "991d10bdce1aab19", 80.64),
        ("order", "OrderRestThenMove", "32d9bfc700ed38da", 88.35),
        ("camouflage", "CamouflageRight", "db7c2d07aff9133b", 75.89),
    ],
)
def test_the_same_settings_give_the_same_videos_as_ever(family, name, digest, brightness):
    """Where this must change, GENERATOR must, too."""
    scene = make_scene(0, family, name, 3, 1)
    numbers = np.concatenate([scene.positions, scene.angles[:, None], scene.camera], axis=1)
    described = np.round(numbers, 6).tolist(), round(scene.radius, 6), scene.period, scene.noise_seed
    assert sha256(repr(described).encode()).hexdigest()[:16] == digest
    assert render(scene)[40].mean() == pytest.approx(brightness, abs=0.05)
