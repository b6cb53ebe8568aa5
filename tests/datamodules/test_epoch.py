"""The order of an epoch's clips: seeded, resumed where it stopped, and shared by processes and loading processes."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from datamodules.epoch import balanced_order, shuffled_order
from datamodules.errors import DataError
from datamodules.transforms import Window
from tests.datamodules.numbered import (
    BROKEN,
    CROP,
    EARLY,
    FLOW,
    FRAMES,
    HEIGHT,
    NAMES,
    TEST,
    TRAIN,
    VIDEOS,
    WIDTH,
    Seen,
    epoch,
    equal,
    make,
    opened,
    shown,
)
from tests.datamodules.recorder import fit


def test_workers_change_nothing(root):
    alone, helped = opened(root, FLOW), opened(root, FLOW, workers=2)
    loader = helped.train_dataloader()
    for number in (0, 1):
        assert equal(epoch(alone.train_dataloader(), number), epoch(loader, number))
    assert equal(list(alone.test_dataloader()), list(helped.test_dataloader()))


def test_default_clips_are_those_of_ever(root):
    """Existing runs were trained on them: the draws and their order, written out."""
    spec, seed, number = replace(EARLY, train_clips=2), 3, 5
    batches = epoch(opened(root, spec, seed=seed, batch_size=4).train_dataloader(), number)
    expected = []
    for item in np.random.default_rng([seed, number]).permutation(16):
        index, draw = item % 8, item // 8
        generator = np.random.default_rng([seed, number, index, draw])
        first = generator.integers(0, FRAMES[TRAIN[index]] - 4 + 1)
        top, left = generator.integers(0, HEIGHT - CROP + 1), generator.integers(0, WIDTH - CROP + 1)
        expected.append(Seen(TRAIN[index], list(range(first, first + 4)), Window(top, left, generator.random() < 0.5)))
    assert shown(batches) == expected


def test_an_epoch_leaves_out_what_does_not_fill_a_batch(root):
    data = opened(root, batch_size=3)
    left_out = set()
    for number in range(6):
        batches = epoch(data.train_dataloader(), number)
        assert [len(batch["target"]) for batch in batches] == [3, 3] and data.steps_per_epoch(1) == 2
        paths = [clip.path for clip in shown(batches)]
        assert len(set(paths)) == 6
        left_out |= set(TRAIN) - set(paths)
    assert len(left_out) > 2  # another remainder in each epoch
    few = opened(root, batch_size=20)
    assert [len(batch["target"]) for batch in epoch(few.train_dataloader())] == [8] and few.steps_per_epoch(1) == 1


def test_balanced_classes_come_equally_often(root):
    train = [*TRAIN[:6], TRAIN[7]]  # 4 videos of jump, 3 of walk
    spec = replace(EARLY, balanced=True, train_clips=40)
    data = opened(root, spec, train=train, batch_size=10)
    assert data.steps_per_epoch(1) == 28 and len(data.train_dataloader()) == 28
    clips = shown(epoch(data.train_dataloader(), 1))
    assert len(clips) == 280 and abs(sum(VIDEOS[clip.path][0] == "jump" for clip in clips) - 140) < 40
    assert len({(clip.path, clip.frames[0], clip.window) for clip in clips}) > 240, "each draw is one of its own"
    assert shown(epoch(data.train_dataloader(), 2)) != clips


@pytest.mark.parametrize(("videos", "draws", "clips"), [(5, 1, 5), (5, 3, 15), (5, 1, 13), (5, 2, 25), (4, 1, 2)])
def test_a_shuffled_order_goes_round_by_round(videos, draws, clips):
    order = shuffled_order(videos, draws, clips, np.random.default_rng(0)).tolist()
    assert len(order) == clips == len({tuple(clip) for clip in order})
    size = videos * draws
    for start in range(0, clips, size):
        numbers = range(start // size * draws, start // size * draws + draws)
        whole = {(video, draw) for video in range(videos) for draw in numbers}
        part = {tuple(clip) for clip in order[start : start + size]}
        assert part == whole if len(part) == size else part < whole
    assert (
        order
        == shuffled_order(videos, draws, clips, np.random.default_rng(0)).tolist()
        != shuffled_order(videos, draws, clips, np.random.default_rng(1)).tolist()
    )


def test_a_balanced_order_draws_classes_uniformly_and_uses_up_their_videos():
    labels = [(7,)] * 50 + [(2,)] * 5 + [(4,)]  # no videos of the other classes
    order = balanced_order(labels, 3000, np.random.default_rng(0))
    drawn = [labels[video][0] for video, _ in order]
    counts = Counter(drawn)
    assert set(counts) == {2, 4, 7} and all(abs(count - 1000) < 5 * 1000**0.5 for count in counts.values())
    runs = Counter(pairwise(drawn))  # each class after each: not in turns
    assert len(runs) == 9 and all(abs(count - 333) < 5 * 333**0.5 for count in runs.values())
    for label, size in ((7, 50), (2, 5), (4, 1)):
        own = [video for video, _ in order.tolist() if labels[video] == (label,)]
        rounds = [own[start : start + size] for start in range(0, len(own), size)]
        assert all(len(set(part)) == len(part) for part in rounds)
        assert size == 1 or rounds[0] != rounds[1]
    seen = Counter()
    for video, draw in order.tolist():
        assert draw == seen[video]
        seen[video] += 1
    assert np.array_equal(order, balanced_order(labels, 3000, np.random.default_rng(0)))
    assert not np.array_equal(order, balanced_order(labels, 3000, np.random.default_rng(1)))


def test_a_video_of_several_classes_comes_for_each():
    order = balanced_order([(0, 1), (0,), (1,), (2,)], 6000, np.random.default_rng(0))
    counts = Counter(order[:, 0].tolist())
    assert [round(counts[video] / 1000) for video in range(4)] == [2, 1, 1, 2]


# -- interrupted and resumed


@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::UserWarning:torch")
def test_lightning_draws_each_epoch_and_goes_on_where_it_stopped(root, tmp_path):
    straight = fit(make(root), tmp_path)
    loader = opened(root).train_dataloader()
    assert sorted(straight) == [0, 1, 2, 3]
    for number, batches in straight.items():
        assert equal(batches, epoch(loader, number))
    resumed = fit(make(root), tmp_path / "resumed", tmp_path / "epoch=1.ckpt")
    assert sorted(resumed) == [2, 3]
    assert equal(resumed[2], straight[2]) and equal(resumed[3], straight[3])


# -- several processes


@pytest.mark.parametrize(("count", "world"), [(1, 1), (2, 2), (3, 2), (5, 1), (5, 2)])
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
        parts = [shown(opened(root, batch_size=2, process=(r, world)).train_dataloader()) for r in range(world)]
        assert [len(part) for part in parts] == [8 // world // 2 * 2] * world
        paths = [clip.path for part in parts for clip in part]
        assert len(paths) == len(set(paths))


def test_processes_share_a_balanced_epoch(root):
    spec = replace(EARLY, balanced=True, train_clips=3)
    alone = list(opened(root, spec, batch_size=1).train_dataloader().sampler)
    parts = [list(opened(root, spec, batch_size=4, process=(r, 3)).train_dataloader().sampler) for r in range(3)]
    assert [len(part) for part in parts] == [8, 8, 8]
    assert [key for keys in zip(*parts, strict=True) for key in keys] == alone
    assert len(set(alone)) == 24


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
