import hashlib
import json
import multiprocessing
import pickle
import shutil
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from datamodules import processes
from datamodules.decode.frames import iter_frames
from datamodules.errors import DataError, DecodeError
from datamodules.flow import quantise, resize, resize_flow
from datamodules.store import building
from datamodules.store.building import build_store
from datamodules.store.jobs import Job, claim, shard_jobs, verify_shard
from datamodules.store.reading import FrameStore, open_store
from datamodules.store.shards import StoredVideo
from datamodules.store.tracks import Track
from tests.datamodules.store import builders
from tests.datamodules.store.builders import FLOW, RGB, build_here, files
from tests.factories import write_clip

BACKWARD = replace(FLOW, backward=True)
SPAWN = multiprocessing.get_context("spawn")


def build(root: Path, stores: Path, *tracks: Track, workers: int = 1, max_store: float = 1.0) -> FrameStore:
    return build_store(root, files(root), stores, "test", tracks or (RGB, FLOW), workers=workers, max_store=max_store)


@pytest.fixture(scope="module")
def built(clips, tmp_path_factory) -> FrameStore:
    return build(clips, tmp_path_factory.mktemp("stores"), workers=2)


@pytest.fixture
def copied(built, tmp_path) -> Path:
    """A copy of the store, in `tmp_path`."""
    return Path(shutil.copytree(built.folder, tmp_path / built.folder.name))


