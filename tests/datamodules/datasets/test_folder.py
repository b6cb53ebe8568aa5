"""A user's own videos, with a manifest and in folders."""

import time
from dataclasses import replace

import pytest

from datamodules.datasets.folder import Folder
from datamodules.datasets.ucf101 import UCF101
from datamodules.errors import DataError
from datamodules.holdout import hold_out
from tests.factories import REAL, touch

WEIZMANN = REAL / "data" / "weizmann"

MANIFEST = """\
path,label,group,split,frames
run/ann.avi,run,ann,train,40
run/bob.avi,run,bob,test,41
bend/ann.avi,bend,ann,train,42
bend/bob.avi,bend,bob,test,43
"""


def make(root, manifest=None, files=("run/ann.avi", "run/bob.avi", "bend/ann.avi", "bend/bob.avi")):
    touch(root, *files)
    if manifest is not None:
        (root / "manifest.csv").write_text(manifest)
    return Folder(root=str(root))


def test_manifest_in_the_root(tmp_path):
    lists = make(tmp_path, MANIFEST).read()
    assert lists.classes == ("bend", "run")
    assert [(v.path, v.labels, v.group) for v in lists.train] == [
        ("run/ann.avi", (1,), "ann"),
        ("bend/ann.avi", (0,), "ann"),
    ]
    assert [v.path for v in lists.test] == ["run/bob.avi", "bend/bob.avi"]
    assert lists.files == ["bend/ann.avi", "bend/bob.avi", "run/ann.avi", "run/bob.avi"]
    assert lists.notes == ["0 of 1 test groups recur in training"]


def test_manifest_as_a_spreadsheet_writes_it(tmp_path):
    expected = make(tmp_path, MANIFEST).read()
    text = MANIFEST.replace("run/ann.avi,run", '"run/ann.avi", run ').replace("\n", "\r\n") + "\r\n"
    (tmp_path / "manifest.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert Folder(root=str(tmp_path)).read() == expected


def test_manifest_is_looked_up_here_then_in_the_root(tmp_path, monkeypatch):
    make(tmp_path / "root")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    data = Folder(root=str(tmp_path / "root"), manifest="own.csv")
    with pytest.raises(DataError, match=r"data.manifest=own.csv: no such file, neither here nor in data.root=.*root"):
        data.read()
    (tmp_path / "root/own.csv").write_text(MANIFEST)
    assert len(data.read().test) == 2
    (tmp_path / "here/own.csv").write_text(MANIFEST.replace("run/ann.avi,run,ann,train", "run/ann.avi,run,ann,test"))
    with pytest.raises(DataError, match=r"own.csv: 1 classes have no training video, first run"):
        data.read()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("path,label,group", "file,label,group", r"found the columns 'file,label,group,split,frames', expected 'path,"),
        (",", ";", "found the columns 'path;label;group;split;frames', expected 'path,label,group,split'"),
        ("run,bob,test", "run,bob,Test", r"manifest.csv:3: found split 'Test', expected 'train', 'test' or 'val'$"),
        ("run/bob.avi", "run\\bob.avi", r"manifest.csv:3: the path '.*' has a backslash; write it with /"),
        ("split,frames", "split,label", r"manifest.csv: there are 2 columns 'label', expected one"),
        ("bob.avi,run", "bob.avi,Run", r"manifest.csv: the classes 'Run', 'run' are equal but for case, spaces or Uni"),
        ("bob.avi,run", "bob.avi,r\uff55n", r"manifest.csv: the classes 'run', 'r.uff55n' are equal but for case"),
        ("run,bob,test", ",bob,test", r"manifest.csv:3: the column 'label' is empty"),
        ("run,bob,test,41", "run", r"manifest.csv:3: the column 'group' is empty"),
        ("run/bob.avi", "run/cy.avi", r"1 of 4 listed videos are missing, first run/cy.avi"),
        ("run/bob.avi", '"run/bo\nb.avi"', r"manifest.csv: a value goes on over a line end"),
    ],
)
def test_bad_manifests(tmp_path, old, new, message):
    with pytest.raises(DataError, match=message):
        make(tmp_path, MANIFEST.replace(old, new)).read()


def test_empty_manifest(tmp_path):
    with pytest.raises(DataError, match="found the columns '', expected 'path,label,group,split'"):
        make(tmp_path, "").read()


def test_groups_on_both_sides_are_counted(tmp_path):
    lists = make(tmp_path, MANIFEST.replace("run,bob,test", "run,ann,test")).read()
    assert lists.notes == ["1 of 2 test groups recur in training"]


FILES = ("train/run/a.avi", "train/run/b.MP4", "train/bend/c.webm", "test/run/a.avi", "test/bend/d.mkv")


def test_folders(tmp_path):
    lists = make(tmp_path, files=(*FILES, "train/run/._a.avi", "train/.cache/x")).read()
    assert lists.classes == ("bend", "run")
    assert [(v.path, v.labels) for v in lists.train] == [
        ("train/bend/c.webm", (0,)),
        ("train/run/a.avi", (1,)),
        ("train/run/b.MP4", (1,)),
    ]
    assert [v.path for v in lists.test] == ["test/bend/d.mkv", "test/run/a.avi"]
    assert len({v.group for v in lists.train + lists.test}) == 5
    assert lists.notes == ["no manifest: every file is a group of its own"]


