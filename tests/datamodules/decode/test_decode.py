import csv
import os
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from datamodules.decode import random_access
from datamodules.decode.frames import iter_frames, pick_frames
from datamodules.decode.info import VideoInfo, probe, read_header
from datamodules.decode.random_access import seeks_exactly
from datamodules.decode.seek import frame_index, seek_frames
from datamodules.errors import DecodeError
from tests.datamodules.decode.files import remuxed, sequence
from tests.factories import REAL, write_clip

DATA = REAL / "data"


def real_clips() -> list[Path]:
    """The smallest clips of each kind of container in each data set, and those with known faults."""
    kinds: dict[tuple, list[Path]] = {}
    for path in sorted(DATA.glob("*/*/*"), key=lambda path: path.stat().st_size):
        if path.suffix in (".avi", ".mp4", ".mkv", ".webm"):
            kinds.setdefault((path.parents[1], path.suffix), []).append(path)
    cases = [path for path in REAL.glob("cases/*") if path.suffix != ".md"]
    return [path for paths in kinds.values() for path in paths[:2]] + cases


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="VIDFUSION_REAL names no real clips")
def test_real_clips_are_those_of_a_sequential_decode():
    """Those of `data` have known counts."""
    with (DATA / "frame_counts.csv").open() as file:
        known = {DATA / row["path"]: row for row in csv.DictReader(file)}
    for path in real_clips():
        info = probe(path)
        assert not info.truncated and not info.damaged, path
        if path in known:
            expected = known[path]["frames_that_decode"], known[path]["frames_in_header"]
            assert (str(info.frames), str(info.header_frames)) == expected, path
        for one, other in zip(iter_frames(path, info), sequence(path), strict=True):
            turned = np.rot90(other, info.upright.turns)
            assert np.array_equal(one, turned[:, ::-1] if info.upright.mirrored else turned), path


