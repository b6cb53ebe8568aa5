"""Test clips played backwards, shuffled and frozen."""

import numpy as np
import pytest

from datamodules.clips import ClipSpec
from datamodules.playback import play


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    fields = rng.integers(1, 256, (4, 6, 6, 2), np.uint8)
    means = rng.normal(size=(4, 2)).astype(np.float32)
    return {"rgb": rng.integers(0, 256, (5, 6, 6, 3), np.uint8), "flow": fields, "flow_mean": means}


def played(clip, spec, path):
    copy = {name: values.copy() for name, values in clip.items()}
    play(copy, spec, path)
    return copy


def test_a_clip_is_played_forward_unless_it_is_said(clip):
    assert all((values == clip[name]).all() for name, values in played(clip, ClipSpec(), "a.mp4").items())


def test_a_reversed_clip_shows_its_frames_and_its_motion_backwards(clip):
    spec = ClipSpec(test_time="reversed")
    turned = played(clip, spec, "a.mp4")
    assert (turned["rgb"] == clip["rgb"][::-1]).all()
    assert (turned["flow"][0].astype(int) - 128 == 128 - clip["flow"][-1].astype(int)).all()
    assert (turned["flow_mean"] == -clip["flow_mean"][::-1]).all()
    again = played(turned, spec, "a.mp4")
    assert all((again[name] == clip[name]).all() and again[name].dtype == clip[name].dtype for name in clip)


def test_flow_in_both_directions_changes_places(clip):
    turned = played(clip, ClipSpec(test_time="reversed", flow_direction="both"), "a.mp4")
    assert (turned["flow"] == clip["flow"][[2, 3, 0, 1]]).all()
    assert (turned["flow_mean"] == clip["flow_mean"][[2, 3, 0, 1]]).all()


def test_a_shuffled_clip_has_an_order_of_its_videos_own(clip):
    spec = ClipSpec(test_time="shuffled")
    first = played(clip, spec, "a.mp4")
    assert all((first[name] == played(clip, spec, "a.mp4")[name]).all() for name in clip)
    orders = {tuple(played(clip, spec, f"{name}.mp4")["rgb"][:, 0, 0, 0]) for name in "abcdefgh"}
    assert len(orders) > 1
    frames = sorted(first["rgb"].tolist())
    assert frames == sorted(clip["rgb"].tolist())
    # A field keeps its mean.
    fields = {clip["flow"][i].tobytes(): clip["flow_mean"][i].tobytes() for i in range(4)}
    assert fields == {first["flow"][i].tobytes(): first["flow_mean"][i].tobytes() for i in range(4)}


def test_a_frozen_clip_stands_still(clip):
    still = played(clip, ClipSpec(test_time="frozen"), "a.mp4")
    assert (still["rgb"] == clip["rgb"][2:3]).all() and still["rgb"].shape == clip["rgb"].shape
    assert (still["flow"] == 128).all() and (still["flow_mean"] == 0).all()
