"""The data module: batches, what is held out or left out, its store and its fingerprint."""

import pickle
import tracemalloc
from dataclasses import replace

import pytest
import torch

from datamodules.datamodule import VideoDataModule
from datamodules.datasets.folder import Folder
from datamodules.errors import DataError
from datamodules.store import building
from tests.datamodules.numbered import (
    BROKEN,
    CROP,
    EARLY,
    FLOW,
    NAMES,
    TEST,
    TRAIN,
    Chosen,
    epoch,
    equal,
    make,
    opened,
    shown_paths,
)
from tests.factories import touch


def test_batches_have_the_documented_shapes_and_types(root):
    data = opened(root, FLOW)
    train, test = next(iter(data.train_dataloader())), next(iter(data.test_dataloader()))
    network = {
        "rgb": ((1, CROP, CROP, 3), torch.uint8),
        "flow": ((5, CROP, CROP, 2), torch.uint8),
        "flow_mean": ((5, 2), torch.float32),
        "target": ((2,), torch.bool),
    }
    place = {
        "video": ((), torch.int64),
        "clip": ((), torch.int64),
        "center": ((), torch.float32),  # some accelerators have no float64
        "valid": ((), torch.bool),
    }
    for batch, size, expected in ((train, 3, network), (test, 5, network | place)):
        assert {name: (tuple(value.shape), value.dtype) for name, value in batch.items()} == {
            name: ((size, *shape), dtype) for name, (shape, dtype) in expected.items()
        }
        assert all(value.is_contiguous() for value in batch.values())
    assert "flow" not in next(iter(opened(root).train_dataloader()))
    assert "rgb" not in next(iter(opened(root, replace(FLOW, frames=0)).train_dataloader()))
    assert (data.num_classes, data.lists.classes) == (2, ("jump", "walk"))


def test_one_class_is_refused_before_anything_is_decoded(tmp_path):
    touch(tmp_path, "one/train/walk/a.avi", "one/test/walk/b.avi")
    data = VideoDataModule(
        Folder(root=str(tmp_path / "one"), stores=str(tmp_path / "stores")),
        EARLY, batch_size=2, test_batch_size=2, workers=0, seed=0,
    )  # fmt: skip
    with pytest.raises(DataError, match=r"one: all videos are of the class 'walk', expected 2 classes"):
        data.prepare_data()
    assert not (tmp_path / "stores").exists()


def test_clips_survive_the_way_to_a_spawned_worker(root):
    data = opened(root, FLOW)
    for clips, key in ((data.train_clips, (2, 1, 0)), (data.test_views, 4)):
        here, there = (of.__getitems__([key]) for of in (clips, pickle.loads(pickle.dumps(clips))))
        assert here.keys() == there.keys() and all(torch.equal(here[name], there[name]) for name in here)


def test_a_data_set_reports_on_its_videos_once_they_are_decoded(root, monkeypatch):
    reported = []
    monkeypatch.setattr(Chosen, "report", lambda self, lists, stored: reported.append((lists, stored)), raising=False)
    data = make(root)
    data.prepare_data()
    ((lists, stored),) = reported
    assert lists is data.lists and set(stored) == set(NAMES) and stored["test/f0.avi"].frames == 3


def test_an_undecodable_training_video_is_refused_or_skipped(root):
    train = [*TRAIN, "train/broken.avi"]
    data = make(root, train=train)
    refused = r"1 of 9 training videos cannot be decoded whole, first .*train/broken.avi: .*data.undecodable=skip"
    for _ in range(2):  # a second try says the same
        with pytest.raises(DataError, match=refused):
            data.setup()
    with pytest.raises(DataError, match=refused):
        opened(root, train=train, undecodable="skpi")
    skipping = opened(root, train=train, undecodable="skip")
    assert [video.path for video in skipping.train_clips.videos] == TRAIN
    assert equal(list(skipping.train_dataloader()), list(opened(root).train_dataloader()))
    with pytest.raises(DataError, match=r"none of the 1 training videos of .* can be decoded"):
        opened(root, train=["train/broken.avi"], undecodable="skip")


def test_validation_holds_out_whole_groups(root):
    data = opened(root, validation=0.5)
    group = {video.path: video.group for video in data.lists.train}
    train = {video.path for video in data.train_clips.videos}
    held_out = {video.path for video in data.validation_views.videos}
    assert train | held_out == set(TRAIN) and len(held_out) == 4
    assert not {group[path] for path in train} & {group[path] for path in held_out}
    assert shown_paths(epoch(data.train_dataloader())).keys() <= train
    assert shown_paths(data.val_dataloader()) == dict.fromkeys(held_out, 3)
    assert equal(list(data.val_dataloader()), list(opened(root, validation=0.5, seed=7).val_dataloader()))
    assert opened(root).val_dataloader() == []


def test_setup_opens_what_prepare_data_built(root, monkeypatch):
    monkeypatch.setattr(building, "_build", lambda *_: pytest.fail("decoded again"))
    data = make(root, FLOW)
    assert [track.name for track in data.tracks] == ["rgb-36x64", "flow-36x64-dis-medium-b20"]
    data.prepare_data()
    data.setup("fit")
    store = data.store
    data.setup("test")
    assert data.store is store


def test_the_fingerprint_changes_with_the_data_alone(root, tmp_path):
    data = opened(root)
    known = data.fingerprint()
    assert len(known) == 16 and int(known, 16)
    assert known == opened(root, FLOW, workers=2, seed=3, batch_size=1).fingerprint()

    moved = tmp_path / "elsewhere" / "renamed"  # a link, so that the copy costs nothing
    moved.parent.mkdir()
    moved.symlink_to(root)
    assert known == opened(moved, stores=str(root.parent / "stores")).fingerprint()

    changed = {
        "fewer test videos": opened(root, test=TEST[:3]),
        "an undecodable one": opened(root, test=[*TEST, BROKEN]),
        "fewer training videos": opened(root, train=TRAIN[:7]),
        "another label": opened(root, labels={"test/e0.avi": (1,)}),
        "another training label": opened(root, labels={"train/a0.avi": (1,)}),
        "validation": opened(root, validation=0.5),
    }
    prints = {name: other.fingerprint() for name, other in changed.items()}
    assert len({known, *prints.values()}) == len(prints) + 1, prints
    video = data.store.videos["test/e0.avi"]
    data.store.videos = {**data.store.videos, "test/e0.avi": replace(video, frames=video.frames - 1)}
    assert data.fingerprint() not in {known, *prints.values()}


def test_memory_does_not_grow_with_the_views_of_a_video(root):
    spec = replace(EARLY, frames=8, test_clips=60, test_views="10crop")
    data = opened(root, spec, test=["test/e1.avi"], test_batch_size=16)
    whole, count = 600 * 3 * 8 * CROP * CROP, 0
    tracemalloc.start()
    try:
        for batch in data.test_dataloader():
            assert len(batch["video"]) == (16 if count < 592 else 8)
            count += len(batch["video"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 600
    assert peak < whole / 5  # 16 views are a 38th; collating copies them
