"""`run.py --predict`: the answers to files, whatever they are."""

import json
import os
import re
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from experiments.run import main
from experiments.trained.predict import _text, predict
from tests.experiments.trained.small_runs import checkpoint_of, folder_of, videos_of
from tests.factories import write_clip


def test_the_answer_to_a_test_video_is_the_tests(runs, tmp_path, capfd):
    run = runs["two_stream"]
    files, scores = videos_of(run, folder_of(run))
    chosen = [0, 3]
    words = [str(checkpoint_of(run)), *(str(files[index]) for index in chosen), f"results={tmp_path}"]
    assert main(["--predict", *words, "--json"]) == 0
    said = capfd.readouterr()
    document = json.loads(said.out)
    assert document["run"] == run.id and document["errors"] == [] and said.err == ""
    for index, answer in zip(chosen, document["videos"], strict=True):
        own = scores[index]
        # A batch of another size may round the last bit otherwise: PyTorch promises no more.
        assert [clip["probability"] for clip in answer["clips"]] == pytest.approx(own.max(1).tolist(), rel=1e-6)
        assert [document["classes"].index(clip["class"]) for clip in answer["clips"]] == own.argmax(1).tolist()
        mean = own.astype(np.float64).mean(0)
        best = np.argsort(-mean, kind="stable")
        assert [document["classes"].index(said["class"]) for said in answer["top"]] == best.tolist()
        assert np.allclose([said["probability"] for said in answer["top"]], mean[best], atol=1e-6)
        assert answer["frames"] == 24 and 0 < answer["clips"][0]["seconds"] < 24 / answer["fps"]
        assert Path(answer["picture"]).is_file()
    assert not list((tmp_path / "predictions").glob(".*")), "the frames are gone"


def test_what_is_wrong_with_a_file_does_not_stop_the_others(runs, checkpoint, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = videos_of(runs["early_fusion"], checkpoint.parent)[0][0]
    Path("läuft 跳").mkdir()
    Path("other").mkdir()
    names = ["läuft 跳/grüße.mp4", "other/grüße.mp4"]
    for name in names:
        shutil.copy(source, name)
    Path("text.mp4").write_text("no video")
    files = ["gone.mp4", names[0], "text.mp4", "other", names[1]]
    assert predict(checkpoint, [*files, "results=out"]) == 1
    said = capfd.readouterr()
    errors = said.err.splitlines()
    assert [line.split(":")[1].strip() for line in errors] == ["gone.mp4", "text.mp4", "other"]
    assert "no such file" in errors[0] and "cannot be decoded" in errors[1] and "is a folder" in errors[2]
    assert all(f"{name}: " in said.out for name in names) and str(tmp_path) not in said.out
    pictures = sorted(os.listdir("out/predictions"))
    assert len(pictures) == 2 and all(re.fullmatch(r"grüße-\w{8}\.png", name) for name in pictures)
    assert predict(checkpoint, [names[1], "results=out"]) == 0
    assert sorted(os.listdir("out/predictions")) == pictures, "its own picture is replaced"
    with Image.open(f"out/predictions/{pictures[0]}") as picture:
        assert picture.width >= 600


def test_a_video_shorter_than_a_clip_with_a_name_as_long_as_can_be(checkpoint, tmp_path, capsys):
    video = tmp_path / f"{'ü' * 125}.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 36, "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((36, 48, 3), np.uint8))))
        container.mux(stream.encode())
    assert main(["--predict", str(checkpoint), str(video), f"results={tmp_path}/out"]) == 0
    said = capsys.readouterr().out
    assert "over time, 1 of 1 clips:\n     0.10 s" in said
    (name,) = os.listdir(tmp_path / "out" / "predictions")
    assert name.startswith(f"{'ü' * 100}-")


def test_a_video_whose_rate_varies_is_answered_by_its_frames_own_times(checkpoint, tmp_path, capfd):
    """24 frames at 5 per second, then 24 at 25: 8 per second on average."""
    times = [*range(0, 4800, 200), *range(4800, 5760, 40)]
    write_clip(tmp_path / "slow_then_fast.mp4", 48, "libx264", times=times)
    words = [str(checkpoint), str(tmp_path / "slow_then_fast.mp4"), "sampling.test_clips=3", f"results={tmp_path}"]
    assert main(["--predict", *words, "--json"]) == 0
    (answer,) = json.loads(capfd.readouterr().out)["videos"]
    assert [clip["seconds"] for clip in answer["clips"]] == [1.5, 4.7, 5.42], "of frames 7.5, 23.5 and 39.5"
    assert answer["seconds"] == pytest.approx(5.72) and "48 frames, 5.7 s" in _text(answer)


def test_names_of_files_are_taken_as_they_are(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["--predict", str(checkpoint)]) == 1
    assert "no video is given" in capsys.readouterr().err
    missing = ["./a=b #1.mp4", "/none/x=y.mp4", "~/c d.mp4"]
    assert predict(checkpoint, [*missing, f"results={tmp_path}/with #1 = sign"]) == 1
    shown = [*missing[:2], f"{tmp_path}/c d.mp4"]
    assert capsys.readouterr().err.splitlines() == [f"error: {name}: no such file" for name in shown]
    assert (tmp_path / "with #1 = sign" / "predictions").is_dir()
