import pickle
import tracemalloc
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import av
import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.clips import ClipSpec
from datamodules.datamodule import VideoDataModule
from datamodules.dataset_store import prepare_store, tracks
from datamodules.datasets.folder import Folder
from datamodules.errors import DataError
from datamodules.flow import FlowConfig
from datamodules.loading import TestViews, TrainClips
from datamodules.store import building
from datamodules.store.shards import StoredVideo
from datamodules.store.tracks import Sample
from datamodules.transforms import Window
from datamodules.videos import Video, VideoArray

HEIGHT, WIDTH, CROP = 36, 64, 32
EARLY = ClipSpec(frames=4, test_clips=3, resize=[HEIGHT, WIDTH], crop=CROP)
BOTH = replace(EARLY, frames=1, flow_frames=5)

# path: label, group, split, frames; a broken file has no frames. All are decoded into one shard of one store.
VIDEOS = {
    "train/a0.avi": ("jump", "a", "train", 20),
    "train/a1.avi": ("jump", "a", "train", 22),
    "train/b0.avi": ("jump", "b", "train", 24),
    "train/b1.avi": ("jump", "b", "train", 26),
    "train/c0.avi": ("walk", "c", "train", 28),
    "train/c1.avi": ("walk", "c", "train", 30),
    "train/d0.avi": ("walk", "d", "train", 32),
    "train/d1.avi": ("walk", "d", "train", 34),
    "train/broken.avi": ("walk", "d", "train", 0),
    "test/e0.avi": ("jump", "e", "test", 20),
    "test/e1.avi": ("walk", "e", "test", 40),
    "test/broken.avi": ("walk", "f", "test", 0),
    "test/f0.avi": ("jump", "f", "test", 3),
    "test/f1.avi": ("walk", "f", "test", 36),
}
NAMES = list(VIDEOS)


