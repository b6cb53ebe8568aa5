import tracemalloc
from collections import Counter

import numpy as np
import pytest

from datamodules import transforms
from datamodules.flow import dequantise, quantise
from datamodules.transforms import (
    Window,
    principal_colours,
    random_colours,
    random_window,
    view_windows,
)

HEIGHT, WIDTH, CROP = 12, 17, 9
FRAMES = np.random.default_rng(0).integers(0, 256, (6, HEIGHT, WIDTH, 3), dtype=np.uint8)
FIELDS = np.random.default_rng(1).integers(1, 256, (5, HEIGHT, WIDTH, 2), dtype=np.uint8)
MEANS = np.random.default_rng(2).normal(size=(5, 2)).astype(np.float32)
CORNERS = [(0, 0), (0, WIDTH - CROP), (HEIGHT - CROP, 0), (HEIGHT - CROP, WIDTH - CROP)]
CENTER = (1, 4)  # (12 - 9) // 2, (17 - 9) // 2
WINDOWS = [Window(*place, mirrored) for place in [*CORNERS, CENTER] for mirrored in (False, True)]


def cut_rgb(frames, indices, window, crop):
    """The cut as (3, T, crop, crop)."""
    cut = np.empty((len(indices), crop, crop, 3), np.uint8)
    return transforms.cut_rgb(frames, indices, window, cut).transpose(3, 0, 1, 2)


def cut_flow(fields, means, indices, window, crop):
    """The cut as (2, L, crop, crop), and means (2, L)."""
    cut = np.empty((len(indices), crop, crop, 2), np.uint8)
    means = transforms.cut_flow(fields, means, indices, window, cut)
    return cut.transpose(3, 0, 1, 2), means.T


def recolour(clip, colours):
    """The clip (3, T, H, W) in other colours."""
    changed = clip.transpose(1, 2, 3, 0).copy()
    transforms.recolour(changed, colours)
    return changed.transpose(3, 0, 1, 2)


def rng(seed=0):
    return np.random.default_rng(seed)


def column(window, x):
    """The stored column that the crop's column x shows."""
    return window.left + (CROP - 1 - x if window.mirrored else x)


@pytest.mark.parametrize("window", WINDOWS)
def test_cut_rgb_against_loops(window):
    indices = np.array([4, 0, 0, 5])
    cut = cut_rgb(FRAMES, indices, window, CROP)
    assert cut.shape == (3, 4, CROP, CROP) and cut.dtype == np.uint8
    for t, frame in enumerate(indices):
        for y in range(CROP):
            for x in range(CROP):
                assert (cut[:, t, y, x] == FRAMES[frame, window.top + y, column(window, x)]).all()


@pytest.mark.parametrize("window", WINDOWS)
def test_cut_flow_against_loops(window):
    indices = np.array([3, 1, 1])
    cut, means = cut_flow(FIELDS, MEANS, indices, window, CROP)
    assert cut.shape == (2, 3, CROP, CROP) and cut.dtype == np.uint8
    assert means.shape == (2, 3) and means.dtype == np.float32
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
    cut, _ = cut_flow(np.zeros((1, 1, 1, 2), np.uint8), MEANS, np.array([0]), Window(0, 0, True), 1)
    assert cut.ravel().tolist() == [255, 0]  # which JPEG can make of a 1


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


# -- crops of several scales


def test_scaled_windows_are_uniform_over_corners_center_and_scales():
    scales = [1, 2 / 3, 12 / 9, 0.5]  # of a crop of 9: sides of 9, 6, 12 and 5 (4.5 goes up)
    generator = rng()
    counts = Counter(random_window(HEIGHT, WIDTH, CROP, True, generator, scales) for _ in range(8000))
    expected = Counter()
    for side in (9, 6, 12, 5):
        bottom, right = HEIGHT - side, WIDTH - side
        for place in [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]:
            for mirrored in (False, True):
                expected[Window(*place, mirrored, None if side == CROP else side)] += 200
    assert set(counts) == set(expected)
    assert all(abs(counts[window] - count) < 5 * count**0.5 for window, count in expected.items())
    one, other = rng(), rng()
    for _ in range(50):
        window = random_window(HEIGHT, WIDTH, CROP, True, one, scales)
        assert random_window(HEIGHT, WIDTH, CROP, False, other, scales) == window._replace(mirrored=False)


def test_the_default_window_draws_as_ever():
    """What clips existing runs were trained on hangs on these draws and their order."""
    ours, plain = rng(3), rng(3)
    for mirror in (True, False, True):
        top, left = plain.integers(0, HEIGHT - CROP + 1), plain.integers(0, WIDTH - CROP + 1)
        flipped = plain.random() < 0.5
        assert random_window(HEIGHT, WIDTH, CROP, mirror, ours) == Window(top, left, bool(flipped and mirror))
    assert ours.random() == plain.random()


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_scaled_crop_is_resized(mirrored):
    """From a side of 8 to 4, each pixel is the mean of four; from 4 to 8 they lie a quarter from their neighbours."""
    window, indices = Window(3, 6, mirrored, 8), np.array([2, 0])
    square = FRAMES[indices, 3:11, 6:14].astype(float)[:, :, :: -1 if mirrored else 1]
    means = square.reshape(2, 4, 2, 4, 2, 3).mean((2, 4)).transpose(3, 0, 1, 2)
    assert abs(cut_rgb(FRAMES, indices, window, 4) - means).max() <= 0.5
    ramp = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8) + np.arange(0, 136, 8, dtype=np.uint8)[:, None]
    grown = cut_rgb(ramp, np.array([0]), Window(0, 4, False, 4), 8)
    assert grown[0, 0, 0].tolist() == [32, 34, 38, 42, 46, 50, 54, 56]