@pytest.mark.parametrize(
    ("name", "codec", "frames"),
    [
        ("a.avi", "mpeg4", 37), ("a.mp4", "libx264", 41), ("a.mkv", "libx264", 20), ("one.mp4", "libx264", 1),
        ("a.webm", "libvpx", 20), ("a.flv", "libx264", 20), ("a.ts", "mpeg2video", 40), ("b.ts", "libx264", 40),
        ("a.mpg", "mpeg2video", 40), ("a.h264", "libx264", 12),
    ],
)  # fmt: skip
def test_frames_equal_a_sequential_decode(tmp_path, name, codec, frames):
    path = write_clip(tmp_path / name, frames, codec)
    info, expected = probe(path), sequence(path)
    promised = 0 if path.suffix in (".ts", ".mpg", ".h264") else frames  # streams have no header
    assert info == VideoInfo(frames, promised, 25.0, 48, 64) and info.times is None
    np.testing.assert_array_equal(np.stack(list(iter_frames(path))), expected)
    some = dict(pick_frames(path, info, [frames - 1, 0, frames // 2]))
    assert list(some) == sorted({0, frames // 2, frames - 1})
    assert all(np.array_equal(frame, expected[number]) for number, frame in some.items())


def test_of_several_streams_the_default_one_is_read(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        dark, bright = (container.add_stream("libx264", rate=25) for _ in range(2))
        for stream in (dark, bright):
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        dark.disposition, bright.disposition = Disposition(0), Disposition.default
        for _ in range(5):
            for stream, level in ((dark, 0), (bright, 200)):
                picture = np.full((48, 64, 3), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in (dark, bright):
            container.mux(stream.encode())
    assert np.mean(list(iter_frames(path))) > 150
    ((_, sought),) = seek_frames(path, frame_index(path), np.array([2]))
    assert sought.mean() > 150
    assert not seeks_exactly(path, {2: sought})  # decord takes the first one


def test_other_frames_than_counted_are_an_error(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 5)
    with pytest.raises(DecodeError, match=r"a\.mp4: .*7 frames were counted, now it has 5"):
        list(iter_frames(path, VideoInfo(7, 7, 25.0, 48, 64)))
    with pytest.raises(DecodeError, match="frame 0 is 64x48, the first is 32x32"):
        list(iter_frames(path, VideoInfo(5, 5, 25.0, 32, 32)))


def test_a_change_of_size_inside_a_file_is_an_error(tmp_path):
    one, other = (write_clip(tmp_path / f"{size}.mpg", 12, "mpeg2video", size=(size, 64)) for size in (48, 96))
    both = tmp_path / "both.mpg"
    both.write_bytes(one.read_bytes() + other.read_bytes())
    with pytest.raises(DecodeError, match=r"both\.mpg: cannot be decoded: frame \d+ is 64x96, the first is 64x48"):
        list(iter_frames(both))


@pytest.mark.parametrize(
    ("corner", "upright", "shown"),
    [
        ((0, -1, 1, 0), (1, False), lambda frame: np.rot90(frame)),
        ((-1, 0, 0, -1), (2, False), lambda frame: frame[::-1, ::-1]),
        ((0, 1, -1, 0), (3, False), lambda frame: np.rot90(frame, -1)),
        ((-1, 0, 0, 1), (0, True), lambda frame: frame[:, ::-1]),
        ((1, 0, 0, -1), (2, True), lambda frame: frame[::-1]),
        ((0, 1, 1, 0), (3, True), lambda frame: frame.transpose(1, 0, 2)),
        ((0, -1, -1, 0), (1, True), lambda frame: frame[::-1, ::-1].transpose(1, 0, 2)),
    ],
    ids=["90", "180", "270", "left and right", "up and down", "transposed", "along the other diagonal"],
)
def test_frames_are_shown_as_a_player_does(tmp_path, corner, upright, shown):
    """A matrix (a, b, c, d) moves a pixel from (x, y) to (ax + cy, bx + dy)."""
    a, b, c, d = (65536 * entry for entry in corner)
    path = write_clip(tmp_path / "a.mp4", 5, "libx264", matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    expected = np.stack([shown(frame) for frame in sequence(path)])
    info = probe(path)
    assert info.upright == upright and (info.height, info.width) == expected.shape[1:3]
    np.testing.assert_array_equal(np.stack(list(iter_frames(path))), expected)
    ((_, sought),) = seek_frames(path, frame_index(path), np.array([3]))
    np.testing.assert_array_equal(sought, expected[3])


def test_random_access_is_compared_with_the_sequence(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", 40, "libx264")
    frames = dict(enumerate(iter_frames(path)))
    some = {index: frames[index] for index in (31, 7, 22)}
    assert seeks_exactly(path, some)
    assert not seeks_exactly(path, some | {8: frames[9]})
    assert not seeks_exactly(path, {40: frames[39]})
    assert not seeks_exactly(tmp_path / "absent.mp4", some)
    monkeypatch.setattr(random_access, "decord", None)
    assert not seeks_exactly(path, some)


@pytest.mark.skipif(not DATA.exists(), reason="VIDFUSION_REAL names no real clips")
def test_random_access_is_wrong_on_a_real_clip():
    path = DATA / "hmdb51/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi"
    assert not seeks_exactly(path, dict(pick_frames(path, probe(path), [90, 200])))


@pytest.mark.parametrize("ask", [probe, read_header, lambda path: list(iter_frames(path, VideoInfo(1, 1, 1.0, 1, 1)))])
def test_a_pipe_is_not_waited_for(tmp_path, ask):
    os.mkfifo(tmp_path / "a.avi")
    with pytest.raises(DecodeError, match=r"a\.avi: cannot be decoded: it is not a regular file"):
        ask(tmp_path / "a.avi")


def test_odd_names(tmp_path, monkeypatch):
    write_clip(tmp_path / "a.avi", 3)
    monkeypatch.chdir(tmp_path)
    for name in ("file:a.avi", "new\nline.avi", "a#b [c] 'd\".avi", "ä日.avi", "a %03d.avi", "back\\slash .avi"):
        path = Path("a.avi").rename(name)
        assert probe(path).frames == len(list(iter_frames(path))) == 3
        path.rename("a.avi")
    with pytest.raises(DecodeError, match="its name is not UTF-8"):
        probe(Path("a.avi").rename("\udce9.avi"))


def undecodable_files(folder: Path) -> list[Path]:
    (folder / "empty.avi").touch()
    (folder / "text.avi").write_text("a line of text\n" * 100)
    (folder / "folder.avi").mkdir()
    with av.open(str(folder / "audio.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with av.open(str(folder / "no_frame.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
    whole = write_clip(folder / "whole.mp4", 60, "libx264").read_bytes()
    (folder / "whole.mp4").write_bytes(whole[: len(whole) // 2])  # without its index
    return [folder / "absent.avi", *folder.iterdir()]


def test_undecodable_files_say_so_in_one_line(tmp_path, capfd):
    for path in undecodable_files(tmp_path):
        with pytest.raises(DecodeError) as error:
            list(iter_frames(path))
        assert str(path) in str(error.value) and "\n" not in str(error.value), error.value
    assert capfd.readouterr() == ("", "")  # decoders print no noise of their own


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\na.ts\n#EXT-X-ENDLIST\n"),
        ("list.m3u8", "ffconcat version 1.0\nfile a.ts\n"),
    ],
)
def test_a_playlist_is_refused(tmp_path, name, text):
    """FFmpeg would show the frames of other files, which no digest of this one covers."""
    write_clip(tmp_path / "a.ts", 10, "libx264")
    (tmp_path / name).write_text(text)
    with pytest.raises(DecodeError, match=rf"{name}: cannot be decoded: it is a playlist"):
        probe(tmp_path / name)


def test_a_cover_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        sound, cover = container.add_stream("aac", rate=44100), container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 32, 32, "rgb24", Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        silence.sample_rate = 44100
        container.mux([*sound.encode(silence), *sound.encode()])
    with pytest.raises(DecodeError, match=r"song\.mp4: cannot be decoded: its only picture is a cover"):
        probe(tmp_path / "song.mp4")


def test_a_lost_key_packet_in_matroska_is_not_passed_over(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", 29, "libx264", settings={"g": "12"})
    info = probe(remuxed(whole, tmp_path / "whole.mkv"))
    assert info.frames == 29 and not info.truncated
    info = probe(remuxed(whole, tmp_path / "lost.mkv", lost=0))
    assert info.frames < 20 and info.truncated, info
