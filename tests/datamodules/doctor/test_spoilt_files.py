"""The data doctor on spoilt files: every bad file has a clear outcome, and none stops the check."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest

from datamodules.datasets.folder import Folder
from datamodules.decode.frames import iter_frames
from datamodules.doctor import check as check_module
from datamodules.doctor.check import check
from datamodules.doctor.examine import Finding, examine
from datamodules.doctor.report import report
from datamodules.files import file_digest
from datamodules.known_bad import check_file
from experiments.check import main
from tests.datamodules.doctor.clips import write_clip

FRAMES = 40
QUARTER_TURN = (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
CUTS = [5, 30, 50, 60, 70, 80, 90, 95, 98]
NAMES = [
    "sp ace 'quoted\" ha#sh",
    "new\nline re\rturn",
    "nön-ÄSCII-日本",
    "esc\x1b[2Jape",
    "-%03d br[ack]et",
]


def spoil(folder: Path) -> None:
    """Every kind of bad file, and of good ones that look bad."""
    folder.mkdir(parents=True)
    for suffix, codec in ((".avi", "mpeg4"), (".mp4", "libx264"), (".mkv", "libx264")):
        write_clip(folder / f"whole{suffix}", FRAMES, codec)
        content = (folder / f"whole{suffix}").read_bytes()
        for percent in CUTS:
            (folder / f"cut{percent:02d}{suffix}").write_bytes(content[: len(content) * percent // 100])
    flipped = bytearray((folder / "whole.avi").read_bytes())
    for place in np.random.default_rng(2).integers(len(flipped) // 4, len(flipped) * 3 // 4, 20):
        flipped[place] ^= 0xFF
    (folder / "flipped.avi").write_bytes(flipped)
    (folder / "zero.avi").write_bytes(b"")
    (folder / "text.avi").write_text("a line of text\n" * 100)
    write_clip(folder / "h264.mp4", 20, "libx264")
    (folder / "h264.mp4").rename(folder / "extension.avi")
    write_clip(folder / "single.avi", 1)
    for name, size in (("small.mpg", (64, 96)), ("large.mpg", (96, 128))):
        write_clip(folder / name, 20, "mpeg2video", size)
    (folder / "sizes.mpg").write_bytes((folder / "small.mpg").read_bytes() + (folder / "large.mpg").read_bytes())
    write_clip(folder / "slow.avi", 3, rate=1)
    write_clip(folder / "rotated.mp4", 10, "libx264", matrix=QUARTER_TURN)
    for seed, name in enumerate(NAMES):
        write_clip(folder / f"{name}.avi", seed=seed)
    write_clip(Path(os.fsdecode(bytes(folder) + b"/latin\xe9.avi")), seed=99)
    (folder / "loop.avi").symlink_to("loop.avi")
    (folder / "folder.avi").mkdir()
    (folder / "circle").symlink_to(folder)
    (folder / "dangling.avi").symlink_to("nowhere.avi")
    os.mkfifo(folder / "pipe.avi")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """(data, survey, findings by file name) of a folder with every bad file."""
    root = tmp_path_factory.mktemp("spoilt") / "videos"
    spoil(root / "train" / "a")
    (root / "test" / "a").mkdir(parents=True)
    write_clip(root / "test" / "a" / "healthy.avi", seed=1000)
    (root / "test" / "a" / "copy.mp4").write_bytes((root / "train" / "a" / "whole.mp4").read_bytes())
    data = Folder(root=str(root), stores=str(root.parent / "stores"))
    survey, findings = check(data, workers=2)
    return data, survey, {path.removeprefix("train/a/"): finding for path, finding in findings.items()}


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        *((f"whole{suffix}", "ok", "") for suffix in (".avi", ".mp4", ".mkv")),
        ("zero.avi", "undecodable", "cannot be decoded: (End of file|Invalid data)"),
        ("text.avi", "undecodable", "cannot be decoded: Invalid data"),
        ("extension.avi", "ok", ""),
        ("single.avi", "ok", "it has a single frame"),
        ("sizes.mpg", "undecodable", r"frame \d+ is 128x96, the first is 96x64"),
        ("slow.avi", "ok", ""),
        ("rotated.mp4", "ok", "its metadata ask for a rotation by 90 degrees, which is applied"),
        ("loop.avi", "undecodable", "[Ss]ymbolic links"),
        ("dangling.avi", "missing", "no such file"),
        ("pipe.avi", "undecodable", "it is not a regular file"),
        ("latin\udce9.avi", "undecodable", "its name is not UTF-8"),
        ("flipped.avi", "ok", r"\d+ of \d+ frames are damaged"),
        *((f"{name}.avi", "ok", "") for name in NAMES),
    ],
)
def test_every_bad_file_has_a_clear_outcome(spoilt, name, status, message):
    finding = spoilt[2][name]
    assert finding.status == status, finding
    if message:
        assert re.search(message, finding.message), finding
    else:
        assert not finding.message
    assert "\n" not in finding.message or "\n" in name
    if status == "ok":
        assert finding.seekable in ("yes", "no") and finding.frames and len(finding.sha256) == 64


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv"])
def test_a_cut_file_is_never_taken_for_a_whole_one_in_silence(spoilt, suffix):
    for percent in CUTS:
        finding = spoilt[2][f"cut{percent:02d}{suffix}"]
        if finding.status == "undecodable":
            continue
        if finding.frames == FRAMES:  # only its index was cut off, which comes after the pictures
            whole, cut = (Path(spoilt[0].root) / "train/a" / f"{name}{suffix}" for name in ("whole", f"cut{percent}"))
            assert all(map(np.array_equal, iter_frames(whole), iter_frames(cut))) and percent > 90
            continue
        assert finding.header_frames == FRAMES and 0 < finding.frames < FRAMES, (percent, finding)
        assert f"{finding.frames} frames decode of {FRAMES} that its header promises" in finding.message
        assert finding.status == ("truncated" if FRAMES - finding.frames > 0.05 * FRAMES else "ok")
    if suffix != ".mp4":  # whose index comes last: without it nothing decodes
        assert sum(spoilt[2][f"cut{percent:02d}{suffix}"].status == "truncated" for percent in CUTS) >= 3


def test_facts_of_a_file_are_those_it_was_made_with(spoilt):
    findings = spoilt[2]
    whole, slow, turned = (findings[name] for name in ("whole.mp4", "slow.avi", "rotated.mp4"))
    assert (whole.frames, whole.header_frames, whole.fps, whole.width, whole.height) == (FRAMES, FRAMES, 25.0, 96, 64)
    assert (whole.seconds, whole.audio, whole.seekable, whole.corrupt) == (1.6, "no", "yes", 0)
    assert (slow.fps, slow.seconds) == (1.0, 3.0) and (turned.width, turned.height) == (64, 96)
    assert whole.sha256 == file_digest(Path(spoilt[0].root) / "train/a/whole.mp4")


def test_the_table_has_a_row_per_video_and_says_what_was_found(spoilt):
    data, survey, findings = spoilt
    with check_file(data.folder(), Path(data.stores), data.identity()).open(
        encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        rows = {row["path"].removeprefix("train/a/"): row for row in csv.DictReader(file)}
    assert rows.keys() == findings.keys() and len(rows) == len(survey.entries)
    for name, finding in findings.items():
        assert Finding.from_texts(rows[name]) == finding
    assert (rows[f"{NAMES[1]}.avi"]["splits"], rows[f"{NAMES[1]}.avi"]["labels"]) == ("1:train", "a")
    assert rows["test/a/healthy.avi"]["splits"] == "1:test"
    assert not list(Path(data.stores).glob("*.tmp")) and not list(Path(data.stores).glob("*.jsonl"))


def test_what_is_unsound_is_counted(spoilt):
    data, survey, _ = spoilt
    _, findings = check(data, workers=2)  # by the table alone, but for what cannot be read
    lines, reasons = report(data, survey, findings)
    counts = {name: sum(f.status == name for f in findings.values()) for name in ("truncated", "undecodable")}
    assert set(reasons) == {
        "one class",
        f"{counts['truncated']} truncated",
        f"{counts['undecodable']} undecodable",
        "1 missing",
        "1 test video of split 1 with a copy in training",
    }
    text = "\n".join(lines)
    assert "1 test video with a copy in training: train/a/whole.mp4 = test/a/copy.mp4" in text
    assert f"{len(findings)} listed, {len(findings)} found, 0 not" in text
    assert "no manifest: every file is a group of its own" in text


def test_a_finished_check_decodes_nothing_again(spoilt, monkeypatch):
    data, _, findings = spoilt
    before = check_file(data.folder(), Path(data.stores), data.identity()).read_bytes()
    again = {}
    monkeypatch.setattr(check_module, "examine_all", lambda files, *_: again.update(files) or iter(()))
    with pytest.raises(KeyError):  # what is not decoded now is in no earlier check either
        check(data, workers=2)
    assert all(findings[path.removeprefix("train/a/")].sha256 == "" for path in again)  # the pipe, the loop, ...
    assert check_file(data.folder(), Path(data.stores), data.identity()).read_bytes() == before


def test_it_prints_safely(spoilt, capfd):
    data = spoilt[0]
    assert main(["dataset=folder", f"data.root={data.root}", "--summary", f"data.stores={data.stores}"]) == 1
    out = capfd.readouterr().out
    assert "\x1b" not in out and "\r" not in out and out.splitlines()[-1].startswith("not sound: ")
    assert "\nActions            1\n" in out and "96x64" in out


def test_a_file_that_changes_while_it_is_read(tmp_path):
    path = tmp_path / "a.avi"
    write_clip(path, 30)

    def spoil_once():
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(b"\0" * 100)

    assert list(examine(path, spoil_once))[-1].status == "changed"
    assert list(examine(path))[-1].status != "changed"
