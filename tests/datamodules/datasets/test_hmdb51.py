"""HMDB51's lists: the real ones where they are at hand, and small ones with their quirks."""

from collections import Counter

import pytest

from datamodules.datasets.hmdb51 import HMDB51
from datamodules.errors import DataError
from tests.factories import REAL

LISTS = REAL / "lists" / "hmdb51"


def name(source, label, number=0):
    return f"{source}_{label}_u_nm_np1_ba_goo_{number}.avi"


# Sources may hold underscores, class names and signs; those of class `kick` hold the longer class name too.
KICK = {
    name("A_kick_ball_film", "kick"): 1,
    name("Old_kick", "kick", 2): 1,
    name("#1_(it's)!", "kick"): 2,
    name("Spare", "kick"): 0,
}
KICK_BALL = {name("Old_kick", "kick_ball"): 2, name("New", "kick_ball"): 1, name("New", "kick_ball", 1): 1}


def make(root, kick=KICK, kick_ball=KICK_BALL, lists="testTrainMulti_7030_splits", split=1):
    folder = root / lists
    folder.mkdir(parents=True, exist_ok=True)
    for label, flags in (("kick", kick), ("kick_ball", kick_ball)):
        (folder / f"{label}_test_split{split}.txt").write_text("".join(f"{n} {f} \r\n" for n, f in flags.items()))
        (root / label).mkdir(exist_ok=True)
        for file in flags:
            (root / label / file).touch()
    return HMDB51(root=str(root))


def test_small_lists(tmp_path):
    lists = make(tmp_path).read()
    assert lists.classes == ("kick", "kick_ball")
    assert {(v.path.split("/")[0], v.labels, v.group) for v in lists.train} == {
        ("kick", (0,), "kick/A_kick_ball_film"),
        ("kick", (0,), "kick/Old_kick"),
        ("kick_ball", (1,), "kick_ball/New"),
    }
    assert [(v.path, v.group) for v in lists.test] == [
        ("kick/" + name("#1_(it's)!", "kick"), "kick/#1_(it's)!"),
        ("kick_ball/" + name("Old_kick", "kick_ball"), "kick_ball/Old_kick"),
    ]
    assert len(lists.files) == 7  # the unused one too
    assert lists.families == {"body movements with objects": ("kick_ball",), "body movements with humans": ("kick",)}
    assert lists.notes == [
        "1 of 2 test sources (name prefixes) recur in training; 0 of 2 do so within their class",
    ]


def test_lists_elsewhere(tmp_path):
    assert make(tmp_path / "b", lists="splits").read() == make(tmp_path / "a").read()


def test_splits_and_files_of_all(tmp_path):
    make(tmp_path)
    extra = name("Third", "kick")
    data = make(tmp_path, kick={extra: 1, **dict.fromkeys(KICK, 2)}, split=3)
    assert len(data.read().files) == 8
    data.split = 3
    assert [v.path for v in data.read().train][:1] == [f"kick/{extra}"]


@pytest.mark.parametrize(
    ("kick", "message"),
    [
        ({name("A", "kick"): 3}, r"kick_test_split1.txt:1: found '.* 3', expected '<source>_kick_"),
        ({"holiday.avi": 1}, r"kick_test_split1.txt:1: found 'holiday.avi 1', expected"),
        ({name("A", "kick"): ""}, r"kick_test_split1.txt:1: found .*, expected"),
        ({}, None),
    ],
)
def test_bad_lines(tmp_path, kick, message):
    data = make(tmp_path, kick=kick)
    if message is None:  # a class without videos in this split is not an error of the lists
        assert len(data.read().classes) == 2
    else:
        with pytest.raises(DataError, match=message):
            data.read()


def test_a_class_without_its_list(tmp_path):
    data = make(tmp_path)
    make(tmp_path, split=2)
    (tmp_path / "testTrainMulti_7030_splits/kick_test_split2.txt").unlink()
    with pytest.raises(DataError, match=r"kick_test_split2.txt: no such file"):
        data.read()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A root with an empty file for each of the 6,766 listed videos."""
    if not LISTS.is_dir():
        pytest.skip(f"the official lists are not in {LISTS}")
    root = tmp_path_factory.mktemp("hmdb51")
    for path in sorted(LISTS.glob("*_test_split1.txt")):
        folder = root / path.stem.removesuffix("_test_split1")
        folder.mkdir()
        for line in path.read_text().splitlines():
            (folder / line.split()[0]).touch()
    return root


@pytest.mark.parametrize(
    ("split", "note"),
    [
        (1, "133 of 478 test sources (name prefixes) recur in training; 0 of 590 do so within their class"),
        (2, "149 of 478 test sources (name prefixes) recur in training; 0 of 575 do so within their class"),
        (3, "144 of 471 test sources (name prefixes) recur in training; 0 of 581 do so within their class"),
    ],
)
def test_official_lists(real, split, note):
    lists = HMDB51(root=str(real), lists=str(LISTS), split=split).read()
    assert (len(lists.train), len(lists.test), len(lists.files), len(lists.classes)) == (3570, 1530, 6766, 51)
    assert set(Counter(video.labels for video in lists.train).values()) == {70}
    assert set(Counter(video.labels for video in lists.test).values()) == {30}
    assert lists.notes == [note]
    assert [len(family) for family in lists.families.values()] == [4, 3, 19, 18, 7]
    assert sorted(name for family in lists.families.values() for name in family) == list(lists.classes)
