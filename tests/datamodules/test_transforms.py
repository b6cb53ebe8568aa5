import tracemalloc
from collections import Counter

import numpy as np
import pytest

from datamodules.transforms import Window, cut_flow, cut_rgb, random_window, view_windows

HEIGHT, WIDTH, CROP = 12, 17, 9
FRAMES = np.random.default_rng(0).integers(0, 256, (6, HEIGHT, WIDTH, 3), dtype=np.uint8)
FIELDS = np.random.default_rng(1).integers(1, 256, (5, HEIGHT, WIDTH, 2), dtype=np.uint8)
MEANS = np.random.default_rng(2).normal(size=(5, 2)).astype(np.float32)
CORNERS = [(0, 0), (0, WIDTH - CROP), (HEIGHT - CROP, 0), (HEIGHT - CROP, WIDTH - CROP)]
CENTER = (1, 4)  # (12 - 9) // 2, (17 - 9) // 2
WINDOWS = [Window(*place, mirrored) for place in [*CORNERS, CENTER] for mirrored in (False, True)]


def rng(seed=0):
    return np.random.default_rng(seed)


def column(window, x):
    """The stored column that the crop's column x shows."""
    return window.left + (CROP - 1 - x if window.mirrored else x)


@pytest.mark.parametrize("window", WINDOWS)
def test_cut_rgb_against_loops(window):
    indices = np.array([4, 0, 0, 5])
    cut = cut_rgb(FRAMES, indices, window, CROP)
    assert cut.shape == (3, 4, CROP, CROP) and cut.dtype == np.uint8 and cut.flags.c_contiguous
    for t, frame in enumerate(indices):
        for y in range(CROP):
            for x in range(CROP):
                assert (cut[:, t, y, x] == FRAMES[frame, window.top + y, column(window, x)]).all()


@pytest.mark.parametrize("window", WINDOWS)
def test_cut_flow_against_loops(window):
    indices = np.array([3, 1, 1])
    cut, means = cut_flow(FIELDS, MEANS, indices, window, CROP)
    assert cut.shape == (2, 3, CROP, CROP) and cut.dtype == np.uint8 and cut.flags.c_contiguous
    assert means.shape == (2, 3) and means.dtype == np.float32 and means.flags.c_contiguous
    for t, field in enumerate(indices):
        for y in range(CROP):
            for x in range(CROP):
                dx, dy = map(int, FIELDS[field, window.top + y, column(window, x)])
                assert cut[:, t, y, x].tolist() == [256 - dx if window.mirrored else dx, dy]
        mean = MEANS[field]
        assert means[:, t].tolist() == [-mean[0] if window.mirrored else mean[0], mean[1]]


def test_a_mirrored_flow_stays_in_range():
    fields = np.array([1, 127, 128, 129, 255], np.uint8)[:, None, None, None] * np.ones((5, 1, 1, 2), np.uint8)
    cut, _ = cut_flow(fields, MEANS, np.arange(5), Window(0, 0, True), 1)
    assert cut[0].ravel().tolist() == [255, 129, 128, 127, 1]
    assert cut[1].ravel().tolist() == [1, 127, 128, 129, 255]


def test_mirroring_twice_changes_nothing():
    frames, fields, means = FRAMES[:, :CROP, :CROP], FIELDS[:, :CROP, :CROP], MEANS
    window, all_frames, all_fields = Window(0, 0, True), np.arange(len(frames)), np.arange(len(fields))
    once = cut_rgb(frames, all_frames, window, CROP)
    assert not np.array_equal(once, frames.transpose(3, 0, 1, 2))
    assert np.array_equal(cut_rgb(once.transpose(1, 2, 3, 0), all_frames, window, CROP).transpose(1, 2, 3, 0), frames)
    flow, mean = cut_flow(fields, means, all_fields, window, CROP)
    flow, mean = cut_flow(flow.transpose(1, 2, 3, 0), mean.T, all_fields, window, CROP)
    assert np.array_equal(flow.transpose(1, 2, 3, 0), fields) and np.array_equal(mean.T, means)


def test_the_store_is_not_written_to():
    fields, means, frames = FIELDS.copy(), MEANS.copy(), FRAMES.copy()
    for array in (fields, means, frames):
        array.flags.writeable = False  # as a memory map's are
    cut_flow(fields, means, np.arange(5), Window(0, 0, True), CROP)[0][:] = 0
    cut_rgb(frames, np.arange(6), Window(0, 0, True), CROP)[:] = 0
    assert np.array_equal(fields, FIELDS) and np.array_equal(frames, FRAMES)


def test_only_the_crop_is_copied():
    frames = np.zeros((40, 300, 300, 3), np.uint8)
    fields, means, crop = frames[..., :2], np.zeros((40, 2), np.float32), 20
    tracemalloc.start()
    try:
        cut_rgb(frames, np.arange(40), Window(5, 5, True), crop)
        cut_flow(fields, means, np.arange(40), Window(5, 5, True), crop)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 40 * crop * crop * 3 < frames.nbytes / 10


VIEWS = {  # places, and whether each is also mirrored
    "center": ([CENTER], False),
    "flip": ([CENTER], True),
    "3crop": ([(1, 0), (1, 4), (1, 8)], False),
    "10crop": ([*CORNERS, CENTER], True),
}


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("views", VIEWS)
def test_views(views, mirror):
    places, flips = VIEWS[views]
    expected = [
        Window(*place, flipped) for flipped in ((False, True) if flips and mirror else (False,)) for place in places
    ]
    assert view_windows(views, HEIGHT, WIDTH, CROP, mirror, rng()) == expected


def test_3crop_goes_down_an_upright_video():
    windows = view_windows("3crop", WIDTH, HEIGHT, CROP, True, rng())
    assert windows == [Window(0, 1, False), Window(4, 1, False), Window(8, 1, False)]


@pytest.mark.parametrize("mirror", [True, False])
def test_4crop_has_the_center_and_a_random_place(mirror):
    places = set()
    generator = rng()
    for _ in range(600):
        windows = view_windows("4crop", HEIGHT, WIDTH, CROP, mirror, generator)
        center, other, *mirrored = windows
        assert center == Window(*CENTER, False) and not other.mirrored
        assert mirrored == ([center._replace(mirrored=True), other._replace(mirrored=True)] if mirror else [])
        places.add(other[:2])
    assert places == {(top, left) for top in range(4) for left in range(9)}
    assert view_windows("4crop", HEIGHT, WIDTH, CROP, mirror, rng(5)) == view_windows(
        "4crop", HEIGHT, WIDTH, CROP, mirror, rng(5)
    )


def test_views_of_a_frame_that_is_the_crop():
    assert view_windows("10crop", CROP, CROP, CROP, False, rng()) == [Window(0, 0, False)] * 5
    assert random_window(CROP, CROP, CROP, False, rng()) == Window(0, 0, False)


def test_random_windows_are_uniform():
    generator = rng()
    counts = Counter(random_window(HEIGHT, WIDTH, CROP, True, generator) for _ in range(7200))
    every = {Window(top, left, mirrored) for top in range(4) for left in range(9) for mirrored in (False, True)}
    assert set(counts) == every
    assert all(abs(count - 100) < 50 for count in counts.values())


def test_without_mirroring_the_crops_are_the_same():
    with_mirror, without = rng(), rng()
    for _ in range(200):
        window = random_window(HEIGHT, WIDTH, CROP, True, with_mirror)
        assert random_window(HEIGHT, WIDTH, CROP, False, without) == window._replace(mirrored=False)
