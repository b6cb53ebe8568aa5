"""The generated set on disk: its folder, its lists, its files."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from datamodules.datasets import moving_shapes, rendering
from datamodules.datasets.moving_shapes import MovingShapes, write_lists
from datamodules.datasets.rendering import render
from datamodules.datasets.scenes import CLASSES, make_scene
from datamodules.errors import DataError


@pytest.fixture
def small(tmp_path, monkeypatch) -> MovingShapes:
    """The order family with four groups, two for training and two for testing in split 1."""
    monkeypatch.setattr(moving_shapes, "GROUPS", (2, 7, 8, 25))
    clips = dict.fromkeys(CLASSES, 1)
    return MovingShapes(root=str(tmp_path / "one"), size=32, families=["order"], clips=clips)


def test_set_does_not_depend_on_the_number_of_workers(small, tmp_path):
    other = replace(small, root=str(tmp_path / "two"))
    small.prepare(workers=1)
    other.prepare(workers=2)
    files = sorted(path.relative_to(small.folder()) for path in small.folder().rglob("*") if path.is_file())
    assert len(files) == 4 * 4 + 1 + 6
    assert files == sorted(path.relative_to(other.folder()) for path in other.folder().rglob("*") if path.is_file())
    assert all((small.folder() / file).read_bytes() == (other.folder() / file).read_bytes() for file in files)


def test_set_reads_as_ucf101_with_disjoint_groups(small):
    small.prepare(workers=1)
    lists = small.read()
    assert lists.classes == tuple(CLASSES["order"])
    assert lists.families == {"order": lists.classes}
    assert {video.group for video in lists.test} == {"g02", "g07"}
    assert {video.group for video in lists.train} == {"g08", "g25"}
    assert all(lists.classes[video.labels[0]] == video.path.split("/")[0] for video in lists.train + lists.test)


def test_videos_decode_to_their_scenes_and_every_frame_is_coded_by_itself(small):
    small.prepare(workers=1)
    path = small.folder() / "OrderMoveThenRest" / "v_OrderMoveThenRest_g08_c01.mp4"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 25
        decoded = list(container.decode(stream))
    assert all(frame.key_frame for frame in decoded)
    frames = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    expected = render(make_scene(0, "order", "OrderMoveThenRest", 8, 1, size=32))
    assert frames.shape == expected.shape == (96, 32, 32, 3)
    assert abs(frames.astype(int) - expected).mean() < 8  # sensor noise and chroma do not survive whole


def test_default_set_is_balanced_and_large_enough(tmp_path):
    data = MovingShapes()
    write_lists(tmp_path, {name: data.clips[family] for family in data.families for name in CLASSES[family]}, [1])
    train = (tmp_path / "trainlist01.txt").read_text().splitlines()
    test = (tmp_path / "testlist01.txt").read_text().splitlines()
    assert Counter(line.split("/")[0] for line in train) == {
        name: 18 * data.clips[family] for family in data.families for name in CLASSES[family]
    }
    assert (len(train), len(test)) == (1584, 616)
    assert (tmp_path / "classInd.txt").read_text().splitlines()[0] == "1 AppearanceDisc"
    assert train[0] == "AppearanceDisc/v_AppearanceDisc_g08_c01.mp4 1"
    assert test[0] == "AppearanceDisc/v_AppearanceDisc_g01_c01.mp4"


def test_the_same_settings_have_the_same_folder_as_ever():
    assert MovingShapes().folder().name == "seed0-64px-96f-803503"
    assert MovingShapes(families=["camouflage", "motion"], size=48).folder().name == "seed0-48px-96f-019afc"


def test_a_set_with_jumps_has_split_1_only(small):
    jumps = replace(small, families=["shift", "motion"], frames=20)
    jumps.prepare(workers=1)
    lists = jumps.read()
    assert lists.families == {"shift": tuple(CLASSES["shift"]), "motion": tuple(CLASSES["motion"])} and not lists.chance
    assert {video.group for video in lists.test} == {"g02", "g07"}
    assert {video.group for video in lists.train} == {"g08", "g25"}
    with pytest.raises(DataError, match=r"data\.split=2: the lists have the splits 1"):
        replace(jumps, split=2).read()


def test_interrupted_generation_leaves_nothing(small, monkeypatch):
    written = []

    def fail_late(path: Path, frames: np.ndarray, fps: int) -> None:
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(rendering, "write_video", fail_late)
    with pytest.raises(KeyboardInterrupt):
        small.prepare(workers=1)
    assert list(Path(small.root).iterdir()) == []


def test_prepare_keeps_a_complete_set(small, monkeypatch):
    small.prepare(workers=1)
    monkeypatch.setattr(rendering, "write_video", None)
    small.prepare(workers=1)


def test_other_settings_never_share_a_folder():
    changes = [{}, {"data_seed": 1}, {"size": 32}, {"frames": 100}, {"fps": 30}, {"families": ["order"]}]
    changes += [{"clips": {"appearance": 1, "motion": 1, "order": 1}}, {"families": ["order", "motion", "appearance"]}]
    assert len({MovingShapes(**change).folder() for change in changes}) == len(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"families": ["order", "colour"]},
            "data.families=.*expected some of appearance, motion, fine, order",
        ),
        ({"families": []}, "data.families="),
        ({"clips": {"order": 0}}, "data.clips.order=0: expected 1 to 99"),
        ({"size": 33}, "data.size=33: expected an even number"),
        ({"frames": 60}, "data.frames=60: expected at least 93, which the order family needs"),
        ({"families": ["shift", "appearance"], "frames": 92}, "data.frames=92: expected at least 93, which the appear"),
        ({"families": ["motion"], "frames": 19}, "data.frames=19: expected at least 20, which the motion family"),
        ({"families": ["shift"], "frames": 21}, "data.frames=21: the shift family needs two equal halves; set an even"),
        ({"data_seed": -1}, "data.data_seed=-1"),
    ],
)
def test_bad_settings_are_named(small, change, message):
    with pytest.raises(DataError, match=message):
        replace(small, **change).prepare(workers=1)
