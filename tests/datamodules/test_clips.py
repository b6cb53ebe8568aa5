import dataclasses
from collections import Counter

import numpy as np
import pytest

from datamodules.clips import (
    ClipSpec,
    clip_indices,
    clip_span,
    test_starts,
    train_starts,
)
from datamodules.errors import DataError

SINGLE = ClipSpec(frames=1)
EARLY = ClipSpec(frames=10)
LATE = ClipSpec(frames=2, stride=15)
C3D = ClipSpec(frames=16)
TWO_STREAM = ClipSpec(frames=1, flow_frames=10, test_clips=25)
LRCN = ClipSpec(frames=16, test_clips="all", test_step=8)
LECTURE = ClipSpec(frames=16, fps=5)
WHOLE = ClipSpec(frames=16, span="segments", test_clips=1)
STRATEGIES = {"single": SINGLE, "early": EARLY, "late": LATE, "c3d": C3D, "two_stream": TWO_STREAM, "lecture": LECTURE}
BOTH = dataclasses.replace(TWO_STREAM, flow_direction="both")


def rng(seed=0):
    return np.random.default_rng(seed)


def clips_at(spec, frames, *starts, fps=25.0):
    return clip_indices(spec, frames, fps, np.array(starts))


def evenly(spec, frames, fps=25.0):
    return clip_indices(spec, frames, fps, test_starts(spec, frames, fps, rng()))


@pytest.mark.parametrize(
    ("spec", "fps", "rgb", "flow"),
    [
        (SINGLE, 25.0, [7], []),
        (EARLY, 25.0, list(range(7, 17)), []),
        (LATE, 25.0, [7, 22], []),
        (C3D, 25.0, list(range(7, 23)), []),
        (TWO_STREAM, 25.0, [7], list(range(7, 17))),
        (ClipSpec(frames=0, flow_frames=3), 25.0, [], [7, 8, 9]),
        (ClipSpec(frames=0, flow_frames=3, stride=2), 25.0, [], [7, 9, 11]),
        (LECTURE, 25.0, list(range(7, 83, 5)), []),
        # 29.97 fps: a step of 5.994 frames, so that the nearest frame falls behind steps of 6 from the 84th on only
        (LECTURE, 30000 / 1001, list(range(7, 98, 6)), []),
        # 23.976 fps: 0, 4.8, 9.6, 14.4, 19.2, 24.0, 28.8, 33.6, 38.4, 43.2, 48.0, 52.7, 57.5, 62.3, 67.1, 71.9
        (LECTURE, 24000 / 1001, [7 + i for i in (0, 5, 10, 14, 19, 24, 29, 34, 38, 43, 48, 53, 58, 62, 67, 72)], []),
        (ClipSpec(frames=4, fps=10), 25.0, [7, 10, 12, 15], []),  # steps of 2.5: a half goes up
        (ClipSpec(frames=4, fps=50), 25.0, [7, 8, 8, 9], []),  # faster than the video: frames come again
    ],
)
def test_a_clip_from_frame_7_of_200(spec, fps, rgb, flow):
    clips = clips_at(spec, 200, 7, fps=fps)
    assert clips.rgb.tolist() == [rgb] and clips.flow.tolist() == [flow]
    assert clips.padded.tolist() == [False]
    last = max([*rgb, *[i + 1 for i in flow]])  # field i needs frame i + 1
    assert clip_span(spec, 200, fps) == last - 7 + 1
    assert clips.center.tolist() == [(7 + last) / 2]


