import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from datamodules import processes
from datamodules.decode.frames import iter_frames
from datamodules.errors import DataError, DecodeError
from datamodules.flow import FlowConfig, FlowEstimator, quantise, resize, resize_flow
from datamodules.store import building, writing
from datamodules.store.building import build_store
from datamodules.store.jobs import Job, claim, shard_jobs, verify_shard
from datamodules.store.key import store_folder
from datamodules.store.reading import FrameStore, open_store
from datamodules.store.shards import StoredVideo
from datamodules.store.tracks import Track
from tests.factories import in_this_process, write_clip

RGB, FLOW = Track(20, 24), Track(20, 24, FlowConfig(preset="ultrafast", bound=4.0))
BACKWARD = Track(20, 24, FLOW.flow, backward=True)
CLIPS = 20  # more than one shard


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """20 clips of 1 to 20 frames, one of which is no video, and one of which breaks off in the middle."""
    root = tmp_path_factory.mktemp("clips")
    (root / "a").mkdir()
    for number in range(CLIPS):
        write_clip(root / "a" / f"{number:02d}.avi", number + 1, size=(32, 40), seed=number)
    (root / "a" / "07.avi").write_text("no video")
    return root


def files(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*.avi")]


def build(root: Path, stores: Path, *tracks: Track, workers: int = 1, max_store: float = 1.0) -> FrameStore:
    return build_store(root, files(root), stores, "test", tracks or (RGB, FLOW), workers=workers, max_store=max_store)


@pytest.fixture(scope="module")
def built(clips, tmp_path_factory) -> FrameStore:
    return build(clips, tmp_path_factory.mktemp("stores"), workers=2)


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


def no_build(monkeypatch):
    monkeypatch.setattr(building, "_build", lambda *_: pytest.fail("decoded again"))


def test_it_holds_every_frame_and_field(clips, built):
    assert set(built.videos) == set(files(clips)) and len(built.videos) == CLIPS
    for number in set(range(CLIPS)) - {7}:
        path = f"a/{number:02d}.avi"
        frames = list(iter_frames(clips / path))
        video = built.videos[path]
        assert (video.frames, video.header_frames, video.fps, video.error) == (number + 1, number + 1, 25.0, None)
        np.testing.assert_array_equal(built.rgb(path), [resize(frame, 20, 24) for frame in frames])
        estimator = FlowEstimator(FLOW.flow)
        fields = [resize_flow(f, 20, 24) for frame in frames if (f := estimator(frame)) is not None]
        fields = fields or [np.zeros((20, 24, 2), np.float32)]
        stored, means = built.flow(path)
        assert means.dtype == np.float32
        np.testing.assert_array_equal(stored, [quantise(field, 4.0) for field in fields])
        np.testing.assert_allclose(means, [field.mean(axis=(0, 1)) for field in fields], atol=1e-5)
    assert built.flow_seconds > 0
    settings = {"method": "dis", "preset": "ultrafast", "bound": 4.0, "encoding": "raw"}
    assert built.settings == {
        "rgb": {"height": 20, "width": 24},
        "flow": {"height": 20, "width": 24, "flow": settings},
    }


def test_backward_flow_is_a_track_of_its_own(clips, built, tmp_path, monkeypatch):
    store = build(clips, tmp_path, RGB, FLOW, BACKWARD)
    assert store.folder.name == built.folder.name  # the same key
    whole, forward = content(store.folder), content(built.folder)
    assert {name.split("/")[0] for name in whole.keys() - forward.keys()} == {"backward_flow-20x24-dis-ultrafast-b4"}
    assert {name: whole[name] for name in forward} == forward
    assert store.settings == built.settings | {"backward_flow": built.settings["flow"]}
    for path in ("a/04.avi", "a/19.avi"):
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in iter_frames(clips / path)]
        fields = [resize_flow(dis.calc(grey[i + 1], grey[i], None), 20, 24) for i in range(len(grey) - 1)]
        stored, means = store.flow(path, backward=True)
        np.testing.assert_array_equal(stored, [quantise(field, 4.0) for field in fields])
        np.testing.assert_allclose(means, [field.mean(axis=(0, 1)) for field in fields], atol=1e-5)
        assert len(stored) == len(store.flow(path)[0]) and not np.array_equal(stored, store.flow(path)[0])
    still, means = store.flow("a/00.avi", backward=True)
    assert still.shape == (1, 20, 24, 2) and (still == 128).all() and (means == 0).all()

    no_build(monkeypatch)
    assert build(clips, tmp_path).settings == built.settings  # its forward tracks are those of one without backward


