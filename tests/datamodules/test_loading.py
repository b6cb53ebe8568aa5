"""What a clip shows: the frames, windows, flow and labels that the specification asks for."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datamodules.errors import DataError
from datamodules.flow import FlowConfig
from datamodules.loading import TestViews, TrainClips
from datamodules.store.shards import StoredVideo
from datamodules.transforms import Window
from datamodules.videos import Video
from tests.datamodules.numbered import (
    BROKEN,
    EARLY,
    FLOW,
    FRAMES,
    TEST,
    TRAIN,
    VIDEOS,
    Seen,
    built,
    cut_out,
    epoch,
    equal,
    opened,
    seen,
    shown,
    views,
)


def test_training_clips_show_frames_of_their_video(root):
    data = opened(root, replace(EARLY, stride=3), batch_size=4)
    firsts = set()
    for number in range(5):
        batches = epoch(data.train_dataloader(), number)
        clips = shown(batches)
        assert Counter(clip.path for clip in clips) == Counter(TRAIN)
        for clip, target in zip(clips, views(batches, "target"), strict=True):
            first = clip.frames[0]
            assert clip.frames == [first, first + 3, first + 6, first + 9]
            assert clip.frames[-1] < FRAMES[clip.path]
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
            frames = [(first + i) % FRAMES[path] for i in range(4)]
            expected += [Seen(path, frames, Window(2, 16, mirrored)) for mirrored in (False, True)]
    assert shown(batches) == expected
    assert [int(v) for v in views(batches, "video")] == sorted([0, 1, 2, 3] * 6)
    assert [int(c) for c in views(batches, "clip")] == [0, 0, 1, 1, 2, 2] * 4
    middles = [(first + 1.5) / 25 for firsts in starts.values() for first in firsts for _ in range(2)]
    assert np.allclose([float(c) for c in views(batches, "center")], middles)
    assert all(views(batches, "valid"))
    assert (data.test_views.num_clips, data.test_views.padded_clips, data.num_test_batches) == (12, 3, 5)


def check_flow(data, expected):
    """Compare the flow of all clips with `expected(path, first RGB frame)`: fields and their means; None: skip it."""
    for loader in (data.train_dataloader(), data.test_dataloader()):
        mirrored = 0
        for batch in loader:
            for rgb, flow, mean in zip(batch["rgb"], batch["flow"], batch["flow_mean"], strict=True):
                path, (first, *_), window = seen(rgb)
                if (found := expected(path, first)) is None:
                    continue
                fields, means = cut_out(*found, window)
                assert np.array_equal(flow, fields) and np.array_equal(mean, means)
                mirrored += window.mirrored
        assert (mirrored > 0) == (loader.dataset is data.train_clips)


def test_flow_has_the_window_and_the_place_of_its_frames(root):
    data = opened(root, FLOW, batch_size=8)

    def expected(path, first):
        fields, means = data.store.flow(path)
        assert FRAMES[path] == 3 or first + 5 < FRAMES[path]
        index = (first + np.arange(5)) % len(fields)  # f0 has 2 fields, the others enough
        assert len(np.unique(fields)) > 1
        return fields[index], means[index]

    check_flow(data, expected)


def test_flow_in_both_directions_leads_away_from_the_rgb_frame(root, tmp_path):
    """Of 6 fields, 3 lead from the RGB frame on and 3 back from it, to the frames before."""
    data = built(root, tmp_path, replace(FLOW, flow_frames=6, flow_direction="both", test_clips=2), batch_size=8)
    names = ["rgb-36x64", "flow-36x64-dis-medium-b20", "backward_flow-36x64-dis-medium-b20"]
    assert [track.name for track in data.tracks] == names

    def expected(path, middle):
        if FRAMES[path] < 7:
            return None
        assert 3 <= middle < FRAMES[path] - 3
        forward, back = data.store.flow(path), data.store.flow(path, backward=True)
        return (
            np.concatenate([ours[middle : middle + 3], theirs[middle - 3 : middle][::-1]])
            for ours, theirs in zip(forward, back, strict=True)
        )

    check_flow(data, expected)


def test_a_jpeg_store_gives_the_clips_of_the_raw_one(root, tmp_path):
    """To JPEG's accuracy."""
    flow = FlowConfig(encoding="jpeg")
    data = built(root, tmp_path, FLOW, encoding="jpeg", quality=100, flow=flow, test=[*TEST, BROKEN])
    assert [track.name for track in data.tracks] == ["rgb-36x64-jpeg100", "flow-36x64-dis-medium-b20-jpeg100"]
    raw = opened(root, FLOW, test=[*TEST, BROKEN])
    for ours, theirs in zip(data.test_dataloader(), raw.test_dataloader(), strict=True):
        assert ours.keys() == theirs.keys()
        assert torch.equal(ours["video"], theirs["video"]) and torch.equal(ours["valid"], theirs["valid"])
        for name in ("rgb", "flow"):
            assert ours[name].dtype == torch.uint8 and abs(ours[name].float() - theirs[name].float()).mean() < 4
        assert torch.allclose(ours["flow_mean"], theirs["flow_mean"], atol=1e-4)


