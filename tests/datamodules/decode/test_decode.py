import csv
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from datamodules.decode import frames as decode
from datamodules.decode.frames import iter_frames, seeks_exactly
from datamodules.decode.info import VideoInfo, expected_frames, probe
from datamodules.decode.opening import first_line
from datamodules.decode.seek import frame_index, seek_frames
from datamodules.errors import DecodeError
from tests.factories import REAL

DATA = REAL / "data"


def write_clip(
    path: Path, frames: int, codec: str = "libx264", size: tuple[int, int] = (48, 64), rotation: int = 0, **options: str
) -> None:
    """A clip whose every frame differs: a picture that scrolls by one pixel a frame."""
    height, width = size
    picture = np.random.default_rng(0).integers(0, 256, (height + frames, width, 3), dtype=np.uint8)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        if codec != "libvpx":
            stream.codec_context.max_b_frames = 2
        if rotation:
            stream.set_display_rotation(rotation)
        for start in range(frames):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[start : start + height]), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())


def reference(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def real_clips() -> list[tuple[str, int, int]]:
    if not DATA.exists():
        return []
    with (DATA / "frame_counts.csv").open() as file:
        rows = [(r["path"], int(r["frames_that_decode"]), int(r["frames_in_header"])) for r in csv.DictReader(file)]
    assert len(rows) >= 94
    return rows


@pytest.mark.skipif(not DATA.exists(), reason="the real clips are not beside this checkout")
def test_real_clips_are_frame_exact():
    differing = []
    for path, frames, header_frames in real_clips():
        info = probe(DATA / path)
        assert (info.frames, info.header_frames, info.truncated) == (frames, header_frames, False), path
        with av.open(str(DATA / path)) as container:
            expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        for one, other in zip(iter_frames(DATA / path, info), expected, strict=True):
            if not np.array_equal(one, other):
                # Two versions of FFmpeg may round one inverse transform differently; another frame differs widely.
                difference = np.abs(one.astype(int) - other)
                assert difference.max() <= 2 and (difference > 0).mean() < 1e-4, path
                differing.append(path)
    assert len(set(differing)) <= 1, differing  # the Basketball clip of UCF101: one pixel in 8 of its frames


@pytest.mark.parametrize(
    ("name", "codec", "frames"),
    [("b.avi", "mpeg4", 37), ("a.mp4", "libx264", 41), ("a.mkv", "libx264", 20), ("one.mp4", "libx264", 1)],
)
def test_frames_equal_a_sequential_decode(tmp_path, name, codec, frames):
    path = tmp_path / name
    write_clip(path, frames, codec)
    info = probe(path)
    assert info == VideoInfo(frames, frames, 25.0, 48, 64)
    np.testing.assert_array_equal(np.stack(list(iter_frames(path))), reference(path))
    assert expected_frames(path) == pytest.approx(frames, abs=1)


def test_pyav_decodes_where_decord_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    write_clip(path, 12)
    with_decord = np.stack(list(iter_frames(path)))
    monkeypatch.setattr(decode, "decord", None)
    np.testing.assert_array_equal(np.stack(list(iter_frames(path))), with_decord)


@pytest.mark.parametrize("name", ["a.h264", "a.png"])
def test_pyav_decodes_what_decord_does_not_open(tmp_path, name):
    path = tmp_path / name
    if name == "a.png":
        picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(picture).save(path)
        expected = picture[None]
    else:
        write_clip(path, 12)
        expected = reference(path)
    if decode.decord is not None:
        with pytest.raises((decode.decord.DECORDError, RuntimeError)):
            decode.decord.VideoReader(str(path))
    np.testing.assert_array_equal(np.stack(list(iter_frames(path))), expected)


def test_the_place_in_the_decoders_code_is_not_told():
    error = RuntimeError(
        "[17:21:25] /github/workspace/src/video/video_reader.cc:270: [a.mp4] no frame\nStack trace:\n 1"
    )
    assert first_line(error) == "[a.mp4] no frame"


def test_appended_copies_are_cut_off(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    write_clip(path, 5)
    frames = reference(path)
    monkeypatch.setattr(decode, "_decode", lambda path: iter([*frames, frames[-1], frames[-1]]))
    np.testing.assert_array_equal(np.stack(list(iter_frames(path))), frames)


def test_fewer_frames_than_counted_is_an_error(tmp_path):
    path = tmp_path / "a.mp4"
    write_clip(path, 5)
    with pytest.raises(DecodeError, match=r"a\.mp4: .*counts 7 frames, the decoder gives 5"):
        list(iter_frames(path, VideoInfo(7, 7, 25.0, 48, 64)))


def test_a_change_of_size_is_an_error(tmp_path):
    path = tmp_path / "a.mp4"
    write_clip(path, 5)
    with pytest.raises(DecodeError, match="frame 0 is 64x48, the first is 32x32"):
        list(iter_frames(path, VideoInfo(5, 5, 25.0, 32, 32)))


def test_a_cut_file_is_truncated_and_keeps_its_frames(tmp_path):
    whole, cut = tmp_path / "whole.avi", tmp_path / "cut.avi"
    write_clip(whole, 60, "mpeg4")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    info = probe(cut)
    assert 0 < info.frames < 50 and info.header_frames == 60 and info.truncated
    frames = np.stack(list(iter_frames(cut)))
    assert len(frames) == info.frames
    np.testing.assert_array_equal(frames[:-1], reference(whole)[: info.frames - 1])  # the last one may be half a frame


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_a_cut_file_whose_header_only_has_a_length_is_truncated(tmp_path, suffix):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    write_clip(whole, 60, "libx264" if suffix == ".mkv" else "libvpx")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert probe(whole).header_frames == 60 and not probe(whole).truncated
    info = probe(cut)
    # Half a frame at the end can keep the decoder from one or two before it, which the estimate then lacks.
    assert 0 < info.frames < 50 and info.header_frames == pytest.approx(60, rel=0.15) and info.truncated


def test_damaged_frames_are_counted(tmp_path):
    path = tmp_path / "a.avi"
    write_clip(path, 30, "mpeg4")
    assert probe(path).corrupt == 0
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(0).integers(len(content) // 2, len(content) * 3 // 4, 20):
        content[place] ^= 0xFF
    path.write_bytes(content)
    assert 0 < probe(path).corrupt <= 20


def test_a_change_of_size_inside_a_file_is_an_error(tmp_path):
    for name, size in (("a.mpg", (48, 64)), ("b.mpg", (64, 96))):
        write_clip(tmp_path / name, 12, "mpeg2video", size)
    both = tmp_path / "both.mpg"
    both.write_bytes((tmp_path / "a.mpg").read_bytes() + (tmp_path / "b.mpg").read_bytes())
    with pytest.raises(DecodeError, match=r"both\.mpg: cannot be decoded: frame \d+ is 96x64, the first is 64x48"):
        list(iter_frames(both))


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV writes no rotation")
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_frames_are_upright(tmp_path, monkeypatch, turns):
    path = tmp_path / "a.mp4"
    write_clip(path, 9, size=(64, 96), rotation=90 * turns)
    expected = np.rot90(reference(path), turns, axes=(1, 2))
    info = probe(path)
    assert (info.height, info.width, info.quarter_turns) == (*expected.shape[1:3], turns)
    np.testing.assert_array_equal(np.stack(list(iter_frames(path))), expected)
    monkeypatch.setattr(decode, "decord", None)
    np.testing.assert_array_equal(np.stack(list(iter_frames(path))), expected)


def test_sound_is_seen(tmp_path):
    path = tmp_path / "a.mp4"
    write_clip(path, 5)
    assert not probe(path).audio
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mp4"), "w") as target:
        video, sound = target.add_stream_from_template(source.streams.video[0]), target.add_stream("aac", rate=44100)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8820), np.float32), format="fltp", layout="mono")
        silence.rate = 44100
        target.mux(sound.encode(silence))
        target.mux(sound.encode())
    assert probe(tmp_path / "b.mp4").audio and probe(tmp_path / "b.mp4").frames == 5


