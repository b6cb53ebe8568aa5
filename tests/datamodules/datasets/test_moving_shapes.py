"""What moving_shapes promises about its classes, checked on the parameters of its scenes and on a few small sets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from datamodules.datasets import moving_shapes
from datamodules.datasets.moving_shapes import MovingShapes, write_lists
from datamodules.datasets.rendering import coverage, render, true_flow
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
from datamodules.errors import DataError
from datamodules.flow import FlowEstimator

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


# ---------------------------------------------------------------- what a classifier could learn from parts of a video


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


def window(scene: Scene, t: int) -> np.ndarray:
    steps = np.diff(scene.positions[t : t + 16], axis=0), np.diff(scene.camera[t : t + 16], axis=0)
    return np.concatenate([*map(np.ravel, steps), around_circle(scene.positions[t], np.array(scene.period, float))])


def whole_path(scene: Scene, t: int) -> np.ndarray:
    return np.diff(scene.positions, axis=0).ravel()


def seen_place(scene: Scene, t: int) -> np.ndarray:
    return one_frame(scene, int(np.flatnonzero(scene.visible)[t % 2]))


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


@pytest.mark.parametrize("names", ORDER_PAIRS)
@pytest.mark.parametrize("describe", [one_frame, background, window])
def test_up_to_16_frames_of_order_tell_nothing(names, describe):
    score, margin = accuracy(describe, "order", names)
    assert abs(score - 1 / 2) < margin


@pytest.mark.parametrize("names", ORDER_PAIRS)
def test_the_whole_path_of_order_tells_all(names):
    assert accuracy(whole_path, "order", names)[0] > 0.95


@pytest.mark.parametrize("describe", [background, velocity, whole_path])
def test_motion_and_background_of_appearance_tell_nothing(describe):
    score, margin = accuracy(describe, "appearance", tuple(CLASSES["appearance"]))
    assert abs(score - 1 / 6) < margin


@pytest.mark.parametrize("describe", [seen_place, background])
def test_one_frame_of_shift_tells_nothing(describe):
    score, margin = accuracy(describe, "shift", SHIFTS, 20)
    assert abs(score - 1 / 2) < margin


# ---------------------------------------------------------------- order: the same windows in both classes of a pair


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


# ---------------------------------------------------------------- shift: the same frames in both classes


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


def seen_steps(groups: range) -> tuple[np.ndarray, np.ndarray]:
    """How far the shape is seen to move right from each frame to the next, (videos, 19), and whether it jumps right."""
    scenes = [make_scene(0, "shift", n, g, c, 32, 20) for n, g, c in product(SHIFTS, groups, range(10))]
    both = np.stack([scene.visible[1:] & scene.visible[:-1] for scene in scenes])
    steps = np.stack([np.diff(scene.positions + scene.camera, axis=0)[:, 0] for scene in scenes])
    return both * steps, np.repeat([False, True], len(scenes) // 2)


def test_weights_for_each_time_know_jumps_only_when_they_were_and_shared_weights_at_any_time():
    steps, right = seen_steps(range(8, 20))
    weights = np.linalg.lstsq(steps, right - 0.5, rcond=None)[0]
    for groups, score in [(range(20, 26), 1), (range(1, 8), 1 / 2)]:
        steps, right = seen_steps(groups)
        assert ((steps @ weights > 0) == right).mean() == pytest.approx(score, abs=0.02)
        assert ((steps.sum(axis=1) > 0) == right).all()


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


# ---------------------------------------------------------------- motions and shapes


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


# ---------------------------------------------------------------- true flow


def warp_error(scene: Scene, t: int, flow: np.ndarray) -> float:
    """Mean difference between frame `t` and frame `t + 1` pulled back along `flow`, over the shape."""
    frames = render(scene, noise=False)
    y, x = np.mgrid[:64, :64].astype(np.float32)
    pulled = cv2.remap(frames[t + 1], x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return float(abs(pulled.astype(float) - frames[t])[coverage(scene, t) >= 0.5].mean())


@pytest.mark.parametrize("family", ["motion", "camouflage"])
@pytest.mark.parametrize("motion", ["Left", "Down", "Clockwise", "CounterClockwise"])
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


# ---------------------------------------------------------------- files


@pytest.fixture
def small(tmp_path, monkeypatch) -> MovingShapes:
    """The order family with four groups, two for training and two for testing in split 1."""
    monkeypatch.setattr(moving_shapes, "GROUPS", (2, 7, 8, 25))
    clips = dict.fromkeys(CLASSES, 1)
    return MovingShapes(root=str(tmp_path / "one"), size=32, families=["order"], clips=clips)


def test_set_does_not_depend_on_the_number_of_workers(small, tmp_path):
    other = replace(small, root=str(tmp_path / "two"))
    small.prepare(workers=1)
    other.prepare(workers=2)
    files = sorted(path.relative_to(small.folder()) for path in small.folder().rglob("*") if path.is_file())
    assert len(files) == 4 * 4 + 1 + 6
    assert files == sorted(path.relative_to(other.folder()) for path in other.folder().rglob("*") if path.is_file())
    assert all((small.folder() / file).read_bytes() == (other.folder() / file).read_bytes() for file in files)


def test_set_reads_as_ucf101_with_disjoint_groups(small):
    small.prepare(workers=1)
    lists = small.read()
    assert lists.classes == tuple(CLASSES["order"])
    assert lists.families == {"order": lists.classes}
    assert {video.group for video in lists.test} == {"g02", "g07"}
    assert {video.group for video in lists.train} == {"g08", "g25"}
    assert all(lists.classes[video.labels[0]] == video.path.split("/")[0] for video in lists.train + lists.test)


def test_videos_decode_to_their_scenes_and_every_frame_is_coded_by_itself(small):
    small.prepare(workers=1)
    path = small.folder() / "OrderMoveThenRest" / "v_OrderMoveThenRest_g08_c01.mp4"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 25
        decoded = list(container.decode(stream))
    assert all(frame.key_frame for frame in decoded)
    frames = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    expected = render(make_scene(0, "order", "OrderMoveThenRest", 8, 1, size=32))
    assert frames.shape == expected.shape == (96, 32, 32, 3)
    assert abs(frames.astype(int) - expected).mean() < 8  # sensor noise and chroma do not survive whole


def test_default_set_is_balanced_and_large_enough(tmp_path):
    data = MovingShapes()
    write_lists(tmp_path, {name: data.clips[family] for family in data.families for name in CLASSES[family]}, [1])
    train = (tmp_path / "trainlist01.txt").read_text().splitlines()
    test = (tmp_path / "testlist01.txt").read_text().splitlines()
    assert Counter(line.split("/")[0] for line in train) == {
        name: 18 * data.clips[family] for family in data.families for name in CLASSES[family]
    }
    assert (len(train), len(test)) == (1872, 728)
    assert (tmp_path / "classInd.txt").read_text().splitlines()[0] == "1 AppearanceDisc"
    assert train[0] == "AppearanceDisc/v_AppearanceDisc_g08_c01.mp4 1"
    assert test[0] == "AppearanceDisc/v_AppearanceDisc_g01_c01.mp4"


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


def test_the_same_settings_have_the_same_folder_as_ever():
    assert MovingShapes().folder().name == "seed0-64px-96f-e5ccc6"
    assert MovingShapes(families=["camouflage", "motion"], size=48).folder().name == "seed0-48px-96f-d63092"


def test_a_set_with_jumps_has_split_1_only(small):
    jumps = replace(small, families=["shift", "motion"], frames=20)
    jumps.prepare(workers=1)
    lists = jumps.read()
    assert lists.families == {"shift": SHIFTS, "motion": tuple(CLASSES["motion"])} and not lists.chance
    assert {video.group for video in lists.test} == {"g02", "g07"}
    assert {video.group for video in lists.train} == {"g08", "g25"}
    with pytest.raises(DataError, match=r"data\.split=2: the lists have the splits 1"):
        replace(jumps, split=2).read()


def test_interrupted_generation_leaves_nothing(small, monkeypatch):
    written = []

    def fail_late(path: Path, frames: np.ndarray, fps: int) -> None:
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(moving_shapes, "write_video", fail_late)
    with pytest.raises(KeyboardInterrupt):
        small.prepare(workers=1)
    assert list(Path(small.root).iterdir()) == []


def test_prepare_keeps_a_complete_set(small, monkeypatch):
    small.prepare(workers=1)
    monkeypatch.setattr(moving_shapes, "write_video", None)
    small.prepare(workers=1)


def test_other_settings_never_share_a_folder():
    changes = [{}, {"data_seed": 1}, {"size": 32}, {"frames": 100}, {"fps": 30}, {"families": ["order"]}]
    changes += [{"clips": {"appearance": 1, "motion": 1, "order": 1}}, {"families": ["order", "motion", "appearance"]}]
    assert len({MovingShapes(**change).folder() for change in changes}) == len(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"families": ["order", "colour"]}, "data.families=.*expected some of appearance, motion, order, camouflage"),
        ({"families": []}, "data.families="),
        ({"clips": {"order": 0}}, "data.clips.order=0: expected 1 to 99"),
        ({"size": 33}, "data.size=33: expected an even number"),
        ({"frames": 60}, "data.frames=60: expected at least 93, which the order family needs"),
        ({"families": ["shift", "appearance"], "frames": 92}, "data.frames=92: expected at least 93, which the appear"),
        ({"families": ["motion"], "frames": 19}, "data.frames=19: expected at least 20, which the motion family"),
        ({"families": ["shift"], "frames": 21}, "data.frames=21: the shift family needs two equal halves; set an even"),
        ({"data_seed": -1}, "data.data_seed=-1"),
    ],
)
def test_bad_settings_are_named(small, change, message):
    with pytest.raises(DataError, match=message):
        replace(small, **change).prepare(workers=1)


def test_is_a_structured_config():
    node = OmegaConf.merge(OmegaConf.structured(MovingShapes), OmegaConf.from_dotlist(["clips.order=4", "size=48"]))
    data = OmegaConf.to_object(node)
    assert isinstance(data, MovingShapes) and data.clips["order"] == 4 and not data.mirror and data.flow.bound == 4


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
