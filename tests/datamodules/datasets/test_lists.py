"""Checks and helpers that every data set shares."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from datamodules.datasets.base import Dataset
from datamodules.datasets.folder import Folder
from datamodules.datasets.hmdb51 import HMDB51
from datamodules.datasets.official_lists import check_split, choose_split, locate, read_lines, search
from datamodules.datasets.sports1m import Sports1M
from datamodules.datasets.ucf101 import UCF101
from datamodules.errors import DataError
from datamodules.holdout import hold_out, hold_out_fold, hold_out_groups
from datamodules.videos import Listing, Ragged, Split, Video, VideoArray, label_sets, select


def videos(*paths, labels=(0,)):
    return [Video(path, labels, path) for path in paths]


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


@pytest.mark.parametrize("kind", [UCF101, HMDB51, Sports1M, Folder])
def test_data_sets_are_structured_configs(kind):
    merged = OmegaConf.merge(OmegaConf.structured(kind), {"root": "somewhere", "split": 2, "flow": {"bound": 10}})
    data = OmegaConf.to_object(merged)
    assert type(data) is kind
    assert (data.root, data.split, data.flow.bound, data.mirror) == ("somewhere", 2, 10.0, True)
    assert "LAYOUT" not in merged and kind.LAYOUT.splitlines()[0].endswith(("data.root", "either"))
    with pytest.raises(Exception, match="rooot"):
        OmegaConf.merge(OmegaConf.structured(kind), {"rooot": "x"})


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
    with pytest.raises(DataError, match=f"here: {message}"):
        check_split(Split(("x", "y"), train, test, []), "here")


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


def grouped(groups_per_class, videos_per_group=3):
    return [
        Video(f"{label}/{group}/{number}", (label,), f"{label} g{group}")
        for label, groups in enumerate(groups_per_class)
        for group in range(groups)
        for number in range(videos_per_group)
    ]


def groups_of(videos):
    return {video.group for video in videos}


def test_hold_out_takes_whole_groups_of_every_class():
    train_list = grouped([18] * 5)
    train, validation = hold_out_groups(train_list, 0.2)
    assert not groups_of(train) & groups_of(validation)
    assert sorted(train + validation, key=train_list.index) == train_list
    for label in range(5):
        assert len({v.group for v in validation if v.labels == (label,)}) == 4  # 0.2 of 18, rounded


@pytest.mark.parametrize(("share", "expected"), [(0.01, [0, 1, 1]), (0.5, [0, 1, 5]), (0.99, [0, 1, 9])])
def test_hold_out_leaves_every_class_a_group(share, expected):
    _, validation = hold_out_groups(grouped([1, 2, 10]), share)
    assert [len(groups_of(v for v in validation if v.labels == (label,))) for label in range(3)] == expected


def test_hold_out_depends_on_the_groups_and_the_seed_only():
    train_list = grouped([20, 20])
    train, validation = hold_out_groups(train_list, 0.25)
    other_train, other_validation = hold_out_groups(train_list[::-1], 0.25)
    assert (other_train, other_validation) == (train[::-1], validation[::-1])
    assert groups_of(hold_out_groups(train_list, 0.25, seed=1)[1]) != groups_of(validation)
    # Pinned: other validation videos would make runs incomparable without anyone noticing.
    assert sorted(groups_of(hold_out_groups(grouped([4, 4]), 0.25)[1])) == ["0 g3", "1 g3"]


def test_hold_out_of_groups_over_several_classes():
    train_list = [Video(f"{p}/{c}", (c,), p) for p in ("ann", "bob", "cy", "di") for c in range(3)]
    train, validation = hold_out_groups(train_list, 0.3)
    assert len(groups_of(validation)) == 1 and len(validation) == 3 and len(train) == 9


def test_hold_out_never_takes_the_only_group_of_one_of_its_classes():
    train_list = [Video("a", (0,), "a"), Video("b", (0, 1), "b"), Video("c", (0, 1), "c"), Video("d", (0, 2), "d")]
    for seed in range(20):
        train, validation = hold_out_groups(train_list, 0.75, seed)
        assert {label for video in train for label in video.labels} == {0, 1, 2}
        assert validation


def test_hold_out_nothing():
    train_list = grouped([1, 1])
    assert hold_out_groups(train_list, 0.0) == (train_list, [])
    with pytest.raises(DataError, match=r"data.validation=0.5: none of 2 groups"):
        hold_out_groups(train_list, 0.5)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0, float("nan")])
def test_hold_out_share_out_of_range(share):
    with pytest.raises(DataError, match=r"data\.validation="):
        hold_out_groups(grouped([4]), share)


def fold_by_group(videos, folds):
    """{group: fold} from the validation set of every fold."""
    found = {}
    for fold in range(folds):
        train, validation = hold_out_fold(videos, folds, fold)
        assert sorted(train + validation, key=videos.index) == videos and not groups_of(train) & groups_of(validation)
        assert train == [video for video in videos if video in train]
        assert validation == [video for video in videos if video in validation]
        assert {v.labels for v in train} == {v.labels for v in videos}, "every class is trained on"
        for group in groups_of(validation):
            assert group not in found
            found[group] = fold
    assert found.keys() == groups_of(videos)
    return found


@pytest.mark.parametrize(("groups", "folds"), [([18] * 5, 5), ([18] * 5, 2), ([3, 4, 11, 2], 3), ([2, 2], 4)])
def test_folds_are_whole_groups_and_every_class_is_spread_evenly(groups, folds):
    fold_of = fold_by_group(grouped(groups, videos_per_group=2), folds)
    for label, total in enumerate(groups):
        sizes = [sum(fold_of[f"{label} g{group}"] == fold for group in range(total)) for fold in range(folds)]
        assert max(sizes) - min(sizes) <= 1
    sizes = [list(fold_of.values()).count(fold) for fold in range(folds)]
    assert min(sizes) > 0 and max(sizes) - min(sizes) <= 1, "what is over of the classes does not pile up"


def test_folds_depend_on_the_groups_only():
    train_list = grouped([6, 6])
    train, validation = hold_out_fold(train_list, 3, 1)
    assert hold_out_fold(train_list[::-1], 3, 1) == (train[::-1], validation[::-1])
    # Pinned: other folds would make out-of-fold scores incomparable without anyone noticing.
    assert sorted(groups_of(hold_out_fold(grouped([4, 4]), 2, 0)[1])) == ["0 g0", "0 g3", "1 g0", "1 g3"]


def test_folds_of_groups_over_several_classes():
    train_list = [Video(f"{p}/{c}", (c,), p) for p in ("ann", "bob", "cy", "di", "ed") for c in range(3)]
    assert sorted(list(fold_by_group(train_list, 2).values()).count(fold) for fold in (0, 1)) == [2, 3]


@pytest.mark.parametrize(
    ("groups", "settings", "message"),
    [
        ([4, 4], {"folds": 1}, "data.folds=1: expected 0, or 2 to 8, the groups of the training list"),
        ([4, 4], {"folds": -2}, "data.folds=-2: expected 0, or 2 to 8"),
        ([4, 4], {"folds": 9}, "data.folds=9: expected 0, or 2 to 8"),
        ([4, 4], {"folds": 3, "fold": 3}, "data.fold=3: expected 0 to 2 with data.folds=3"),
        ([4, 4], {"folds": 3, "fold": -1}, "data.fold=-1: expected 0 to 2"),
        ([4, 4], {"fold": 1}, "data.fold=1: there are no folds; set data.folds"),
        ([4, 4], {"folds": 2, "validation": 0.2}, "data.folds=2 and data.validation=0.2 both hold out groups"),
        ([4, 1], {"folds": 2}, "data.folds=2: all groups of a class are in one fold, among them '1 g0'; every class"),
    ],
)
def test_folds_that_cannot_be(groups, settings, message):
    with pytest.raises(DataError, match=message) as error:
        hold_out(Dataset(root="x", **settings), grouped(groups))
    assert "\n" not in str(error.value)


def test_hold_out_follows_the_settings():
    train_list = grouped([6, 6])
    assert hold_out(Dataset(root="x"), train_list) == (train_list, [])
    assert hold_out(Dataset(root="x", validation=0.3), train_list) == hold_out_groups(train_list, 0.3)
    assert hold_out(Dataset(root="x", folds=3, fold=2), train_list) == hold_out_fold(train_list, 3, 2)


# -- videos in arrays


MANY = [
    Video("a/1.mp4", (3,), "ann"),
    Video("ä/ö ü.avi", (0, 2, 5), ""),
    Video("b\udcff/2", (), "bob"),  # a folder whose name is not UTF-8
    Video("c", (1, 4), "ann"),
]


@pytest.fixture
def array():
    return VideoArray.of(MANY)


def test_an_array_of_videos_is_a_sequence_of_them(array):
    assert len(array) == 4 and list(array) == MANY and VideoArray.of(array) is array
    assert [array[index] for index in range(-4, 4)] == MANY * 2
    assert MANY[1] in array and array.index(MANY[3]) == 3
    for index in (4, -5):
        with pytest.raises(IndexError):
            array[index]
    assert not VideoArray.of([]) and list(VideoArray.of([])) == []


@pytest.mark.parametrize("part", [slice(1, 3), slice(None, None, -2), slice(2, 2), slice(-3, None)])
def test_slices_of_an_array_are_those_of_a_list(array, part):
    assert isinstance(array[part], VideoArray) and list(array[part]) == MANY[part]


def test_chosen_videos_of_an_array(array):
    assert list(array[np.array([3, 0, 3, -2])]) == [MANY[3], MANY[0], MANY[3], MANY[2]]
    keep = np.array([True, False, False, True])
    assert list(select(array, keep)) == select(MANY, keep) == [MANY[0], MANY[3]]
    assert list(select(array, ~keep)[:1]) == [MANY[1]], "a part of a part"
    assert not select(array, np.zeros(4, bool)) and select(array, np.ones(4, bool)) is array


def test_an_array_is_a_few_buffers_on_its_way_to_another_process(array):
    assert list(pickle.loads(pickle.dumps(array))) == MANY
    long = VideoArray.of([Video(f"{number:06d}.mp4", (number % 7,), f"{number:06d}") for number in range(10_000)])
    assert len(pickle.dumps(long)) < 50 * 10_000  # 10 + 4 + 6 bytes and three times 8 of places


def test_rows_of_unequal_lengths():
    ragged = Ragged.of([np.array(row, "i4").tobytes() for row in ([1, 2], [], [3])], "i4")
    assert [ragged[row].tolist() for row in range(3)] == [[1, 2], [], [3]]
    taken = ragged.take(np.array([2, 1, 0]))
    assert [taken[row].tolist() for row in range(3)] == [[3], [], [1, 2]] and taken.starts.tolist() == [0, 1, 1, 3]


def test_label_sets_are_sorted_and_have_each_label_once():
    owners, labels = np.array([2, 0, 2, 2, 0]), np.array([7, 3, 1, 7, 2])
    sets = label_sets(owners, labels, 4)
    assert [sets[row].tolist() for row in range(4)] == [[2, 3], [], [1, 7], []]


def test_checks_and_parts_are_the_same_for_an_array():
    train_list, test_list = grouped([5, 9, 4]), [Video("t", (0, 2), "t")]
    array = VideoArray.of(train_list)
    check_split(Split(("x", "y", "z"), array, VideoArray.of(test_list), []), "here")
    with pytest.raises(DataError, match=r"0/0/0 has labels \(0,\)|1/0/0 has labels \(1,\), expected 0 to 0"):
        check_split(Split(("x",), array, VideoArray.of(test_list), []), "here")
    for parts, expected in (
        (hold_out_groups(array, 0.3), hold_out_groups(train_list, 0.3)),
        (hold_out_groups(array, 0.0), hold_out_groups(train_list, 0.0)),
        (hold_out_fold(array, 3, 1), hold_out_fold(train_list, 3, 1)),
    ):
        assert all(isinstance(part, VideoArray) for part in parts)
        assert tuple(map(list, parts)) == expected


def test_a_data_set_inherits_its_folder():
    @dataclass
    class Own(Dataset):
        root: str = "own"

    assert Own().folder() == Path("own")
