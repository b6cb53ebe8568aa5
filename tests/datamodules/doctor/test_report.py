"""Lists against the disk, and what the report says of them."""

from dataclasses import replace

import pytest

from datamodules.datasets.folder import Folder
from datamodules.datasets.hmdb51 import HMDB51
from datamodules.datasets.ucf101 import UCF101
from datamodules.doctor import check as check_module
from datamodules.doctor.check import check
from datamodules.doctor.examine import Finding
from datamodules.doctor.report import report
from datamodules.doctor.summary import summary
from datamodules.doctor.survey import survey_lists
from datamodules.videos import Listing, Video
from tests.datamodules.doctor.clips import SOUND, four_videos
from tests.factories import touch

PROBLEM = "1 problem of the lists"


@pytest.mark.parametrize(
    ("manifest", "reason", "line"),
    [
        (SOUND + " a.avi,x,1,train", PROBLEM, "the train list has 1 video more than once, first a.avi"),
        (SOUND + " ./a.avi,x,1,train", PROBLEM, "the train list has 1 video more than once, first a"),
        (SOUND + " a.avi,x,1,test", PROBLEM, "split 1: both the train and the test list have 1 video, first a"),
        (SOUND + " ../e.avi,x,1,train", "1 outside", "../e.avi: it leaves data.root"),
        (SOUND + " e.avi,x,1,train", "1 missing", "e.avi: no such file"),
        (
            SOUND.replace("c.avi,x,3", "c.avi,x,1"),
            "1 test group of split 1 in training too",
            "1 of 2 test groups recur",
        ),
        (SOUND.replace("test", "train"), PROBLEM, "split 1: the test list has no video"),
        (SOUND.replace("d.avi,y,4,test", ""), None, "1 on disk that no list has: d.avi"),
        (SOUND, None, "2 classes with fewer than 10 training videos: x, y"),
    ],
    ids=["twice", "twice by another name", "on both sides", "outside", "missing", "group", "no test", "extra", "few"],
)
def test_lists_against_the_disk(tmp_path, monkeypatch, manifest, reason, line):
    data = four_videos(tmp_path, manifest)
    monkeypatch.setattr(
        check_module, "examine_all", lambda files, *_: ((path, Finding("ok", sha256=path)) for path in files)
    )
    survey, findings = check(data, 1)
    lines, reasons = report(data, survey, findings)
    assert reason in reasons if reason else not reasons
    assert any(line in text for text in lines), lines


def test_labels_out_of_range(tmp_path, monkeypatch):
    data = four_videos(tmp_path)
    videos = [Video("a.avi", (0,), "1"), Video("b.avi", (2,), "2")]
    monkeypatch.setattr(Folder, "listing", lambda self: Listing(["x", "y"], {1: (videos, [Video("c.avi", (), "3")])}))
    survey = survey_lists(data)
    assert survey.problems == [
        "split 1: the train list has 1 video without a label of 0 to 1, first b.avi",
        "split 1: the test list has 1 video without a label of 0 to 1, first c.avi",
    ]
    assert survey.labels(survey.entries["b.avi"]) == ["2"]


def test_every_split_is_checked(tmp_path):
    """UCF101's splits share their files; HMDB51's leave some unused, and share sources across classes."""
    touch(tmp_path, "Archery/v_Archery_g01_c01.avi", "Archery/v_Archery_g02_c01.avi")
    (tmp_path / "classInd.txt").write_text("1 Archery\n")
    for number, (train, test) in enumerate([("g01", "g02"), ("g02", "g01")], start=1):
        (tmp_path / f"trainlist0{number}.txt").write_text(f"Archery/v_Archery_{train}_c01.avi 1\n")
        (tmp_path / f"testlist0{number}.txt").write_text(f"Archery/v_Archery_{test}_c01.avi\n")
    survey = survey_lists(UCF101(root=str(tmp_path)))
    assert [entry.sides for entry in survey.entries.values()] == [{1: "train", 2: "test"}, {1: "test", 2: "train"}]

    root = tmp_path / "hmdb"
    names = ["film_run_f_nm_np1_ba_goo_0.avi", "other_run_f_nm_np1_ba_goo_0.avi", "third_run_f_nm_np1_ba_goo_0.avi"]
    walk = "film_walk_f_nm_np1_ba_goo_0.avi"
    touch(root, *(f"run/{name}" for name in names), f"walk/{walk}")
    (root / "run_test_split1.txt").write_text(f"{names[0]} 1\n{names[1]} 2\n{names[2]} 0\n")
    (root / "walk_test_split1.txt").write_text(f"{walk} 2\n")
    data = HMDB51(root=str(root))
    survey = survey_lists(data)
    findings = dict.fromkeys(survey.entries, Finding("ok")) | {f"run/{names[2]}": Finding("undecodable")}
    lines, reasons = report(data, survey, findings)
    assert survey.entries["run/" + names[2]].sides == {}
    assert any("1 of 2 test sources (name prefixes) recur in training; 0 of 2 do so within" in line for line in lines)
    assert reasons == []  # a source that recurs in another class is reported; so is a bad file that no split uses


def test_summary_beside_the_published_numbers(tmp_path):
    data = four_videos(tmp_path)
    survey = survey_lists(data)
    findings = {
        path: Finding("ok", frames=50, fps=25.0, width=320, height=240, seconds=2.0 + number, audio=audio)
        for number, (path, audio) in enumerate(zip(survey.entries, ["yes", "no", "yes", "no"], strict=True))
    }
    findings["d.avi"] = replace(findings["d.avi"], fps=30.0)
    lines = summary("ucf101", survey, findings)
    cells = {line[:19].strip(): line[19:].split("  ")[0] for line in lines}
    assert "published (Soomro et al. 2012)" in lines[0] and cells.pop("") == "ours"
    assert cells == {
        "Actions": "2", "Clips": "4", "Clips per action": "2", "Groups per action": "2", "Clips per group": "1",
        "Mean clip length": "3.50 s", "Min clip length": "2.00 s", "Max clip length": "5.00 s",
        "Total duration": "0.23 min", "Frame rate": "25 fps (75.0%), 30 fps (25.0%)", "Resolution": "320x240",
        "Audio": "yes (1 action)",
    }  # fmt: skip
    assert any(line.split() == ["Clips", "4", "13,320"] for line in lines)
    assert not any("published" in line for line in summary("folder", survey, findings))


def test_varying_rates_and_damage_are_counted(tmp_path):
    data = four_videos(tmp_path)
    survey = survey_lists(data)
    findings = dict.fromkeys(survey.entries, Finding("ok", sha256="0", size=0))
    findings |= {"a.avi": Finding("ok", drift=0.4), "b.avi": Finding("damaged", drift=2.5, corrupt=30, frames=40)}
    lines, reasons = report(data, survey, findings)
    assert "rates         2 videos of a rate that varies, by up to 2.50 s" in lines
    assert "damage        1 video with 30 damaged frames" in lines
    assert reasons == ["1 damaged"]
