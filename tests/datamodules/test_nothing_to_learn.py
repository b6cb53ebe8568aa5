"""A data set of one class, or without a test video, is refused before anything is decoded."""

import pytest

from datamodules.clips import ClipSpec
from datamodules.datamodule import VideoDataModule
from datamodules.datasets.folder import Folder
from datamodules.errors import DataError
from tests.factories import folder_of_videos

SPEC = ClipSpec(frames=2, test_clips=1, resize=[36, 36], crop=32)


def prepare(root):
    dataset = Folder(root=str(root), stores=str(root.parent / "stores"))
    VideoDataModule(dataset, SPEC, batch_size=2, test_batch_size=2, workers=0, seed=0).prepare_data()


def test_one_class_is_refused(tmp_path):
    root = folder_of_videos(tmp_path / "one", classes=("walk",), each=2)
    with pytest.raises(DataError, match=r"one: all videos are of the class 'walk', expected 2 classes"):
        prepare(root)
    assert not (tmp_path / "stores").exists()


def test_no_test_video_is_refused(tmp_path):
    root = folder_of_videos(tmp_path / "untested", each=2)
    rows = [
        f"{path.relative_to(root)},{path.parent.name},{path.stem},train" for path in sorted(root.glob("train/*/*.mp4"))
    ]
    (root / "manifest.csv").write_text("\n".join(["path,label,group,split", *rows]))
    with pytest.raises(DataError, match=r"untested, split 1: the test list has 0 videos, expected at least 1$"):
        prepare(root)
    assert not (tmp_path / "stores").exists()