def picture(video: int, frame: int) -> np.ndarray:
    """A frame whose every pixel tells video, frame, row and column."""
    red = np.full((HEIGHT, WIDTH), 6 * frame)
    green = np.broadcast_to(7 * np.arange(HEIGHT)[:, None] + video // 3, (HEIGHT, WIDTH))
    blue = np.broadcast_to(3 * np.arange(WIDTH) + video % 3, (HEIGHT, WIDTH))
    return np.stack([red, green, blue], -1).astype(np.uint8)


class Seen(NamedTuple):
    path: str
    frames: list[int]
    window: Window


def seen(view: torch.Tensor) -> Seen:
    """What a view (3, T, crop, crop) shows, after checking its every pixel."""
    red, green, blue = view.numpy().astype(int)
    video = green[0, 0, 0] % 7 * 3 + blue[0, 0, 0] % 3
    window = Window(green[0, 0, 0] // 7, blue[0, 0].min() // 3, bool(blue[0, 0, 0] > blue[0, 0, -1]))
    frames = (red[:, 0, 0] // 6).tolist()
    step = -1 if window.mirrored else 1
    for shown, frame in zip(view.numpy().transpose(1, 2, 3, 0), frames, strict=True):
        cut = picture(video, frame)[window.top : window.top + CROP, window.left : window.left + CROP][:, ::step]
        assert np.array_equal(shown, cut)
    return Seen(NAMES[video], frames, window)


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """The videos without loss of a bit, with their manifest and store."""
    root = tmp_path_factory.mktemp("data") / "clips"
    lines = ["path,label,group,split"]
    for number, (path, (label, group, split, frames)) in enumerate(VIDEOS.items()):
        lines.append(f"{path},{label},{group},{split}")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if not frames:
            (root / path).write_text("no video")
            continue
        with av.open(str(root / path), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "bgr0"
            for frame in range(frames):
                image = av.VideoFrame.from_ndarray(picture(number, frame), format="rgb24")
                container.mux(stream.encode(image))
            container.mux(stream.encode())
    (root / "manifest.csv").write_text("\n".join(lines))
    dataset = Folder(root=str(root), stores=str(root.parent / "stores"))
    prepare_store(dataset, tracks(dataset, BOTH), workers=1)
    return root


@dataclass
class Listed(Folder):
    """The manifest's videos in lists that a test changes; the files, and so the store, remain."""

    train: list[str] | None = None
    test: list[str] | None = None
    labels: dict[str, tuple[int, ...]] | None = None
    pieces: int = 0

    def sample(self):
        return Sample(self.pieces, 0.16) if self.pieces else None  # of 5 frames each

    def read(self):
        lists = super().read()
        relabel = self.labels or {}
        lists.train, lists.test = (
            [replace(v, labels=relabel.get(v.path, v.labels)) for v in videos if keep is None or v.path in keep]
            for videos, keep in ((lists.train, self.train), (lists.test, self.test))
        )
        return lists


TRAIN = [path for path in NAMES if path.startswith("train/") and VIDEOS[path][3]]
TEST = [path for path in NAMES if path.startswith("test/") and VIDEOS[path][3]]
BROKEN = "test/broken.avi"


def make(root, spec=EARLY, *, batch_size=3, test_batch_size=5, workers=0, seed=0, process=(0, 1), **settings):
    """A data module before `setup`."""
    settings = {"stores": str(root.parent / "stores"), "train": TRAIN, "test": TEST} | settings
    data = VideoDataModule(
        Listed(root=str(root), **settings),
        spec,
        batch_size=batch_size,
        test_batch_size=test_batch_size,
        workers=workers,
        seed=seed,
    )
    if process != (0, 1):
        data.trainer = SimpleNamespace(global_rank=process[0], world_size=process[1], global_step=0)
    return data


def opened(root, spec=EARLY, **settings):
    data = make(root, spec, **settings)
    data.setup()
    return data


def epoch(loader, number=0):
    """The batches of one epoch, asked for as Lightning does."""
    loader.sampler.set_epoch(number)
    return list(loader)


def equal(some, others):
    return len(some) == len(others) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(some, others, strict=True)
    )


def views(batches, name="rgb"):
    return [view for batch in batches for view in batch[name]]


# -- what is in a batch


def test_batches_have_the_documented_shapes_and_types(root):
    data = opened(root, BOTH)
    train, test = next(iter(data.train_dataloader())), next(iter(data.test_dataloader()))
    network = {
        "rgb": ((3, 1, CROP, CROP), torch.uint8),
        "flow": ((2, 5, CROP, CROP), torch.uint8),
        "flow_mean": ((2, 5), torch.float32),
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
    assert "rgb" not in next(iter(opened(root, replace(BOTH, frames=0)).train_dataloader()))
    assert (data.num_classes, data.lists.classes) == (2, ("jump", "walk"))


def test_training_clips_show_frames_of_their_video(root):
    data = opened(root, replace(EARLY, stride=3), batch_size=4)
    firsts = set()
    for number in range(5):
        batches = epoch(data.train_dataloader(), number)
        clips = [seen(view) for view in views(batches)]
        assert Counter(clip.path for clip in clips) == Counter(TRAIN)
        for clip, target in zip(clips, views(batches, "target"), strict=True):
            first = clip.frames[0]
            assert clip.frames == [first, first + 3, first + 6, first + 9]
            assert clip.frames[-1] < VIDEOS[clip.path][3]
            assert target.tolist() == [VIDEOS[clip.path][0] == label for label in ("jump", "walk")]
            firsts.add(first)
    assert len(firsts) > 10


def test_test_clips_show_the_frames_asked_for(root):
    data = opened(root, replace(EARLY, test_views="flip"))
    batches = list(data.test_dataloader())
    assert [len(batch["video"]) for batch in batches] == [5, 5, 5, 5, 4]  # 4 videos x 3 clips x 2 views
    starts = {  # the clip's middle at 1/6, 1/2 and 5/6 of the frames; f0 has 3 frames of the 4
        "test/e0.avi": [1, 8, 15],
        "test/e1.avi": [5, 18, 31],
        "test/f0.avi": [0, 0, 0],
        "test/f1.avi": [4, 16, 28],
    }
    expected = []
    for path, firsts in starts.items():
        for first in firsts:
            frames = [(first + i) % VIDEOS[path][3] for i in range(4)]
            expected += [Seen(path, frames, Window(2, 16, mirrored)) for mirrored in (False, True)]
    assert [seen(view) for view in views(batches)] == expected
    assert [int(v) for v in views(batches, "video")] == sorted([0, 1, 2, 3] * 6)
    assert [int(c) for c in views(batches, "clip")] == [0, 0, 1, 1, 2, 2] * 4
    middles = [(first + 1.5) / 25 for firsts in starts.values() for first in firsts for _ in range(2)]
    assert np.allclose([float(c) for c in views(batches, "center")], middles)
    assert all(views(batches, "valid"))
    assert (data.test_views.num_clips, data.test_views.padded_clips, data.num_test_batches) == (12, 3, 5)


def test_windows_of_every_view(root):
    data = opened(root, replace(EARLY, frames=1, test_clips=1, test_views="10crop"), test_batch_size=10)
    batch = next(iter(data.test_dataloader()))
    places = [(0, 0), (0, 32), (4, 0), (4, 32), (2, 16)]
    assert [seen(view).window for view in batch["rgb"]] == [Window(*p, m) for m in (False, True) for p in places]


def test_flow_has_the_window_and_the_place_of_its_frames(root):
    data = opened(root, BOTH, batch_size=8)
    for loader in (data.train_dataloader(), data.test_dataloader()):
        mirrored = 0
        for batch in loader:
            for rgb, flow, mean in zip(batch["rgb"], batch["flow"], batch["flow_mean"], strict=True):
                path, (first,), (top, left, flipped, _) = seen(rgb)
                fields, means = data.store.flow(path)
                index = (first + np.arange(5)) % len(fields)  # f0 has 2 fields, the others enough
                assert VIDEOS[path][3] == 3 or first + 5 < VIDEOS[path][3]
                cut = fields[index, top : top + CROP, left : left + CROP].astype(int)
                x, y = cut[..., 0], cut[..., 1]
                if flipped:
                    x, y = 256 - x[:, :, ::-1], y[:, :, ::-1]
                assert np.array_equal(flow, np.stack([x, y]))
                sign = np.array([-1 if flipped else 1, 1])
                assert np.array_equal(mean, (means[index] * sign).T.astype(np.float32))
                mirrored += flipped
        assert (mirrored > 0) == (loader.dataset is data.train_clips)
    assert len(np.unique(fields)) > 1


def test_flow_in_both_directions_follows_one_another_on_one_axis(root, tmp_path):
    """Of 6 fields, 3 lead from the RGB frame on and 3 back from it, to the frames before."""
    spec = replace(BOTH, flow_frames=6, flow_direction="both", test_clips=2, test_views="flip")
    data = make(root, spec, batch_size=8, stores=str(tmp_path))
    names = ["rgb-36x64", "flow-36x64-dis-medium-b20", "backward_flow-36x64-dis-medium-b20"]
    assert [track.name for track in data.tracks] == names
    data.prepare_data()
    data.setup()
    for loader in (data.train_dataloader(), data.test_dataloader()):
        mirrored = 0
        for batch in loader:
            assert batch["flow"].shape[1:] == (2, 6, CROP, CROP) and batch["flow_mean"].shape[1:] == (2, 6)
            for rgb, flow, mean in zip(batch["rgb"], batch["flow"], batch["flow_mean"], strict=True):
                path, (middle,), (top, left, flipped, _) = seen(rgb)
                if VIDEOS[path][3] < 7:
                    continue
                assert 3 <= middle < VIDEOS[path][3] - 3
                (forward, means), (back, back_means) = data.store.flow(path), data.store.flow(path, backward=True)
                whole = [forward[middle + i] for i in range(3)] + [back[middle - 1 - i] for i in range(3)]
                cut = np.stack(whole)[:, top : top + CROP, left : left + CROP].astype(int)
                x, y = cut[..., 0], cut[..., 1]
                assert np.array_equal(flow, np.stack([256 - x[:, :, ::-1], y[:, :, ::-1]] if flipped else [x, y]))
                expected = [*means[middle : middle + 3], *back_means[middle - 3 : middle][::-1]]
                assert np.array_equal(mean, (np.stack(expected) * [-1 if flipped else 1, 1]).T.astype(np.float32))
                mirrored += flipped
        assert mirrored > 0


def test_frames_and_flow_of_a_jpeg_store_are_those_of_the_raw_one(root, tmp_path):
    """To JPEG's accuracy."""
    flow = FlowConfig(encoding="jpeg")
    settings = {"stores": str(tmp_path), "encoding": "jpeg", "quality": 100, "flow": flow, "test": [*TEST, BROKEN]}
    data = make(root, BOTH, **settings)
    names = ["rgb-36x64-jpeg100", "flow-36x64-dis-medium-b20-jpeg100"]
    assert [track.name for track in data.tracks] == names
    data.prepare_data()
    data.setup()
    raw = opened(root, BOTH, test=[*TEST, BROKEN])
    for ours, theirs in zip(data.test_dataloader(), raw.test_dataloader(), strict=True):
        assert ours.keys() == theirs.keys() and ours["flow"].dtype == torch.uint8
        assert torch.equal(ours["video"], theirs["video"]) and torch.equal(ours["valid"], theirs["valid"])
        assert abs(ours["rgb"].float() - theirs["rgb"].float()).mean() < 4
        assert abs(ours["flow"].float() - theirs["flow"].float()).mean() < 1
        assert torch.allclose(ours["flow_mean"], theirs["flow_mean"], atol=1e-4)


def test_a_store_at_a_lower_rate_has_fewer_frames(root, tmp_path):
    data = make(root, replace(EARLY, fps=5.0), stores=str(tmp_path), store_fps=5.0)
    data.prepare_data()
    data.setup()
    assert data.store.videos["train/d1.avi"].frames == 7 and data.store.videos["train/d1.avi"].fps == 5
    for view in views(data.test_dataloader()):
        path, frames, _ = seen(view)
        count = -(-VIDEOS[path][3] // 5)
        places = [(frames[0] // 5 + i) % count for i in range(4)]
        assert frames == [5 * place for place in places]


def sampled(root, folder, spec, **settings):
    """Opened, with 3 pieces of 5 frames of each video in the store."""
    data = make(root, spec, stores=str(folder), pieces=3, **settings)
    data.prepare_data()
    data.setup()
    return data


def piece_starts(path):
    return Sample(3, 0.16).pieces(path, VIDEOS[path][3], 25.0)[0].tolist()


def test_training_clips_lie_in_the_stored_pieces(root, tmp_path):
    spec = replace(EARLY, flow_frames=4)
    data, whole = sampled(root, tmp_path, spec, batch_size=4), opened(root, replace(BOTH, flow_frames=4))
    assert [track.name for track in data.tracks] == [
        "rgb-36x64-3x0.16s-seed0", "flow-36x64-dis-medium-b20-3x0.16s-seed0"
    ]  # fmt: skip
    firsts = {}
    for number in range(30):
        for batch in epoch(data.train_dataloader(), number):
            for rgb, flow, mean in zip(batch["rgb"], batch["flow"], batch["flow_mean"], strict=True):
                path, frames, (top, left, flipped, _) = seen(rgb)
                first = frames[0]
                assert frames == [first, first + 1, first + 2, first + 3]
                firsts.setdefault(path, set()).add(first)
                fields, means = whole.store.flow(path)  # those of the file's own frames
                cut = fields[first : first + 4, top : top + CROP, left : left + CROP].transpose(3, 0, 1, 2).astype(int)
                if flipped:
                    cut = np.stack([256 - cut[0, :, :, ::-1], cut[1, :, :, ::-1]])
                assert np.array_equal(flow, cut)
                assert np.allclose(mean, (means[first : first + 4] * [-1 if flipped else 1, 1]).T)
    # 4 frames with the 4 fields from them take all 5 frames of a piece.
    assert firsts == {path: set(piece_starts(path)) for path in TRAIN}
    again = sampled(root, tmp_path, spec, batch_size=4)
    assert equal(epoch(again.train_dataloader(), 29), epoch(data.train_dataloader(), 29))


def test_training_clips_begin_anywhere_in_a_piece(root, tmp_path):
    data = sampled(root, tmp_path, replace(EARLY, frames=3), train=["train/d1.avi"], batch_size=1)
    firsts = {seen(view).frames[0] for number in range(80) for view in views(epoch(data.train_dataloader(), number))}
    assert firsts == {start + place for start in piece_starts("train/d1.avi") for place in range(3)}


@pytest.mark.parametrize(
    ("count", "places", "padded"),
    [
        (2, [(0, 1), (2, 1)], 2),
        (3, [(0, 1), (1, 1), (2, 1)], 3),
        ("all", [(p, s) for p in range(3) for s in (0, 1)], 1),
    ],
)
def test_test_clips_are_spread_over_the_stored_pieces(root, tmp_path, count, places, padded):
    data = sampled(root, tmp_path, replace(EARLY, test_clips=count, test_step=1))
    expected, centers = [], []
    for path in TEST:
        if VIDEOS[path][3] < 5:  # one piece as a whole, of 3 frames: the clip begins again
            number = 1 if count == "all" else count
            expected += [(path, [0, 1, 2, 0])] * number
            centers += [1.5 / 25] * number
            continue
        for piece, place in places:
            first = piece_starts(path)[piece] + place
            expected.append((path, [first, first + 1, first + 2, first + 3]))
            centers.append((5 * piece + place + 1.5) / 25)  # within what is stored
    batches = list(data.test_dataloader())
    assert [seen(view)[:2] for view in views(batches)] == expected
    assert np.allclose([float(center) for center in views(batches, "center")], centers)
    assert (data.test_views.num_clips, data.test_views.padded_clips) == (len(expected), padded)


def test_clips_longer_than_a_piece_are_padded_or_refused(root, tmp_path):
    path = "test/e1.avi"
    for short, expected in (("loop", [0, 3, 1]), ("hold", [0, 3, 4])):
        data = sampled(root, tmp_path, replace(EARLY, frames=3, stride=3, short=short), test=[path])
        clips = [seen(view).frames for view in views(data.test_dataloader())]
        assert clips == [[start + place for place in expected] for start in piece_starts(path)]
        assert data.test_views.padded_clips == 3
    with pytest.raises(
        DataError, match=r"a0\.avi: .*: a clip spans 7 frames, a piece of the video that is stored has 5"
    ):
        sampled(root, tmp_path, replace(EARLY, frames=3, stride=3, short="error"), test=[path])


def test_no_clip_spans_a_video_of_which_pieces_are_stored(root):
    message = (
        r"sampling\.span=video .*, of which data\.clips_per_video=3 stores pieces only; set data\.clips_per_video=0"
    )
    with pytest.raises(DataError, match=message):
        make(root, replace(EARLY, span="video"), pieces=3).prepare_data()


def test_multi_label_targets(root):
    labels = {"test/e0.avi": (0, 1), "test/e1.avi": (1,), "test/f0.avi": (0,), "train/a0.avi": (1, 0)}
    data = opened(root, replace(EARLY, test_clips=1), labels=labels, batch_size=8)
    target = torch.stack(views(data.test_dataloader(), "target"))
    assert target.tolist() == [[True, True], [False, True], [True, False], [False, True]]
    for batch in data.train_dataloader():
        for view, row in zip(batch["rgb"], batch["target"], strict=True):
            path = seen(view).path
            assert row.tolist() == ([True, True] if path == "train/a0.avi" else [path < "train/c", path > "train/c"])


def test_a_clip_of_several_labels_may_be_trained_on_one_of_them(root):
    labels = {"train/a0.avi": (1, 0), "test/e0.avi": (0, 1)}
    spec = replace(EARLY, train_clips=40, test_clips=1)
    plain = epoch(opened(root, spec, labels=labels, batch_size=8).train_dataloader(), 2)
    data = opened(root, replace(spec, train_labels="one"), labels=labels, batch_size=8)
    batches = epoch(data.train_dataloader(), 2)
    drawn = [batch.pop("drawn") for batch in batches]
    assert equal(batches, plain), "nothing else is drawn otherwise"
    counts = Counter()
    for batch, ones in zip(batches, drawn, strict=True):
        assert ones.dtype == torch.bool and (ones.sum(1) == 1).all() and (batch["target"] | ~ones).all()
        counts.update(ones[batch["target"].all(1)].int().argmax(1).tolist())
    assert counts[0] + counts[1] == 40 and 8 < counts[0] < 32, counts
    again = opened(root, replace(spec, train_labels="one"), labels=labels, batch_size=8, workers=2).train_dataloader()
    assert torch.equal(torch.cat([batch["drawn"] for batch in epoch(again, 2)]), torch.cat(drawn))
    assert not torch.equal(torch.cat([batch["drawn"] for batch in epoch(again, 3)]), torch.cat(drawn))
    test = next(iter(data.test_dataloader()))
    assert "drawn" not in test and test["target"][0].tolist() == [True, True]


def test_videos_in_an_array_give_the_same_clips(root, monkeypatch):
    spec, settings = replace(BOTH, test_views="4crop", test_sampling="random"), {"validation": 0.5, "workers": 1}
    lists = opened(root, spec, **settings)
    read = Listed.read

    def in_arrays(self):
        found = read(self)
        found.train, found.test = VideoArray.of(found.train), VideoArray.of(found.test)
        return found

    monkeypatch.setattr(Listed, "read", in_arrays)
    arrays = opened(root, spec, **settings)
    for clips in (arrays.train_clips, arrays.validation_views, arrays.test_views):
        assert isinstance(clips.videos, VideoArray) and len(clips.videos) >= 4
    assert equal(epoch(arrays.train_dataloader(), 1), epoch(lists.train_dataloader(), 1))
    assert equal(list(arrays.val_dataloader()), list(lists.val_dataloader()))
    assert equal(list(arrays.test_dataloader()), list(lists.test_dataloader()))
    assert arrays.fingerprint() == lists.fingerprint()
    skipping = opened(root, train=[*TRAIN, "train/broken.avi"], undecodable="skip")
    assert isinstance(skipping.train_clips.videos, VideoArray)
    assert [video.path for video in skipping.train_clips.videos] == TRAIN


def test_views_come_in_any_order(root):
    views = opened(root, replace(EARLY, test_views="4crop", test_clips="all"), test=[*TEST, BROKEN]).test_views
    there = [views[key] for key in range(len(views))]
    for key in reversed(range(len(views))):
        again = views[key]
        assert all(np.array_equal(again[name], there[key][name]) for name in again)


def test_a_data_set_reports_on_its_videos_once_they_are_decoded(root, monkeypatch):
    reported = []
    monkeypatch.setattr(Listed, "report", lambda self, lists, stored: reported.append((lists, stored)), raising=False)
    data = make(root)
    data.prepare_data()
    ((lists, stored),) = reported
    assert lists is data.lists and set(stored) == set(NAMES) and stored["test/f0.avi"].frames == 3


# -- order and randomness


def test_epochs_differ_and_depend_on_seed_and_number_alone(root):
    epochs = [epoch(opened(root).train_dataloader(), number) for number in range(4)]
    for first in range(4):
        for second in range(first):
            assert not equal(epochs[first], epochs[second])
    loader = opened(root).train_dataloader()
    assert equal([b for number in range(4) for b in epoch(loader, number)], [b for e in epochs for b in e])
    assert not equal(epochs[3], epoch(opened(root, seed=1).train_dataloader(), 3))
    orders = {tuple(seen(view).path for view in views(batches)) for batches in epochs}
    assert len(orders) == 4


def test_workers_change_nothing(root):
    alone, helped = opened(root, BOTH), opened(root, BOTH, workers=2)
    loader = helped.train_dataloader()
    for number in (0, 1):
        assert equal(epoch(alone.train_dataloader(), number), epoch(loader, number))
    assert equal(list(alone.test_dataloader()), list(helped.test_dataloader()))


def test_clips_survive_the_way_to_a_spawned_worker(root):
    data = opened(root, BOTH)
    for clips, key in ((data.train_clips, (2, 1, 0)), (data.test_views, 4)):
        here, there = clips[key], pickle.loads(pickle.dumps(clips))[key]
        assert here.keys() == there.keys() and all(np.array_equal(here[name], there[name]) for name in here)


class Recorder(L.LightningModule):
    """Keeps what it is trained on, by epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches = {}

    def training_step(self, batch, _):
        self.batches.setdefault(self.current_epoch, []).append(batch)
        return self.weight * 0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


# Ways to train 4 epochs of 2 steps that Lightning resumes rightly. Not so max_steps with save_on_train_epoch_end: from
# there it goes on with a third batch of the epoch that had ended, and the rest of the next epoch is lost.
RESUMABLE = {
    "epochs": ({"max_epochs": 4}, {"every_n_epochs": 1, "save_on_train_epoch_end": True}),
    "steps": ({"max_steps": 8, "max_epochs": -1}, {"every_n_train_steps": 2}),
}


def fit(data, folder, limits, saving, checkpoint=None):
    model = Recorder()
    trainer = L.Trainer(
        **limits,
        accelerator="cpu",
        use_distributed_sampler=False,
        callbacks=[ModelCheckpoint(folder, "{epoch}", save_top_k=-1, **saving)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint)
    return model.batches


@pytest.mark.parametrize("way", RESUMABLE)
@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::UserWarning:torch")
def test_lightning_draws_each_epoch_and_goes_on_where_it_stopped(root, tmp_path, way):
    straight = fit(make(root), tmp_path, *RESUMABLE[way])
    loader = opened(root).train_dataloader()
    assert sorted(straight) == [0, 1, 2, 3]
    for number, batches in straight.items():
        assert equal(batches, epoch(loader, number))
    resumed = fit(make(root), tmp_path / "resumed", *RESUMABLE[way], checkpoint=tmp_path / "epoch=1.ckpt")
    assert sorted(resumed) == [2, 3]
    assert equal(resumed[2], straight[2]) and equal(resumed[3], straight[3])


def test_default_clips_are_those_of_ever(root):
    """Existing runs were trained on them: the draws and their order, written out."""
    spec, seed, number = replace(EARLY, train_clips=2), 3, 5
    batches = epoch(opened(root, spec, seed=seed, batch_size=4).train_dataloader(), number)
    expected = []
    for item in np.random.default_rng([seed, number]).permutation(16):
        index, draw = item % 8, item // 8
        generator = np.random.default_rng([seed, number, index, draw])
        first = generator.integers(0, VIDEOS[TRAIN[index]][3] - 4 + 1)
        top, left = generator.integers(0, HEIGHT - CROP + 1), generator.integers(0, WIDTH - CROP + 1)
        expected.append(Seen(TRAIN[index], list(range(first, first + 4)), Window(top, left, generator.random() < 0.5)))
    assert [seen(view) for view in views(batches)] == expected


@pytest.mark.parametrize("settings", [{"colour": "jitter"}, {"colour": "pca"}, {"crop_scales": [1, 0.75]}])
def test_augmentation_is_seeded_and_of_training_only(root, settings):
    spec = replace(BOTH, frames=3, **settings)
    plain, changed = opened(root, replace(BOTH, frames=3)), opened(root, spec)
    assert equal(list(plain.test_dataloader()), list(changed.test_dataloader()))
    batches = epoch(changed.train_dataloader(), 2)
    assert equal(batches, epoch(opened(root, spec, workers=1).train_dataloader(), 2))
    before = epoch(plain.train_dataloader(), 2)
    names = ("target",) if "crop_scales" in settings else ("target", "flow", "flow_mean")
    for ours, theirs in zip(batches, before, strict=True):
        assert {name: (value.shape, value.dtype) for name, value in ours.items()} == {
            name: (value.shape, value.dtype) for name, value in theirs.items()
        }
        assert all(torch.equal(ours[name], theirs[name]) for name in names)
        assert not torch.equal(ours["rgb"], theirs["rgb"])
    if "colour" in settings:  # one map for all frames of a clip, another for each clip
        maps = set()
        for ours, theirs in zip(views(batches), views(before), strict=True):
            points = theirs.numpy().reshape(3, -1).astype(float)
            points = np.vstack([points, np.ones(points.shape[1])])
            inside = ((ours.numpy() > 0) & (ours.numpy() < 255)).all(0).ravel()
            fit = np.linalg.lstsq(points.T[inside], ours.numpy().reshape(3, -1).T[inside].astype(float), rcond=None)[0]
            assert abs(fit.T @ points - ours.numpy().reshape(3, -1))[:, inside].max() < 1
            maps.add(tuple(np.round(fit.ravel(), 2)))
        assert len(maps) >= 5


def test_scaled_crops_show_the_stored_square(root):
    data = opened(root, replace(BOTH, crop_scales=[0.75], train_clips=4), batch_size=8)
    places = set()
    for key in [(0, video, draw) for video in range(8) for draw in range(4)]:
        example = data.train_clips[key]
        red, green, blue = (channel[0].astype(int) for channel in example["rgb"])
        rows, columns = green[:, 16] / 7, blue[16] / 3  # of the stored frame that the crop's middle row and column show
        mirrored = columns[0] > columns[-1]
        assert rows[-1] - rows[0] == pytest.approx(23, abs=1) and abs(columns[-1] - columns[0]) == pytest.approx(
            23, abs=1
        )
        top, left = round(rows[0] - 0.2), round(min(columns) - 0.2)
        places.add((min(top, 12), min(left, 40)))
        middle = red[0, 0] // 6
        means = data.store.flow(TRAIN[key[1]])[1]
        assert np.allclose(example["flow_mean"][1], means[middle : middle + 5, 1] * 32 / 24, rtol=1e-5)
        sign = -1 if mirrored else 1
        assert np.allclose(example["flow_mean"][0], sign * means[middle : middle + 5, 0] * 32 / 24, rtol=1e-5)
    assert places == {(0, 0), (0, 40), (12, 0), (12, 40), (6, 20)}


def test_an_epoch_leaves_out_what_does_not_fill_a_batch(root):
    data = opened(root, batch_size=3)
    left_out = set()
    for number in range(6):
        batches = epoch(data.train_dataloader(), number)
        assert [len(batch["target"]) for batch in batches] == [3, 3] and data.steps_per_epoch(1) == 2
        paths = [seen(view).path for view in views(batches)]
        assert len(set(paths)) == 6
        left_out |= set(TRAIN) - set(paths)
    assert len(left_out) > 2  # another remainder in each epoch
    few = opened(root, batch_size=20)
    assert [len(batch["target"]) for batch in epoch(few.train_dataloader())] == [8] and few.steps_per_epoch(1) == 1


def test_several_clips_of_each_training_video(root):
    data = opened(root, replace(EARLY, train_clips=5), batch_size=8)
    clips = [seen(view) for view in views(epoch(data.train_dataloader()))]
    assert Counter(clip.path for clip in clips) == dict.fromkeys(TRAIN, 5)
    assert len({(clip.path, clip.frames[0], clip.window) for clip in clips}) > 35
    assert data.steps_per_epoch(1) == 5


def test_balanced_classes_come_equally_often(root):
    train = [*TRAIN[:6], TRAIN[7]]  # 4 videos of jump, 3 of walk
    spec = replace(EARLY, balanced=True, train_clips=40)
    data = opened(root, spec, train=train, batch_size=10)
    assert data.steps_per_epoch(1) == 28 and len(data.train_dataloader()) == 28
    clips = [seen(view) for view in views(epoch(data.train_dataloader(), 1))]
    counts = Counter(clip.path for clip in clips)
    assert sum(counts.values()) == 280 and set(counts) == set(train)
    jump = [counts[path] for path in train[:4]]
    walk = [counts[path] for path in train[4:]]
    assert abs(sum(jump) - 140) < 40 and max(jump) - min(jump) <= 1 and max(walk) - min(walk) <= 1
    assert len({(clip.path, clip.frames[0], clip.window) for clip in clips}) > 240, "each draw is one of its own"
    again = opened(root, spec, train=train, batch_size=10, workers=1).train_dataloader()
    assert [seen(view) for view in views(epoch(again, 1))] == clips
    assert [seen(view) for view in views(epoch(again, 2))] != clips


def test_processes_share_a_balanced_epoch(root):
    spec = replace(EARLY, balanced=True, train_clips=3)
    alone = list(opened(root, spec, batch_size=1).train_dataloader().sampler)
    parts = [list(opened(root, spec, batch_size=4, process=(r, 3)).train_dataloader().sampler) for r in range(3)]
    assert [len(part) for part in parts] == [8, 8, 8]
    assert [key for keys in zip(*parts, strict=True) for key in keys] == alone
    assert len(set(alone)) == 24


@pytest.mark.parametrize("settings", [{"mirror": True}, {"mirror": False}])
def test_no_mirror_image_where_left_and_right_matter(root, settings):
    for kind in ("flip", "4crop", "10crop"):
        spec = replace(EARLY, frames=1, train_clips=25, test_clips=2, test_views=kind)
        data = opened(root, spec, batch_size=50, **settings)
        train, test = (
            [seen(view).window.mirrored for view in views(loader)]
            for loader in (data.train_dataloader(), data.test_dataloader())
        )
        assert len(train) == 200
        if settings["mirror"]:
            assert 65 < sum(train) < 135 and 2 * sum(test) == len(test)
        else:
            assert not any(train) and not any(test)


def test_random_test_clips_depend_on_the_video_alone(root):
    spec = replace(EARLY, test_sampling="random", test_views="4crop", test_clips=4)

    def by_video(data):
        found = {}
        for clip in map(seen, views(data.test_dataloader())):
            found.setdefault(clip.path, []).append(clip)
        return found

    every = by_video(opened(root, spec))
    other = by_video(opened(root, spec, seed=5, test=TEST[1:3], batch_size=2))
    assert list(other) == TEST[1:3] and all(other[path] == every[path] for path in other)
    frames = {path: [clip.frames for clip in clips[::4]] for path, clips in every.items()}
    assert frames["test/e1.avi"] != frames["test/f1.avi"] and len({f[0] for f in frames["test/e1.avi"]}) > 1


# -- several processes


@pytest.mark.parametrize(("count", "world"), [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (5, 1), (5, 2), (5, 5)])
def test_processes_share_whole_test_videos(root, count, world):
    test = [*TEST, BROKEN][:count]
    found = []
    for rank in range(world):
        data = opened(root, replace(EARLY, frames=1, test_views="flip"), test=test, process=(rank, world))
        batches = list(data.test_dataloader())
        assert len(batches) == data.num_test_batches > 0
        keys = [(int(v), int(c)) for b in batches for v, c in zip(b["video"], b["clip"], strict=True)]
        assert keys == sorted(keys)
        found.append(keys)
    for keys in found:
        for video in {video for video, _ in keys}:
            assert sum(video in {v for v, _ in other} for other in found) == 1
    expected = Counter()
    for number, path in enumerate(path for path in NAMES if path in test):
        expected.update({(number, clip): 1 if path == BROKEN else 2 for clip in range(3)})
    assert Counter(key for keys in found for key in keys) == expected


def test_processes_share_the_training_clips(root):
    for world in (2, 3):
        parts = [
            [seen(view) for view in views(opened(root, batch_size=2, process=(r, world)).train_dataloader())]
            for r in range(world)
        ]
        assert [len(part) for part in parts] == [8 // world // 2 * 2] * world
        paths = [clip.path for part in parts for clip in part]
        assert len(paths) == len(set(paths))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": TEST[:1]}, "1 test videos for 2 processes: each needs at least one; use trainer.devices=1"),
        ({"train": TRAIN[:1]}, "1 training clips for 2 processes: .*trainer.devices=1"),
        ({"train": ["train/a0.avi", "train/b0.avi", "train/c0.avi"], "validation": 0.5}, "1 validation videos for 2"),
    ],
)
def test_a_process_without_work_is_refused(root, settings, message):
    with pytest.raises(DataError, match=message):
        opened(root, process=(1, 2), **settings)
    opened(root, **settings)


# -- what cannot be decoded


def test_an_undecodable_test_video_keeps_its_place(root):
    data = opened(root, replace(BOTH, test_views="flip"), test=[*TEST, BROKEN], test_batch_size=100)
    (batch,) = data.test_dataloader()
    assert [video.path for video in data.test_views.videos] == ["test/e0.avi", "test/e1.avi", BROKEN, *TEST[2:]]
    broken = batch["video"] == 2
    assert torch.equal(broken, ~batch["valid"])
    assert batch["clip"][broken].tolist() == [0, 1, 2]
    assert batch["target"][broken].tolist() == [[False, True]] * 3
    assert (batch["rgb"][broken] == 0).all() and (batch["flow"][broken] == 128).all()
    assert (batch["flow_mean"][broken] == 0).all() and (batch["center"][broken] == 0).all()
    assert data.test_views.num_clips == 15 and data.test_views.padded_clips == 3
    every = opened(root, replace(EARLY, test_clips="all"), test=[*TEST, BROKEN], test_batch_size=100)
    (batch,) = every.test_dataloader()
    assert Counter(batch["video"].tolist()) == {0: 3, 1: 5, 2: 1, 3: 1, 4: 5}


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


def test_a_video_that_is_too_short_is_named_before_training(root):
    spec = replace(EARLY, short="error")
    with pytest.raises(DataError, match=r"test/f0.avi: sampling.short=error: a clip spans 4 frames, the video has 3"):
        opened(root, spec)
    opened(root, spec, test=TEST[:2])
    with pytest.raises(DataError, match=r"train/a0.avi: .* a clip spans 21 frames, the video has 20"):
        opened(root, replace(spec, frames=21), test=["test/e1.avi"])


def test_a_video_that_does_not_say_its_rate():
    video = Video("a.avi", (0,), "a")
    store = SimpleNamespace(videos={"a.avi": StoredVideo(5, 5, 0.0)}, rgb=lambda _: np.zeros((5, 36, 64, 3), np.uint8))
    clips = TestViews([video], store, replace(EARLY, test_clips=1), 2, True)
    assert clips[0]["center"] == 2.5  # frames 1 to 4
    for kind in (TestViews, lambda *arguments: TrainClips(*arguments, seed=0)):
        with pytest.raises(DataError, match=r"a.avi: sampling.fps=5: the video does not say"):
            kind([video], store, replace(EARLY, fps=5.0), 2, True)


# -- validation


def test_validation_holds_out_whole_groups(root):
    data = opened(root, validation=0.5)
    group = {video.path: video.group for video in data.lists.train}
    train = {video.path for video in data.train_clips.videos}
    held_out = {video.path for video in data.validation_views.videos}
    assert train | held_out == set(TRAIN) and len(held_out) == 4
    assert not {group[path] for path in train} & {group[path] for path in held_out}
    assert {seen(view).path for view in views(epoch(data.train_dataloader()))} <= train
    shown = Counter(seen(view).path for view in views(data.val_dataloader()))
    assert shown == dict.fromkeys(held_out, 3)
    assert equal(list(data.val_dataloader()), list(opened(root, validation=0.5, seed=7).val_dataloader()))
    assert opened(root).val_dataloader() == []


def test_every_training_video_is_validated_in_one_fold(root):
    shown = Counter()
    for fold in (0, 1):
        data = opened(root, folds=2, fold=fold)
        train = {video.path for video in data.train_clips.videos}
        scored = {seen(view).path for view in views(data.val_dataloader())}
        assert train | scored == set(TRAIN) and not train & scored and len(train) == 4
        shown.update(scored)
    assert shown == dict.fromkeys(TRAIN, 1)
    assert opened(root, folds=2, fold=0).fingerprint() != data.fingerprint()


# -- the store and the fingerprint


def test_setup_opens_what_prepare_data_built(root, monkeypatch):
    monkeypatch.setattr(building, "_build", lambda *_: pytest.fail("decoded again"))
    data = make(root, BOTH)
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
    assert known == opened(root, BOTH, workers=2, seed=3, batch_size=1).fingerprint()

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
