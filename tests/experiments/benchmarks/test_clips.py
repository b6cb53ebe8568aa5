"""The benchmark of clips: what it counts and how it answers. How long things take is measured, never tested."""

import importlib
import json
import mmap
import os

import cv2
import numpy as np
import pytest
import torch

from datamodules.decode.frames import iter_frames
from experiments.benchmark import main
from experiments.benchmarks import clips as benchmark
from experiments.benchmarks.clips import frames_plan
from experiments.benchmarks.readers import EXACT, readers


@pytest.fixture(autouse=True)
def threads_as_they_were():
    torch_threads, threads = torch.get_num_threads(), cv2.getNumThreads()
    yield
    cv2.setNumThreads(threads)
    torch.set_num_threads(torch_threads)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    benchmark.make_videos(root, 4, 24)
    return root


@pytest.mark.slow
def test_frames_writes_what_it_prints(videos, monkeypatch, tmp_path, capsys):
    for name, value in {"SLOT": 0.0, "SETTLING": 0.1, "COPIED": 2**16, "BATCHES": 2}.items():
        monkeypatch.setattr(benchmark, name, value)
    words = [f"data.root={videos}", "batch=4", "repeats=2", "clips=80", "sampling.crop=32", "sampling.resize=[36,48]"]
    assert main(["frames", f"results={tmp_path}", *words]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    page = (tmp_path / "benchmark" / "frames.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("|")] == shown
    report = json.loads((tmp_path / "benchmark" / "frames.json").read_text())
    rows = {row["source"]: row for row in report["sources"]}
    assert list(rows)[:4] == ["raw store", "JPEG store", EXACT, "PyAV, sequential"]
    assert rows["raw store"]["same"] == rows["PyAV, sequential"]["same"] == 1 and rows["raw store"]["differ"] == 0
    assert rows["JPEG store"]["same"] < 1 and 0 < rows["JPEG store"]["differ"] < 8
    ratios = [a / b for a, b in zip(rows["raw store"]["repeats"], rows[EXACT]["repeats"], strict=True)]
    assert len(ratios) == 2 and rows["raw store"]["of_exact"] == pytest.approx(sum(ratios) / 2)
    assert [row["workers"] for row in report["loader"]] == [0, 1, 2]
    assert [row["clips"] for row in report["memory"]] == [8, 80]
    assert all(row["resident"] > row["own"] > 0 for row in report["memory"])


def test_files_give_the_clips_of_the_raw_store(videos, tmp_path):
    length = 40  # longer than the videos
    words = [f"data.root={videos}", f"data.stores={videos.parent / 'stores'}", f"sampling.frames={length}"]
    data = benchmark.open_data(frames_plan(words, tmp_path)[0], 3)
    keys = [(epoch, video, 0) for epoch in range(2) for video in range(3)]
    expected = data.train_clips.__getitems__(keys)
    assert expected["rgb"].shape == (6, length, 112, 112, 3)
    for name in (EXACT, "PyAV, sequential"):
        batch = benchmark.from_files(data, readers()[0][name]).__getitems__(keys)
        assert all(torch.equal(batch[key], expected[key]) for key in expected), name


def test_each_reader_gives_the_frames_that_it_is_asked_for(videos):
    path = next(videos.glob("train/*/*.mp4"))
    frames = list(iter_frames(path))
    for name, read in readers()[0].items():
        found = list(read(path, [3, 4, 17]))
        assert len(found) == 3
        for frame, index in zip(found, (3, 4, 17), strict=True):
            assert abs(frame.astype(int) - frames[index]).max() <= 3, name  # decoders round differently


@pytest.mark.parametrize(
    ("error", "why"), [(ImportError, "not installed"), (RuntimeError, "installed, but it finds no FFmpeg libraries")]
)
def test_a_reader_that_does_not_load_is_left_out_with_its_reason(monkeypatch, error, why):
    def load(package):
        raise error("no")

    monkeypatch.setattr(importlib, "import_module", load)
    found, absent = readers()
    assert list(found) == [EXACT, "PyAV, sequential"]
    assert absent == {"decord, random access": why, "TorchCodec, random access": why}


def test_memory_counts_what_a_process_takes():
    before = benchmark.memory_of(os.getpid())
    # Pages of its own: an array may lie where an earlier one was, which the process still holds.
    taken = mmap.mmap(-1, 2**26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    np.frombuffer(taken, np.uint8)[:] = 1
    after = benchmark.memory_of(os.getpid())
    assert len(taken) and 60 < after["own"] - before["own"] < 70 and 60 < after["resident"] - before["resident"] < 70


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["parts=sources,lader"], "parts=lader: no such part. Did you mean loader"),
        (["data.encoding=jpeg"], "data.encoding: several are measured; leave it out"),
        (["dataset=folder"], "data.root is missing"),
    ],
)
def test_mistakes_of_frames_are_answered_in_one_line(words, answer, capsys):
    assert main(["frames", *words]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(f"error: {answer}") and shown.err.count("\n") == 1
