"""The classifier's arithmetic, and its evaluation by one process and by two (this file is also what those run)."""

import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from experiments.training.bookkeeping import bookkeeping
from tests.factories import QUIET, network
from vidfusion.metrics import hits_at_k

CLASSES = 7
SIDE = 16  # of a crop, pixels
# Lightning's own advice, on workers and the like, is not ours.
pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore:::lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]


def one_hot(*labels: int) -> Tensor:
    return torch.eye(CLASSES, dtype=torch.bool)[list(labels)]


# -- inputs, loss and probabilities ----------------------------------------------------------------------------------


def test_trained_on_the_label_drawn_and_counted_with_all(monkeypatch):
    model = network("single_frame", classes=CLASSES, crop=SIDE)
    monkeypatch.setattr(model, "log", lambda *_, **__: None)
    rgb = torch.randint(256, (4, 1, SIDE, SIDE, 3), dtype=torch.uint8)
    best = model(**model.inputs({"rgb": rgb})).flatten(1).argmax(1)  # of the one frame
    drawn = torch.eye(CLASSES, dtype=torch.bool)[(best + 1) % CLASSES]
    target = drawn | torch.eye(CLASSES, dtype=torch.bool)[best]
    one = model.training_step({"rgb": rgb, "target": target, "drawn": drawn}, 0)
    assert one["loss"] == model.training_step({"rgb": rgb, "target": drawn}, 0)["loss"]
    assert one["loss"] > model.training_step({"rgb": rgb, "target": target}, 0)["loss"]
    assert torch.equal(one["target"], target) and torch.equal(one["scores"].argmax(1), best)
    assert not one["scores"].requires_grad


