"""UCF101's lists: the real ones where they are at hand, and small ones with their quirks."""

import pytest

from datamodules.datasets.ucf101 import UCF101
from datamodules.errors import DataError
from tests.factories import REAL

LISTS = REAL / "lists" / "ucf101"

CLASSES = "1 Biking\r\n2 HandstandPushups \r\n3 Typing\r\n\r\n"
TRAIN = """Biking/v_Biking_g02_c01.avi 1\r
Biking/v_Biking_g03_c01.avi 1 \r
HandstandPushups/v_HandStandPushups_g02_c01.avi 2\r
\r
Typing/v_Typing_g02_c01.avi 3\r
"""
TEST = """Biking/v_Biking_g01_c01.avi\r
HandstandPushups/v_HandStandPushups_g01_c01.avi \r
Typing/v_Typing_g01_c01.avi\r
"""


def make(root, classes=CLASSES, train=TRAIN, test=TEST, lists="ucfTrainTestlist", split="01"):
    folder = root / lists
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classInd.txt").write_bytes(classes.encode())
    (folder / f"trainlist{split}.txt").write_bytes(train.encode())
    (folder / f"testlist{split}.txt").write_bytes(test.encode())
    for line in (TRAIN + TEST).split():
        if "/" in line:
            (root / line).parent.mkdir(exist_ok=True)
            (root / line).touch()
    return UCF101(root=str(root))


def test_small_lists(tmp_path):
    lists = make(tmp_path).read()
    assert lists.classes == ("Biking", "HandstandPushups", "Typing")
    assert [(v.path, v.labels, v.group) for v in lists.train[1:3]] == [
        ("Biking/v_Biking_g03_c01.avi", (0,), "Biking g03"),
        ("HandstandPushups/v_HandStandPushups_g02_c01.avi", (1,), "HandstandPushups g02"),
    ]
    assert [v.labels for v in lists.test] == [(0,), (1,), (2,)]
    assert len(lists.files) == 7 and lists.files == sorted(lists.files)
    assert lists.families == {
        "human-object interaction": ("Typing",),
        "body motion only": ("HandstandPushups",),
        "sports": ("Biking",),
    }


def test_files_are_those_of_all_splits(tmp_path):
    make(tmp_path)
    train, test = TRAIN.replace("Biking/v_Biking_g03_c01.avi 1 \r\n", ""), TEST
    data = make(tmp_path, train=train, test=test, split="02")
    data.split = 2
    lists = data.read()
    assert len(lists.train) == 3 and len(lists.files) == 7


@pytest.mark.parametrize("on_disk", ["HandStandPushups/v_HandStandPushups", "HandstandPushups/v_HandstandPushups"])
def test_either_capitals_of_handstand_pushups_on_disk(tmp_path, on_disk):
    data = make(tmp_path)
    for path in (tmp_path / "HandstandPushups").iterdir():
        path.rename(path.with_name(path.name.replace("v_HandStandPushups", on_disk.split("/")[1])))
    (tmp_path / "HandstandPushups").rename(tmp_path / on_disk.split("/")[0])
    lists = data.read()
    assert lists.test[1].path == f"{on_disk}_g01_c01.avi"
    assert (tmp_path / lists.test[1].path).is_file()
    assert lists.test[1].group == "HandstandPushups g01" and lists.test[1].labels == (1,)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train": TRAIN.replace("c01.avi 3", "c01.avi 2")}, r"trainlist01.txt:5: class id 2, .* gives Typing id 3"),
        ({"train": TRAIN.replace("Typing/", "Reading/")}, r"trainlist01.txt:5: 'Reading' is none of the 3 classes"),
        ({"test": "v_Biking_g01_c01.avi\n"}, r"testlist01.txt:1: found 'v_Biking_g01_c01.avi', expected 'Class/v_"),
        ({"test": "Biking/v_Biking.avi\n"}, r"testlist01.txt:1: found 'Biking/v_Biking.avi', expected 'Class/v_"),
        ({"test": "Biking/v_Biking_g09_c01.avi\n"}, r"1 of 5 listed videos are missing, first Biking/v_Biking_g09_c01"),
        ({"test": "\r\n"}, "split 1: the test list has 0 videos"),
        ({"train": ""}, "split 1: the train list has 0 videos"),
        ({"test": TEST + TEST}, "the test list has Biking/v_Biking_g01_c01.avi 2 times"),
        ({"test": TEST + "Biking/v_Biking_g02_c01.avi\n"}, "1 videos are in both .* first Biking/v_Biking_g02_c01.avi"),
        ({"classes": "1 Biking\n3 Typing\n"}, r"classInd.txt:2: found '3 Typing', expected '2 <class>'"),
        ({"classes": "1\n"}, r"classInd.txt:1: found '1', expected '1 <class>'"),
    ],
)
def test_errors(tmp_path, changed, message):
    with pytest.raises(DataError, match=message):
        make(tmp_path, **changed).read()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A root with an empty file for each of the 13,320 videos."""
    if not LISTS.is_dir():
        pytest.skip(f"the official lists are not in {LISTS}")
    root = tmp_path_factory.mktemp("ucf101")
    for path in sorted(LISTS.glob("t*list*.txt")):
        for line in path.read_text().splitlines():
            video = root / line.split()[0]
            video.parent.mkdir(exist_ok=True)
            video.touch()
    return root


@pytest.mark.parametrize(("split", "counts"), [(1, (9537, 3783)), (2, (9586, 3734)), (3, (9624, 3696))])
def test_official_lists(real, split, counts):
    lists = UCF101(root=str(real), lists=str(LISTS), split=split).read()
    assert (len(lists.train), len(lists.test)) == counts
    assert len(lists.classes) == 101 and len(lists.files) == 13320
    train, test = ({video.group for video in videos} for videos in (lists.train, lists.test))
    assert not train & test and len(train | test) == 101 * 25
    assert {group.split()[1] for group in test} == {f"g{7 * (split - 1) + i:02d}" for i in range(1, 8)}
    members = [name for family in lists.families.values() for name in family]
    assert [len(family) for family in lists.families.values()] == [20, 16, 5, 10, 50]
    assert sorted(members) == sorted(lists.classes)
