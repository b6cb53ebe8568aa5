"""What a file holds, against what its header promises."""

import av
import numpy as np
import pytest

from datamodules.decode import info as info_module
from datamodules.decode.frames import iter_frames
from datamodules.decode.info import VideoInfo, probe, read_header
from datamodules.decode.seek import frame_index
from tests.datamodules.decode.files import remuxed, sequence
from tests.factories import write_clip

MUXED = {".avi": "mpeg4", ".mp4": "libx264", ".mkv": "libx264", ".webm": "libvpx", ".flv": "libx264"}


def cut(path):
    """The first half of a file, as a broken download leaves it; of MP4 and FLV up to a packet's end."""
    size = path.stat().st_size // 2
    if path.suffix in (".mp4", ".flv"):  # half a packet of H.264 is an error
        with av.open(str(path)) as container:
            size = max(packet.pos for packet in container.demux(video=0) if packet.pos and packet.pos < size)
    half = path.with_name(f"cut{path.suffix}")
    half.write_bytes(path.read_bytes()[:size])
    return half


@pytest.mark.parametrize("suffix", MUXED)
def test_a_cut_file_is_truncated_and_keeps_its_frames(tmp_path, suffix):
    whole = write_clip(tmp_path / f"whole{suffix}", 60, MUXED[suffix], movflags="faststart")
    half = cut(whole)
    assert probe(whole).header_frames == 60 and not probe(whole).truncated
    assert read_header(whole).frames == pytest.approx(60, abs=2)
    info = probe(half)
    # Half a frame at the end can keep the decoder from one or two before it, which an estimate by length then lacks.
    assert 0 < info.frames < 50 and info.truncated
    assert info.header_frames == pytest.approx(60, rel=0.15 if suffix in (".mkv", ".webm", ".flv") else 0)
    frames = np.stack(list(iter_frames(half)))
    assert len(frames) == info.frames
    np.testing.assert_array_equal(frames[:-1], sequence(whole)[: info.frames - 1])  # the last may be half a frame


def test_truncated_means_clearly_fewer_frames_than_promised():
    assert not VideoInfo(10, 11, 25.0, 1, 1).truncated and not VideoInfo(100, 0, 25.0, 1, 1).truncated
    assert VideoInfo(10, 13, 25.0, 1, 1).truncated and VideoInfo(940, 1000, 25.0, 1, 1).truncated


@pytest.mark.parametrize("bframes", [0, 2])
def test_frames_that_an_edit_list_cuts_are_not_promised(tmp_path, bframes):
    """As after `ffmpeg -ss X -c copy`: the packets from the key frame before X are there, marked to be discarded."""
    settings = {"x264-params": f"keyint=30:bframes={bframes}"}
    source = write_clip(tmp_path / "a.mp4", 60, "libx264", settings=settings)
    path = remuxed(source, tmp_path / "cut.mp4", skip=20)
    info = probe(path)
    assert info.frames == 40 == info.header_frames and frame_index(path) is None
    np.testing.assert_array_equal(np.stack(list(iter_frames(path))), sequence(path))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".flv"])
def test_sound_may_be_longer_than_the_picture(tmp_path, suffix):
    source = write_clip(tmp_path / f"a{suffix}", 60, "libx264")
    both = remuxed(write_clip(tmp_path / "b.mp4", 60, "libx264"), tmp_path / f"both{suffix}", sound=20.0)
    info = probe(both)
    assert info.audio and not probe(source).audio
    assert (info.frames, info.truncated) == (60, False) and info.header_frames in (60, 61)


@pytest.mark.parametrize(("name", "said"), [("a.flv", 1000.0), ("a.mkv", 0.0), ("a.mkv", 500.0), ("a.mp4", 25.0)])
def test_the_rate_is_that_of_the_frames_times(tmp_path, monkeypatch, name, said):
    """A time base of milliseconds makes headers say 500 or 1000."""
    times = [67 + round(number * 1001 / 30) for number in range(40)]
    path = write_clip(tmp_path / name, 40, "libx264", times=times)
    monkeypatch.setattr(info_module, "frame_rate", lambda stream: said)
    info = probe(path)
    assert info.fps == pytest.approx(30 / 1.001, rel=1e-3)
    assert info.times is None and info.drift == 0, "milliseconds are rounded, the rate is constant"


VARYING = [33 * number for number in range(100)] + [3300 + 100 * number for number in range(20)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_of_a_varying_rate_have_times(tmp_path, name):
    path = write_clip(tmp_path / name, 120, "libx264", times=VARYING)
    info = probe(path)
    np.testing.assert_allclose(info.times, np.array(VARYING) / 1000, atol=1e-3)
    expected = abs(np.array(VARYING) / 1000 - np.arange(120) / info.fps).max()
    assert info.drift == pytest.approx(expected, abs=1e-3) and info.drift > 0.9
    index = frame_index(path)
    assert index.info == info and np.array_equal(index.info.times, info.times)


def test_times_that_are_made_up_are_not_followed(tmp_path):
    """AVI has no time stamps; FFmpeg makes up those of B-frames, as in most of HMDB51."""
    path = write_clip(tmp_path / "a.avi", 40, "mpeg4", settings={"bf": "2"})
    assert probe(path).times is None and probe(path).fps == 25.0


def spoilt(path, share, flips):
    """The file with as many bytes of its last `share` flipped."""
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(0).integers(int(len(content) * (1 - share)), len(content), flips):
        content[place] ^= 0xFF
    path.write_bytes(content)
    return path


def test_damaged_frames_are_counted(tmp_path):
    path = write_clip(tmp_path / "a.ts", 60, "mpeg2video", settings={"b": "2000000"})
    assert (probe(path).corrupt, probe(path).damaged) == (0, False)
    some = probe(spoilt(path, 0.2, 20))
    assert 0 < some.corrupt < 20 and not some.damaged
    most = probe(spoilt(path, 0.9, 200))
    assert most.corrupt >= 0.5 * most.frames and most.damaged