@pytest.mark.parametrize(
    ("spec", "frames", "starts"),
    [
        # even: the middle of part i of N is at frame (i + 1/2) n / N - 1/2, and the start (span - 1) / 2 before it
        (dataclasses.replace(SINGLE, test_clips=1), 11, [5]),
        (dataclasses.replace(SINGLE, test_clips=5), 5, [0, 1, 2, 3, 4]),
        (dataclasses.replace(SINGLE, test_clips=4), 10, [1, 3, 6, 8]),  # middles 0.75, 3.25, 5.75, 8.25
        (dataclasses.replace(EARLY, test_clips=2), 40, [5, 25]),  # middles 9.5 and 29.5
        (dataclasses.replace(C3D, test_clips=10), 170, [1, 18, 35, 52, 69, 86, 103, 120, 137, 154]),
        (dataclasses.replace(C3D, test_clips=5), 40, [0, 4, 12, 20, 24]),  # the outer two are moved inside
        (dataclasses.replace(LATE, test_clips=3), 18, [0, 1, 2]),
        # two-stream: 25 stacks of 11 frames
        (TWO_STREAM, 275, list(range(0, 275, 11))),
        # LRCN: windows of 16 every 8 frames, whole windows only
        (LRCN, 16, [0]),
        (LRCN, 23, [0]),
        (LRCN, 24, [0, 8]),
        (LRCN, 50, [0, 8, 16, 24, 32]),
        (LRCN, 5, [0]),
        (dataclasses.replace(SINGLE, test_clips="all", test_step=1), 4, [0, 1, 2, 3]),  # the average over all frames
        (dataclasses.replace(TWO_STREAM, test_clips="all", test_step=1), 13, [0, 1, 2]),
    ],
)
def test_where_test_clips_start(spec, frames, starts):
    assert test_starts(spec, frames, 25.0, rng())[:, 0].tolist() == starts


@pytest.mark.parametrize(
    ("spec", "fps", "middle", "forward", "previous"),
    [
        # `previous`: the frames that the backward flow leads to, each from the frame after it
        (BOTH, 25.0, 12, [12, 13, 14, 15, 16], [11, 10, 9, 8, 7]),
        (dataclasses.replace(BOTH, flow_frames=2), 25.0, 8, [8], [7]),
        (dataclasses.replace(BOTH, flow_frames=4, stride=3), 25.0, 11, [11, 14], [10, 7]),
        (dataclasses.replace(BOTH, flow_frames=6, fps=10), 25.0, 13, [13, 16, 18], [12, 9, 7]),  # steps of 2.5
        (dataclasses.replace(BOTH, frames=4, flow_frames=4), 25.0, 9, [9, 10], [8, 7]),
        (dataclasses.replace(BOTH, frames=0, flow_frames=4), 25.0, 9, [9, 10], [8, 7]),
    ],
)
def test_flow_in_both_directions_leads_away_from_the_middle(spec, fps, middle, forward, previous):
    clips = clips_at(spec, 200, 7, fps=fps)
    rgb = list(range(middle, middle + spec.frames))
    assert clips.flow.tolist() == [forward] and clips.rgb.tolist() == [rgb]
    assert clips.backward.tolist() == [previous]  # row i leads from frame i + 1 to frame i
    last = max([*rgb, *[frame + 1 for frame in forward]])
    assert min(previous) == 7 and clip_span(spec, 200, fps) == last - 7 + 1
    assert clips.center.tolist() == [(7 + last) / 2] and clips.padded.tolist() == [False]
    assert clips_at(spec, last + 1, 7, fps=fps).padded.tolist() == [False]
    assert clips_at(spec, last, 7, fps=fps).padded.tolist() == [True]


@pytest.mark.parametrize(
    ("frames", "rgb", "flow", "backward"),
    [
        # a clip of 5 frames, from frame 2 of which flow leads to frames 3, 4 and to frames 1, 0
        (1, [0], [0, 0], [0, 0]),
        (3, [2], [0, 1], [1, 0]),  # looped; held below
        (4, [2], [2, 0], [1, 0]),
        (5, [2], [2, 3], [1, 0]),
    ],
)
def test_flow_of_short_videos_in_both_directions(frames, rgb, flow, backward):
    spec = ClipSpec(frames=1, flow_frames=4, flow_direction="both")
    looped, held = clips_at(spec, frames, 0), clips_at(dataclasses.replace(spec, short="hold"), frames, 0)
    assert [looped.rgb.tolist(), looped.flow.tolist(), looped.backward.tolist()] == [[rgb], [flow], [backward]]
    assert held.flow.tolist() == [[min(field, max(frames - 2, 0)) for field in (2, 3)]]
    assert held.backward.tolist() == [backward]
    assert looped.padded.tolist() == [frames < 5]


