"""What the classes of moving_shapes promise, checked on the parameters of their scenes."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from datamodules.datasets.rendering import coverage, render
from datamodules.datasets.scenes import (
    CLASSES,
    LAG,
    SEQUENCES,
    SHAPES,
    Scene,
    draw_scene,
    luma,
    make_ground,
    make_scene,
)

SHIFTS = ("ShiftJumpLeft", "ShiftJumpRight")
ORDER_PAIRS = [("OrderLeftThenRight", "OrderRightThenLeft"), ("OrderMoveThenRest", "OrderRestThenMove")]
REVERSED_PAIRS = [
    ("motion", "MotionLeft", "MotionRight"),
    ("motion", "MotionUp", "MotionDown"),
    ("motion", "MotionClockwise", "MotionCounterClockwise"),
    ("order", "OrderMoveThenRest", "OrderRestThenMove"),
    ("camouflage", "CamouflageLeft", "CamouflageRight"),
]


def draw(family: str, name: str, seed: int, frames: int = 96, late: bool = False) -> Scene:
    return draw_scene(np.random.default_rng(seed), family, name, make_ground(0, 1, 64), frames, late)


def around_circle(values: np.ndarray, period: np.ndarray | float) -> np.ndarray:
    return np.concatenate([np.cos(2 * np.pi * values / period), np.sin(2 * np.pi * values / period)], axis=-1)


def one_frame(scene: Scene, t: int) -> np.ndarray:
    place = around_circle(scene.positions[t] + scene.camera[t], np.array(scene.period, float))
    look = around_circle(scene.angles[t : t + 1], 2 * np.pi)
    return np.concatenate([place, look, [scene.radius / 3, scene.period[0] / 32], scene.colour / 128])


def background(scene: Scene, t: int) -> np.ndarray:
    return np.concatenate([around_circle(scene.camera[t], 64), scene.ground.mean(axis=(0, 1)) / 32])


def velocity(scene: Scene, t: int) -> np.ndarray:
    return np.append(scene.positions[t + 1] - scene.positions[t], 10 * (scene.angles[t + 1] - scene.angles[t]))


def whole_path(scene: Scene, t: int) -> np.ndarray:
    return np.diff(scene.positions, axis=0).ravel()


def accuracy(describe, family: str, names: tuple[str, ...], frames: int = 96) -> tuple[float, float]:
    """Nearest neighbour trained on groups 8 to 25, tested on 1 to 7: accuracy, and five standard errors of chance."""
    features, labels, held_out = [], [], []
    rng = np.random.default_rng(1)
    for group in range(1, 26):
        for label, name in enumerate(names):
            for clip in range(72 // len(names)):
                features.append(
                    describe(make_scene(0, family, name, group, clip, 64, frames), int(rng.integers(frames - 16)))
                )
                labels.append(label)
                held_out.append(group <= 7)
    x, y, test = np.array(features), np.array(labels), np.array(held_out)
    distances = (x[test] ** 2).sum(1)[:, None] - 2 * x[test] @ x[~test].T + (x[~test] ** 2).sum(1)
    chance = 1 / len(names)
    correct = y[~test][distances.argmin(axis=1)] == y[test]
    return correct.mean(), 5 * np.sqrt(chance * (1 - chance) / len(correct))


@pytest.mark.parametrize("describe", [one_frame, background])
def test_one_frame_of_motion_tells_nothing(describe):
    score, margin = accuracy(describe, "motion", tuple(CLASSES["motion"]))
    assert abs(score - 1 / 6) < margin


def test_two_frames_of_motion_tell_all():
    assert accuracy(velocity, "motion", tuple(CLASSES["motion"]))[0] > 0.95


def turning(scene: Scene, t: int) -> np.ndarray:
    """How fast the shape moves, and to which side it turns between three frames."""
    first, second = np.diff(scene.positions[t : t + 3], axis=0)
    return np.array([np.hypot(*first), np.sign(first[0] * second[1] - first[1] * second[0])])


def frames_15_apart(scene: Scene, t: int) -> np.ndarray:
    return np.concatenate([one_frame(scene, t), one_frame(scene, t + 15)])


@pytest.mark.parametrize("describe", [one_frame, background, frames_15_apart])
def test_frames_15_apart_of_fine_motion_tell_nothing(describe):
    score, margin = accuracy(describe, "fine", tuple(CLASSES["fine"]))
    assert abs(score - 1 / 4) < margin


def test_three_frames_of_fine_motion_tell_all():
    assert accuracy(turning, "fine", tuple(CLASSES["fine"]))[0] > 0.95


@pytest.mark.parametrize("names", ORDER_PAIRS)
def test_the_whole_path_of_order_tells_all(names):
    assert accuracy(whole_path, "order", names)[0] > 0.95


@pytest.mark.parametrize("describe", [background, velocity, whole_path])
def test_motion_and_background_of_appearance_tell_nothing(describe):
    score, margin = accuracy(describe, "appearance", tuple(CLASSES["appearance"]))
    assert abs(score - 1 / 6) < margin


def bag(scene: Scene, length: int) -> Counter:
    """All windows of a video with what they show (where the shape is, where the camera is), in no order."""
    period = np.array([*scene.period, 64, 64]) * 1000
    shown = np.round(1000 * np.concatenate([scene.positions, scene.camera], axis=1)).astype(int) % period
    return Counter(shown[t : t + length].tobytes() for t in range(len(shown) - length + 1))


def moved_to_second_slot(scene: Scene) -> Scene:
    positions = np.concatenate([np.repeat(scene.positions[:1], LAG, axis=0), scene.positions[:-LAG]])
    return replace(scene, positions=positions)


def only_move(scene: Scene) -> tuple[int, ...]:
    """Its first frame, its length and its direction along x and y."""
    steps = np.diff(scene.positions, axis=0)
    moving = np.flatnonzero(steps.any(axis=1))
    return int(moving[0]), len(moving), *np.sign(np.round(steps[moving[0]])).astype(int).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_both_orders_have_the_same_bag_of_windows(seed):
    left_first, right_first = draw("order", "OrderLeftThenRight", seed), draw("order", "OrderRightThenLeft", seed)
    early = draw("order", "OrderMoveThenRest", seed)
    for one, other in [(left_first, right_first), (early, moved_to_second_slot(early))]:
        assert all(bag(one, length) == bag(other, length) for length in range(1, 17))
        assert bag(one, 76) != bag(other, 76)


def test_late_moves_are_early_moves_in_the_second_slot():
    seeds = range(3000)
    late = Counter(only_move(draw("order", "OrderRestThenMove", seed)) for seed in seeds)
    early = Counter(only_move(moved_to_second_slot(draw("order", "OrderMoveThenRest", seed))) for seed in seeds)
    assert late.keys() == early.keys()
    deviation = sum((late[key] - early[key]) ** 2 / (late[key] + early[key]) for key in late)
    assert deviation < len(late) + 5 * np.sqrt(2 * len(late))  # chi-squared


@pytest.mark.parametrize("name", [name for pair in ORDER_PAIRS for name in pair])
def test_rests_are_longer_than_windows_and_long_clips_see_every_move(name):
    for seed in range(100):
        steps = np.diff(draw("order", name, seed).positions, axis=0).any(axis=1)
        edges = np.flatnonzero(np.diff(np.r_[0, steps, 0]))  # first and last frame of each move
        assert edges[0] >= 16 and len(steps) - edges[-1] >= 16
        assert all(stop - start >= 20 for start, stop in zip(edges[1::2], edges[2::2], strict=False))
        for begin in range(96 - 75):  # 16 frames at 5 fps span 76
            seen = steps[begin : begin + 75]
            assert all(seen[max(a - begin, 0) : max(b - begin, 0)].sum() >= 10 for a, b in edges.reshape(-1, 2))


def frame_bag(scene: Scene, length: int) -> Counter:
    """All windows of a video, as they are seen, in no order."""
    frames = render(scene, noise=False)
    return Counter(frames[t : t + length].tobytes() for t in range(len(frames) - length + 1))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_both_jumps_have_the_same_bag_of_frames(seed, late):
    left, right = (draw("shift", name, seed, 20, late) for name in SHIFTS)
    assert frame_bag(left, 1) == frame_bag(right, 1)
    assert frame_bag(left, 2) != frame_bag(right, 2)


@pytest.mark.parametrize("late", [False, True])
def test_a_jump_backwards_is_the_opposite_jump_in_the_other_half(late):
    left, right = draw("shift", "ShiftJumpLeft", 3, 20, late), draw("shift", "ShiftJumpRight", 3, 20, not late)
    for field in ("positions", "angles", "visible", "camera"):
        assert np.array_equal(getattr(right, field), getattr(left, field)[::-1])
    assert np.array_equal(render(right, noise=False), render(left, noise=False)[::-1])


def test_jumps_are_early_in_training_and_late_in_the_test_of_split_1():
    for name, group in product(SHIFTS, range(1, 26)):
        half = slice(11, 19) if group <= 7 else slice(1, 9)  # but for a frame of bare ground at either end
        for clip in range(1, 6):
            visible = make_scene(0, "shift", name, group, clip, 32, 20).visible
            assert visible.sum() == visible[half].sum() == 2 and np.ptp(np.flatnonzero(visible)) == 1


@pytest.mark.parametrize("late", [False, True])
def test_every_jump_time_is_equally_likely_in_both_classes(late):
    times = [Counter(int(draw("shift", n, s, 20, late).visible.argmax()) for s in range(1400)) for n in SHIFTS]
    first = 11 if late else 1
    assert set(times[0]) == set(times[1]) == set(range(first, first + 7))
    assert all(abs(count - 200) < 5 * np.sqrt(200) for each in times for count in each.values())


@pytest.mark.parametrize(("name", "sign"), [("ShiftJumpLeft", -1), ("ShiftJumpRight", 1)])
def test_jumps_go_where_they_are_called_and_neither_too_far_nor_too_near(name, sign):
    for seed in range(50):
        scene = draw("shift", name, seed, 20)
        (x, y), before = np.diff(scene.positions[scene.visible], axis=0)[0], int(scene.visible.argmax())
        assert 6 <= sign * x <= 12 and y == 0  # beyond one cell of a 4x4 pooling, far from half the torus
        assert (np.diff(scene.angles) == 0).all()
        assert np.linalg.norm(np.diff(scene.camera, axis=0)[before]) < 3
        assert not coverage(scene, 0).any() and coverage(scene, before).any()


@pytest.mark.parametrize(("family", "name", "opposite"), REVERSED_PAIRS)
def test_opposite_classes_are_reversals_in_time(family, name, opposite):
    forward, backward = draw(family, name, 3), draw(family, opposite, 3)
    for field in ("positions", "angles", "camera"):
        assert np.array_equal(getattr(backward, field), getattr(forward, field)[::-1])
    assert np.array_equal(render(backward, noise=False), render(forward, noise=False)[::-1])


def test_classes_move_as_they_are_called():
    for seed in range(20):
        steps = {name: np.diff(draw("motion", name, seed).positions, axis=0)[40] for name in CLASSES["motion"]}
        assert steps["MotionLeft"][0] < 0 < steps["MotionRight"][0]
        assert steps["MotionUp"][1] < 0 < steps["MotionDown"][1]
        turns = {name: np.diff(draw("motion", name, seed).angles)[40] for name in CLASSES["motion"]}
        assert turns["MotionCounterClockwise"] < 0 < turns["MotionClockwise"]
        first, second = np.diff(draw("order", "OrderLeftThenRight", seed).positions[[0, 48, 95], 0])
        assert first == pytest.approx(-32) and second == pytest.approx(32)


@pytest.mark.parametrize("name", CLASSES["motion"])
def test_direction_is_unambiguous_over_15_frames(name):
    for seed in range(50):
        scene = draw("motion", name, seed)
        assert abs(scene.positions[15:] - scene.positions[:-15]).max() < 64 / 2
        assert abs(scene.angles[15:] - scene.angles[:-15]).max() < np.pi


def test_families_share_no_shape_and_order_pairs_neither():
    shapes = {family: {shape for shape, _ in classes.values()} for family, classes in CLASSES.items()}
    del shapes["camouflage"]  # it has the shape of `motion`, which it is a harder form of
    del shapes["shift"]  # a data set of its own, with the shape of `fine`
    assert sum(map(len, shapes.values())) == len(set.union(*shapes.values()))
    assert SEQUENCES["LeftThenRight"] == SEQUENCES["RightThenLeft"] != SEQUENCES["MoveThenRest"]
    assert SEQUENCES["MoveThenRest"] == SEQUENCES["RestThenMove"]


def test_turning_shape_has_no_symmetry():
    scene = draw("motion", "MotionClockwise", 0)
    masks = [coverage(replace(scene, angles=np.full(96, turn)), 0) for turn in np.deg2rad(range(0, 360, 10))]
    overlaps = [np.minimum(masks[0], mask).sum() / np.maximum(masks[0], mask).sum() for mask in masks]
    assert max(overlaps[2:-1]) < 0.8


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fit_between_their_doubles(shape):
    angle = np.linspace(0, 2 * np.pi, 721)
    assert SHAPES[shape](1.15 * np.cos(angle), 1.15 * np.sin(angle)).min() > 0
    assert max(draw("appearance", "AppearanceDisc", seed).radius for seed in range(200)) * 1.15 + 1 < 32 / 2


def test_shapes_stand_out():
    for group in range(1, 26):
        scene = make_scene(0, "motion", "MotionUp", group, 1)
        assert luma(scene.colour) - luma(scene.ground).mean() >= 70
        assert luma(scene.ground).std() < 15


def test_shape_wraps_without_loss_of_area():
    scene = draw("motion", "MotionRight", 0)
    areas = [coverage(scene, t).sum() for t in range(96)]
    assert np.ptp(areas) < 0.01 * np.mean(areas)
