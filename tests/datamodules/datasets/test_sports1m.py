"""Sports-1M's lists: made-up ones with every quirk, and the real sample where it is at hand."""

import csv
import os
from dataclasses import replace

import pytest

from datamodules.clips import ClipSpec
from datamodules.dataset_store import tracks
from datamodules.datasets.sports1m import Sports1M, find_videos
from datamodules.errors import DataError
from datamodules.store.shards import StoredVideo
from datamodules.store.tracks import Sample
from datamodules.videos import VideoArray
from tests.factories import REAL, touch

SAMPLE = REAL / "lists" / "sports1m"
URL = "https://www.youtube.com/watch?v="
CLASSES = ["boomerang", "boxing", "kyūdō", "bowls", "unicycle", "bmx"]
TRAIN = {"-aaaaaaaaa0": "0", "_bbbbbbbbb1": "5,1", "cccccccccc2": "2", "dddddddddd3": "1", "eeeeeeeeee4": "3,2,3"}
TEST = {"ffffffffff5": "4,0", "GGGGGGGGGG6": "1", "gggggggggg6": "2"}


def lines(videos):
    return "".join(f"{URL}{name} {labels}\n" for name, labels in videos.items())


def make(root, train=TRAIN, test=TEST, videos=None, folder="sports-1m-dataset", names=None, **settings):
    """A data set in a folder; `train` and `test` are dicts, or the text of the lists."""
    names = names or ("original/train_partition.txt", "original/test_partition.txt")
    lists = root / folder
    for name, part in zip(names, (train, test), strict=True):
        (lists / name).parent.mkdir(parents=True, exist_ok=True)
        (lists / name).write_bytes((part if isinstance(part, str) else lines(part)).encode())
    (lists / "labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    for number, name in enumerate([*TRAIN, *TEST] if videos is None else videos):
        touch(root, f"{'ab'[number % 2]}/{name}.{('mp4', 'webm', 'MKV')[number % 3]}")
    return Sports1M(root=str(root), stores=str(root.parent / "stores"), **settings)


def shown(videos):
    return [(video.path, video.labels, video.group) for video in videos]


def test_small_lists(tmp_path):
    lists = make(tmp_path).read()
    assert lists.classes == tuple(CLASSES)
    assert isinstance(lists.train, VideoArray) and isinstance(lists.test, VideoArray)
    assert shown(lists.train) == [
        ("a/-aaaaaaaaa0.mp4", (0,), "-aaaaaaaaa0"),
        ("b/_bbbbbbbbb1.webm", (1, 5), "_bbbbbbbbb1"),
        ("a/cccccccccc2.MKV", (2,), "cccccccccc2"),
        ("b/dddddddddd3.mp4", (1,), "dddddddddd3"),
        ("a/eeeeeeeeee4.webm", (2, 3), "eeeeeeeeee4"),
    ]
    assert shown(lists.test) == [
        ("b/ffffffffff5.MKV", (0, 4), "ffffffffff5"),
        ("a/GGGGGGGGGG6.mp4", (1,), "GGGGGGGGGG6"),
        ("b/gggggggggg6.webm", (2,), "gggggggggg6"),  # ids differ in capitals
    ]
    assert lists.files == sorted(video.path for videos in (lists.train, lists.test) for video in videos)
    assert lists.listed == {"train": (1, 2, 2, 1, 0, 1), "test": (1, 1, 1, 0, 1, 0)}
    assert lists.notes == [
        "5 of 5 listed train videos are there",
        "3 of 3 listed test videos are there",
        "1 of 6 classes have no training video, first unicycle",
    ]


def test_lists_in_the_root_or_anywhere(tmp_path):
    expected = make(tmp_path / "a").read()
    apart = make(tmp_path / "c", folder="../lists")
    with pytest.raises(
        DataError, match=r"no official lists \(labels\.txt\) in .*c, .*sports-1m-dataset; .*data\.lists"
    ):
        apart.read()
    apart.lists = str(tmp_path / "lists")
    for data in (make(tmp_path / "b", folder="."), apart):
        lists = data.read()
        assert shown(lists.train) == shown(expected.train) and shown(lists.test) == shown(expected.test)


def test_lists_from_windows_or_with_blank_lines(tmp_path):
    expected = make(tmp_path / "a").read()
    text = "\ufeff" + lines(TRAIN).replace("\n", " \r\n").replace(" 5,1", "\t5,1") + "\r\n"
    assert shown(make(tmp_path / "b", train=text).read().train) == shown(expected.train)


def test_videos_that_are_gone(tmp_path):
    lists = make(tmp_path, videos=["-aaaaaaaaa0", "dddddddddd3", "GGGGGGGGGG6"]).read()
    assert [video.group for video in lists.train] == ["-aaaaaaaaa0", "dddddddddd3"]
    assert [video.labels for video in lists.test] == [(1,)]
    assert len(lists.files) == 3
    assert lists.listed == {"train": (1, 2, 2, 1, 0, 1), "test": (1, 1, 1, 0, 1, 0)}, "as many as the lists say"
    assert lists.notes == [
        "2 of 5 listed train videos are there",
        "1 of 3 listed test videos are there",
        "4 of 6 classes have no training video, first kyūdō",
    ]


@pytest.mark.parametrize(("videos", "name"), [(TEST, "5 videos of the train"), (TRAIN, "3 videos of the test")])
def test_a_list_without_any_video(tmp_path, videos, name):
    with pytest.raises(DataError, match=f"none of the {name} list is there, such as .*mp4; expected\n") as error:
        make(tmp_path, videos=videos).read()
    assert Sports1M.LAYOUT in str(error.value)


def test_videos_in_any_folder_under_any_ending(tmp_path):
    wanted = {name.encode() for name in [*TRAIN, *TEST]}
    touch(
        tmp_path,
        *("-aaaaaaaaa0.3gp", "deep/er/_bbbbbbbbb1.flv", "odd 'n' [n]#\n/cccccccccc2.mp4", "dddddddddd3"),
        # What downloaders leave, another's video, and longer and shorter names:
        *("eeeeeeeeee4.mp4.part", "eeeeeeeeee4.info.json", "eeeeeeeeee4.jpg", "eeeeeeeeee4.f137.mp4"),
        *("eeeeeeeeee4.M4A", "hhhhhhhhhh7.mp4", "xffffffffff5.mp4", "fffffffff5.mp4"),
        "GGGGGGGGGG6/GGGGGGGGGG6.mp4",  # a folder of its own
    )
    os.mkfifo(tmp_path / "gggggggggg6.mp4")  # would be waited for for ever
    found, num_copies = find_videos(tmp_path, wanted)
    assert found == {
        b"-aaaaaaaaa0": b"-aaaaaaaaa0.3gp",
        b"_bbbbbbbbb1": b"deep/er/_bbbbbbbbb1.flv",
        b"cccccccccc2": b"odd 'n' [n]#\n/cccccccccc2.mp4",
        b"dddddddddd3": b"dddddddddd3",
        b"GGGGGGGGGG6": b"GGGGGGGGGG6/GGGGGGGGGG6.mp4",
    }
    assert num_copies == 0


def test_links_are_followed_and_never_in_a_circle(tmp_path):
    touch(tmp_path, "disk/-aaaaaaaaa0.mp4", "root/here/_bbbbbbbbb1.mp4")
    root = tmp_path / "root"
    (root / "disk").symlink_to(tmp_path / "disk")
    (root / "here/round").symlink_to(root)
    (root / "itself").symlink_to(root / "itself")
    (root / "cccccccccc2.mp4").symlink_to(tmp_path / "gone.mp4")
    (root / "dddddddddd3.mp4").symlink_to(root / "dddddddddd3.mp4")
    found, _ = find_videos(root, {name.encode() for name in TRAIN})
    assert {name: (root / os.fsdecode(path)).is_file() for name, path in found.items()} == {
        b"-aaaaaaaaa0": True,
        b"_bbbbbbbbb1": True,
    }


def test_of_several_files_the_first_path_counts(tmp_path):
    data = make(tmp_path)
    touch(tmp_path, "a/-aaaaaaaaa0.avi", "z/-aaaaaaaaa0.mp4", "z/ffffffffff5.mp4")
    lists = data.read()
    assert (lists.train[0].path, lists.test[0].path) == ("a/-aaaaaaaaa0.avi", "b/ffffffffff5.MKV")
    assert lists.notes[-1] == "3 files are further copies of a video; of each the first path counts"


def test_a_name_that_is_not_utf8(tmp_path):
    data = make(tmp_path, videos=[*TRAIN, *TEST][1:])
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(folder)
    open(folder + b"/-aaaaaaaaa0.mp4", "w").close()
    video = data.read().train[0]
    assert video.group == "-aaaaaaaaa0" and (tmp_path / video.path).is_file()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train": lines(TRAIN) + "nonsense\n"}, r"train_partition\.txt:6: found 'nonsense', expected 'https://www"),
        ({"train": lines({"../../etc/x": "1"})}, r"train_partition\.txt:1: found 'https.*\.\./\.\./etc/x 1', expected"),
        ({"train": lines({"muchtoolongid": "1"})}, r"train_partition\.txt:1: found"),
        ({"test": f"\n{URL}ffffffffff5\n"}, r"test_partition\.txt:2: found"),
        ({"test": lines({"ffffffffff5": "1,"})}, r"test_partition\.txt:1: found"),
        ({"test": lines({"ffffffffff5": "99999999999999999999"})}, r"test_partition\.txt:1: found"),
        (
            {"test": "\n \n" + lines({"a" * 11: "1", "ffffffffff5": "1,6"})},
            r"test_partition\.txt:4: label 6, .* 0 to 5",
        ),
        ({"train": "\n" + lines(TRAIN) * 2}, r"train_partition\.txt:7: -aaaaaaaaa0 is in line 2 too; keep one"),
        ({"train": " \n"}, r"train_partition\.txt: the list is empty, expected lines 'https"),
        ({"split": 2}, r"data\.split=2: data\.partition=original has the splits 1 to 1"),
        ({"split": 0, "partition": "cross-validation"}, r"data\.split=0: .*=cross-validation has the splits 1 to 10"),
        ({"partition": "cross-validation"}, r"cross-validation/sports0_train\.txt: no such file"),
    ],
)
def test_errors(tmp_path, changed, message):
    with pytest.raises(DataError, match=message) as error:
        make(tmp_path, **changed).read()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("boxing\n\nbowls\n", r"labels\.txt:2: the line is empty, expected the name of label 1"),
        ("boxing\nbowls\nboxing\n", r"labels\.txt:3: 'boxing' is the name of label 0 already"),
    ],
)
def test_errors_of_the_labels(tmp_path, text, message):
    data = make(tmp_path)
    (tmp_path / "sports-1m-dataset/labels.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        data.read()


def test_cross_validation_never_trains_on_what_it_tests(tmp_path):
    """The lists were drawn for each label apart: a video of two can be in both, as ABPsSSS2uY0 is in fold 0."""
    train = TRAIN | {"ABPsSSS2uY0": "4", "-BPsSSS2uY0": "0,5"}
    test = {"ABPsSSS2uY0": "2", "GGGGGGGGGG6": "1", "-BPsSSS2uY0": "3"}
    names = ("cross-validation/sports9_train.txt", "cross-validation/sports9_test.txt")
    settings = {"partition": "cross-validation", "split": 10}
    data = make(tmp_path, train, test, videos=[*train, "GGGGGGGGGG6"], names=names, **settings)
    lists = data.read()
    assert [video.group for video in lists.train] == list(TRAIN)
    assert [(video.group, video.labels) for video in lists.test] == [
        ("ABPsSSS2uY0", (2, 4)),
        ("GGGGGGGGGG6", (1,)),
        ("-BPsSSS2uY0", (0, 3, 5)),
    ]
    assert lists.listed == {"train": (1, 2, 2, 1, 0, 1), "test": (1, 1, 1, 1, 1, 1)}
    assert lists.notes[-1] == "2 videos of both lists are tested with the labels of both and not trained on"
    assert len(lists.files) == 8


def test_report_counts_every_class(tmp_path, capsys):
    videos = [name for name in [*TRAIN, *TEST] if name != "cccccccccc2"]
    data = make(tmp_path / "root", videos=videos)
    (tmp_path / "stores").mkdir()
    lists = data.read()
    whole = StoredVideo(100, 100, 25.0)
    stored = dict.fromkeys(lists.files, whole)
    broken, cut = lists.train[1].path, lists.test[0].path  # of the labels 1 and 5, and 0 and 4
    stored |= {broken: StoredVideo(0, 0, 0.0, "broken"), cut: replace(whole, frames=20)}
    data.report(lists, stored)
    (path,) = (tmp_path / "stores").iterdir()
    assert path.name == "root-original-1.csv"
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert [row["class"] for row in rows] == CLASSES and [row["label"] for row in rows] == list("012345")
    columns = {name: "".join(row[name] for row in rows) for name in rows[0] if name not in ("label", "class")}
    assert columns == {
        "train_listed": "122101", "train_found": "121101", "train_missing": "001000",
        "train_undecodable": "010001", "train_cut_short": "000000",
        "test_listed": "111010", "test_found": "111010", "test_missing": "000000",
        "test_undecodable": "000000", "test_cut_short": "100010",
    }  # fmt: skip
    said = capsys.readouterr().out
    assert said.startswith("4 of 5 listed train videos are there; ") and str(path) in said
    assert "2 of them do not decode whole" in said
    path.unlink()
    path.mkdir()  # nothing can be written there
    data.report(lists, stored)
    assert f"{path}: not written" in capsys.readouterr().out
    assert list((tmp_path / "stores").iterdir()) == [path], "no temporary file is left"


def test_a_store_keeps_the_pieces_that_the_settings_say():
    spec = ClipSpec(resize=[36, 48], crop=36)
    assert [track.sample for track in tracks(Sports1M(), spec)] == [None], "whole videos"
    assert [track.sample for track in tracks(Sports1M(clips_per_video=100), spec)] == [Sample(100, 0.5)]
    with pytest.raises(DataError, match=r"data\.clips_per_video=-1, data\.clip_seconds=0\.5: expected 1 clip or more"):
        tracks(Sports1M(clips_per_video=-1), spec)


# -- the real sample


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The real lines of the test partition as both lists, with an empty file for nine of ten of the ids."""
    if not SAMPLE.is_dir():
        pytest.skip(f"the sample of the official lists is not in {SAMPLE}")
    root = tmp_path_factory.mktemp("sports1m")
    text = (SAMPLE / "test_partition.sample.txt").read_text().splitlines(keepends=True)
    (root / "original").mkdir()
    (root / "labels.txt").write_bytes((SAMPLE / "labels.txt").read_bytes())
    (root / "original/train_partition.txt").write_text("".join(text[::2]))
    (root / "original/test_partition.txt").write_text("".join(text[1::2]))
    for number, line in enumerate(text):
        if number % 10:
            touch(root, f"{line[32:34]}/{line.split()[0][32:]}.mp4")
    return root, text


def test_real_lines(real):
    root, text = real
    lists = Sports1M(root=str(root)).read()
    assert len(lists.classes) == 487 and (lists.classes[0], lists.classes[-1]) == ("boomerang", "model aircraft")
    assert lists.classes[119] == "kyūdō"
    expected = {line.split()[0][32:]: tuple(sorted(map(int, line.split()[1].split(",")))) for line in text}
    assert len(expected) == 1915 and sum(len(labels) > 1 for labels in expected.values()) == 300
    kept = [line.split()[0][32:] for number, line in enumerate(text) if number % 10]
    both = [*lists.train, *lists.test]
    assert {video.group: video.labels for video in both} == {name: expected[name] for name in kept}
    assert [video.path for video in both] == [f"{v.group[:2]}/{v.group}.mp4" for v in both]
    assert sum(video.group[0] in "-_" for video in both) > 40
    assert sum(map(sum, lists.listed.values())) == sum(map(len, expected.values()))