def slow_loss(logits: list[float], labels: list[int], smoothing: float) -> float:
    classes = len(logits)
    norm = math.log(math.fsum(map(math.exp, logits)))
    share = [(index in labels) / len(labels) * (1 - smoothing) + smoothing / classes for index in range(classes)]
    return -math.fsum(part * (value - norm) for part, value in zip(share, logits, strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_slow_sum(smoothing):
    model = network("single_frame", classes=CLASSES, training={"label_smoothing": smoothing})
    labels = [[3], [0, 5], [1, 2, 6]]  # uniform over a sample's labels
    target = torch.stack([one_hot(*row).any(0) for row in labels])
    logits = 3 * torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(0))
    by_sample = [slow_loss(row, true, smoothing) for row, true in zip(logits.tolist(), labels, strict=True)]
    assert float(model.loss(logits, target)) == pytest.approx(sum(by_sample) / 3, rel=1e-5)

    steps = 3 * torch.randn(3, 4, CLASSES, generator=torch.Generator().manual_seed(1))
    by_step = [
        slow_loss(row, true, smoothing)
        for rows, true in zip(steps.tolist(), labels, strict=True)
        for row in rows
    ]  # fmt: skip
    assert float(model.loss(steps, target)) == pytest.approx(sum(by_step) / 12, rel=1e-5)

    both = model.loss({"one": logits, "other": steps}, target)
    assert float(both) == pytest.approx(sum(by_sample) / 3 + sum(by_step) / 12, rel=1e-5)


def test_probabilities_are_means_of_softmax_over_steps_then_streams():
    steps = 3 * torch.randn(2, 4, CLASSES, generator=torch.Generator().manual_seed(0))
    single = network("single_frame", classes=CLASSES, crop=SIDE)
    expected = steps.softmax(-1).mean(1)
    assert single.rows == ("",)
    torch.testing.assert_close(single.probabilities(steps), expected[:, None])
    # Not the softmax of mean logits.
    assert not torch.allclose(single.probabilities(steps.mean(1)), expected[:, None], atol=1e-3)

    two = network("two_stream", classes=CLASSES)
    logits = {"spatial": steps[:, 0], "temporal": steps[:, 1]}
    assert two.rows == ("spatial", "temporal", "")
    parts = [logits[stream].softmax(-1) for stream in two.streams]
    torch.testing.assert_close(two.probabilities(logits), torch.stack([*parts, (parts[0] + parts[1]) / 2], 1))


def test_colours_come_in_the_order_and_scale_that_the_weights_expect():
    model = network("single_frame", "model.channel_order=bgr", "model.mean=[10,20,30]", "model.std=[2]")
    rgb = torch.tensor([100, 50, 60], dtype=torch.uint8).view(1, 1, 1, 1, 3)  # red, green, blue
    found = model.inputs({"rgb": rgb})["rgb"].flatten().tolist()
    assert found == [(60 - 10) / 2, (50 - 20) / 2, (100 - 30) / 2]
    with pytest.raises(ValueError, match=r"model\.mean=\[1\.0, 2\.0\]: expected one value, or one for each"):
        network("single_frame", "model.mean=[1,2]")


# -- evaluation ------------------------------------------------------------------------------------------------------


class Views(L.LightningDataModule):
    """Views in memory: video v has 2 + v clips of two crops; each process gets whole videos, v % world == rank."""

    def __init__(self, videos: int, batch_size: int = 3, broken: int | None = None) -> None:
        super().__init__()
        self.batch_size, generator = batch_size, torch.Generator().manual_seed(videos)
        self.views = [
            {
                "rgb": torch.randint(0, 256, (1, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8),
                "target": one_hot(video % CLASSES, (2 * video + 1) % CLASSES).any(0),
                "video": video,
                "clip": clip,
                "center": clip / 2,
                "valid": video != broken,
            }
            for video in range(videos)
            for clip in range(2 + video)
            for _ in range(2)
        ]

    def train_dataloader(self) -> DataLoader:
        """As many batches on every process."""
        return DataLoader(self.views[self.trainer.global_rank :: self.trainer.world_size][:4], batch_size=2)

    def test_dataloader(self) -> DataLoader:
        rank, world = self.trainer.global_rank, self.trainer.world_size
        return DataLoader([view for view in self.views if view["video"] % world == rank], batch_size=self.batch_size)

    val_dataloader = test_dataloader


def evaluated(videos: int, batch_size: int = 3, broken: int | None = None, processes: int = 1) -> dict:
    """What test and validation of an untrained network say, as plain data."""
    model, data = network("single_frame", classes=CLASSES, crop=SIDE), Views(videos, batch_size, broken)
    trainer = L.Trainer(devices=processes, strategy="ddp" if processes > 1 else "auto", **QUIET)
    trainer.validate(model, datamodule=data, verbose=False)
    validation = {name: float(value) for name, value in trainer.callback_metrics.items()}
    trainer.test(model, datamodule=data, verbose=False)
    clips = model.test_votes
    return {
        "validation": validation,
        "hits": {
            f"{level}_hit{k}": int(hits_at_k(votes.scores[:, -1], votes.target, k).sum())
            for level, votes in (("clip", clips), ("video", clips.videos()))
            for k in (1, 5)
        },
        **{name: getattr(clips, name).tolist() for name in ("video", "clip", "center", "target", "scores")},
    }


@pytest.fixture(scope="module")
def whole() -> dict[int, dict]:
    """One process's answers by number of videos, which those of other processes and batches have to equal."""
    return {videos: evaluated(videos) for videos in (1, 3)}


def assert_same(found: dict, expected: dict) -> None:
    for name in ("video", "clip", "center", "target", "hits", "validation"):
        assert found[name] == expected[name], name
    torch.testing.assert_close(torch.tensor(found["scores"]), torch.tensor(expected["scores"]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("videos", [1, 3])
def test_every_clip_is_tested_once_and_in_order(whole, videos):
    found = whole[videos]
    expected = [(video, clip) for video in range(videos) for clip in range(2 + video)]
    assert list(zip(found["video"], found["clip"], strict=True)) == expected
    assert found["center"] == [clip / 2 for _, clip in expected]
    counts = {"clip": len(expected), "video": videos}
    rates = {f"val/{name}": hits / counts[name.split("_")[0]] for name, hits in found["hits"].items()}
    assert found["validation"] == pytest.approx(rates, rel=1e-6)
    assert any(found["hits"].values())


@pytest.mark.parametrize("batch_size", [1, 100])
def test_scores_do_not_depend_on_how_many_views_are_scored_at_once(whole, batch_size):
    assert_same(evaluated(3, batch_size), whole[3])


def test_validations_do_not_add_up(whole):
    model, trainer = network("single_frame", classes=CLASSES, crop=SIDE), L.Trainer(**QUIET)
    for videos in (3, 1):
        trainer.validate(model, datamodule=Views(videos), verbose=False)
        assert {name: float(value) for name, value in trainer.callback_metrics.items()} == whole[videos]["validation"]


def test_a_video_that_cannot_be_decoded_is_scored_nan_and_counts_as_wrong(whole):
    found = evaluated(3, broken=1)
    scores, votes = torch.tensor(found["scores"]), torch.tensor(found["video"])
    assert scores.isnan().all((1, 2)).tolist() == (votes == 1).tolist()
    rest = torch.tensor(whole[3]["scores"])[votes != 1]
    torch.testing.assert_close(scores[votes != 1], rest, atol=1e-6, rtol=0)
    hits = hits_at_k(rest[:, 0], torch.tensor(found["target"])[votes != 1], 5).sum()
    assert found["validation"]["val/clip_hit5"] == pytest.approx(int(hits) / 9)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_no_result(value):
    model = network("single_frame", classes=CLASSES, crop=SIDE)
    model.head[-1].bias.data[0] = value
    for evaluate in ("validate", "test"):
        with pytest.raises(ValueError, match=r"scores are not finite, .*train again, and lower training\.lr"):
            getattr(L.Trainer(**QUIET), evaluate)(model, datamodule=Views(2), verbose=False)


@pytest.mark.slow
def test_two_processes_find_what_one_finds(whole, tmp_path):
    command = [sys.executable, __file__, str(tmp_path)]  # Lightning starts the second one
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "sync_dist" not in done.stderr, "Lightning has nothing to say on how metrics are gathered"
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for rank in ranks:
        assert_same(rank["evaluated"], whole[3])
    assert ranks[0]["trained"] == ranks[1]["trained"], "the same weights, running means and metrics everywhere"
    assert {"train/loss", "train/clip_hit1", "val/video_hit1"} <= set(ranks[0]["trained"]["metrics"])


def two_processes(folder: Path) -> None:
    """Evaluate, and train with validations of unequal numbers of batches; each process writes what it saw."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    found: dict[str, object] = {"evaluated": evaluated(3, processes=2)}
    model = network("single_frame", classes=CLASSES, crop=SIDE, training={"lr": 0.01})
    trainer = L.Trainer(devices=2, strategy="ddp", max_epochs=2, callbacks=bookkeeping(0), **QUIET)
    trainer.fit(model, datamodule=Views(3))
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    trainer.test(model, datamodule=Views(3), verbose=False)
    weights = float(sum(value.double().sum() for value in model.state_dict().values()))
    found["trained"] = {"metrics": metrics, "weights": weights, "clip_hit1": model.trained["clip_hit1"]}
    (folder / f"{trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    two_processes(Path(sys.argv[1]))