def test_all_tracks_are_decoded_in_one_pass(clips, tmp_path, monkeypatch):
    real, opened = building.pick_frames, []
    monkeypatch.setattr(building, "pick_frames", lambda path, *args: opened.append(path.name) or real(path, *args))
    for track in (RGB, FLOW, BACKWARD):
        (tmp_path / track.name).mkdir()
    job = Job(clips, tmp_path, 0, ("a/08.avi", "a/09.avi"), (RGB, FLOW, BACKWARD))
    assert building.build_shard(job) == 0
    assert opened == ["08.avi", "09.avi"]


def test_an_undecodable_video_is_recorded_and_does_not_stop_the_build(clips, built):
    video = built.videos["a/07.avi"]
    assert video.frames == 0 and video.error.startswith("a/07.avi: cannot be decoded") and "\n" not in video.error
    for read in (built.rgb, built.flow):
        with pytest.raises(DecodeError, match=r"07\.avi"):
            read("a/07.avi")


def test_a_video_that_breaks_off_leaves_no_rows(clips, tmp_path, monkeypatch):
    real = building.pick_frames

    def break_off(path, info, numbers):
        for number, frame in real(path, info, numbers):
            if path.name == "09.avi" and number == 5:
                raise DecodeError(f"{path}: breaks off")
            yield number, frame

    monkeypatch.setattr(building, "pick_frames", break_off)
    (tmp_path / RGB.name).mkdir()
    (tmp_path / FLOW.name).mkdir()
    names = ("a/08.avi", "a/09.avi", "a/10.avi")
    assert building.build_shard(Job(clips, tmp_path, 0, names, (RGB, FLOW))) == 1
    store = open_store(tmp_path, 3, (RGB, FLOW))
    assert store.videos["a/09.avi"].error.endswith("09.avi: breaks off")
    assert (len(store.rgb("a/08.avi")), len(store.rgb("a/10.avi")), len(store.flow("a/10.avi")[1])) == (9, 11, 10)
    np.testing.assert_array_equal(store.rgb("a/10.avi"), [resize(f, 20, 24) for f in iter_frames(clips / "a/10.avi")])


def test_shards_are_plain_npy_and_json(built):
    arrays = [np.load(path) for path in sorted((built.folder / "rgb-20x24").glob("0*.npy"))]
    assert [array.dtype for array in arrays] == [np.uint8, np.uint8]
    assert sum(map(len, arrays)) == sum(video.frames for video in built.videos.values())
    assert (built.folder / "flow-20x24-dis-ultrafast-b4" / "00001.means.npy").exists()


def test_it_opens_again_without_decoding(clips, built, monkeypatch):
    no_build(monkeypatch)
    again = build(clips, built.folder.parent)
    assert again == built
    assert build(clips, built.folder.parent, RGB).tracks == {"rgb": RGB}


def test_it_pickles_small_and_reads_in_another_process(built):
    built.rgb("a/19.avi")
    copy = pickle.loads(pickle.dumps(built))
    assert len(pickle.dumps(built)) < 20_000
    np.testing.assert_array_equal(copy.rgb("a/19.avi"), built.rgb("a/19.avi"))


def test_views_are_read_only(built):
    with pytest.raises(ValueError, match="read-only"):
        built.rgb("a/19.avi")[0] = 0


def test_an_interrupted_build_is_continued(clips, built, tmp_path):
    folder = store_folder(clips, files(clips), tmp_path, "test")
    shutil.copytree(built.folder, folder)
    (folder / RGB.name / "00001.json").unlink()  # killed before the index was written
    (folder / RGB.name / "00001.npy").write_bytes(b"half an array")
    array = folder / FLOW.name / "00000.npy"
    array.write_bytes(array.read_bytes()[:-1])  # cut by a power failure
    (folder / FLOW.name / "00001.json").write_text("")
    for name in ("00001.0a.tmp", "00001.means.0b.tmp", "index.0c.tmp"):
        (folder / RGB.name / name).touch()
    untouched = (folder / RGB.name / "00000.npy").stat().st_mtime_ns
    build(clips, tmp_path)
    assert content(folder) == content(built.folder)
    assert (folder / RGB.name / "00000.npy").stat().st_mtime_ns == untouched