@pytest.mark.parametrize(("side", "factor"), [(8, 0.5), (3, 4 / 3), (4, 1)])
def test_a_resized_flow_counts_the_new_pixels(side, factor):
    bound = 20.0
    fields = quantise(np.full((3, HEIGHT, WIDTH, 2), (6.0, -3.0), np.float32), bound)
    for mirrored in (False, True):
        cut, means = cut_flow(fields, MEANS, np.array([2, 1]), Window(1, 2, mirrored, None if side == 4 else side), 4)
        assert cut.shape == (2, 2, 4, 4) and cut.dtype == np.uint8
        sign = -1 if mirrored else 1
        found = dequantise(cut, bound)
        assert abs(found[0] - sign * 6 * factor).max() < bound / 127 and abs(found[1] + 3 * factor).max() < bound / 127
        np.testing.assert_allclose(means, (MEANS[[2, 1]] * [sign, 1]).T * factor, rtol=1e-6)
        assert means.dtype == np.float32


def test_mirroring_a_resized_flow_negates_it_exactly():
    window = Window(0, 1, False, 7)
    cut, means = cut_flow(FIELDS, MEANS, np.arange(5), window, 4)
    mirrored, mirrored_means = cut_flow(FIELDS, MEANS, np.arange(5), window._replace(mirrored=True), 4)
    assert np.array_equal(mirrored[0], 256 - cut[0, ..., ::-1].astype(int)) and cut.min() >= 1
    assert np.array_equal(mirrored[1], cut[1, ..., ::-1])
    assert np.array_equal(mirrored_means, means * [[-1], [1]])


def test_a_resized_flow_is_clipped_at_the_bound():
    fields = np.full((1, HEIGHT, WIDTH, 2), (250, 6), np.uint8)  # 122 steps either way; times 4 / 3 beyond 127
    cut, _ = cut_flow(fields, MEANS, np.array([0]), Window(0, 0, False, 3), 4)
    assert (cut[0] == 255).all() and (cut[1] == 1).all()


# -- colours

CLIP = np.random.default_rng(3).integers(0, 256, (3, 4, 5, 6), dtype=np.uint8)


def test_jitter_against_its_three_steps():
    generator, plain = rng(4), rng(4)
    for _ in range(20):
        brightness, contrast, saturation = plain.uniform(0.8, 1.2, 3)
        expected = np.empty(CLIP.shape)
        for place in np.ndindex(CLIP.shape[1:]):
            red, green, blue = CLIP[(slice(None), *place)].astype(float)
            grey = 0.299 * red + 0.587 * green + 0.114 * blue
            for channel, value in enumerate((red, green, blue)):
                value = brightness * (grey + saturation * (value - grey))
                expected[(channel, *place)] = min(max(127.5 + contrast * (value - 127.5), 0), 255)
        found = recolour(CLIP, random_colours("jitter", None, generator))
        assert found.dtype == np.uint8 and abs(found - expected).max() < 0.51
        assert not np.array_equal(found, CLIP)


def test_principal_colours_of_known_pixels():
    """Pixels spread along (1, 1, 1) with variance 9, along (1, -1, 0) with 4 and along (1, 1, -2) with 1, of 255."""
    axes = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    spread = rng().normal(size=(64, 64, 3)) * [30, 20, 10]
    frame = np.repeat(np.repeat(np.rint(128 + spread @ axes).astype(np.uint8), 4, 0), 4, 1)
    components = principal_colours([frame, frame])
    values = np.linalg.norm(components, axis=0)
    np.testing.assert_allclose(np.sort(values)[::-1] * 255**2, [900, 400, 100], rtol=0.08)
    for axis, column in zip(axes[::-1], (components / values).T, strict=True):
        assert abs(axis @ column) > 0.99
        assert column[abs(column).argmax()] > 0


def test_pca_shifts_all_pixels_along_the_components():
    components = np.diag([0.3, 0.1, 0.0]) / 10
    generator, plain = rng(1), rng(1)
    grey, shifts = np.full((3, 2, 2, 2), 128, np.uint8), []
    for _ in range(400):
        drawn = plain.normal(0, 0.1, 3)
        shifted = recolour(grey, random_colours("pca", components, generator))
        assert (shifted == np.rint(128 + 255 * np.array([0.03, 0.01, 0]) * drawn)[:, None, None, None]).all()
        shifts.append(255 * components @ drawn)
    np.testing.assert_allclose(np.std(shifts, axis=0), [0.765, 0.255, 0], rtol=0.15)
    assert recolour(CLIP, random_colours("pca", components, generator)).max() <= 255


def test_recolour_rounds_and_clips():
    brighter = np.column_stack([2 * np.eye(3), [0.4, -0.6, 0.6]])
    clip = np.array([[0, 100, 200]] * 3, np.uint8)[:, None, None, :]
    assert recolour(clip, brighter)[:, 0, 0].tolist() == [[0, 200, 255], [0, 199, 255], [1, 201, 255]]