def content(folder: Path) -> dict[str, object]:
    """Everything in a store but the time that it took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(folder))
            found[name] = path.read_bytes()
            if path.suffix == ".json":
                found[name] = json.loads(path.read_text()) | {"flow_seconds": 0}
            elif path.suffix == ".sha256":
                found[name] = [line for line in path.read_text().splitlines() if not line.endswith(".json")]
            elif path.name == "shards.npy":
                found[name] = np.load(path)["bytes"][:, :-1].tolist()  # the last is the .json, which has the seconds
    return found


def times(folder: Path, pattern: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob(pattern)}


def fields(path: Path, backward: bool = False) -> list[np.ndarray]:
    """The flow of a video, computed by OpenCV alone."""
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in iter_frames(path)]
    pairs = [(later, earlier) if backward else (earlier, later) for earlier, later in pairwise(grey)]
    return [resize_flow(dis.calc(*pair, None), 20, 24) for pair in pairs] or [np.zeros((20, 24, 2), np.float32)]


def test_it_holds_every_frame_and_field(clips, built):
    assert set(built.videos) == set(files(clips)) and len(built.videos) == 20
    for number in (0, 1, 15, 16, 19):
        path = f"a/{number:02d}.avi"
        video = built.videos[path]
        assert (video.frames, video.header_frames, video.fps, video.error) == (number + 1, number + 1, 25.0, None)
        np.testing.assert_array_equal(built.rgb(path), [resize(frame, 20, 24) for frame in iter_frames(clips / path)])
        stored, means = built.flow(path)
        truth = fields(clips / path)
        np.testing.assert_array_equal(stored, [quantise(field, 4.0) for field in truth])
        np.testing.assert_allclose(means, [field.mean(axis=(0, 1)) for field in truth], atol=1e-5)
    for read in (built.rgb, built.flow):
        with pytest.raises(DecodeError, match=r"^a/07\.avi: cannot be decoded.*$"):
            read("a/07.avi")
    assert built.flow_seconds > 0
    settings = {"method": "dis", "preset": "ultrafast", "bound": 4.0, "encoding": "raw"}
    size = {"height": 20, "width": 24}
    assert built.settings == {"rgb": size, "flow": size | {"flow": settings}}
    (said,) = built.versions
    assert f"PyAV {av.__version__}" in said and f"OpenCV {cv2.__version__}" in said and "torch" in said


def test_an_added_track_leaves_the_others_alone(clips, built, copied):
    before = times(copied, "*.npy")
    store = build(clips, copied.parent, RGB, FLOW, BACKWARD)
    assert before.items() <= times(copied, "*.npy").items()
    assert {name.split("/")[0] for name in content(copied).keys() - content(built.folder).keys()} == {BACKWARD.name}
    assert store.settings == built.settings | {"backward_flow": built.settings["flow"]}
    truth = fields(clips / "a/19.avi", backward=True)
    stored, means = store.flow("a/19.avi", backward=True)
    np.testing.assert_array_equal(stored, [quantise(field, 4.0) for field in truth])
    np.testing.assert_allclose(means, [field.mean(axis=(0, 1)) for field in truth], atol=1e-5)
    still, means = store.flow("a/00.avi", backward=True)
    assert still.shape == (1, 20, 24, 2) and (still == 128).all() and (means == 0).all()


def test_a_video_that_breaks_off_leaves_no_rows(clips, tmp_path, monkeypatch):
    real = building.pick_frames

    def break_off(path, info, numbers):
        for number, frame in real(path, info, numbers):
            if path.name == "09.avi" and number == 5:
                raise DecodeError(f"{path}: breaks off")
            yield number, frame

    monkeypatch.setattr(building, "pick_frames", break_off)
    folder = build_here(clips, tmp_path)
    store = open_store(folder, (RGB, FLOW))
    assert store.videos["a/09.avi"].error.endswith("09.avi: breaks off")
    assert (len(store.rgb("a/08.avi")), len(store.rgb("a/10.avi")), len(store.flow("a/10.avi")[1])) == (9, 11, 10)
    np.testing.assert_array_equal(store.rgb("a/10.avi"), [resize(f, 20, 24) for f in iter_frames(clips / "a/10.avi")])


def test_it_opens_again_without_decoding_and_pickles_small(clips, built, monkeypatch):
    monkeypatch.setattr(building, "_build", lambda *_: pytest.fail("decoded again"))
    assert build(clips, built.folder.parent, max_store=0) == built
    assert build(clips, built.folder.parent, RGB).tracks == {"rgb": RGB}
    frames = built.rgb("a/19.avi")
    packed = pickle.dumps(built)
    assert len(packed) < 3000 and np.array_equal(pickle.loads(packed).rgb("a/19.avi"), frames)
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 0


def test_an_interrupted_build_is_continued(clips, built, copied):
    (copied / RGB.name / "00001.json").unlink()  # killed before the index was written
    (copied / RGB.name / "00001.npy").write_bytes(b"half an array")
    array = copied / FLOW.name / "00000.npy"
    array.write_bytes(array.read_bytes()[:-1])  # cut by a power failure
    (copied / FLOW.name / "00001.json").write_text("")
    for name in ("00001.0a.tmp", "00001.means.0b.tmp", "index.0c.tmp"):
        (copied / RGB.name / name).touch()
    untouched = times(copied / RGB.name, "00000.npy")
    build(clips, copied.parent)
    assert content(copied) == content(built.folder)
    assert times(copied / RGB.name, "00000.npy") == untouched


@pytest.mark.parametrize("moment", builders.MOMENTS)
def test_a_killed_build_goes_on_and_gives_the_same_store(clips, built, tmp_path, moment):
    process = SPAWN.Process(target=builders.build_and_die, args=(clips, tmp_path, moment))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    whole = times(tmp_path / built.folder.name, "*.json")
    assert len(whole) == {"writing a row": 0, "moving a file into place": 1, "writing an index": 4}[moment]
    with pytest.raises(DataError):
        open_store(tmp_path / built.folder.name, (RGB, FLOW))
    assert content(build_here(clips, tmp_path)) == content(built.folder)
    assert whole.items() <= times(tmp_path, "*.json").items()  # whole shards are kept


def test_two_builders_at_once_share_the_work(clips, built, tmp_path):
    """And decode each video once, for all tracks."""
    decoded = tmp_path / "decoded"
    team = [SPAWN.Process(target=builders.build_and_note, args=(clips, tmp_path, decoded)) for _ in range(2)]
    for builder in team:
        builder.start()
    for builder in team:
        builder.join()
    assert [builder.exitcode for builder in team] == [0, 0]
    assert content(tmp_path / built.folder.name) == content(built.folder)
    assert sorted(decoded.read_text().split()) == [f"{number:02d}.avi" for number in range(20)]


def test_a_shard_is_held_by_one_process_and_free_when_that_dies(tmp_path):
    """With the leftovers of whoever held it."""
    ours, theirs = SPAWN.Pipe()
    holder = SPAWN.Process(target=builders.claim_and_sleep, args=(tmp_path, theirs))
    holder.start()
    assert ours.recv() is True
    (tmp_path / "track").mkdir()
    leftover, other = (tmp_path / "track" / name for name in ("00003.0a.tmp", "00004.0a.tmp"))
    leftover.touch()
    other.touch()
    for number, free in ((3, False), (4, True)):
        with claim(tmp_path, number, f"0000{number}.none", wait=False) as held:
            assert held == free and leftover.exists()
    holder.kill()
    with claim(tmp_path, 3, "00003.*.tmp", wait=True) as held:
        assert held and not leftover.exists() and other.exists()
    holder.join()


@pytest.mark.slow
def test_ray_builds_the_same_store(clips, built, tmp_path):
    pytest.importorskip("ray")
    assert content(build_here(clips, tmp_path, launcher=processes.on_ray)) == content(built.folder)


def test_checksums_are_written_with_a_shard_and_compared(clips, copied):
    jobs = shard_jobs(clips, copied, files(clips), (RGB, FLOW), {})
    assert [verify_shard(job) for job in jobs] == [[], []]
    said = [line for file in copied.rglob("0*.sha256") for line in file.read_text().splitlines()]
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in copied.rglob("0*") if file.suffix != ".sha256"}
    assert {line[:64] for line in said} == digests and len(said) == 2 * (2 + 3)
    array = copied / FLOW.name / "00001.npy"
    spoilt = bytearray(array.read_bytes())
    spoilt[-1] ^= 1
    array.write_bytes(spoilt)
    assert [verify_shard(job) for job in jobs] == [[], [str(array)]]
    array.unlink()  # what the message advises
    build(clips, copied.parent)
    assert [verify_shard(job) for job in jobs] == [[], []]
    array.with_suffix(".sha256").unlink()
    assert [verify_shard(job) for job in jobs] == [[], [str(array.with_suffix(".sha256"))]]


def test_an_error_of_the_flow_leaves_the_frames_alone(tmp_path):
    """A video that is too small for flow: it counts as undecodable only where flow is asked for."""
    root = tmp_path / "root"
    root.mkdir()
    write_clip(root / "large.avi", 5)
    write_clip(root / "small.avi", 5, size=(48, 10))
    folder = build_here(root, tmp_path)
    both, alone = open_store(folder, [RGB, FLOW]), open_store(folder, [RGB])
    assert both.videos["large.avi"].frames == 5 and both.videos["small.avi"].frames == 0
    assert both.videos["small.avi"].error.startswith("small.avi: optical flow needs frames of at least 12x12 pixels")
    assert alone.videos["small.avi"].frames == 5 == len(alone.rgb("small.avi"))


def test_damage_names_the_file_and_both_numbers(clips, tmp_path, monkeypatch):
    assert StoredVideo(75, 76, 25.0).damage("a.avi") is None
    assert StoredVideo(6, 75, 5.0, decoded=29).damage("a") == "a: 29 frames decode of 75 that its header promises"
    assert StoredVideo(15, 75, 5.0, decoded=75).damage("a") is None
    real = building.probe
    monkeypatch.setattr(building, "probe", lambda path: replace(real(path), corrupt=4 if path.name == "05.avi" else 1))
    job = Job(clips, tmp_path, 0, ("a/05.avi", "a/06.avi"), (RGB,))
    building.build_shard(job)
    building._write_index(tmp_path, RGB, 2)
    videos = open_store(tmp_path, (RGB,)).videos
    assert videos["a/05.avi"].damage("a/05.avi") == "a/05.avi: 4 of 6 frames are damaged"
    assert videos["a/06.avi"].corrupt == 1 and videos["a/06.avi"].damage("a/06.avi") is None