def test_an_added_track_leaves_the_others_alone(clips, built, tmp_path):
    build(clips, tmp_path, RGB)
    folder = store_folder(clips, files(clips), tmp_path, "test")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    build(clips, tmp_path)
    assert content(folder) == content(built.folder)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def _build_beside(root: Path, stores: Path, decoded: Path) -> None:
    """A builder that writes down which videos it decodes."""
    real = building.probe

    def noted(path: Path):
        with decoded.open("a") as file:
            file.write(f"{path.name}\n")
        return real(path)

    building.probe = noted
    arguments = {"workers": 1, "max_store": 1.0, "launcher": in_this_process}
    building.build_tracks(root, files(root), stores, "test", (RGB, FLOW), **arguments)


def test_two_builders_at_once_share_the_work(clips, built, tmp_path):
    decoded = tmp_path / "decoded"
    context = multiprocessing.get_context("spawn")
    builders = [context.Process(target=_build_beside, args=(clips, tmp_path, decoded)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0, 0]
    assert content(store_folder(clips, files(clips), tmp_path, "test")) == content(built.folder)
    assert sorted(decoded.read_text().split()) == [f"{number:02d}.avi" for number in range(CLIPS)]


def test_a_shard_is_held_by_one_process_and_free_when_that_dies(tmp_path):
    """With the leftovers of whoever held it."""
    code = "from datamodules.store.jobs import claim; from pathlib import Path; import sys, time\n"
    code += "with claim(Path(sys.argv[1]), 3, '00003.*.tmp', False) as held: print(held, flush=True); time.sleep(60)"
    place = Path(__file__).resolve().parents[3]
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True, cwd=place)
    assert holder.stdout.readline() == "True\n"
    (tmp_path / "track").mkdir()
    leftover, other = (tmp_path / "track" / name for name in ("00003.0a.tmp", "00004.0a.tmp"))
    leftover.touch()
    other.touch()
    with claim(tmp_path, 3, "00003.*.tmp", wait=False) as held:
        assert not held and leftover.exists()
    with claim(tmp_path, 4, "none", wait=False) as held:
        assert held
    holder.kill()
    with claim(tmp_path, 3, "00003.*.tmp", wait=True) as held:
        assert held and not leftover.exists() and other.exists()
    holder.wait()
    holder.stdout.close()


PHASES = {  # what is about to happen when a build is killed
    "flow": (FlowEstimator, "__call__"),
    "writing rows": (writing.ShardWriter, "write"),
    "moving a file into place": (os, "replace"),
    "writing the index": (building, "_write_index"),
    "decoding": (building, "pick_frames"),
}
KILLS = int(os.environ.get("VIDFUSION_KILLS", 4))  # moments, over the phases in turn