@pytest.mark.parametrize("count", [1, 3, 10, 25])
@pytest.mark.parametrize("frames", [100, 177, 240])
def test_all_strategies_share_their_centers(frames, count):
    ideal = (np.arange(count) + 0.5) * frames / count - 0.5
    found = []
    for spec in STRATEGIES.values():
        spec = dataclasses.replace(spec, test_clips=count)
        center, span = evenly(spec, frames).center, clip_span(spec, frames, 25.0)
        fits = (ideal >= span / 2) & (ideal <= frames - 1 - span / 2)
        assert fits.any()
        assert abs(center - ideal)[fits].max() <= 0.5
        found.append(np.where(fits, center, np.nan))
    difference = np.nanmax(found, axis=0) - np.nanmin(found, axis=0)
    assert np.nanmax(difference) <= 0.5  # clips of 1 and 2 frames cannot do better


SHORT = [
    # spec, frames, loop, hold; rgb then flow
    (EARLY, 1, [0] * 10, [0] * 10),
    (EARLY, 4, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1], [0, 1, 2, 3, 3, 3, 3, 3, 3, 3]),
    (LATE, 4, [0, 3], [0, 3]),
    (LATE, 7, [0, 1], [0, 6]),
]


@pytest.mark.parametrize(("spec", "frames", "loop", "hold"), SHORT)
def test_short_videos(spec, frames, loop, hold):
    for short, expected in (("loop", loop), ("hold", hold)):
        clips = evenly(dataclasses.replace(spec, short=short, test_clips=2), frames)
        assert clips.rgb.tolist() == [expected] * 2
        assert clips.padded.tolist() == [True, True]
    with pytest.raises(DataError, match=rf"sampling.short=error: a clip spans \d+ frames, the video has {frames}"):
        evenly(dataclasses.replace(spec, short="error"), frames)