def test_random_access_is_compared_with_the_sequence(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    write_clip(path, 40)
    frames = dict(enumerate(iter_frames(path)))
    some = {index: frames[index] for index in (31, 7, 22)}
    assert seeks_exactly(path, some)
    assert not seeks_exactly(path, some | {8: frames[9]})
    assert not seeks_exactly(path, {40: frames[39]})
    assert not seeks_exactly(tmp_path / "absent.mp4", some)
    monkeypatch.setattr(decode, "decord", None)
    assert not seeks_exactly(path, some)


@pytest.mark.skipif(not DATA.exists(), reason="the real clips are not beside this checkout")
def test_random_access_is_wrong_on_a_real_clip():
    path = DATA / "hmdb51/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi"
    assert not seeks_exactly(
        path, {index: frame for index, frame in enumerate(iter_frames(path)) if index in (90, 200)}
    )


@pytest.mark.parametrize(
    "ask", [probe, expected_frames, lambda path: list(iter_frames(path, VideoInfo(1, 1, 1.0, 1, 1)))]
)
def test_a_pipe_is_not_waited_for(tmp_path, ask):
    os.mkfifo(tmp_path / "a.avi")
    try:
        assert ask(tmp_path / "a.avi") == 0
    except DecodeError as error:
        assert "a.avi: cannot be decoded: it is not a regular file" in str(error)


def test_odd_names(tmp_path, monkeypatch):
    write_clip(tmp_path / "a.avi", 3, "mpeg4", (64, 96))
    monkeypatch.chdir(tmp_path)
    for name in ("file:a.avi", "new\nline.avi", "a#b [c] 'd\".avi", "ä日.avi"):
        path = Path("a.avi").rename(name)
        assert probe(path).frames == len(list(iter_frames(path))) == 3
        path.rename("a.avi")
    with pytest.raises(DecodeError, match="its name is not UTF-8"):
        probe(Path("a.avi").rename("\udce9.avi"))


def test_a_header_that_counts_one_too_many_is_healthy():
    assert not VideoInfo(10, 11, 25.0, 1, 1).truncated
    assert not VideoInfo(100, 0, 25.0, 1, 1).truncated
    assert VideoInfo(10, 13, 25.0, 1, 1).truncated
    assert VideoInfo(940, 1000, 25.0, 1, 1).truncated


def undecodable_files(folder: Path) -> list[Path]:
    def new(name: str, content: bytes | None = None) -> Path:
        path = folder / name
        if content is not None:
            path.write_bytes(content)
        return path

    whole = new("whole.mp4")
    write_clip(whole, 60, movflags="faststart")
    content = whole.read_bytes()
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
    return [
        new("absent.avi"),
        new("empty.avi", b""),
        new("text.avi", b"a line of text\n" * 100),
        new("cut.mp4", content[: len(content) // 2]),
        new("folder.avi"),
        new("audio.mp4"),
        new("no_frame.avi"),
    ]


def test_undecodable_files_say_so_in_one_line(tmp_path, capfd):
    for path in undecodable_files(tmp_path):
        with pytest.raises(DecodeError) as error:
            list(iter_frames(path))
        assert str(path) in str(error.value) and "\n" not in str(error.value), error.value
    assert capfd.readouterr() == ("", "")  # neither decoder prints noise of its own


# -- some frames, without those between


def write_gops(path: Path, parameters: str = "keyint=10:bframes=3", **options: str) -> None:
    """A clip of 60 frames that are like no other."""
    picture = np.random.default_rng(0).integers(0, 256, (48 + 60, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": parameters, **options})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for start in range(60):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[start : start + 48]), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "parameters", "starts"),
    [
        ("a.mp4", "keyint=10:bframes=3:scenecut=0", [0, 10, 20, 30, 40, 50]),
        ("a.mkv", "keyint=10:bframes=3:scenecut=0", [0, 10, 20, 30, 40, 50]),
        ("a.mp4", "keyint=10:bframes=3:scenecut=0:open-gop=1", [0]),  # later key frames are no refreshes
        ("a.mkv", "keyint=10:intra-refresh=1", [0]),
    ],
)
def test_frames_are_reached_from_a_refresh(tmp_path, name, parameters, starts):
    write_gops(tmp_path / name, parameters)
    index, info = frame_index(tmp_path / name), probe(tmp_path / name)
    assert index.info == info and index.starts.tolist() == starts
    frames = list(iter_frames(tmp_path / name, info))
    for numbers in ([0], [59], [3, 4, 27, 31], [9, 10, 11, 48], list(range(60))):
        found = dict(seek_frames(tmp_path / name, index, np.array(numbers)))
        assert list(found) == numbers
        assert all(np.array_equal(found[number], frames[number]) for number in numbers)


def test_frames_reached_are_upright(tmp_path):
    write_clip(tmp_path / "a.mp4", 12, rotation=90)
    frames = list(iter_frames(tmp_path / "a.mp4"))
    ((_, found),) = seek_frames(tmp_path / "a.mp4", frame_index(tmp_path / "a.mp4"), np.array([7]))
    assert found.shape == (64, 48, 3) and np.array_equal(found, frames[7])


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.avi", "libx264"), ("a.mp4", "mpeg4")])
def test_other_files_have_no_index(tmp_path, name, codec):
    write_clip(tmp_path / name, 12, codec)
    assert frame_index(tmp_path / name) is None


def test_a_file_that_cannot_be_read_has_no_index(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert frame_index(tmp_path / "a.mp4") is None and frame_index(tmp_path / "none.mp4") is None
    write_gops(tmp_path / "b.mp4", movflags="faststart")
    whole = (tmp_path / "b.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    index = frame_index(tmp_path / "b.mp4")
    assert index is None or index.info.truncated


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_of_a_damaged_file_are_those_of_a_sequential_decode_or_an_error(tmp_path, name):
    path, rng, outcomes = tmp_path / name, np.random.default_rng(0), set()
    write_gops(path)
    whole = bytearray(path.read_bytes())
    for place in rng.integers(len(whole) // 10, len(whole) * 9 // 10, 12):
        damaged = whole.copy()
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        if (index := frame_index(path)) is None:
            continue
        try:
            found = list(seek_frames(path, index, np.array([5, 25, 45])))
        except DecodeError:
            outcomes.add("error")
            continue
        outcomes.add("frames")
        with av.open(str(path)) as container:
            sequence = {frame.pts: frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)}
        assert all(np.array_equal(frame, sequence[index.times[number]]) for number, frame in found)
    assert outcomes == {"error", "frames"}


def test_interlaced_frames_are_left_to_a_sequential_decode(tmp_path):
    write_gops(tmp_path / "a.mp4", "keyint=10:interlaced=1")
    index = frame_index(tmp_path / "a.mp4")
    with pytest.raises(DecodeError, match="frame 0 is not where its packets say"):
        list(seek_frames(tmp_path / "a.mp4", index, np.array([0])))
