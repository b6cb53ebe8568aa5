"""Reading a frame store: raw or JPEG, at any frame rate, in parts, wherever it lies."""

import io
import itertools
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datamodules.decode import info, seek
from datamodules.decode.frames import iter_frames
from datamodules.errors import DataError, DecodeError
from datamodules.flow import FlowConfig, FlowEstimator, dequantise, resize, resize_flow
from datamodules.store import building, size
from datamodules.store.building import build_store, build_tracks
from datamodules.store.reading import open_store
from datamodules.store.shards import StoredVideo
from datamodules.store.tracks import Sample, Track
from tests.datamodules.store.builders import in_turn
from tests.factories import write_clip

SIZE = 24, 32
FLOW = FlowConfig(preset="ultrafast", bound=4.0)
RGB = Track(*SIZE)
JPEG = replace(RGB, encoding="jpeg")
SLOW = replace(RGB, fps=10.0)
PIECES = Sample(clips=3, seconds=0.2, seed=5)
TRACKS = [
    RGB, JPEG, replace(JPEG, quality=40), SLOW, replace(RGB, sample=PIECES),
    Track(*SIZE, FLOW), Track(*SIZE, FLOW, encoding="jpeg"), Track(*SIZE, FLOW, fps=10.0),
    Track(*SIZE, FLOW, sample=PIECES),
]  # fmt: skip
FILES = {"a.avi": 1, "b ö#[x].avi": 30, "bad.avi": 0, "c.avi": 41}


def build(root: Path, stores: Path, tracks=TRACKS, **settings) -> Path:
    settings = {"workers": 1, "max_store": 1.0, "launcher": in_turn} | settings
    return build_tracks(root, list(FILES), stores, "test", tracks, **settings)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for number, (name, frames) in enumerate(FILES.items()):
        if frames:
            write_clip(root / name, frames, seed=number)
        else:
            (root / name).write_text("no video")
    return root


