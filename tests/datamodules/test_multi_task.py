"""Training on two data sets: a batch of each, all videos of the second one, no video in both."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from datamodules.clips import ClipSpec
from datamodules.datasets.folder import Folder
from datamodules.errors import DataError
from datamodules.multi_task import MultiTaskDataModule
from tests.datamodules.recorder import fit
from tests.factories import write_manifest, write_video

SPEC = ClipSpec(frames=2, test_clips=1, resize=[36, 36], crop=32)
FIRST = {"a": ("jump", "train"), "b": ("jump", "train"), "c": ("walk", "train"), "d": ("walk", "test")}
SECOND = {"e": ("run", "train"), "f": ("sit", "train"), "g": ("run", "test")}
LETTERS = [*FIRST, *SECOND]  # the n-th video is grey of value 30 n


def write_videos(root, videos):
    write_manifest(root, *(f"{name}.avi,{label},{name},{split}" for name, (label, split) in videos.items()))
    for name in videos:
        write_video(root / f"{name}.avi", np.full((6, 36, 36, 3), 30 * LETTERS.index(name), np.uint8), codec="ffv1")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    write_videos(root / "first", FIRST)
    write_videos(root / "second", SECOND)
    return root


def make(root, second="second", *, spec=SPEC, batch_size=2, process=(0, 1), **settings) -> MultiTaskDataModule:
    first, other = (Folder(root=str(root / name), stores=str(root / "stores")) for name in ("first", second))
    data = MultiTaskDataModule(
        first,
        replace(other, **settings),
        spec,
        batch_size=batch_size,
        test_batch_size=2,
        workers=0,
        seed=0,
    )
    data.prepare_data()
    data.setup()
    if process != (0, 1):
        data.trainer = SimpleNamespace(global_rank=process[0], world_size=process[1], global_step=0)
    return data


def epoch(data: MultiTaskDataModule, number: int = 0) -> list[dict]:
    loader = data.train_dataloader()
    for part in loader.flattened:
        part.sampler.set_epoch(number)
    return [batch for batch, _, _ in loader]


def shown(batches, name) -> list[str]:
    return [LETTERS[int(clip.max()) // 30] for batch in batches for clip in batch[name]["rgb"]]


def test_a_batch_has_as_many_clips_of_each_data_set(root):
    data = make(root, batch_size=3)
    (batch,) = epoch(data)
    assert batch.keys() == {"main", "second"}
    assert sorted(shown([batch], "main")) == ["a", "b", "c"]
    assert sorted(shown([batch], "second")) == ["e", "f", "g"], "videos of training and test alike"
    assert data.second.lists.classes == ("run", "sit") and batch["main"]["target"].shape == (3, 2)
    for letter, target in zip(shown([batch], "second"), batch["second"]["target"], strict=True):
        assert target.tolist() == [SECOND[letter][0] == name for name in ("run", "sit")]
    assert [shown([{"main": batch}], "main") for batch in data.test_dataloader()] == [["d"]]


def test_the_second_data_sets_videos_come_round_and_round(root):
    data = make(root, spec=replace(SPEC, train_clips=4))
    clips = shown(epoch(data), "second")
    assert len(clips) == 12 == 2 * data.steps_per_epoch(1)
    rounds = [tuple(clips[start : start + 3]) for start in range(0, 12, 3)]
    assert all(set(names) == {"e", "f", "g"} for names in rounds)
    assert shown(epoch(data, 1), "second") != clips


def test_the_two_data_sets_draw_for_themselves(root):
    """Else the first videos of both would be cut alike in every epoch, and so on."""
    data = make(root)
    assert data.second_clips.seed != data.train_clips.seed


def test_processes_share_both_data_sets(root):
    spec = replace(SPEC, train_clips=4)
    alone = make(root, spec=spec, batch_size=1).train_dataloader().iterables
    loaders = [make(root, spec=spec, process=(rank, 2)).train_dataloader().iterables for rank in range(2)]
    for name in ("main", "second"):
        parts = [list(loader[name].sampler) for loader in loaders]
        assert [key for keys in zip(*parts, strict=True) for key in keys] == list(alone[name].sampler)


@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::UserWarning:torch")
def test_a_resumed_training_draws_what_an_uninterrupted_one_does(root, tmp_path):
    seen = []
    for checkpoint in (None, tmp_path / "epoch=1.ckpt"):
        data = make(root, spec=replace(SPEC, train_clips=4), batch_size=1)
        epochs = fit(data, tmp_path, checkpoint)
        seen.append(
            {number: [shown(batches, name) for name in ("main", "second")] for number, batches in epochs.items()}
        )
    assert len(seen[0]) == 4 and seen[1] == {number: seen[0][number] for number in (2, 3)}


def test_no_video_is_in_both(root, tmp_path):
    with pytest.raises(
        DataError, match=r"the second data set, .*first: 4 of its 4 videos .* data\.root=.*first a\.avi"
    ):
        make(root, "first")
    (root / "link").symlink_to(root / "first")
    with pytest.raises(DataError, match=r"4 of its 4 videos are those of data\.root"):
        make(root, "link")


def test_a_broken_video_of_the_second_data_set_is_refused_or_skipped(root, tmp_path):
    write_videos(root / "spoilt", SECOND)
    (root / "spoilt" / "g.avi").write_text("no video")
    with pytest.raises(DataError, match=r"1 of 3 training videos cannot be decoded whole.*data\.undecodable=skip"):
        make(root, "spoilt")
    data = make(root, "spoilt", undecodable="skip")
    assert [video.path for video in data.second_clips.videos] == ["e.avi", "f.avi"]


def test_each_data_set_has_a_fingerprint(root):
    data = make(root)
    assert data.fingerprints()[0] == data.fingerprint() and len(set(data.fingerprints())) == 2
    lines = (root / "second" / "manifest.csv").read_text().replace("sit", "stand")
    (root / "second" / "other.csv").write_text(lines)
    changed = make(root, manifest=str(root / "second" / "other.csv"))
    assert changed.fingerprint() == data.fingerprint() and changed.fingerprints()[1] != data.fingerprints()[1]
