"""What a build refuses, and what it says when something is wrong with the disk, the data or a worker."""

import errno
import os
import shutil
import socket
import sys

import cv2
import pytest

from datamodules import processes
from datamodules.errors import DataError
from datamodules.flow import FlowConfig
from datamodules.store import building, writing
from datamodules.store.building import build_store
from datamodules.store.jobs import shard_jobs
from datamodules.store.size import expected_bytes
from datamodules.store.tracks import Track
from tests.datamodules.store import builders
from tests.datamodules.store.builders import RGB, build_here, files


def test_too_large_a_store_is_refused(clips, tmp_path, monkeypatch):
    needed = (sum(range(1, 21)) - 8) * 20 * 24 * 5 / 1e9
    with pytest.raises(DataError, match=r"takes about .* GB, data.max_store is .*raise data.max_store, lower sampling"):
        build_here(clips, tmp_path, max_store=needed * 0.99)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - 10**9, 10**9))
    with pytest.raises(DataError, match=r"its disk has 0.00 GB to spare; lower sampling.resize, set data.enc"):
        build_here(clips, tmp_path)
    assert not any(tmp_path.iterdir())


def test_jpegs_of_a_short_video_are_estimated_from_the_frames_that_it_has(clips, tmp_path):
    track, path = Track(20, 24, encoding="jpeg"), "a/03.avi"  # four frames
    estimate, _ = expected_bytes(shard_jobs(clips, tmp_path, [path], (track,), {}), clips, [path], [track])
    store = build_store(clips, [path], tmp_path, "test", [track], workers=1, max_store=1)
    written = (store.folder / track.name / "00000.jpegs").stat().st_size
    assert estimate == pytest.approx(written) and written < 4 * 20 * 24 * 3


def test_a_missing_video_is_recorded_and_a_wrong_root_is_named(clips, tmp_path):
    os.mkfifo(tmp_path / "pipe.avi")  # it is not waited for
    shutil.copy(clips / "a/03.avi", tmp_path)
    settings = {"workers": 1, "max_store": 1}
    videos = build_store(tmp_path, ["03.avi", "none.avi", "pipe.avi"], tmp_path, "test", [RGB], **settings).videos
    assert videos["03.avi"].frames == 4
    for name in ("none.avi", "pipe.avi"):
        assert videos[name].error.startswith(f"{name}: there is no such file")
    with pytest.raises(DataError, match=r"holds none of the 2 videos listed, such as a.avi; set data.root"):
        build_store(tmp_path, ["a.avi", "b.avi"], tmp_path, "test", [RGB], **settings)


def test_a_worker_that_dies_does_not_hang_the_build(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "build_shard", builders.crash)
    shards = r"(a/00.avi to a/15.avi|a/16.avi to a/19.avi)"  # one worker each: either may die first
    message = rf"a worker process died .* within {shards}.*start again to continu"
    with pytest.raises(DataError, match=message):
        build_here(clips, tmp_path, launcher=processes.in_processes)


def test_without_ray_or_a_shared_disk_it_says_what_to_do(clips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match=r"--launcher ray needs Ray: pip install 'vidfusion\[ray\]'"):
        build_here(clips, tmp_path, launcher=processes.on_ray)
    (job, *_) = shard_jobs(clips, tmp_path / "elsewhere", files(clips), (RGB,), {})
    with pytest.raises(DataError, match=rf"elsewhere is not there on {socket.gethostname()}; data.stores must be on"):
        building.build_shard(job)
    with pytest.raises(DataError, match="shards are missing that were built; all machines"):
        build_here(clips, tmp_path, launcher=lambda function, jobs, workers: ((job, 0) for job in jobs))


def test_a_flow_method_that_is_missing_stops_before_the_first_video(clips, tmp_path, monkeypatch):
    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(DataError, match=r"data\.flow\.method=tvl1 needs cv2\.optflow.*opencv-contrib-python-"):
        build_here(clips, tmp_path, Track(20, 24, FlowConfig(method="tvl1")))
    assert not any(tmp_path.iterdir())


def test_a_disk_that_takes_no_more_is_named_and_nothing_is_left(clips, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing.ShardWriter, "write", refuse)
    message = r"cannot write the frame store: No space left on device; about 0.00 GB are needed, .* GB are free"
    with pytest.raises(DataError, match=message):
        build_here(clips, tmp_path, RGB)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"]
    (tmp_path / "file").write_text("a file")
    with pytest.raises(DataError, match=r"or point data.stores to a folder"):
        build_here(clips, tmp_path / "file")
