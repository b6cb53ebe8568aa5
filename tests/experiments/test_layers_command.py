"""`experiments/layers.py`: the table as text, JSON and Markdown, and the arithmetic of clips."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.layers import main

ROOT = Path(__file__).parents[2]
C3D = ["strategy=c3d", "model.size=published"]


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs the command in an empty folder, where no data are."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        assert main(list(words)) == 0, capsys.readouterr().err
        assert not list(tmp_path.iterdir())
        return capsys.readouterr().out

    return run


def grid_rows(text: str, first: str) -> list[list[str]]:
    """The cells of the Markdown table whose first column is `first`."""
    lines = iter(text.splitlines())
    head = next(line for line in lines if line.startswith(f"| {first} "))
    cells = []
    for line in lines:
        if not line.startswith("|"):
            break
        assert line.count("|") == head.count("|") and len(line) == len(head)
        cells.append([cell.strip() for cell in line.strip("|").split("|")])
    return cells[1:]  # after the rule


def test_text_is_the_lectures_table(run):
    text = run(*C3D, "num_classes=101")
    assert "c3d, model.size=published, 101 classes" in text and "16 RGB frames of 112x112 pixels" in text
    rows = [re.split(r"\s{2,}", line) for line in text.splitlines()]
    assert ["trunk.0", "conv", "3x3x3", "1x1x1", "64x16x112x112", "3x3x3", "0.12"] in [row[:7] for row in rows]
    assert ["512x1x4x4", "76x150x150", "16x112x112", "0.64"] in [row[4:8] for row in rows]
    assert ["c3d", "78,409,573", "38.55 G", "385.5 G"] in rows


def test_json_adds_up_streams(run):
    content = json.loads(run("strategy=two_stream", "num_classes=7", "sampling.flow_frames=3", "--json"))
    assert content["num_classes"] == 7 and content["layers"][-1]["output"] == [7, 1, 1, 1]
    spatial, temporal, both = networks = content["networks"]
    assert [network["name"] for network in networks] == ["two_stream_spatial", "two_stream_temporal", "two_stream"]
    assert both["parameters"] == sum(layer["parameters"] for layer in content["layers"])
    for key in ("parameters", "multiply_adds_per_clip", "multiply_adds_per_video"):
        assert both[key] == spatial[key] + temporal[key]


def test_markdown_says_what_json_says(run):
    words = ["--markdown", "strategy=slow_fusion", "model.size=published", "dataset=hmdb51"]
    cells, content = grid_rows(run(*words), "layer"), json.loads(run("--json", *words[1:]))
    assert content["num_classes"] == 51, "the data set's"
    for row, layer in zip(cells, content["layers"], strict=True):
        sizes = [layer[name] or [] for name in ("kernel", "stride", "output", "receptive_field")]
        assert row[:6] == [layer["name"], layer["kind"], *("x".join(map(str, size)) for size in sizes)]
        assert float(row[7]) == round(layer["seconds_clipped"], 2)
        assert [int(cell.replace(",", "") or 0) for cell in row[9:]] == [layer["parameters"], layer["multiply_adds"]]
    seen = [" ".join(row[8].split()) for row in cells]
    assert seen[0] == "####...... 4 of 10 <- time" and seen[2] == "######.... 6 of 10"
    assert seen[4] == "########## 10 of 10" and sum("<- time" in cell for cell in seen) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("strategy=single_frame", "single_frame never sees time"),
        ("strategy=c3d", r"c3d sees time from trunk\.0 on: 3 of 16 frames, 0\.12 s; the whole clip from trunk"),
        ("strategy=slow_fusion clip=lecture", r"4 of 16 frames, 0\.80 s; never the whole clip\.$"),
        # The first of 16 fields at 5 per second begins 3 s before the last, which lasts 2 frames of the video.
        ("strategy=two_stream clip=lecture", r"17 of 17 frames, 3\.08 s\.$"),
        # Eight frames, the first of each eighth of the video: 7/8 of 8 s, and the last one's 1/25 s.
        (
            "strategy=cnn_lstm video_frames=200",
            r"_rgb sees time from rgb\.lstm on: 8 of 8 frames, 7\.04 s\.$",
        ),
    ],
)
def test_where_time_comes_into_view(run, words, line):
    assert re.search(line, run(*words.split()), re.M)


def test_cost_of_a_video_under_the_test_protocol(run):
    words = ["sampling.test_clips=25", "sampling.test_views=10crop", "model.size=published", "data.mirror=true"]
    content = json.loads(run("strategy=two_stream", *words, "--json"))
    assert content["clips_per_video"] * content["views_per_clip"] == 250
    assert [round(network["multiply_adds_per_video"] / 1e9) for network in content["networks"]] == [416, 653, 1069]


def test_a_data_set_without_mirror_images_has_fewer_views(run):
    text = run("strategy=single_frame", "sampling.test_views=10crop")
    assert "10 clips (sampling.test_clips=10) of 5 views (sampling.test_views=10crop, no mirror images)" in text


def test_bytes_of_videos_and_clips(run):
    words = ["strategy=c3d", "model.size=published", "--clip"]
    cells = grid_rows(run(*words, "--markdown"), "what")
    assert [row[1:] for row in cells] == [
        ["921,600", "921.6 kB", "900.0 KiB"],
        ["27,648,000", "27.65 MB", "26.37 MiB"],
        ["1,658,880,000", "1.66 GB", "1.545 GiB"],
        ["6,220,800", "6.22 MB", "5.933 MiB"],
        ["186,624,000", "186.6 MB", "178.0 MiB"],
        ["11,197,440,000", "11.20 GB", "10.43 GiB"],
        ["602,112", "602.1 kB", "588.0 KiB"],
        ["602,112", "602.1 kB", "588.0 KiB"],  # the lecture's clip is C3D's
        ["2,408,448", "2.41 MB", "2.297 MiB"],
    ]
    sizes = [row["bytes"] for row in json.loads(run("strategy=two_stream", "sampling.crop=20", "--clip", "--json"))]
    assert sizes[-4:] == [3 * 400, 10 * 2 * 400, 23 * 400, 4 * 23 * 400]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("strategy=c3d num_clases=5", "num_clases: no such setting. Did you mean num_classes?"),
        ("strategy=c3d num_classes=0", "num_classes=0: expected a number above 0"),
        ("strategy=c3d sampling.frames=2", "c3d needs sampling.frames >= 8, got 2"),
    ],
)
def test_bad_words_get_one_line(capsys, words, message):
    assert main(words.split()) == 1
    output = capsys.readouterr()
    assert output.out == "" and message in output.err
    assert output.err.startswith("error: ") and output.err.count("\n") == 1


def test_help_is_light():
    code = "import sys, experiments.layers; print('torch' in sys.modules or 'omegaconf' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
