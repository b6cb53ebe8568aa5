"""Folders of numbered images, from the folder to clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.clips import ClipSpec
from datamodules.datamodule import VideoDataModule
from datamodules.datasets.folder import Folder
from datamodules.decode.frames import iter_frames
from datamodules.decode.images import content_digest
from datamodules.decode.info import probe
from datamodules.doctor.check import check
from datamodules.errors import DataError, DecodeError
from tests.factories import scrolling, write_manifest


def write_images(folder: Path, pictures: np.ndarray, name: str = "frame_{:06d}.png", first: int = 1) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures, start=first):
        Image.fromarray(picture).save(folder / name.format(number))
    return pictures


@pytest.mark.parametrize("name", ["frame_{:06d}.png", "{:03d}.PNG", "a [b] {{c}} * ?_{:02d}.png"])
def test_the_frames_are_the_images_in_order(tmp_path, name):
    folder = tmp_path / "odd [name] {x}"
    pictures = write_images(folder, scrolling(12), name, first=3)
    (folder / ".hidden_001.png").touch()
    info = probe(folder)
    assert (info.frames, info.fps, info.header_frames, info.height, info.width) == (12, 0.0, 0, 64, 96)
    assert np.array_equal(np.stack(list(iter_frames(folder, info))), pictures)


def test_jpeg_images_with_gaps_and_a_single_picture(tmp_path):
    pictures = write_images(tmp_path / "v", scrolling(4), "{:04d}.jpg")
    (tmp_path / "v" / "0002.jpg").unlink()
    frames = np.stack(list(iter_frames(tmp_path / "v")))
    assert frames.shape == (3, 64, 96, 3) and abs(frames.astype(int) - pictures[[0, 2, 3]]).mean() < 20
    write_images(tmp_path, pictures[:1], "picture.png")
    assert np.array_equal(list(iter_frames(tmp_path / "picture.png")), pictures[:1])


@pytest.mark.parametrize(
    ("name", "message"),
    [("{}.png", "order of its images' names is not that of their numbers"), ("x.png", "it is not a regular file")],
)
def test_folders_that_are_no_video(tmp_path, name, message):
    write_images(tmp_path / "v", scrolling(11), name)
    with pytest.raises(DecodeError, match=message):
        probe(tmp_path / "v")


def test_images_of_several_kinds_or_sizes_are_refused(tmp_path):
    write_images(tmp_path / "v", scrolling(3))
    write_images(tmp_path / "v", scrolling(1, 32, 32), first=4)
    with pytest.raises(DecodeError, match="frame 3 is 32x32, the first is 96x64"):
        probe(tmp_path / "v")
    write_images(tmp_path / "v", scrolling(1), "flow_{:03d}.png")
    with pytest.raises(DecodeError, match=r"several kinds of names, flow_<number>.png, frame_<number>.png; keep one"):
        probe(tmp_path / "v")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_images_with_exif_are_read_and_turned_ones_refused(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x10F] = "Camera"
    for orientation in (None, 1, 2, 6):
        folder = tmp_path / str(orientation)
        folder.mkdir()
        if orientation:
            exif[0x112] = orientation
        for number, picture in enumerate(scrolling(3)):
            Image.fromarray(picture).save(folder / f"{number}.{suffix}", exif=exif)
        if orientation in (None, 1):
            assert probe(folder).frames == len(list(iter_frames(folder))) == 3
        else:
            with pytest.raises(DecodeError, match=rf"0\.{suffix} is stored turned or mirrored .EXIF orientation"):
                probe(folder)


def test_an_image_that_is_none_does_not_shorten_the_video(tmp_path):
    write_images(tmp_path / "v", scrolling(5))
    (tmp_path / "v" / "frame_000003.png").write_bytes(b"")
    with pytest.raises(DecodeError, match="v: cannot be decoded"):
        probe(tmp_path / "v")


def test_the_digest_changes_with_any_image(tmp_path):
    write_images(tmp_path / "v", scrolling(3))
    before = content_digest(tmp_path / "v")
    write_images(tmp_path / "v", scrolling(1, seed=9), first=2)
    assert content_digest(tmp_path / "v") != before


def rawframes(root: Path) -> Folder:
    for number, path in enumerate(("train/a/1", "train/b/2", "test/a/3", "test/b/4")):
        write_images(root / "videos" / path, scrolling(20, seed=number))
    return Folder(root=str(root / "videos"), stores=str(root / "stores"))


def clips(data: Folder, **settings) -> VideoDataModule:
    spec = ClipSpec(frames=4, test_clips=1, resize=[32, 48], crop=32, **settings)
    module = VideoDataModule(data, spec, batch_size=2, test_batch_size=2, workers=0, seed=0)
    module.prepare_data()
    module.setup()
    return module


def test_clips_of_image_folders_at_the_rate_that_is_set(tmp_path):
    data = rawframes(tmp_path)
    assert [video.path for video in data.read().train] == ["train/a/1", "train/b/2"]
    assert next(iter(clips(data).test_dataloader()))["center"].tolist() == [9.5, 9.5], "in frames: there is no rate"
    with pytest.raises(DataError, match=r"train/a/1: sampling\.fps=5: the video does not say its frame rate"):
        clips(data, fps=5.0)
    module = clips(replace(data, image_fps=10.0), fps=5.0)
    assert module.store.videos["test/b/4"].fps == 10 and module.store.videos["test/b/4"].frames == 20
    (batch,) = module.test_dataloader()
    assert np.allclose(batch["center"], 0.95, atol=0.06)
    write_manifest(tmp_path / "videos", *(f"{v.path},{v.path[6]},{v.path},train" for v in data.read().train))
    text = "path,label,group,split,fps\ntrain/a/1,a,1,train,12.5\ntrain/b/2,b,2,train,\ntest/a/3,a,3,test,\n"
    (tmp_path / "videos" / "manifest.csv").write_text(text)
    assert replace(data, image_fps=10.0).read().rates == {"train/a/1": 12.5, "train/b/2": 10.0, "test/a/3": 10.0}
    with pytest.raises(DataError, match=r"data\.image_fps=0\.0: expected a number of frames per second above 0"):
        replace(data, image_fps=0.0).read()
    (tmp_path / "videos" / "manifest.csv").write_text(text.replace("12.5", "fast"))
    with pytest.raises(DataError, match=r"manifest\.csv:2: found fps 'fast', expected a number of frames per second"):
        data.read()


def test_image_folders_are_checked_as_files_are(tmp_path):
    data = rawframes(tmp_path)
    broken = tmp_path / "videos" / "test" / "b" / "4" / "frame_000007.png"
    broken.write_bytes(broken.read_bytes()[:100])
    survey, findings = check(data, 1)
    assert {path: finding.status for path, finding in findings.items() if path != "test/b/4"} == dict.fromkeys(
        ("train/a/1", "train/b/2", "test/a/3"), "ok"
    )
    assert findings["test/b/4"].status != "ok" or findings["test/b/4"].message, findings["test/b/4"]
    assert not survey.extra
