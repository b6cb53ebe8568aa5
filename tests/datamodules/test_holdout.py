"""Which groups are held out for validation, by share and by fold."""

import pytest

from datamodules.datasets.base import Dataset
from datamodules.errors import DataError
from datamodules.holdout import hold_out, hold_out_fold, hold_out_groups
from datamodules.videos import Video, VideoArray


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


def test_hold_out_depends_on_the_groups_only():
    train_list = grouped([20, 20])
    train, validation = hold_out_groups(train_list, 0.25)
    other_train, other_validation = hold_out_groups(train_list[::-1], 0.25)
    assert (other_train, other_validation) == (train[::-1], validation[::-1])
    # Pinned: other validation videos would make runs incomparable without anyone noticing.
    assert sorted(groups_of(hold_out_groups(grouped([4, 4]), 0.25)[1])) == ["0 g3", "1 g3"]


def test_hold_out_of_groups_over_several_classes():
    train_list = [Video(f"{p}/{c}", (c,), p) for p in ("ann", "bob", "cy", "di") for c in range(3)]
    train, validation = hold_out_groups(train_list, 0.3)
    assert len(groups_of(validation)) == 1 and len(validation) == 3 and len(train) == 9


def test_hold_out_never_takes_the_only_group_of_one_of_its_classes():
    for draw in range(20):  # other names, another order
        labels = {"a": (0,), "b": (0, 1), "c": (0, 1), "d": (0, 2)}
        train_list = [Video(name, own, f"{name}{draw}") for name, own in labels.items()]
        train, validation = hold_out_groups(train_list, 0.75)
        assert {label for video in train for label in video.labels} == {0, 1, 2}
        assert validation


def test_hold_out_nothing():
    train_list = grouped([1, 1])
    assert hold_out_groups(train_list, 0.0) == (train_list, [])
    with pytest.raises(DataError, match=r"data.validation=0.5: none of 2 groups"):
        hold_out_groups(train_list, 0.5)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_hold_out_share_out_of_range(share):
    with pytest.raises(DataError, match=r"data\.validation="):
        hold_out_groups(grouped([4]), share)


def fold_by_group(videos, folds):
    """{group: fold} from the validation set of every fold."""
    found = {}
    for fold in range(folds):
        train, validation = hold_out_fold(videos, folds, fold)
        assert sorted(train + validation, key=videos.index) == videos and not groups_of(train) & groups_of(validation)
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


@pytest.mark.parametrize(
    ("part", "setting"), [(hold_out_groups, (0.3,)), (hold_out_groups, (0.0,)), (hold_out_fold, (3, 1))]
)
def test_an_array_is_parted_as_a_list_is(part, setting):
    videos = grouped([5, 9, 4])
    parts = part(VideoArray.of(videos), *setting)
    assert all(isinstance(videos, VideoArray) for videos in parts)
    assert tuple(map(list, parts)) == part(videos, *setting)
