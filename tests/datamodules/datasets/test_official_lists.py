"""What every data set shares: reading lists, finding their files, checking both."""

import pytest

from datamodules.datasets.folder import Folder
from datamodules.datasets.hmdb51 import HMDB51
from datamodules.datasets.official_lists import check_split, choose_split, locate, read_lines, search
from datamodules.datasets.sports1m import Sports1M
from datamodules.datasets.ucf101 import UCF101
from datamodules.errors import DataError
from datamodules.videos import Listing, Split, Video, VideoArray
from tests.factories import touch


def videos(*paths, labels=(0,)):
    return [Video(path, labels, path) for path in paths]


@pytest.mark.parametrize("kind", [UCF101, HMDB51, Sports1M, Folder])
def test_missing_root_shows_the_tree(kind, tmp_path):
    with pytest.raises(DataError) as error:
        kind(root=str(tmp_path / "absent")).read()
    assert f"data.root={tmp_path / 'absent'}: no such folder" in str(error.value)
    assert kind.LAYOUT in str(error.value)


def test_read_lines_numbers_them_as_an_editor_does(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfone \r\n\r\n  two\r\n")
    assert read_lines(path) == [(f"{path}:1", "one"), (f"{path}:3", "two")]


def test_read_lines_names_the_file_that_is_absent_or_not_utf8(tmp_path):
    with pytest.raises(DataError, match=r"list\.txt: no such file"):
        read_lines(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes("ab\xe9".encode("latin-1"))
    with pytest.raises(DataError, match=r"list\.txt: byte 2 is not UTF-8"):
        read_lines(tmp_path / "list.txt")


def test_locate_follows_the_capitals_on_disk_and_prefers_an_exact_name(tmp_path):
    touch(tmp_path, "Pushups/v_A.avi", "Exact/a.avi", "Exact/A.avi")
    found = locate(tmp_path, "", ["PushUps/v_a.avi", "Exact/a.avi", "Exact/A.avi"])
    assert found["PushUps/v_a.avi"] == "Pushups/v_A.avi"
    if len(list((tmp_path / "Exact").iterdir())) == 2:  # a disk that tells capitals apart
        assert (found["Exact/a.avi"], found["Exact/A.avi"]) == ("Exact/a.avi", "Exact/A.avi")


def test_locate_follows_links_and_normalises(tmp_path):
    touch(tmp_path, "elsewhere/a.avi")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/linked").symlink_to(tmp_path / "elsewhere")
    assert locate(tmp_path / "root", "", ["./linked//a.avi"]) == {"./linked//a.avi": "linked/a.avi"}


@pytest.mark.parametrize("path", ["../a.avi", "b/../../a.avi", "/etc/a.avi", ".."])
def test_locate_refuses_paths_out_of_the_root(tmp_path, path):
    touch(tmp_path, "a.avi", "root/b/a.avi")
    with pytest.raises(DataError, match=r"leaves data\.root"):
        locate(tmp_path / "root", "", [path])


def test_search_survives_links_that_lead_nowhere(tmp_path):
    touch(tmp_path, "a/1.avi")
    (tmp_path / "circle").symlink_to("circle")
    listed = ["a/1.avi", "circle/2.avi", f"{'long' * 100}/3.avi", "a/../../4.avi"]
    found = search(tmp_path, "", listed)
    assert found == ({"a/1.avi": "a/1.avi"}, ["circle/2.avi", listed[2]], ["a/../../4.avi"])


def test_locate_counts_what_is_missing(tmp_path):
    touch(tmp_path, "a/1.avi", "b")
    listed = ["a/1.avi", "a/2.avi", "b/3.avi", "c/4.avi"]
    with pytest.raises(DataError, match=r"3 of 4 listed videos are missing, first a/2\.avi"):
        locate(tmp_path, "", listed)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([], videos("a"), "the train list has 0 videos"),
        (videos("a"), [], "the test list has 0 videos"),
        (videos("a"), videos("b", labels=()), "b of the test list has 0 labels"),
        (videos("a", "c", "c"), videos("b"), "the train list has c 2 times"),
        (videos("a"), videos("b", "b", "b"), "the test list has b 3 times"),
        (videos("a", labels=(0, 2)), videos("b"), r"a has labels \(0, 2\), expected 0 to 1"),
        (videos("a"), videos("b", labels=(-1,)), r"b has labels \(-1,\), expected 0 to 1"),
        (videos("a", "c", "d"), videos("c", "d"), "2 videos are in both the train and the test list, first c"),
    ],
)
def test_check_split_refuses(train, test, message):
    for kind in (list, VideoArray.of):
        with pytest.raises(DataError, match=f"here: {message}"):
            check_split(Split(("x", "y"), kind(train), kind(test), []), "here")


def test_check_split_accepts_several_labels():
    check_split(Split(("x", "y"), videos("a", labels=(0, 1)), videos("b"), []), "here")


def test_choose_split_keeps_one_split_and_the_files_of_all(tmp_path):
    touch(tmp_path, "a", "b", "c", "unlisted")
    splits = {1: (videos("a"), videos("b")), 2: (videos("b"), videos("a"))}
    lists = choose_split(
        tmp_path, "", 2, Listing(["x", "y"], splits, unused=["c"], families={"f": ("y", "z"), "none": ("z",)})
    )
    assert ([v.path for v in lists.train], [v.path for v in lists.test]) == (["b"], ["a"])
    assert lists.files == ["a", "b", "c"]
    assert lists.families == {"f": ("y",)}


def test_one_file_listed_under_two_spellings_is_a_duplicate(tmp_path):
    touch(tmp_path, "d/a", "b")
    with pytest.raises(DataError, match="the train list has d/a 2 times"):
        choose_split(tmp_path, "", 1, Listing(["x"], {1: (videos("d/a", "d//a"), videos("b"))}))


@pytest.mark.parametrize("split", [0, 3])
def test_unknown_split(tmp_path, split):
    with pytest.raises(DataError, match=f"data.split={split}: the lists have the splits 1, 2"):
        choose_split(tmp_path, "", split, Listing(["x"], {1: ([], []), 2: ([], [])}))
