"""Clips of `span=segments`: one snippet from each of K equal parts of the video (Wang et al. 2016)."""

import numpy as np

from datamodules.clip_spec import ClipSpec
from datamodules.clips import clip_indices, test_starts, train_starts

CROP = {"resize": [8, 8], "crop": 8, "span": "segments"}


def test_training_draws_one_place_in_each_segment_and_all_of_them_alike():
    spec = ClipSpec(frames=4, **CROP)
    rng = np.random.default_rng(0)
    starts = np.concatenate([train_starts(spec, 40, 25.0, rng) for _ in range(4000)])
    assert starts.shape == (4000, 4)
    for number, places in enumerate(starts.T):
        assert np.bincount(places, minlength=40).nonzero()[0].tolist() == list(range(10 * number, 10 * number + 10))
        assert np.bincount(places - 10 * number).min() > 300 and np.bincount(places - 10 * number).max() < 500
    assert abs(np.corrcoef(starts.T) - np.eye(4)).max() < 0.06  # drawn independently


def test_the_test_takes_the_middle_of_each_segment_and_several_clips_share_it_out():
    spec = ClipSpec(frames=4, test_clips=1, **CROP)
    assert test_starts(spec, 40, 25.0, None).tolist() == [[5, 15, 25, 35]]  # of frames 0-9, 10-19, ...
    two = ClipSpec(frames=4, test_clips=2, **CROP)
    assert test_starts(two, 40, 25.0, None).tolist() == [[2, 12, 22, 32], [7, 17, 27, 37]]


def test_a_snippet_is_a_short_stack():
    spec = ClipSpec(frames=3, flow_frames=15, snippets=3, test_clips=1, **CROP)
    clips = clip_indices(spec, 60, 25.0, test_starts(spec, 60, 25.0, None))
    assert clips.rgb.tolist() == [[7, 27, 47]]
    assert clips.flow.tolist() == [[*range(7, 12), *range(27, 32), *range(47, 52)]]
    assert clips.rgb.dtype.kind == "i" and not clips.padded.any()
    assert clips.center.tolist() == [29.5] and clips.seconds.tolist() == [29.5 / 25]
    windows = ClipSpec(frames=8, stride=2, snippets=2, test_clips=1, **CROP)
    assert clip_indices(windows, 40, 25.0, np.array([[0, 33]])).rgb.tolist() == [[0, 2, 4, 6, 33, 35, 37, 39]]


def test_every_snippet_fits_into_its_video_and_a_short_video_repeats_places_in_order():
    spec = ClipSpec(frames=8, flow_frames=8, **CROP)
    rng = np.random.default_rng(1)
    for length in (1, 2, 5, 9, 30):
        for starts in (train_starts(spec, length, 25.0, rng), test_starts(spec, length, 25.0, None)):
            clips = clip_indices(spec, length, 25.0, starts)
            assert (np.diff(clips.rgb) >= 0).all() and clips.rgb.max() < length
            assert clips.flow.max() < max(length - 1, 1)
            assert clips.padded.any() == (length < 2)  # a field needs two frames


def test_stored_pieces_are_one_video_and_no_snippet_crosses_them():
    spec = ClipSpec(frames=12, snippets=4, **CROP)
    rng = np.random.default_rng(2)
    for _ in range(200):
        starts = train_starts(spec, 50, 25.0, rng, piece=10)
        clips = clip_indices(spec, 50, 25.0, starts, piece=10)
        assert (clips.rgb.reshape(4, 3) // 10 == clips.rgb.reshape(4, 3)[:, :1] // 10).all()
        assert (np.diff(starts) > 0).all()
