"""The check of a data set: the command, a stopped check that goes on, and what the data module makes of it."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datamodules.clips import ClipSpec
from datamodules.datasets.folder import Folder
from datamodules.doctor import check as check_module
from datamodules.doctor.check import check
from datamodules.errors import DataError, DecodeError
from datamodules.files import file_digest
from datamodules.known_bad import check_file, known_bad
from experiments.check import main
from tests.datamodules.doctor.clips import SOUND, four_videos, write_clip

ROOT = Path(__file__).parents[3]


def test_sound(tmp_path, capfd):
    four_videos(tmp_path)
    arguments = ["dataset=folder", f"data.root={tmp_path}/videos", f"data.stores={tmp_path}/stores", "--workers=1"]
    assert main(arguments) == 0
    captured = capfd.readouterr()
    assert captured.out.splitlines()[-1] == "sound: 4 of 4 videos are whole"
    last = captured.err.splitlines()[-1]  # piped: a line
    assert last.startswith("check: 100%") and "4/4" in last and last.endswith("0 not sound]")
    assert "\r" not in captured.err and "\x1b" not in captured.err


def test_one_class_is_not_sound_and_a_movie_after_the_first_is_named(tmp_path, capsys):
    for name in ("train/walk/a.mp4", "test/walk/b.mp4"):
        write_clip(tmp_path / "one" / name)
    both = tmp_path / "one/test/walk/b.mp4"
    both.write_bytes(2 * both.read_bytes())
    arguments = ["dataset=folder", f"data.root={tmp_path}/one", f"data.stores={tmp_path}/stores", "--workers=1"]
    assert main(arguments) == 1
    said = capsys.readouterr().out
    assert "it holds 2 MP4 movies one after the other, of which the first alone is read" in said
    assert "one class" in said.splitlines()[-1]


def test_lists_that_cannot_be_read_are_not_sound(tmp_path, capsys):
    (tmp_path / "classInd.txt").write_text("1 Archery\n")
    (tmp_path / "trainlist01.txt").write_text("Archery/v_Archery_g01_c01.avi 102\n")
    assert main(["dataset=ucf101", f"data.root={tmp_path}", f"data.stores={tmp_path}"]) == 1
    assert capsys.readouterr().out == (
        f"not sound: {tmp_path}/trainlist01.txt:1: class id 102, but classInd.txt gives Archery id 1\n"
    )
    assert main(["dataset=folder", f"data.root={tmp_path}/\x1bnone"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"not sound: data.root={tmp_path}/\\x1bnone: no such folder; expected\n<data.root>/")


@pytest.mark.parametrize("words", [["dataset=hmdb"], ["data.rot=1"], ["--workers=0"], ["--patience=0"], ["nonsense"]])
def test_wrong_usage(words, capsys):
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and "error: " in capsys.readouterr().err


def table(data: Folder) -> Path:
    return check_file(data.folder(), Path(data.stores), data.identity())


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path, capsys):
    """As on a read-only disk, which a test may not mount everywhere."""
    four_videos(tmp_path)
    (tmp_path / "stores").touch()
    assert main(["dataset=folder", f"data.root={tmp_path}/videos", f"data.stores={tmp_path}/stores"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path}/stores: cannot write the table of the check: ")
    assert "point data.stores to a folder that you may write to" in line


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
    journal = table(data).with_suffix(".partial.jsonl")
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_text().count("path") < lines:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_killed_check_goes_on_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "videos" / "train" / "x").mkdir(parents=True)
    (tmp_path / "videos" / "test" / "x").mkdir(parents=True)
    for number in range(12):
        side = "test" if number % 4 == 0 else "train"
        write_clip(tmp_path / "videos" / side / "x" / f"{number:02d}.mp4", 60, "libx264", (96, 128), seed=number)
    data = Folder(root=str(tmp_path / "videos"), stores=str(tmp_path / "stores"))
    journal = table(data).with_suffix(".partial.jsonl")
    stopped_check(data, 3)
    assert not table(data).exists()
    lines = journal.read_text()
    with journal.open("a") as file:
        file.write('{"path": "train/x/01.mp4", "status": "unde')  # killed in the middle of a line
    done = {json.loads(line)["path"] for line in lines.splitlines() if line}
    assert 3 <= len(done) < 12

    real, asked = check_module.examine_all, []
    monkeypatch.setattr(
        check_module, "examine_all", lambda files, *more: asked.append(set(files)) or real(files, *more)
    )
    _, findings = check(data, 1)
    assert asked == [findings.keys() - done] and len(findings) == 12
    resumed = table(data).read_bytes()
    assert not journal.exists()
    table(data).unlink()
    check(data, 2)
    assert table(data).read_bytes() == resumed
    assert asked[1] == findings.keys()

    # A file that changed, or only its time did, or that is new; a row that was deleted.
    lines = table(data).read_text().splitlines()
    table(data).write_text("\n".join(line for line in lines if not line.startswith("train/x/03.mp4")))
    write_clip(tmp_path / "videos" / "train" / "x" / "new.mp4")
    write_clip(tmp_path / "videos" / "train" / "x" / "01.mp4", 7, "libx264")
    os.utime(tmp_path / "videos" / "train" / "x" / "02.mp4", (1, 1))
    _, findings = check(data, 1)
    assert asked[2] == {"train/x/new.mp4", "train/x/01.mp4", "train/x/03.mp4"}
    assert findings["train/x/01.mp4"].frames == 7


def condemn(data: Folder, *paths: str, status: str = "hang") -> None:
    """A table that says that these files hung the decoder."""
    table(data).parent.mkdir(exist_ok=True)
    with table(data).open("w", newline="") as file:
        writer = csv.DictWriter(file, check_module.COLUMNS)
        writer.writeheader()
        for path in paths:
            found = (data.folder() / path).stat()
            row = {"path": path, "status": status, "message": "it hung", "sha256": file_digest(data.folder() / path)}
            writer.writerow(row | {"size": found.st_size, "modified": found.st_mtime_ns})


def test_a_condemned_file_is_never_opened(tmp_path):
    data = four_videos(tmp_path, SOUND + " e.avi,x,5,train")
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
    views = module.test_views.__getitems__(range(len(module.test_views)))
    valid = dict(zip(views["video"].tolist(), views["valid"].tolist(), strict=True))
    assert valid == {0: False, 1: True}  # c.avi counts, as wrong


def test_only_what_breaks_decoders_is_kept_from_the_store_and_only_while_it_is_the_same(tmp_path):
    data = four_videos(tmp_path)
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
    table(data).write_text("path,status\na.avi,hang\n")
    with pytest.raises(DataError, match=r"videos-\w+-check\.csv: not a table of experiments/check\.py; delete it"):
        known_bad(data.folder(), Path(data.stores))


def test_data_sets_whose_folders_share_a_name_keep_their_tables(tmp_path):
    one, other = four_videos(tmp_path / "a"), four_videos(tmp_path / "b", SOUND.replace(",1,", ",7,"))
    one.stores = other.stores = str(tmp_path / "stores")
    check(one, 1)
    before = table(one).read_bytes()
    check(other, 1)
    assert len(list((tmp_path / "stores").glob("videos-*-check.csv"))) == 2 and table(one).read_bytes() == before