def test_a_store_at_a_lower_rate_has_fewer_frames(root, tmp_path):
    data = built(root, tmp_path, replace(EARLY, fps=5.0), store_fps=5.0)
    assert data.store.videos["train/d1.avi"].frames == 7 and data.store.videos["train/d1.avi"].fps == 5
    for path, frames, _ in shown(data.test_dataloader()):
        count = -(-FRAMES[path] // 5)
        assert frames == [5 * ((frames[0] // 5 + i) % count) for i in range(4)]


# -- labels


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


# -- augmentation


@pytest.mark.parametrize("settings", [{"colour": "jitter"}, {"colour": "pca"}, {"crop_scales": [1, 0.75]}])
def test_augmentation_is_seeded_and_of_training_only(root, settings):
    spec = replace(FLOW, frames=3, **settings)
    plain, changed = opened(root, replace(FLOW, frames=3)), opened(root, spec)
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
            ours, theirs = (clip.numpy().reshape(-1, 3).T for clip in (ours, theirs))
            points = theirs.astype(float)
            points = np.vstack([points, np.ones(points.shape[1])])
            inside = ((ours > 0) & (ours < 255)).all(0)
            fit = np.linalg.lstsq(points.T[inside], ours.T[inside].astype(float), rcond=None)[0]
            assert abs(fit.T @ points - ours)[:, inside].max() < 1
            maps.add(tuple(np.round(fit.ravel(), 2)))
        assert len(maps) >= 5


def test_no_mirror_image_where_left_and_right_matter(root):
    spec = replace(EARLY, frames=1, train_clips=5, test_views="flip")
    data = opened(root, spec, batch_size=40, mirror=False)
    for loader in (data.train_dataloader(), data.test_dataloader()):
        assert not any(seen(view).window.mirrored for view in views(loader))


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


# -- what cannot be decoded


def test_an_undecodable_test_video_keeps_its_place(root):
    data = opened(root, replace(FLOW, test_views="flip"), test=[*TEST, BROKEN], test_batch_size=100)
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
    assert clips.__getitems__([0])["center"] == 2.5  # frames 1 to 4
    for kind in (TestViews, lambda *arguments: TrainClips(*arguments, seed=0)):
        with pytest.raises(DataError, match=r"a.avi: sampling.fps=5: the video does not say"):
            kind([video], store, replace(EARLY, fps=5.0), 2, True)


def test_views_come_in_any_order(root):
    views = opened(root, replace(EARLY, test_views="4crop", test_clips="all"), test=[*TEST, BROKEN]).test_views
    there = views.__getitems__(range(len(views)))
    again = views.__getitems__(range(len(views))[::-1])
    assert all(torch.equal(again[name].flip(0), there[name]) for name in there)
