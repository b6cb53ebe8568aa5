"""Videos smaller than a network's input are stored as they are, and read as if they had been stored enlarged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.flow import FlowConfig
from datamodules.store.building import build_tracks
from datamodules.store.jobs import shard_jobs
from datamodules.store.reading import FrameStore, LazyRows, open_store
from datamodules.store.size import expected_bytes
from datamodules.store.tracks import Sample, Track
from datamodules.transforms import Window, cut_flow, cut_rgb
from tests.datamodules.store.builders import in_turn
from tests.factories import write_clip

RGB = Track(96, 130)
TRACKS = [RGB, Track(96, 130, FlowConfig(preset="ultrafast", bound=4.0))]
SMALL, LARGE = (32, 40), (80, 120)
TURNED = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # by 90 degrees


def videos(root: Path, *sizes: tuple[int, int]) -> list[str]:
    names = [f"{number}.avi" for number in range(len(sizes))]
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        write_clip(root / name, 1 + 6 * number, size=size, seed=number)
    return names


def build(root: Path, names: list[str], stores: Path, *tracks: Track) -> FrameStore:
    folder = build_tracks(root, names, stores, "test", tracks, workers=1, max_store=1.0, launcher=in_turn)
    return open_store(folder, tracks)


def stored(store: FrameStore, track: Track) -> np.ndarray:
    return np.load(store.folder / track.name / "00000.npy")


@pytest.mark.parametrize("sample", [None, Sample(clips=2, seconds=0.1)], ids=["whole", "pieces"])
def test_they_are_read_as_if_stored_enlarged(tmp_path, monkeypatch, sample):
    names = videos(tmp_path, SMALL, SMALL, SMALL)
    tracks = [replace(track, sample=sample) for track in TRACKS]
    kept = build(tmp_path, names, tmp_path / "kept", *tracks)
    monkeypatch.setattr(Track, "keeps", lambda *_: False)
    enlarged = build(tmp_path, names, tmp_path / "enlarged", *tracks)
    for track, size, values in zip(tracks, ((*SMALL, 3), (*SMALL, 2)), (np.uint8, np.float32), strict=True):
        assert stored(kept, track).shape[1:] == size and stored(kept, track).dtype == values
        assert stored(enlarged, track).shape[1:] == track.row
    for name in names:
        assert kept.videos[name] == enlarged.videos[name]
        assert isinstance(kept.rgb(name), LazyRows) and isinstance(enlarged.rgb(name), np.ndarray)
        frames = np.array([len(kept.rgb(name)) - 1, 0, 0])
        for window in (Window(3, 20, False), Window(0, 5, True), Window(7, 1, True, side=64)):
            pictures = [
                cut_rgb(store.rgb(name), frames, window, np.empty((3, 80, 80, 3), np.uint8))
                for store in (kept, enlarged)
            ]
            np.testing.assert_array_equal(*pictures)
            motions = [np.empty((1, 80, 80, 2), np.uint8) for _ in range(2)]
            means = [
                cut_flow(*store.flow(name), np.array([0]), window, motion)
                for store, motion in zip((kept, enlarged), motions, strict=True)
            ]
            np.testing.assert_array_equal(*motions)
            np.testing.assert_array_equal(*means)
    assert len(np.unique(motions[0])) > 20  # it moves


@pytest.mark.parametrize("sizes", [(SMALL, LARGE), (LARGE, SMALL), (SMALL, (30, 40), SMALL)])
def test_a_shard_of_several_sizes_is_stored_enlarged(tmp_path, sizes):
    store = build(tmp_path, videos(tmp_path, *sizes), tmp_path / "stores", *TRACKS)
    for track in TRACKS:
        assert stored(store, track).shape[1:] == track.row
    assert [len(store.rgb(f"{number}.avi")) for number in range(len(sizes))] == [1, 7, 13][: len(sizes)]


def test_a_video_that_is_none_does_not_decide(tmp_path):
    names = videos(tmp_path, LARGE, SMALL, SMALL)
    (tmp_path / names[0]).write_text("no video")
    assert stored(build(tmp_path, names, tmp_path / "stores", RGB), RGB).shape == (7 + 13, *SMALL, 3)


def test_turned_videos_are_kept_upright(tmp_path, monkeypatch):
    """Also where frames are sought: what the packets say of a turned video is the size before it is turned."""
    turned = {"matrix": TURNED, "settings": {"x264-params": "keyint=10"}}
    for name, seed in (("a.mp4", 1), ("b.mp4", 2)):
        write_clip(tmp_path / name, 30, "libx264", size=SMALL, seed=seed, **turned)
    tracks = [replace(track, sample=Sample(clips=2, seconds=0.2)) for track in TRACKS]
    kept = build(tmp_path, ["a.mp4", "b.mp4"], tmp_path / "kept", *tracks)
    assert stored(kept, tracks[0]).shape[1:3] == SMALL[::-1]
    monkeypatch.setattr(Track, "keeps", lambda *_: False)
    enlarged = build(tmp_path, ["a.mp4", "b.mp4"], tmp_path / "enlarged", *tracks)
    for name in ("a.mp4", "b.mp4"):
        np.testing.assert_array_equal(kept.rgb(name)[:], enlarged.rgb(name))
        np.testing.assert_array_equal(kept.flow(name)[0][:], enlarged.flow(name)[0])


def test_a_store_of_several_sizes_is_expected_to_be_enlarged(tmp_path):
    names = videos(tmp_path, (30, 40), SMALL)
    said, _ = expected_bytes(shard_jobs(tmp_path, tmp_path, names, (RGB,), {}), tmp_path, names, [RGB])
    assert said == pytest.approx(stored(build(tmp_path, names, tmp_path / "stores", RGB), RGB).nbytes)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("track", TRACKS, ids=lambda track: track.kind)
def test_the_store_is_as_large_as_was_said(tmp_path, size, track):
    names = videos(tmp_path, size, size)[1:]
    said, _ = expected_bytes(shard_jobs(tmp_path, tmp_path, names, (track,), {}), tmp_path, names, [track])
    rows = stored(build(tmp_path, names, tmp_path / "stores", track), track)
    assert said == pytest.approx(rows.nbytes * (7 / 6 if track.flow else 1))  # one field less than frames


def test_only_what_saves_half_of_the_space_is_kept():
    assert RGB.keeps(67, 93) and not RGB.keeps(68, 93)
    assert TRACKS[1].keeps(32, 48) and not TRACKS[1].keeps(32, 49)
    assert not RGB.keeps(100, 20) and not RGB.keeps(20, 140)  # one side would shrink
    assert not replace(RGB, encoding="jpeg").keeps(*SMALL)
