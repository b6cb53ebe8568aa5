"""Many videos in a few arrays."""

import pickle

import numpy as np
import pytest

from datamodules.videos import Ragged, Video, VideoArray, label_sets, select

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
