"""Single frames, without those between."""

from contextlib import suppress

import av
import numpy as np
import pytest

from datamodules.decode.info import probe
from datamodules.decode.seek import frame_index, seek_frames
from datamodules.errors import DecodeError
from tests.datamodules.decode.files import sequence
from tests.factories import write_clip


def write_gops(path, parameters="keyint=10:bframes=3", **options):
    return write_clip(path, 60, "libx264", settings={"x264-params": parameters}, **options)


@pytest.mark.parametrize(
    ("name", "parameters", "starts"),
    [
        ("a.mp4", "keyint=10:bframes=3:scenecut=0", [0, 10, 20, 30, 40, 50]),
        ("a.mkv", "keyint=10:bframes=3:scenecut=0", [0, 10, 20, 30, 40, 50]),
        ("a.mp4", "keyint=10:bframes=3:scenecut=0:open-gop=1", [0]),  # later key frames are no refreshes
        ("a.mkv", "keyint=10:intra-refresh=1", [0]),
        ("a.mp4", "keyint=10:scenecut=0:interlaced=1", [0, 10, 20, 30, 40, 50]),
    ],
)
def test_frames_are_reached_from_a_refresh(tmp_path, name, parameters, starts):
    path = write_gops(tmp_path / name, parameters)
    index, info = frame_index(path), probe(path)
    assert index.info == info and index.starts.tolist() == starts
    frames = sequence(path)
    for numbers in ([0], [59], [3, 4, 27, 31], [9, 10, 11, 48], list(range(60))):
        found = dict(seek_frames(path, index, np.array(numbers)))
        assert list(found) == numbers
        assert all(np.array_equal(found[number], frames[number]) for number in numbers)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.avi", "libx264"), ("a.mp4", "mpeg4")])
def test_other_files_have_no_index(tmp_path, name, codec):
    assert frame_index(write_clip(tmp_path / name, 12, codec)) is None


def test_a_file_that_cannot_be_read_has_no_index(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert frame_index(tmp_path / "a.mp4") is None and frame_index(tmp_path / "none.mp4") is None
    path = write_gops(tmp_path / "b.mp4", movflags="faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    index = frame_index(path)
    assert index is None or index.info.truncated


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_of_a_damaged_file_are_those_of_a_sequential_decode_or_an_error(tmp_path, name):
    path, rng, outcomes = write_gops(tmp_path / name), np.random.default_rng(0), set()
    whole = bytearray(path.read_bytes())
    for place in rng.integers(len(whole) // 10, len(whole) * 9 // 10, 12):
        damaged = whole.copy()
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        if (index := frame_index(path)) is None:
            continue
        try:
            found = dict(seek_frames(path, index, np.array([5, 25, 45])))
        except DecodeError:
            outcomes.add("error")
            continue
        outcomes.add("frames")
        with suppress(av.FFmpegError):  # a sequential decode may break off elsewhere
            frames = sequence(path)
            if len(frames) == len(index.times):
                assert all(np.array_equal(frame, frames[number]) for number, frame in found.items())
    assert outcomes == {"error", "frames"}
