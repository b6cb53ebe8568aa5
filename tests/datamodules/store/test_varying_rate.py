"""Videos whose frame rate varies: the store keeps their frames' times, and clips follow these."""

from dataclasses import replace

import numpy as np
import pytest

from datamodules.clips import ClipSpec, Timeline, clip_indices, test_starts, train_starts
from datamodules.decode.info import VideoInfo, probe
from datamodules.store.building import build_store
from datamodules.store.tracks import Sample, Track
from tests.factories import write_clip

# 100 frames at 30 per second, then 50 at 10 per second, as a phone films when it gets dark.
TIMES = [33 * number for number in range(100)] + [3300 + 100 * number for number in range(50)]
SECONDS = np.array(TIMES) / 1000
TRACK = Track(12, 16)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_clip(root / "constant.mp4", 50, "libx264")
    write_clip(root / "varying.mp4", 150, "libx264", times=TIMES)
    return root


def built(root, stores, track):
    return build_store(root, ["constant.mp4", "varying.mp4"], stores, "test", [track], workers=1, max_store=1)


def test_the_store_keeps_times_and_says_who_drifts(root, tmp_path):
    videos = built(root, tmp_path, TRACK).videos
    constant, varying = videos["constant.mp4"], videos["varying.mp4"]
    assert constant.times is None and constant.drift == 0 and constant.rate == 25.0 and constant.last_second == 49 / 25
    np.testing.assert_allclose(varying.times, SECONDS, atol=1e-3)
    assert varying.drift == pytest.approx(probe(root / "varying.mp4").drift) and varying.drift > 1
    assert isinstance(varying.rate, Timeline) and varying.last_second == pytest.approx(8.2, abs=1e-3)


def test_a_store_at_a_rate_takes_the_frames_nearest_in_time(root, tmp_path):
    video = built(root, tmp_path, replace(TRACK, fps=5.0)).videos["varying.mp4"]
    info = probe(root / "varying.mp4")
    frames, _ = replace(TRACK, fps=5.0).frames_of("varying.mp4", info)
    np.testing.assert_allclose(SECONDS[frames], np.arange(len(frames)) / 5, atol=0.051)
    assert (video.frames, video.fps, video.times) == (42, 5.0, None)
    assert video.drift > 1, "that of the file is still said"


def test_pieces_are_of_equal_length_in_time(root, tmp_path):
    track = replace(TRACK, sample=Sample(clips=4, seconds=1.0))
    info = probe(root / "varying.mp4")
    frames, length = track.frames_of("varying.mp4", info)
    spans = SECONDS[frames].reshape(-1, length)[:, [0, -1]] @ [-1, 1]
    assert len(spans) == 4 and (abs(spans - 1) < 0.11).all(), spans
    assert built(root, tmp_path, track).videos["varying.mp4"].times is None


CLIP = ClipSpec(frames=16, fps=5.0, test_clips=5)


@pytest.mark.parametrize("starts", [test_starts, train_starts])
def test_clips_at_a_rate_span_their_seconds(starts):
    """16 frames at 5 per second: 3.0 seconds."""
    rate = Timeline(SECONDS)
    clips = clip_indices(CLIP, 150, rate, starts(CLIP, 150, rate, np.random.default_rng(0)))
    shown = SECONDS[clips.rgb]
    np.testing.assert_allclose(shown - shown[:, :1], np.tile(np.arange(16) / 5, (len(shown), 1)), atol=0.101)
    np.testing.assert_allclose(clips.seconds, shown.mean(1), atol=0.06)
    assert not clips.padded.any()


def test_even_clips_are_spread_over_time():
    rate = Timeline(SECONDS)
    clips = clip_indices(CLIP, 150, rate, test_starts(CLIP, 150, rate, np.random.default_rng(0)))
    middles = (2 * np.arange(5) + 1) / 10 * 8.4  # of 42 steps of 0.2 s
    np.testing.assert_allclose(clips.seconds, middles.clip(1.5, 6.7), atol=0.21)


def test_a_pause_is_shown_as_one_frame():
    times = np.concatenate([np.arange(50) / 30, 31 + np.arange(50) / 30])
    clips = clip_indices(CLIP, 100, Timeline(times), np.array([30]))  # from 6 s on
    assert set(clips.rgb[0]) == {49}


def test_flow_leads_from_the_frames_shown():
    spec = ClipSpec(frames=1, flow_frames=4, flow_direction="both", fps=5.0)
    clips = clip_indices(spec, 150, Timeline(SECONDS), np.array([10]))
    assert abs(SECONDS[clips.flow[0]] - [2.4, 2.6]).max() < 0.02
    assert abs(SECONDS[clips.backward[0] + 1] - [2.4, 2.2]).max() < 0.02
    assert clip_indices(spec, 1, Timeline(np.zeros(1)), np.array([0])).backward.tolist() == [[0, 0]]


def test_a_stride_counts_frames_and_its_middle_is_in_seconds():
    spec = ClipSpec(frames=3, stride=20)
    clips = clip_indices(spec, 150, Timeline(SECONDS), np.array([90, 0]))
    assert clips.rgb.tolist() == [[90, 110, 130], [0, 20, 40]]
    np.testing.assert_allclose(clips.seconds, SECONDS[[110, 20]])


def test_frames_are_found_by_the_seconds_of_clips():
    info = VideoInfo(150, 150, 150 / 8.3, 48, 64, times=SECONDS)
    assert TRACK.frames_at("a", info, np.array([0.0, 3.3, 8.2, 99.0])).tolist() == [0, 100, 149, 149]
    constant = replace(info, times=None, fps=25.0)
    assert TRACK.frames_at("a", constant, np.array([1.0, 99.0])).tolist() == [25, 149]