def _build_and_die(root: Path, stores: Path, log: Path, number: int | None) -> None:
    """Build, and be killed at the moment of this number; or without one count the calls of each phase into `log`."""
    calls, doomed, limit = Counter(), None, 0
    if number is not None:
        doomed = list(PHASES)[number % len(PHASES)]
        share = (number // len(PHASES) + 0.5) / -(-KILLS // len(PHASES))
        limit = 1 + int(share * json.loads(log.read_text())[doomed])

    def counted(phase: str, function):
        def call(*arguments, **keywords):
            calls[phase] += 1
            if phase == doomed and calls[phase] == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return call

    for phase, (owner, attribute) in PHASES.items():
        setattr(owner, attribute, counted(phase, getattr(owner, attribute)))
    arguments = {"workers": 1, "max_store": 1.0, "launcher": in_this_process}
    building.build_tracks(root, files(root), stores, "test", (RGB, FLOW), **arguments)
    log.write_text(json.dumps(calls))


def _in_a_process(*arguments) -> int:
    process = multiprocessing.get_context("spawn").Process(target=_build_and_die, args=arguments)
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def calls(clips, built, tmp_path_factory) -> Path:
    stores = tmp_path_factory.mktemp("counted")
    log = stores / "calls.json"
    assert _in_a_process(clips, stores, log, None) == 0
    assert content(stores / built.folder.name) == content(built.folder)
    return log


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_build_goes_on_and_gives_the_same_store(clips, built, calls, tmp_path, number):
    assert _in_a_process(clips, tmp_path, calls, number) == -signal.SIGKILL
    folder = tmp_path / built.folder.name
    left = {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    with pytest.raises(DataError) if len(left) < 4 else contextlib.nullcontext():  # 2 shards of 2 tracks
        open_store(folder, CLIPS, (RGB, FLOW))
    arguments = {"workers": 1, "max_store": 1.0, "launcher": in_this_process}
    building.build_tracks(clips, files(clips), tmp_path, "test", (RGB, FLOW), **arguments)
    assert content(folder) == content(built.folder)
    assert all((folder / name).stat().st_mtime_ns == time for name, time in left.items())  # whole shards are kept


def test_the_key_follows_content_and_not_place_or_order(clips, tmp_path):
    def key(root: Path, names: list[str]) -> str:
        return store_folder(root, names, Path("stores"), "test").name

    moved = tmp_path / "moved"
    shutil.copytree(clips, moved)
    names = files(clips)
    assert key(moved, names[::-1]) == key(clips, names) != key(clips, names[1:])
    changed = moved / "a" / "19.avi"
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    assert key(moved, names) != key(clips, names)
    changed.unlink()
    without = key(moved, names)
    changed.write_bytes(b"")
    assert key(moved, names) != without


def test_too_large_a_store_is_refused(clips, tmp_path, monkeypatch):
    needed = (sum(range(1, CLIPS + 1)) - 8) * 20 * 24 * 5 / 1e9
    with pytest.raises(DataError, match=r"takes about .* GB, data.max_store is .*raise data.max_store, lower sampling"):
        build(clips, tmp_path, max_store=needed * 0.99)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - 10**9, 10**9))
    with pytest.raises(DataError, match=r"its disk has 0.00 GB to spare; lower sampling.resize, set data.enc"):
        build(clips, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_store_that_exists_needs_no_room(clips, built, monkeypatch):
    no_build(monkeypatch)
    assert build(clips, built.folder.parent, max_store=0) == built


def test_a_folder_that_cannot_be_written_is_named(clips, tmp_path):
    (tmp_path / "stores").write_text("a file")
    with pytest.raises(DataError, match=r"cannot write the frame store: .*, or point data.stores to a folder"):
        build(clips, tmp_path / "stores")


def test_a_wrong_root_is_named(tmp_path):
    with pytest.raises(DataError, match=r"holds none of the 2 videos listed, such as a.avi; set data.root"):
        build_store(tmp_path, ["a.avi", "b.avi"], tmp_path, "test", [RGB], workers=1, max_store=1)


def test_a_missing_video_is_recorded(clips, tmp_path):
    store = build_store(clips, ["a/03.avi", "a/absent.avi"], tmp_path, "test", [RGB], workers=1, max_store=1)
    assert store.videos["a/03.avi"].frames == 4 and "absent.avi" in store.videos["a/absent.avi"].error


def _crash(job):
    writing.ShardWriter(job, job.tracks[0])
    os._exit(139)


def test_a_worker_that_dies_does_not_hang_the_build(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "build_shard", _crash)
    with pytest.raises(
        DataError, match=r"a worker process died .* within a/00.avi to a/15.avi.*start again to continu"
    ):
        build(clips, tmp_path)


def test_ray_builds_the_same_store(clips, built, tmp_path):
    pytest.importorskip("ray")
    arguments = {"workers": 2, "max_store": 1.0, "launcher": processes.on_ray}
    folder = building.build_tracks(clips, files(clips), tmp_path, "test", (RGB, FLOW), **arguments)
    assert content(folder) == content(built.folder)
    jobs = shard_jobs(clips, tmp_path / "nowhere", files(clips), (RGB,), {})
    with pytest.raises(DataError, match="nowhere is not there on"):
        list(processes.on_ray(building.build_shard, jobs, 1))


def test_without_ray_it_says_what_to_install(clips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = {"workers": 2, "max_store": 1.0, "launcher": processes.on_ray}
    with pytest.raises(DataError, match=r"--launcher ray needs Ray: pip install 'vidfusion\[ray\]'"):
        building.build_tracks(clips, files(clips), tmp_path, "test", [RGB], **arguments)


def test_a_flow_method_that_is_missing_stops_before_the_first_video(clips, tmp_path, monkeypatch):
    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(DataError, match="opencv-contrib-python-headless"):
        build(clips, tmp_path, Track(20, 24, FlowConfig(method="tvl1")))
    assert not any(tmp_path.iterdir())


def test_checksums_are_written_with_a_shard_and_compared(clips, built, tmp_path):
    folder = tmp_path / built.folder.name
    shutil.copytree(built.folder, folder)
    jobs = shard_jobs(clips, folder, files(clips), (RGB, FLOW), {})
    assert [verify_shard(job) for job in jobs] == [[], []]
    for track in (RGB, FLOW):
        for number in range(2):
            said = (folder / track.name / f"{number:05d}.sha256").read_text().splitlines()
            assert sorted(line[66:] for line in said) == sorted(
                path.name for path in (folder / track.name).glob(f"{number:05d}.*") if path.suffix != ".sha256"
            )
            for line in said:
                assert hashlib.sha256((folder / track.name / line[66:]).read_bytes()).hexdigest() == line[:64]
    array = folder / FLOW.name / "00001.npy"
    spoilt = bytearray(array.read_bytes())
    spoilt[-1] ^= 1
    array.write_bytes(spoilt)
    assert [verify_shard(job) for job in jobs] == [[], [str(array)]]
    array.unlink()  # what the message advises
    build(clips, tmp_path)
    assert [verify_shard(job) for job in jobs] == [[], []]
    array.with_suffix(".sha256").unlink()
    assert [verify_shard(job) for job in jobs] == [[], [str(array.with_suffix(".sha256"))]]


def test_damage_names_the_file_and_both_numbers():
    assert StoredVideo(75, 76, 25.0).damage("a.avi") is None
    assert StoredVideo(29, 75, 25.0).damage("a.avi") == "a.avi: 29 frames decode of 75 that its header promises"
    assert StoredVideo(0, 0, 0.0, "a.avi: cannot be decoded").damage("a.avi") == "a.avi: cannot be decoded"


def test_the_key_sees_the_whole_of_a_file(tmp_path):
    """A download that was completed in the middle has the same size, beginning and end."""
    (tmp_path / "a.avi").write_bytes(bytes(10**6))
    before = store_folder(tmp_path, ["a.avi"], tmp_path / "stores", "test")
    content = bytearray(10**6)
    content[500_000] = 1
    (tmp_path / "a.avi").write_bytes(content)
    assert store_folder(tmp_path, ["a.avi"], tmp_path / "stores", "test") != before


def test_an_error_of_the_flow_leaves_the_frames_alone(tmp_path):
    """A video that is too small for flow: it counts as undecodable only where flow is asked for."""
    root = tmp_path / "root"
    root.mkdir()
    write_clip(root / "large.avi", 5)
    write_clip(root / "small.avi", 5, size=(48, 10))
    names, settings = ["large.avi", "small.avi"], {"workers": 1, "max_store": 1}
    both = build_store(root, names, tmp_path, "test", [RGB, FLOW], **settings)
    assert both.videos["large.avi"].frames == 5 and both.videos["small.avi"].frames == 0
    assert both.videos["small.avi"].error.startswith("small.avi: optical flow needs frames of at least 12x12 pixels")
    alone = build_store(root, names, tmp_path, "test", [RGB], **settings)
    assert alone.videos["small.avi"].frames == 5 == len(alone.rgb("small.avi"))


def test_damaged_videos_are_not_whole(clips, tmp_path, monkeypatch):
    real = building.probe
    monkeypatch.setattr(building, "probe", lambda path: replace(real(path), corrupt=4 if path.name == "05.avi" else 1))
    (tmp_path / RGB.name).mkdir()
    building.build_shard(Job(clips, tmp_path, 0, ("a/05.avi", "a/06.avi"), (RGB,)))
    store = open_store(tmp_path, 2, (RGB,))
    assert store.videos["a/05.avi"].damage("a/05.avi") == "a/05.avi: 4 of 6 frames are damaged"
    assert store.videos["a/06.avi"].corrupt == 1 and store.videos["a/06.avi"].damage("a/06.avi") is None


def test_the_versions_that_built_a_store_are_told(built):
    (said,) = built.versions
    assert f"PyAV {av.__version__}" in said and f"OpenCV {cv2.__version__}" in said and "torch" in said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more_is_named_and_nothing_is_left(clips, tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(writing.ShardWriter, "write", refuse)
        arguments = {"workers": 1, "max_store": 1.0, "launcher": in_this_process}
        message = rf"cannot write the frame store: {os.strerror(number)}; about 0.00 GB are needed, .* GB are free"
        with pytest.raises(DataError, match=message):
            building.build_tracks(clips, files(clips), tmp_path, "test", (RGB,), **arguments)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"]


def test_machines_without_a_shared_disk_are_named(clips, tmp_path, monkeypatch):
    (job, *_) = shard_jobs(clips, tmp_path / "elsewhere", files(clips), (RGB,), {})
    with pytest.raises(DataError, match=rf"elsewhere is not there on {socket.gethostname()}; data.stores must be on"):
        building.build_shard(job)

    def lost(function, jobs, workers):
        yield from ((job, 0) for job in jobs)

    arguments = {"workers": 1, "max_store": 1.0, "launcher": lost}
    with pytest.raises(DataError, match="shards are missing that were built; all machines"):
        building.build_tracks(clips, files(clips), tmp_path, "test", (RGB,), **arguments)