@pytest.mark.parametrize(
    ("frames", "rgb", "loop", "hold"),
    [
        (1, [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),  # its one field has no motion
        (2, [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
        (4, [0, 1, 2, 3, 0], [0, 1, 2, 0, 1], [0, 1, 2, 2, 2]),  # no field from the last frame to the first
        (5, [0, 1, 2, 3, 4], [0, 1, 2, 3, 0], [0, 1, 2, 3, 3]),  # enough frames, but a field too few
    ],
)
def test_flow_of_short_videos(frames, rgb, loop, hold):
    spec = ClipSpec(frames=5, flow_frames=5)
    looped = clips_at(spec, frames, 0)
    held = clips_at(dataclasses.replace(spec, short="hold"), frames, 0)
    assert looped.rgb.tolist() == [rgb] and looped.flow.tolist() == [loop] and held.flow.tolist() == [hold]
    assert looped.padded.tolist() == held.padded.tolist() == [True]
    assert clips_at(spec, 6, 0).padded.tolist() == [False]


def test_each_clip_says_whether_it_is_padded():
    assert clips_at(EARLY, 12, 0, 2, 3, 11).padded.tolist() == [False, False, True, True]
    assert clips_at(dataclasses.replace(EARLY, short="error"), 12, 0, 2).padded.tolist() == [False, False]


@pytest.mark.parametrize(
    ("spec", "frames", "places"),
    [(SINGLE, 6, 6), (LATE, 18, 3), (TWO_STREAM, 14, 4), (C3D, 5, 1)],
)
def test_random_starts_are_uniform_over_the_places_that_fit(spec, frames, places):
    draws = 600 * places
    generator = rng()
    starts = [int(train_starts(spec, frames, 25.0, generator)[0, 0]) for _ in range(draws)]
    counts = Counter(starts)
    assert sorted(counts) == list(range(places))
    assert all(abs(count - 600) < 5 * 600**0.5 for count in counts.values())
    again, other = rng(), rng(1)
    assert starts == [int(train_starts(spec, frames, 25.0, again)[0, 0]) for _ in range(draws)]
    if places > 1:
        assert starts != [int(train_starts(spec, frames, 25.0, other)[0, 0]) for _ in range(draws)]


def test_random_test_starts_are_sorted_seeded_and_uniform():
    spec = dataclasses.replace(EARLY, test_clips=4000, test_sampling="random")
    starts = test_starts(spec, 13, 25.0, rng())[:, 0]
    assert (np.diff(starts) >= 0).all()
    assert sorted(Counter(starts.tolist())) == [0, 1, 2, 3]
    assert all(abs(count - 1000) < 150 for count in Counter(starts.tolist()).values())
    assert np.array_equal(starts, test_starts(spec, 13, 25.0, rng())[:, 0])
    assert not np.array_equal(starts, test_starts(spec, 13, 25.0, rng(1))[:, 0])


@pytest.mark.parametrize(
    ("spec", "count", "starts"),
    [
        (EARLY, 1, [35]),  # of 5 pieces of 16 frames the middle one; the clip is in the middle of it
        (EARLY, 2, [19, 51]),
        (EARLY, 4, [3, 19, 51, 67]),
        (EARLY, 5, [3, 19, 35, 51, 67]),
        (EARLY, 10, [0, 6, 16, 22, 32, 38, 48, 54, 64, 70]),  # two in each, a quarter of it from either end
        (SINGLE, 10, [4, 12, 20, 28, 36, 44, 52, 60, 68, 76]),
        (LATE, 5, [0, 16, 32, 48, 64]),
        (LATE, "all", [0, 16, 32, 48, 64]),
        (EARLY, "all", [0, 4, 16, 20, 32, 36, 48, 52, 64, 68]),
    ],
)
def test_where_test_clips_of_pieces_start(spec, count, starts):
    spec = dataclasses.replace(spec, test_clips=count, test_step=4)
    assert test_starts(spec, 80, 25.0, rng(), 16)[:, 0].tolist() == starts
    clips = clip_indices(spec, 80, 25.0, np.array(starts), 16)
    assert not clips.padded.any() and clips.rgb[:, 0].tolist() == starts
    assert (clips.rgb // 16 == clips.rgb[:, :1] // 16).all(), "within one piece"
    assert np.array_equal(clips.center, clips.rgb.mean(axis=1))


@pytest.mark.parametrize("spec", [EARLY, LATE, C3D, TWO_STREAM, BOTH, LECTURE, dataclasses.replace(C3D, short="hold")])
@pytest.mark.parametrize("length", [1, 2, 7, 12, 40])
def test_a_piece_is_to_its_clips_what_a_video_is(spec, length):
    """Also where clips are longer; the rows of 3 pieces lie one after another, of flow one fewer of each."""
    spec = dataclasses.replace(spec, test_clips="all", test_step=3)
    alone = clip_indices(spec, length, 25.0, test_starts(spec, length, 25.0, rng()))
    starts = test_starts(spec, 3 * length, 25.0, rng(), length)[:, 0]
    for ours, one, rows in zip(clip_indices(spec, 3 * length, 25.0, starts, length)[:5], alone[:5],
                               (length, max(length - 1, 1), max(length - 1, 1), 0, length), strict=True):  # fmt: skip
        assert np.array_equal(ours, np.concatenate([one, one + rows, one + 2 * rows] if rows else [one] * 3))


def test_random_clips_of_pieces_lie_in_one_and_anywhere_in_it():
    places = [piece + start for piece in (0, 12, 24) for start in (0, 1, 2)]
    generator = rng()
    starts = Counter(int(train_starts(EARLY, 36, 25.0, generator, 12)[0, 0]) for _ in range(9 * 400))
    assert sorted(starts) == places and all(abs(count - 400) < 100 for count in starts.values())
    spec = dataclasses.replace(EARLY, test_clips=9 * 400, test_sampling="random")
    tested = test_starts(spec, 36, 25.0, rng(), 12)[:, 0]
    assert (np.diff(tested) >= 0).all() and np.array_equal(tested, test_starts(spec, 36, 25.0, rng(), 12)[:, 0])
    assert sorted(Counter(tested.tolist())) == places and min(Counter(tested.tolist()).values()) > 300


def test_a_clip_longer_than_a_piece_may_be_an_error():
    spec = dataclasses.replace(C3D, short="error")
    with pytest.raises(DataError, match="a clip spans 16 frames, a piece of the video that is stored has 12; choose"):
        clip_indices(spec, 36, 25.0, np.zeros(1, np.int64), 12)


def test_a_clip_rate_needs_the_videos_rate():
    assert evenly(C3D, 40, fps=0.0).rgb.shape == (10, 16)
    with pytest.raises(DataError, match=r"sampling.fps=5: the video does not say its frame rate; set sampling.stride"):
        evenly(LECTURE, 100, fps=0.0)
