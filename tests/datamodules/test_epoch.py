"""The order of an epoch's clips: seeded, resumed where it stopped, and shared by processes and loading processes."""

from collections import Counter
from dataclasses import replace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

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
    WIDTH,
    Seen,
    epoch,
    equal,
    make,
    opened,
    shown,
)


def test_epochs_differ_and_depend_on_seed_and_number_alone(root):
    epochs = [epoch(opened(root).train_dataloader(), number) for number in range(4)]
    for first in range(4):
        for second in range(first):
            assert not equal(epochs[first], epochs[second])
    loader = opened(root).train_dataloader()
    assert equal([b for number in range(4) for b in epoch(loader, number)], [b for e in epochs for b in e])
    assert not equal(epochs[3], epoch(opened(root, seed=1).train_dataloader(), 3))
    orders = {tuple(clip.path for clip in shown(batches)) for batches in epochs}
    assert len(orders) == 4


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


def test_several_clips_of_each_training_video(root):
    data = opened(root, replace(EARLY, train_clips=5), batch_size=8)
    clips = shown(epoch(data.train_dataloader()))
    assert Counter(clip.path for clip in clips) == dict.fromkeys(TRAIN, 5)
    assert len({(clip.path, clip.frames[0], clip.window) for clip in clips}) > 35
    assert data.steps_per_epoch(1) == 5


def test_balanced_classes_come_equally_often(root):
    train = [*TRAIN[:6], TRAIN[7]]  # 4 videos of jump, 3 of walk
    spec = replace(EARLY, balanced=True, train_clips=40)
    data = opened(root, spec, train=train, batch_size=10)
    assert data.steps_per_epoch(1) == 28 and len(data.train_dataloader()) == 28
    clips = shown(epoch(data.train_dataloader(), 1))
    counts = Counter(clip.path for clip in clips)
    assert sum(counts.values()) == 280 and set(counts) == set(train)
    jump = [counts[path] for path in train[:4]]
    walk = [counts[path] for path in train[4:]]
    assert abs(sum(jump) - 140) < 40 and max(jump) - min(jump) <= 1 and max(walk) - min(walk) <= 1
    assert len({(clip.path, clip.frames[0], clip.window) for clip in clips}) > 240, "each draw is one of its own"
    again = opened(root, spec, train=train, batch_size=10, workers=1).train_dataloader()
    assert shown(epoch(again, 1)) == clips
    assert shown(epoch(again, 2)) != clips


# -- interrupted and resumed


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
