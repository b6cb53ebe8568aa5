"""Which frames a track holds of a video, and the folder that it has."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from datamodules.clips import ClipSpec, clip_span
from datamodules.decode.info import VideoInfo
from datamodules.errors import DataError
from datamodules.flow import FlowConfig
from datamodules.store.tracks import Sample, Track

RGB = Track(24, 32)
JPEG = replace(RGB, encoding="jpeg")
FLOW = Track(24, 32, FlowConfig(preset="ultrafast", bound=4.0))
NAMES = {
    "rgb-24x32": RGB,
    "rgb-36x36": Track(36, 36),
    "rgb-24x32-jpeg95": JPEG,
    "rgb-24x32-jpeg40": replace(JPEG, quality=40),
    "rgb-24x32-10fps": replace(RGB, fps=10.0),
    "rgb-24x32-3x0.2s-seed5": replace(RGB, sample=Sample(clips=3, seconds=0.2, seed=5)),
    "flow-24x32-dis-ultrafast-b4": FLOW,
    "flow-24x32-dis-ultrafast-b4-jpeg95": replace(FLOW, encoding="jpeg"),
    "backward_flow-24x32-dis-ultrafast-b4": replace(FLOW, backward=True),
    "flow-24x32-farneback-b8": replace(FLOW, flow=FlowConfig(method="farneback", bound=8.0)),
}


def test_every_setting_of_a_track_is_in_the_name_of_its_folder():
    assert [track.name for track in NAMES.values()] == list(NAMES)


def test_frames_nearest_to_a_higher_rate_come_twice():
    info = VideoInfo(5, 5, 25.0, 48, 64)
    assert replace(RGB, fps=50.0).frames_of("a", info)[0].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert replace(RGB, fps=25.0).frames_of("a", info)[0].tolist() == [0, 1, 2, 3, 4]
    assert replace(RGB, fps=0.5).frames_of("a", info)[0].tolist() == [0]
    with pytest.raises(DataError, match=r"a: does not say its frame rate.*store_fps=null"):
        replace(RGB, fps=10.0).frames_of("a", replace(info, fps=0.0))


@pytest.mark.parametrize(
    ("frames", "fps", "expected"),
    [(9000, 30.0, (100, 16)), (9000, 30000 / 1001, (100, 16)), (9000, 25.0, (100, 14)), (100, 0.9, (100, 1)),
     (175, 30.0, (10, 16)), (160, 30.0, (10, 16)), (17, 30.0, (1, 16)), (5, 30.0, (1, 5)), (1, 30.0, (1, 1))],
)  # fmt: skip
def test_pieces_are_as_many_and_as_long_as_asked_for(frames, fps, expected):
    starts, length = Sample(100, 0.5).pieces("a.mp4", frames, fps)
    assert (len(starts), length) == expected
    assert starts[0] >= 0 and starts[-1] + length <= frames
    assert (np.diff(starts) >= length).all(), "in order, and none overlaps the next"


@pytest.mark.parametrize("fps", [12.0, 24000 / 1001, 30000 / 1001, 50.0])
def test_a_clip_of_half_a_second_fits_into_half_a_second(fps):
    """The two frames of late fusion, 15 apart at 30 per second."""
    _, length = Sample(1, 0.5).pieces("a.mp4", 9000, fps)
    assert clip_span(ClipSpec(frames=2, stride=1, fps=2.0), 9000, fps) <= length
    assert clip_span(ClipSpec(frames=16, fps=30.0), 9000, fps) <= length


def test_pieces_depend_on_the_path_and_the_seed():
    def starts(path="a.mp4", **settings):
        return Sample(100, 0.5, **settings).pieces(path, 9000, 30.0)[0].tolist()

    assert starts() == starts(seed=0)
    assert starts("b.mp4") != starts() != starts(seed=1)
    known = [[2853, 3690, 4069], [56, 79, 142]]
    assert [Sample(3, 0.5).pieces("a.mp4", n, 30.0)[0].tolist() for n in (9000, 300)] == known, "in any version"


def test_every_way_of_placing_pieces_is_equally_likely():
    """Two pieces of 2 frames in 5: three ways."""
    ways = Counter(tuple(Sample(2, 1.0).pieces(f"{i}.mp4", 5, 1.0)[0]) for i in range(3000))
    assert set(ways) == {(0, 2), (0, 3), (1, 3)}
    assert all(abs(count - 1000) < 130 for count in ways.values())  # 5 standard deviations


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(JPEG, quality=0), "data.quality=0: expected a JPEG quality of 1 to 100"),
        (lambda: replace(RGB, fps=0.0), "data.store_fps=0.0: expected a number of frames per second above 0"),
        (lambda: Sample(0, 0.5), "data.clips_per_video=0, data.clip_seconds=0.5: expected 1 clip or more"),
        (lambda: Sample(1, float("nan")), "data.clips_per_video=1, data.clip_seconds=nan: expected"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()