def test_other_suffixes_and_nested_folders_are_taken_and_other_files_are_counted(tmp_path, capsys):
    more = (
        "train/run/deep/er/e.flv",
        "test/bend/f.WMV",
        "train/run/g.ts",
        "train/h.avi",
        "train/run/notes.txt",
        "i.mp4",
    )
    data = make(tmp_path, files=(*FILES, *more))
    split = data.read()
    assert {v.path: v.labels for v in [*split.train, *split.test] if v.path in more} == {
        "train/run/deep/er/e.flv": (1,), "test/bend/f.WMV": (0,), "train/run/g.ts": (1,)
    }  # fmt: skip
    notes = [
        "2 files are not taken, because they are not in train/<class>, test/<class> or val/<class> (1 .mp4, 1 .avi), "
        "first i.mp4",
        "1 files are not taken, because they are no videos (1 .txt), first train/run/notes.txt",
    ]
    assert split.notes == [*notes, "no manifest: every file is a group of its own"]
    data.report(split, {})
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()] == split.notes


def test_videos_that_the_manifest_does_not_list_are_counted(tmp_path):
    split = make(
        tmp_path, MANIFEST, files=("run/ann.avi", "run/bob.avi", "bend/ann.avi", "bend/bob.avi", "x.mkv")
    ).read()
    assert split.notes[0] == "1 files are not taken, because manifest.csv does not list them (1 .mkv), first x.mkv"


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_val_is_held_out_for_validation_and_for_nothing_else(tmp_path, name):
    in_folders = make(tmp_path / "a", files=(*FILES, f"{name}/run/v.avi")).read()
    assert [video.path for video in in_folders.validation] == [f"{name}/run/v.avi"] and in_folders.files[-1][
        :3
    ] == "val"
    data = make(tmp_path / "b", MANIFEST + f"run/cy.avi,run,cy,{name},44\n")
    touch(tmp_path / "b", "run/cy.avi")
    split = data.read()
    assert [(v.path, v.labels, v.group) for v in split.validation] == [("run/cy.avi", (1,), "cy")]
    assert len(split.train) == len(split.test) == 2
    assert hold_out(data, split.train, split.validation) == (split.train, split.validation)
    for settings in ({"validation": 0.5}, {"folds": 2}):
        with pytest.raises(DataError, match=r"the data set has 1 validation videos of its own; set both to 0"):
            hold_out(replace(data, **settings), split.train, split.validation)
    write = (tmp_path / "b" / "manifest.csv").write_text
    write(MANIFEST + f"run/ann.avi,run,ann,{name},40\n")
    with pytest.raises(DataError, match=r"1 videos are in both the train and the validation list, first run/ann.avi"):
        data.read()


def test_identity_is_that_of_the_lists_wherever_they_lie(tmp_path):
    one, moved = make(tmp_path / "a" / "clips", MANIFEST), make(tmp_path / "b" / "renamed", MANIFEST)
    assert one.identity() == moved.identity() and len(one.identity()) == 8
    changes = [("run,ann", "walk,ann"), ("run,ann", "run,bob"), ("ann,train", "ann,test"), ("run/ann", "run/bob")]
    other = {make(tmp_path / "c" / "clips", MANIFEST.replace(*change)).identity() for change in changes}
    assert len({one.identity(), *other}) == 5
    assert UCF101().identity() == "", "the fixed data sets keep the ids of their runs"


def test_a_long_manifest_is_read_in_linear_time(tmp_path):
    """`classes.index` for each of 40,000 rows of 20,000 classes took a minute."""
    rows = (f"{n}.avi,{n // 2},{n},{'test' if n % 2 else 'train'}\n" for n in range(40_000))
    (tmp_path / "manifest.csv").write_text("path,label,group,split\n" + "".join(rows))
    started = time.process_time()  # of this process alone, whatever else the machine does
    assert len(Folder(root=str(tmp_path)).listing().classes) == 20_000
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("run/a.avi", "bend/b.avi"), r"found neither manifest.csv nor the folder 'train'; expected\n<data.root>/"),
        (FILES[:3], "found neither manifest.csv nor the folder 'test'"),
        ((*FILES, "test/walk/readme.txt"), r"walk: found 0 videos, expected some; fill or remove it"),
        ((*FILES, "test/walk/a.avi"), "1 classes have no training video, first walk"),
    ],
)
def test_bad_folders(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        make(tmp_path, files=files).read()


@pytest.mark.skipif(not WEIZMANN.is_dir(), reason=f"no Weizmann videos in {WEIZMANN}")
def test_weizmann():
    lists = Folder(root=str(WEIZMANN)).read()
    assert (len(lists.train), len(lists.test), len(lists.classes), len(lists.files)) == (60, 30, 10, 90)
    train, test = ({video.group for video in videos} for videos in (lists.train, lists.test))
    assert (len(train), len(test), len(train & test)) == (6, 3, 0)
