"""The data doctor on healthy and on spoilt data: every bad file has a clear outcome, and none stops the check."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from datamodules.clips import ClipSpec
from datamodules.datasets.folder import Folder
from datamodules.datasets.hmdb51 import HMDB51
from datamodules.datasets.ucf101 import UCF101
from datamodules.decode.frames import iter_frames
from datamodules.doctor import check as check_module
from datamodules.doctor.check import check
from datamodules.doctor.children import examine_all
from datamodules.doctor.examine import Finding, examine
from datamodules.doctor.report import report
from datamodules.doctor.summary import summary
from datamodules.doctor.survey import survey_lists
from datamodules.errors import DataError, DecodeError
from datamodules.files import content_hash
from datamodules.known_bad import check_file, known_bad
from datamodules.videos import Listing, Video
from experiments.check import main

ROOT = Path(__file__).parents[3]
FRAMES = 75
CUTS = list(range(5, 100, 5))
NAMES = [
    "sp ace",
    "quo'te\"d",
    "ha#sh",
    "br[ack]et",
    "new\nline",
    "re\rturn",
    "nön-ÄSCII-日本",
    "esc\x1b[2Jape",
    "%03d",
    "-dash",
]


def write_clip(
    path: Path,
    frames: int = 5,
    codec: str = "mpeg4",
    size: tuple[int, int] = (64, 96),
    rate: int = 25,
    rotation: int = 0,
    seed: int = 0,
) -> None:
    """A picture that scrolls by one pixel a frame."""
    height, width = size
    picture = np.random.default_rng(seed).integers(0, 256, (height // 8 + frames, width // 8, 3), dtype=np.uint8)
    picture = picture.repeat(8, axis=0).repeat(8, axis=1)
    # Some names mean something to FFmpeg's writers.
    plain = path.with_name(f"plain{path.suffix}")
    with av.open(str(plain), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        if codec == "libx264":
            stream.options = {"preset": "ultrafast"}
        if rotation:
            stream.set_display_rotation(rotation)
        for start in range(frames):
            image = np.ascontiguousarray(picture[start : start + height])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    plain.rename(path)


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())


def spoil(folder: Path) -> None:
    """Every kind of bad file, and of good ones that look bad."""
    folder.mkdir(parents=True)
    for suffix, codec in ((".avi", "mpeg4"), (".mp4", "libx264"), (".mkv", "libx264")):
        write_clip(folder / f"whole{suffix}", FRAMES, codec, (128, 192))
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
    write_sound(folder / "sound.mp4")
    write_clip(folder / "single.avi", 1)
    for name, size in (("small.mpg", (64, 96)), ("large.mpg", (96, 128))):
        write_clip(folder / name, 20, "mpeg2video", size)
    (folder / "sizes.mpg").write_bytes((folder / "small.mpg").read_bytes() + (folder / "large.mpg").read_bytes())
    write_clip(folder / "4k.mp4", 2, "libx264", (2160, 3840))
    write_clip(folder / "slow.avi", 3, rate=1)
    if hasattr(av.VideoStream, "set_display_rotation"):
        write_clip(folder / "rotated.mp4", 10, "libx264", rotation=90)
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
    """(data, survey, findings by file name) of a folder with every bad file; checked in under a minute."""
    root = tmp_path_factory.mktemp("spoilt") / "videos"
    spoil(root / "train" / "a")
    (root / "test" / "a").mkdir(parents=True)
    write_clip(root / "test" / "a" / "healthy.avi", seed=1000)
    (root / "test" / "a" / "copy.mp4").write_bytes((root / "train" / "a" / "whole.mp4").read_bytes())
    data = Folder(root=str(root), stores=str(root.parent / "stores"))
    started = time.monotonic()
    survey, findings = check(data, workers=2)
    assert time.monotonic() - started < 60  # nothing hung
    return data, survey, {path.removeprefix("train/a/"): finding for path, finding in findings.items()}


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("whole.avi", "ok", ""),
        ("whole.mp4", "ok", ""),
        ("whole.mkv", "ok", ""),
        ("zero.avi", "undecodable", "cannot be decoded: (End of file|Invalid data)"),
        ("text.avi", "undecodable", "cannot be decoded: Invalid data"),
        ("extension.avi", "ok", ""),
        ("sound.mp4", "undecodable", "it has no video stream"),
        ("single.avi", "ok", "it has a single frame"),
        ("sizes.mpg", "undecodable", r"frame \d+ is 128x96, the first is 96x64"),
        ("4k.mp4", "ok", ""),
        ("slow.avi", "ok", ""),
        ("small.mpg", "ok", ""),
        ("loop.avi", "undecodable", "[Ss]ymbolic links"),
        ("dangling.avi", "missing", "no such file"),
        ("folder.avi", "undecodable", "it is not a regular file"),
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
        assert sum(spoilt[2][f"cut{percent:02d}{suffix}"].status == "truncated" for percent in CUTS) > 12


def test_facts_of_a_file_are_those_it_was_made_with(spoilt):
    findings = spoilt[2]
    whole, large, slow = findings["whole.mp4"], findings["4k.mp4"], findings["slow.avi"]
    assert (whole.frames, whole.header_frames, whole.fps, whole.width, whole.height) == (75, 75, 25.0, 192, 128)
    assert (whole.seconds, whole.audio, whole.seekable, whole.corrupt) == (3.0, "no", "yes", 0)
    assert (large.width, large.height, large.frames) == (3840, 2160, 2)
    assert (slow.fps, slow.seconds) == (1.0, 3.0)
    assert findings["whole.avi"].sha256 == content_hash(Path(spoilt[0].root) / "train/a/whole.avi")
    if "rotated.mp4" in findings:
        turned = findings["rotated.mp4"]
        assert (turned.status, turned.width, turned.height) == ("ok", 64, 96)
        assert turned.message == "its metadata ask for a rotation by 90 degrees, which is applied"


def test_the_table_has_a_row_per_video_and_says_what_was_found(spoilt):
    data, survey, findings = spoilt
    with check_file(data.folder(), Path(data.stores)).open(
        encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        rows = {row["path"].removeprefix("train/a/"): row for row in csv.DictReader(file)}
    assert rows.keys() == findings.keys() and len(rows) == len(survey.entries)
    for name, finding in findings.items():
        assert Finding.from_texts(rows[name]) == finding
    assert (rows["new\nline.avi"]["splits"], rows["new\nline.avi"]["labels"]) == ("1:train", "a")
    assert rows["test/a/healthy.avi"]["splits"] == "1:test"
    assert not list(Path(data.stores).glob("*.tmp")) and not list(Path(data.stores).glob("*.jsonl"))


def test_what_is_unsound_is_counted(spoilt):
    data, survey, _ = spoilt
    _, findings = check(data, workers=2)  # by the table alone, but for what cannot be read
    lines, reasons = report(data, survey, findings)
    counts = {name: sum(f.status == name for f in findings.values()) for name in ("truncated", "undecodable")}
    assert set(reasons) == {
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
    before = check_file(data.folder(), Path(data.stores)).read_bytes()
    again = {}
    monkeypatch.setattr(check_module, "examine_all", lambda files, *_: again.update(files) or iter(()))
    with pytest.raises(KeyError):  # what is not decoded now is in no earlier check either
        check(data, workers=2)
    assert all(findings[path.removeprefix("train/a/")].sha256 == "" for path in again)  # the pipe, the loop, ...
    assert check_file(data.folder(), Path(data.stores)).read_bytes() == before


def test_it_prints_safely(spoilt, capfd):
    data = spoilt[0]
    assert main(["dataset=folder", f"data.root={data.root}", "--summary", f"data.stores={data.stores}"]) == 1
    out = capfd.readouterr().out
    assert "\x1b" not in out and "\r" not in out and out.splitlines()[-1].startswith("not sound: ")
    assert "\nActions            1\n" in out and "3840x2160" in out


# Lists.


def small(root: Path, manifest: str) -> Folder:
    (root / "videos").mkdir()
    for name in "abcd":
        write_clip(root / "videos" / f"{name}.avi", seed=ord(name))
    (root / "videos" / "manifest.csv").write_text("path,label,group,split\n" + manifest)
    return Folder(root=str(root / "videos"), stores=str(root / "stores"))


SOUND = "a.avi,x,1,train\nb.avi,y,2,train\nc.avi,x,3,test\nd.avi,y,4,test\n"


def test_sound(tmp_path, capfd):
    small(tmp_path, SOUND)
    arguments = ["dataset=folder", f"data.root={tmp_path}/videos", f"data.stores={tmp_path}/stores", "--workers=1"]
    assert main(arguments) == 0
    captured = capfd.readouterr()
    assert captured.out.splitlines()[-1] == "sound: 4 of 4 videos are whole"
    last = captured.err.splitlines()[-1]  # piped: a line
    assert last.startswith("check: 100%") and "4/4" in last and last.endswith("0 not sound]")
    assert "\r" not in captured.err and "\x1b" not in captured.err


@pytest.mark.parametrize(
    ("manifest", "reason", "line"),
    [
        (
            SOUND + "a.avi,x,1,train\n",
            "1 problem of the lists",
            "the train list has 1 video more than once, first a.avi",
        ),
        (SOUND + "./a.avi,x,1,train\n", "1 problem of the lists", "the train list has 1 video more than once, first a"),
        (SOUND + "a.avi,x,1,test\n", "1 problem of the lists", "split 1: both lists have 1 video, first a.avi"),
        (SOUND + "../e.avi,x,1,train\n", "1 outside", "../e.avi: it leaves data.root"),
        (SOUND + "e.avi,x,1,train\n", "1 missing", "e.avi: no such file"),
        (
            SOUND.replace("c.avi,x,3", "c.avi,x,1"),
            "1 test group of split 1 in training too",
            "1 of 2 test groups recur",
        ),
        (SOUND.replace("test", "train"), "1 problem of the lists", "split 1: the test list has no video"),
        (SOUND.replace("d.avi,y,4,test\n", ""), None, "1 on disk that no list has: d.avi"),
        (SOUND, None, "2 classes with fewer than 10 training videos: x, y"),
    ],
)
def test_lists_against_the_disk(tmp_path, monkeypatch, manifest, reason, line):
    data = small(tmp_path, manifest)
    monkeypatch.setattr(
        check_module, "examine_all", lambda files, *_: ((path, Finding("ok", sha256=path)) for path in files)
    )
    survey, findings = check(data, 1)
    lines, reasons = report(data, survey, findings)
    assert reason in reasons if reason else not reasons
    assert any(line in text for text in lines), lines


def test_labels_out_of_range(tmp_path, monkeypatch):
    data = small(tmp_path, SOUND)
    videos = [Video("a.avi", (0,), "1"), Video("b.avi", (2,), "2")]
    monkeypatch.setattr(Folder, "listing", lambda self: Listing(["x", "y"], {1: (videos, [Video("c.avi", (), "3")])}))
    survey = survey_lists(data)
    assert survey.problems == [
        "split 1: the train list has 1 video without a label of 0 to 1, first b.avi",
        "split 1: the test list has 1 video without a label of 0 to 1, first c.avi",
    ]
    assert survey.labels(survey.entries["b.avi"]) == ["2"]


def test_lists_that_cannot_be_read_are_not_sound(tmp_path, capsys):
    (tmp_path / "classInd.txt").write_text("1 Archery\n")
    (tmp_path / "trainlist01.txt").write_text("Archery/v_Archery_g01_c01.avi 102\n")
    assert main(["dataset=ucf101", f"data.root={tmp_path}", f"data.stores={tmp_path}"]) == 1
    assert capsys.readouterr().out == (
        f"not sound: {tmp_path}/trainlist01.txt:1: class id 102, but classInd.txt gives Archery id 1\n"
    )
    assert main(["dataset=folder", f'data.root="{tmp_path}/\\enone"']) == 1  # YAML's escape
    out = capsys.readouterr().out
    assert out.startswith(f"not sound: data.root={tmp_path}/\\x1bnone: no such folder; expected\n<data.root>/")


@pytest.mark.parametrize(
    "words", [["dataset=hmdb"], ["data.rot=1"], ["data.root=[x"], ["--workers=0"], ["--patience=0"], ["nonsense"]]
)
def test_wrong_usage(words, capsys):
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and "error: " in capsys.readouterr().err


def test_every_split_is_checked(tmp_path, monkeypatch):
    """UCF101's splits share their files; HMDB51's leave some unused, and share sources across classes."""
    for name in ("Archery/v_Archery_g01_c01.avi", "Archery/v_Archery_g02_c01.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "classInd.txt").write_text("1 Archery\n")
    for number, (train, test) in enumerate([("g01", "g02"), ("g02", "g01")], start=1):
        (tmp_path / f"trainlist0{number}.txt").write_text(f"Archery/v_Archery_{train}_c01.avi 1\n")
        (tmp_path / f"testlist0{number}.txt").write_text(f"Archery/v_Archery_{test}_c01.avi\n")
    survey = survey_lists(UCF101(root=str(tmp_path)))
    assert [entry.sides for entry in survey.entries.values()] == [{1: "train", 2: "test"}, {1: "test", 2: "train"}]

    root = tmp_path / "hmdb"
    names = ["film_run_f_nm_np1_ba_goo_0.avi", "other_run_f_nm_np1_ba_goo_0.avi", "third_run_f_nm_np1_ba_goo_0.avi"]
    walk = "film_walk_f_nm_np1_ba_goo_0.avi"
    for folder, files in (("run", names), ("walk", [walk])):
        (root / folder).mkdir(parents=True)
        for name in files:
            (root / folder / name).touch()
    (root / "run_test_split1.txt").write_text(f"{names[0]} 1\n{names[1]} 2\n{names[2]} 0\n")
    (root / "walk_test_split1.txt").write_text(f"{walk} 2\n")
    data = HMDB51(root=str(root), stores=str(tmp_path / "stores"))
    monkeypatch.setattr(
        check_module, "examine_all", lambda files, *_: ((path, Finding("undecodable")) for path in files)
    )
    sound = {f"run/{name}": root / "run" / name for name in names[:2]} | {f"walk/{walk}": root / "walk" / walk}
    sound = {path: Finding("ok", sha256="0", modified=file.stat().st_mtime_ns) for path, file in sound.items()}
    monkeypatch.setattr(check_module, "_read_table", lambda _: sound)
    survey, findings = check(data, 1)
    lines, reasons = report(data, survey, findings)
    assert survey.entries["run/" + names[2]].sides == {}
    assert any("1 of 2 test sources (name prefixes) recur in training; 0 of 2 do so within" in line for line in lines)
    assert reasons == []  # a source that recurs in another class is reported; so is a bad file that no split uses


def test_summary_beside_the_published_numbers(tmp_path):
    data = small(tmp_path, SOUND)
    survey = survey_lists(data)
    findings = {
        path: Finding("ok", frames=50, fps=25.0, width=320, height=240, seconds=2.0 + number, audio=audio)
        for number, (path, audio) in enumerate(zip(survey.entries, ["yes", "no", "yes", "no"], strict=True))
    }
    findings["d.avi"] = replace(findings["d.avi"], fps=30.0)
    lines = summary("ucf101", survey, findings)
    cells = {line[:19].strip(): line[19:].split("  ")[0] for line in lines}
    assert "published (Soomro et al. 2012)" in lines[0] and "ours" in lines[0]
    assert cells["Actions"] == "2" and cells["Clips"] == "4" and cells["Clips per action"] == "2"
    assert cells["Groups per action"] == "2" and cells["Clips per group"] == "1"
    assert cells["Mean clip length"] == "3.50 s" and cells["Max clip length"] == "5.00 s"
    assert cells["Total duration"] == "0.23 min" and cells["Audio"] == "yes (1 action)"
    assert cells["Frame rate"] == "25 fps (75.0%), 30 fps (25.0%)" and cells["Resolution"] == "320x240"
    assert any(line.split() == ["Clips", "4", "13,320"] for line in lines)
    assert not any("published" in line for line in summary("folder", survey, findings))


# Files that break their decoder.


def breaking(file: Path, alive):
    """What `examine` yields, but for files that crash, hang, and so on, as their names say."""
    known = Finding(size=7, modified=8, sha256="9")
    yield known
    if "seek" in file.name:
        yield replace(known, status="ok", frames=3, seekable="no")
    if "crash" in file.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in file.name:
        threading.Event().wait()
    if "error" in file.name:
        raise ValueError("an odd picture format")
    if "long" in file.name:
        for _ in range(20):
            time.sleep(0.1)
            alive()
    yield replace(known, status="ok", frames=3, seekable="yes")


def test_a_crash_or_a_hang_costs_one_file():
    names = ["a", "crash", "b", "hang", "c", "error", "long", "seek-hang", "seek-crash", "d"]
    findings = dict(examine_all({name: Path(name) for name in names}, 2, 1.0, breaking))
    assert findings.keys() == set(names)
    outcomes = {name: (f.status, f.seekable, f.message) for name, f in findings.items()}
    assert {outcomes.pop(name) for name in ("a", "b", "c", "d", "long")} == {("ok", "yes", "")}
    assert outcomes == {
        "crash": ("crash", "", "the decoder crashed (SIGSEGV)"),
        "hang": ("hang", "", "the decoder gave no frame for 1 s"),
        "error": ("crash", "", "ValueError: an odd picture format"),
        "seek-hang": ("ok", "no", "at random access the decoder gave no frame for 1 s"),
        "seek-crash": ("ok", "no", "at random access the decoder crashed (SIGSEGV)"),
    }
    assert findings["hang"].sha256 == "9"


def test_a_file_that_changes_while_it_is_read(tmp_path):
    path = tmp_path / "a.avi"
    write_clip(path, 30)

    def spoil_once():
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(b"\0" * 100)

    assert list(examine(path, spoil_once))[-1].status == "changed"
    assert list(examine(path))[-1].status != "changed"


def stopped_check(data: Folder, lines: int) -> None:
    """Start a check in a process of its own and kill it when it has so many findings."""
    code = (
        "import sys; from datamodules.doctor.check import check; from datamodules.datasets.folder import Folder\n"
        "if __name__ == '__main__': check(Folder(root=sys.argv[1], stores=sys.argv[2]), 1)"
    )
    script = Path(data.stores).parent / "check_it.py"
    script.write_text(code)
    command = [sys.executable, str(script), data.root, data.stores]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    journal = check_file(data.folder(), Path(data.stores)).with_suffix(".partial.jsonl")
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_text().count("path") < lines:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()


def test_a_killed_check_goes_on_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "videos" / "train" / "x").mkdir(parents=True)
    (tmp_path / "videos" / "test" / "x").mkdir(parents=True)
    for number in range(24):
        side = "test" if number % 4 == 0 else "train"
        write_clip(tmp_path / "videos" / side / "x" / f"{number:02d}.mp4", 60, "libx264", (120, 160), seed=number)
    data = Folder(root=str(tmp_path / "videos"), stores=str(tmp_path / "stores"))
    journal = check_file(data.folder(), Path(data.stores)).with_suffix(".partial.jsonl")
    stopped_check(data, 3)
    assert not check_file(data.folder(), Path(data.stores)).exists()
    lines = journal.read_text()
    with journal.open("a") as file:
        file.write('{"path": "train/x/01.mp4", "status": "unde')  # killed in the middle of a line
    done = {json.loads(line)["path"] for line in lines.splitlines() if line}
    assert 3 <= len(done) < 24

    real, asked = check_module.examine_all, []
    monkeypatch.setattr(
        check_module, "examine_all", lambda files, *rest: asked.append(set(files)) or real(files, *rest)
    )
    _, findings = check(data, 1)
    assert asked == [findings.keys() - done] and len(findings) == 24
    resumed = check_file(data.folder(), Path(data.stores)).read_bytes()
    assert not journal.exists()
    check_file(data.folder(), Path(data.stores)).unlink()
    check(data, 2)
    assert check_file(data.folder(), Path(data.stores)).read_bytes() == resumed
    assert asked[1] == findings.keys()

    # A file that changed, or only its time did, or that is new; a row that was deleted.
    write_clip(tmp_path / "videos" / "train" / "x" / "new.mp4")
    write_clip(tmp_path / "videos" / "train" / "x" / "01.mp4", 7, "libx264")
    os.utime(tmp_path / "videos" / "train" / "x" / "02.mp4", (1, 1))
    table = check_file(data.folder(), Path(data.stores)).read_text().splitlines()
    check_file(data.folder(), Path(data.stores)).write_text(
        "\n".join(line for line in table if not line.startswith("train/x/03.mp4"))
    )
    _, findings = check(data, 1)
    assert asked[2] == {"train/x/new.mp4", "train/x/01.mp4", "train/x/03.mp4"}
    assert findings["train/x/01.mp4"].frames == 7


# What the data modules make of it.


def condemn(data: Folder, *paths: str, status: str = "hang") -> None:
    """A table that says that these files hung the decoder."""
    check_file(data.folder(), Path(data.stores)).parent.mkdir(exist_ok=True)
    with check_file(data.folder(), Path(data.stores)).open("w", newline="") as file:
        writer = csv.DictWriter(file, check_module.COLUMNS)
        writer.writeheader()
        for path in paths:
            found = (data.folder() / path).stat()
            row = {"path": path, "status": status, "message": "it hung", "sha256": content_hash(data.folder() / path)}
            writer.writerow(row | {"size": found.st_size, "modified": found.st_mtime_ns})


def test_a_condemned_file_is_never_opened(tmp_path):
    data = small(tmp_path, SOUND + "e.avi,x,5,train\n")
    write_clip(Path(data.root) / "e.avi", seed=9)
    whole = {"a.avi", "d.avi", "e.avi"}
    condemn(data, "b.avi", "c.avi")
    from datamodules.datamodule import VideoDataModule  # here: the processes that this file starts need no torch

    spec = ClipSpec(frames=2, resize=[16, 16], crop=16, test_clips=2)
    module = VideoDataModule(data, spec, batch_size=1, test_batch_size=4, workers=0, seed=0)
    module.prepare_data()
    with pytest.raises(DataError, match=r"1 of 3 training videos cannot be decoded whole, first b\.avi: it hung; "):
        module.setup()
    data.undecodable = "skip"
    module.setup()
    assert [video.path for video in module.train_clips.videos] == ["a.avi", "e.avi"]
    assert {path for path, video in module.store.videos.items() if not video.error} == whole
    for path in ("b.avi", "c.avi"):
        with pytest.raises(DecodeError, match=f"{path}: it hung"):
            module.store.rgb(path)
    valid = {module.test_views[key]["video"]: module.test_views[key]["valid"] for key in range(len(module.test_views))}
    assert valid == {0: False, 1: True}  # c.avi counts, as wrong


def test_only_what_breaks_decoders_is_kept_from_the_store_and_only_while_it_is_the_same(tmp_path):
    data = small(tmp_path, SOUND)
    assert known_bad(data.folder(), Path(data.stores)) == {}
    condemn(data, "a.avi", status="crash")
    assert known_bad(data.folder(), Path(data.stores)) == {"a.avi": "it hung"}
    os.utime(Path(data.root) / "a.avi", (1, 1))
    assert known_bad(data.folder(), Path(data.stores)) == {"a.avi": "it hung"}  # the same content
    write_clip(Path(data.root) / "a.avi", 6)
    assert known_bad(data.folder(), Path(data.stores)) == {}
    condemn(data, "b.avi")
    (Path(data.root) / "b.avi").unlink()
    assert known_bad(data.folder(), Path(data.stores)) == {}
    condemn(data, "c.avi", status="undecodable")
    assert known_bad(data.folder(), Path(data.stores)) == {}  # the store finds out by itself
    check_file(data.folder(), Path(data.stores)).write_text("path,status\na.avi,hang\n")
    with pytest.raises(DataError, match=r"videos-check\.csv: not a table of experiments/check\.py; delete it"):
        known_bad(data.folder(), Path(data.stores))