@pytest.fixture(scope="module")
def folder(root, tmp_path_factory) -> Path:
    """A store with every kind of track."""
    return build(root, tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def native(root) -> dict[str, list[np.ndarray]]:
    return {name: list(iter_frames(root / name)) for name, frames in FILES.items() if frames}


def opened(folder: Path, *tracks: Track, **settings):
    return open_store(folder, tracks, **settings)


def true_fields(frames: list[np.ndarray]) -> list[np.ndarray]:
    estimator = FlowEstimator(FLOW)
    fields = [resize_flow(field, *SIZE) for frame in frames if (field := estimator(frame)) is not None]
    return fields or [np.zeros((*SIZE, 2), np.float32)]


def test_flow_by_batches_is_that_of_frame_after_frame(root, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(FlowEstimator, "at_once", lambda *_: 4)
    for track in (Track(*SIZE, FLOW), Track(*SIZE, FLOW, sample=PIECES)):
        batched = opened(build(root, tmp_path, [track]), track)
        for name in ("a.avi", "b ö#[x].avi", "c.avi"):
            for found, expected in zip(batched.flow(name), opened(folder, track).flow(name), strict=True):
                np.testing.assert_array_equal(found, expected)


KEYS = {
    "a frame": 3,
    "the last": -1,
    "a slice": slice(2, 9, 3),
    "some, one twice": np.array([7, 0, 7]),
    "none": np.array([], int),
    "a window of some": (np.array([5, 5, 28]), slice(3, 11), slice(4, 12)),
    "a window of one": (4, slice(0, 2), slice(30, 32)),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_jpegs_are_indexed_as_an_array_is(folder, key):
    store = opened(folder, JPEG, TRACKS[6])
    for rows in (store.rgb("b ö#[x].avi"), store.flow("b ö#[x].avi")[0]):
        whole = np.stack([rows[number] for number in range(len(rows))])
        assert rows.shape == whole.shape and rows.dtype == whole.dtype == rows[key].dtype
        np.testing.assert_array_equal(rows[key], whole[key])


@pytest.mark.parametrize("quality", [95, 40])
def test_jpegs_show_the_frames(folder, native, quality):
    """Against another decoder, and against the frames themselves."""
    track = replace(JPEG, quality=quality)
    store, errors = opened(folder, track), []
    data = (folder / track.name / "00000.jpegs").read_bytes()
    offsets = np.load(folder / track.name / "00000.offsets.npy")
    assert offsets[0] == 0 and offsets[-1] == len(data) and len(offsets) == 1 + 1 + 30 + 41
    pictures = [data[begin:end] for begin, end in itertools.pairwise(offsets)]
    first = 0
    for name, frames in native.items():
        for number, frame in list(enumerate(frames))[::5]:
            shown = store.rgb(name)[number]
            other = np.array(Image.open(io.BytesIO(pictures[first + number])).convert("RGB"), int)
            assert abs(shown - other).max() <= 3
            brightness = [
                cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int) for image in (shown, resize(frame, *SIZE))
            ]
            errors.append(abs(brightness[0] - brightness[1]).mean())  # JPEG halves the resolution of colours
        first += len(frames)
    assert (np.mean(errors) < 2) == (quality == 95) and np.mean(errors) < 8, np.mean(errors)
    assert store.settings == {"rgb": {"height": 24, "width": 32, "encoding": "jpeg", "quality": quality}}


@pytest.mark.parametrize("track", TRACKS[5:7], ids=lambda track: track.name)
def test_flow_comes_back_as_it_was_computed(folder, native, track):
    for name, frames in native.items():
        stored, means = opened(folder, track).flow(name)
        truth = np.stack(true_fields(frames))
        np.testing.assert_allclose(means, truth.mean(axis=(1, 2)), atol=1e-5)
        assert stored.dtype == np.uint8
        error, half_a_step = abs(dequantise(stored[:], 4.0) - truth.clip(-4, 4)), 4 / 254
        if track.encoding == "raw":
            assert (error <= half_a_step * 1.01 + 1e-6).all()
        else:
            assert (error.mean(axis=(1, 2)) <= 4 * half_a_step).all()
    still, means = opened(folder, track).flow("a.avi")
    assert abs(still[:] - 128.0).max() <= 1 and (means == 0).all()


@pytest.mark.parametrize("part", [{"fps": 10.0}, {"sample": PIECES}], ids=["lower rate", "pieces"])
def test_a_part_of_the_frames_is_stored_with_the_flow_between_them(folder, root, native, part):
    """Which frames these are is tested with the tracks."""
    track = replace(RGB, **part)
    store = opened(folder, track, Track(*SIZE, FLOW, **part))
    for name, frames in native.items():
        numbers, length = track.frames_of(name, info.probe(root / name))
        video = store.videos[name]
        assert (video.frames, video.decoded or video.frames) == (len(numbers), len(frames))
        assert (video.fps, video.piece) == ((10.0, None) if "fps" in part else (25.0, length))
        np.testing.assert_array_equal(store.rgb(name), [resize(frames[number], *SIZE) for number in numbers])
        pieces = [[frames[number] for number in piece] for piece in numbers.reshape(-1, length)]
        fields = np.concatenate([true_fields(piece) for piece in pieces])
        assert abs(dequantise(store.flow(name)[0], 4.0) - fields.clip(-4, 4)).max() < 4 / 250
    assert store.settings["rgb"].get("fps") == part.get("fps")


@pytest.mark.parametrize("breaks_off", [False, True])
def test_a_sample_decodes_no_more_than_it_takes(tmp_path, monkeypatch, breaks_off):
    """The store is that of a sequential decode, which a file gets in the end whose frames are not where they should."""
    (tmp_path / "root").mkdir()
    write_clip(tmp_path / "root" / "a.mp4", 200, "libx264", settings={"x264-params": "keyint=10:bframes=3"})
    sample = Sample(clips=3, seconds=0.2)
    tracks = [replace(RGB, sample=sample), Track(*SIZE, FLOW, sample=sample), replace(JPEG, sample=sample)]
    probed = []

    def seek_frames(*arguments):
        for place, found in enumerate(seek.seek_frames(*arguments)):
            if breaks_off and place == 8:
                raise DecodeError("not there")
            yield found

    def probe(path):
        probed.append(path)
        return info.probe(path)

    monkeypatch.setattr(building, "seek_frames", seek_frames)
    monkeypatch.setattr(building, "probe", probe)
    settings = {"workers": 1, "max_store": 1.0, "launcher": in_turn}
    folder = build_tracks(tmp_path / "root", ["a.mp4"], tmp_path / "sought", "test", tracks, **settings)
    assert bool(probed) == breaks_off
    monkeypatch.setattr(building, "frame_index", lambda _: None)
    expected = build_tracks(tmp_path / "root", ["a.mp4"], tmp_path / "sequential", "test", tracks, **settings)
    assert probed
    for track in tracks:
        for suffix in track.suffixes[:-1]:
            assert (folder / track.name / f"00000{suffix}").read_bytes() == (
                expected / track.name / f"00000{suffix}"
            ).read_bytes()
        videos = [json.loads((f / track.name / "00000.json").read_text())["videos"] for f in (folder, expected)]
        assert videos[0] == videos[1] and videos[0][0]["error"] is None


def test_known_bad_files_are_as_if_they_did_not_decode(root, tmp_path, monkeypatch):
    opened_files = []
    for module, name in ((building, "probe"), (size, "read_header"), (building, "pick_frames")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, *a, real=real: opened_files.append(path.name) or real(path, *a))
    bad = {"c.avi": "c.avi: hangs the decoder"}
    folder = build(root, tmp_path, [RGB, JPEG], known_bad=bad)
    assert set(opened_files) == set(FILES) - {"c.avi"}
    assert opened(folder, RGB).videos["c.avi"] == StoredVideo(0, 0, 0.0, bad["c.avi"])
    assert opened(folder, RGB).videos["c.avi"].error == bad["c.avi"]
    later = opened(folder, RGB, known_bad={"a.avi": "a.avi: is a copy"})  # found after it was stored
    assert later.videos["a.avi"].frames == 0
    with pytest.raises(DecodeError, match=r"a\.avi: is a copy"):
        later.rgb("a.avi")
    assert len(later.rgb("b ö#[x].avi")) == 30


def test_it_can_be_moved(root, folder, tmp_path, monkeypatch):
    shutil.copytree(root, tmp_path / "other" / "videos")
    shutil.copytree(folder.parent, tmp_path / "elsewhere" / "stores")
    text = [path.read_bytes() for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]
    assert not any(str(root).encode() in content or str(folder).encode() in content for content in text)
    monkeypatch.setattr(building, "_build", lambda *_: pytest.fail("decoded again"))
    monkeypatch.chdir(tmp_path)  # also to a relative path
    for place in (tmp_path, Path()):
        moved_root, stores = place / "other" / "videos", place / "elsewhere" / "stores"
        store = build_store(moved_root, list(FILES), stores, "test", [JPEG], workers=1, max_store=0)
        assert store.folder == stores / folder.name
        np.testing.assert_array_equal(store.rgb("c.avi")[:], opened(folder, JPEG).rgb("c.avi")[:])


@pytest.mark.parametrize("damage", ["of another version", "none", "cut short", "a shard gone"])
def test_an_index_that_does_not_fit_is_made_anew(root, folder, tmp_path, damage):
    shutil.copytree(folder, tmp_path / folder.name)
    place = tmp_path / folder.name / RGB.name
    whole = {path.name: path.read_bytes() for path in place.iterdir()}
    if damage == "of another version":
        np.save(place / "index.npy", np.load(place / "index.npy")[["path", "frames"]])
    elif damage == "cut short":
        (place / "index.npy").write_bytes(b"")
    else:
        (place / ("index.npy" if damage == "none" else "00000.npy")).unlink()
    with pytest.raises(DataError, match="shards are missing"):
        opened(tmp_path / folder.name, RGB)
    build(root, tmp_path, [RGB])
    assert {path.name: path.read_bytes() for path in place.iterdir()} == whole


def test_tracks_of_other_videos_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / folder.name)
    shards = tmp_path / folder.name / JPEG.name / "00000.json"
    said = json.loads(shards.read_text())
    said["videos"][1]["frames"] -= 1
    shards.write_text(json.dumps(said))
    building._write_index(tmp_path / folder.name, JPEG, len(FILES))
    with pytest.raises(DataError, match=r"its tracks disagree on b ö#\[x\]\.avi; delete this folder"):
        opened(tmp_path / folder.name, JPEG, TRACKS[5])


def test_a_damaged_jpeg_is_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / folder.name)
    file = tmp_path / folder.name / JPEG.name / "00000.jpegs"
    offsets = np.load(file.parent / "00000.offsets.npy")
    content = bytearray(file.read_bytes())
    content[offsets[5] : offsets[6]] = bytes(offsets[6] - offsets[5])
    file.write_bytes(content)
    frames = opened(tmp_path / folder.name, JPEG).rgb("b ö#[x].avi")
    assert frames[3].shape == (24, 32, 3)
    with pytest.raises(DataError, match=rf"00000\.jpegs: the JPEG at byte {offsets[5]} is damaged; delete this file"):
        frames[:]


def test_a_read_only_store_is_read(root, folder, tmp_path, monkeypatch):
    """On a small disk in memory; where that is not allowed, the test is skipped."""
    monkeypatch.setattr(size, "KEEP_FREE", 0)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        build(root, tmp_path, [RGB])
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        store = build_store(root, list(FILES), tmp_path, "test", [RGB], workers=1, max_store=0)
        np.testing.assert_array_equal(store.rgb("c.avi"), opened(folder, RGB).rgb("c.avi"))
        with pytest.raises(DataError, match=r"Read-only file system; .*point data\.stores to a folder that you may"):
            build(root, tmp_path, [RGB, JPEG])
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
