"""The classifier's arithmetic, and its evaluation by one process and by two (this file is also what those run)."""

import copy
import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from experiments.training.callbacks import bookkeeping
from vidfusion.classifier import ClipShape, VideoClassifier
from vidfusion.metrics import hits_at_k
from vidfusion.optimisation import TrainingConfig, initialise
from vidfusion.strategies import STRATEGIES

CLASSES = 7
SIDE = 16  # of a crop, pixels
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
}
# Lightning's own advice, on workers and the like, is not ours.
pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore:::lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]


def build(
    name: str, frames: int, flow_frames: int = 0, dropout: float | None = None, **training: object
) -> VideoClassifier:
    kind = STRATEGIES[name]
    torch.manual_seed(0)
    return kind(
        kind.Config(dropout=dropout), ClipShape(frames, flow_frames, SIDE, 20.0), CLASSES, TrainingConfig(**training)
    )


def one_hot(*labels: int, classes: int = CLASSES) -> Tensor:
    return torch.eye(classes, dtype=torch.bool)[list(labels)]


# -- inputs, loss and probabilities ----------------------------------------------------------------------------------


def test_pixels_enter_less_the_mean_by_the_std():
    model = build("single_frame", 1)
    rgb = torch.tensor([0, 117, 255], dtype=torch.uint8).view(1, 3, 1, 1, 1)
    expected = [(value - model.net.mean) / model.net.std for value in (0, 117, 255)]
    assert model.inputs({"rgb": rgb, "target": one_hot(0)})["rgb"].flatten().tolist() == pytest.approx(expected)


def test_trained_on_the_label_drawn_and_counted_with_all(monkeypatch):
    model = build("single_frame", 1, dropout=0.0)
    monkeypatch.setattr(model, "log", lambda *_, **__: None)
    rgb = torch.randint(256, (4, 3, 1, SIDE, SIDE), dtype=torch.uint8)
    best = model(**model.inputs({"rgb": rgb})).flatten(1).argmax(1)  # of the one frame
    drawn = torch.eye(CLASSES, dtype=torch.bool)[(best + 1) % CLASSES]
    target = drawn | torch.eye(CLASSES, dtype=torch.bool)[best]
    one = model.training_step({"rgb": rgb, "target": target, "drawn": drawn}, 0)
    assert one["loss"] == model.training_step({"rgb": rgb, "target": drawn}, 0)["loss"]
    assert one["loss"] > model.training_step({"rgb": rgb, "target": target}, 0)["loss"]
    assert torch.equal(one["target"], target) and torch.equal(one["scores"].argmax(1), best)
    assert not one["scores"].requires_grad


def log_softmax(logits: list[float]) -> list[float]:
    norm = math.log(math.fsum(math.exp(logit) for logit in logits))
    return [logit - norm for logit in logits]


def slow_loss(logits: list[float], labels: list[int], smoothing: float) -> float:
    classes = len(logits)
    share = [(index in labels) / len(labels) * (1 - smoothing) + smoothing / classes for index in range(classes)]
    return -math.fsum(part * value for part, value in zip(share, log_softmax(logits), strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_slow_sum(smoothing):
    model = build("single_frame", 1, label_smoothing=smoothing)
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


def test_loss_is_computed_in_float32():
    model = build("single_frame", 1)
    logits = torch.tensor([[300.0, 0, 0, 0, 0, 0, 0]])
    assert model.loss(logits.half(), one_hot(1)).dtype == torch.float32
    assert float(model.loss(logits.half(), one_hot(1))) == pytest.approx(300)


def test_probabilities_are_means_of_softmax_over_steps_then_streams():
    steps = 3 * torch.randn(2, 4, CLASSES, generator=torch.Generator().manual_seed(0))
    single = build("single_frame", 1)
    expected = torch.tensor(
        [
            [sum(math.exp(log_softmax(row)[index]) for row in rows) / 4 for index in range(CLASSES)]
            for rows in steps.tolist()
        ]
    )
    assert single.rows == ("",)
    torch.testing.assert_close(single.probabilities(steps), expected[:, None])
    # Not the softmax of mean logits.
    assert not torch.allclose(single.probabilities(steps.mean(1)), expected[:, None], atol=1e-3)

    two = build("two_stream", 1, 2)
    logits = {"spatial": steps[:, 0], "temporal": steps[:, 1]}
    assert two.rows == ("spatial", "temporal", "")
    parts = [logits[stream].softmax(-1) for stream in two.streams]
    torch.testing.assert_close(two.probabilities(logits), torch.stack([*parts, (parts[0] + parts[1]) / 2], 1))


def test_colours_come_in_the_order_and_scale_that_the_weights_expect():
    kind = STRATEGIES["single_frame"]
    config = kind.Config(channel_order="bgr", mean=[10.0, 20.0, 30.0], std=[2.0])
    model = kind(config, ClipShape(1, 0, SIDE, 20.0), CLASSES, TrainingConfig())
    rgb = torch.tensor([100, 50, 60], dtype=torch.uint8).view(1, 3, 1, 1, 1)  # red, green, blue
    found = model.inputs({"rgb": rgb})["rgb"].flatten().tolist()
    assert found == [(60 - 10) / 2, (50 - 20) / 2, (100 - 30) / 2]
    with pytest.raises(ValueError, match=r"model\.mean=\[1\.0, 2\.0\]: expected one value, or one for each"):
        kind(kind.Config(mean=[1.0, 2.0]), ClipShape(1, 0, SIDE, 20.0), CLASSES, TrainingConfig())


# -- weights at the start, and which of them are trained -------------------------------------------------------------


def test_gaussian_weights_are_c3ds():
    kind = STRATEGIES["c3d"]
    model = kind(kind.Config(size="small"), ClipShape(16, 0, 32, 20.0), CLASSES, TrainingConfig())
    torch.manual_seed(0)
    initialise(model, "gaussian", model.input_channels)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv3d | nn.Linear)]
    biases = [set(layer.bias.tolist()) for layer in layers]
    assert biases == [{0.0}] + [{1.0}] * (len(layers) - 2) + [{0.0}]
    sigmas = [float(layer.weight.detach().std()) for layer in layers]
    expected = [0.01] * 8 + [0.005] * 2 + [0.01]
    assert sigmas == pytest.approx(expected, rel=0.06)


def test_kaiming_weights_keep_the_size_of_gradients():
    kind = STRATEGIES["two_stream"]
    model = kind(kind.Config(), ClipShape(1, 4, 32, 20.0), CLASSES, TrainingConfig())
    torch.manual_seed(0)
    initialise(model, "kaiming", model.input_channels)
    conv = [layer for layer in model.temporal if isinstance(layer, nn.Conv3d)][1]
    fan_out = conv.out_channels * math.prod(conv.kernel_size)
    assert float(conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
    assert float(model.temporal[-1].weight.detach().std()) == pytest.approx(0.01, rel=0.15)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm3d)]
    assert norms and all(torch.equal(norm.weight, torch.ones_like(norm.weight)) for norm in norms)


def test_lstm_weights_are_lrcns():
    model = build("cnn_lstm", 4)
    initialise(model, "gaussian", model.input_channels)
    for name, parameter in model.lstm.named_parameters():
        largest = float(parameter.detach().abs().max())
        assert largest == 0 if "bias" in name else 0.0099 < largest <= 0.01


def test_learning_rates_of_the_classifier_and_of_biases_have_their_own_factors():
    model = build("late_fusion", 2, lr=0.5, head_lr_factor=10, bias_lr_factor=2, weight_decay=0.25)
    groups = model.configure_optimizers()["optimizer"].param_groups
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in groups
        for name, parameter in model.named_parameters()
        if any(parameter is member for member in group["params"])
    }
    assert found.keys() == dict(model.named_parameters()).keys()
    last = max(int(name.split(".")[1]) for name in found if name.startswith("head."))
    assert found[f"head.{last}.weight"] == (5.0, 0.25) and found[f"head.{last}.bias"] == (10.0, 0.0)
    assert found["towers.0.weight"] == (0.5, 0.25)
    assert found["towers.1.weight"] == (0.5, 0.0) and found["towers.1.bias"] == (1.0, 0.0)  # BatchNorm


def test_only_the_last_layers_are_trained_where_asked():
    model = build("late_fusion", 2, dropout=0.5, trained_layers=2, lr=0.1, steps=3)
    model.freeze()
    before = copy.deepcopy(model.state_dict())
    fit(model, toy_batches(model, 3), 1)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("head.")}, "frozen norms keep their statistics too"
    with pytest.raises(ValueError, match=r"training\.trained_layers=9: the network has 7 layers with weights"):
        build("late_fusion", 2, trained_layers=9).freeze()


# -- optimiser and schedule ------------------------------------------------------------------------------------------


def learning_rates(count: int, **training: object) -> list[float]:
    parts = build("single_frame", 1, lr=0.5, **training).configure_optimizers()
    assert parts["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(count):
        rates.append(parts["optimizer"].param_groups[0]["lr"])
        parts["optimizer"].step()
        parts["lr_scheduler"]["scheduler"].step()
    return rates


def test_schedules_at_hand_computed_steps():
    assert learning_rates(4) == [0.5] * 4
    assert learning_rates(6, warmup=4) == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5, 0.5])
    assert learning_rates(7, schedule="step", milestones=[2, 5]) == pytest.approx([0.5, 0.5, *[0.05] * 3, *[0.005] * 2])
    assert learning_rates(4, schedule="step", milestones=[1, 3], gamma=0.5, warmup=2) == pytest.approx(
        [0.25, 0.5, 0.25, 0.125]
    )
    half = 0.5 * (1 + math.sqrt(0.5))  # cosine at a quarter of the way
    cosine = [0.25, 0.5, 0.5, 0.5 * half, 0.25, 0.5 * (1 - half), 0.0, 0.0]
    assert learning_rates(8, schedule="cosine", warmup=2, steps=6) == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_weights_decay_and_biases_and_norms_do_not(name, optimizer):
    clips = (1, 2) if name.startswith("two_stream") else (10, 0)
    model = build(name, *clips, optimizer=optimizer, weight_decay=0.25)
    decayed, others = model.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.25, 0.0)
    expected = {
        parameter
        for layer in model.modules()
        for key, parameter in layer.named_parameters(recurse=False)
        if "weight" in key and not isinstance(layer, nn.BatchNorm3d)
    }
    assert set(decayed["params"]) == expected and expected
    assert set(decayed["params"]) | set(others["params"]) == set(model.parameters())
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))


def test_sgd_takes_its_settings():
    optimizer = build("single_frame", 1, momentum=0.8, nesterov=True, lr=0.3).configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.SGD)
    assert [optimizer.param_groups[0][key] for key in ("momentum", "nesterov", "lr")] == [0.8, True, 0.3]


# -- training --------------------------------------------------------------------------------------------------------


def toy_batches(model: VideoClassifier, count: int, classes: int = 2) -> list[dict[str, Tensor]]:
    """Batches of 8 clips whose class is plain to see: dark or bright frames, motion to the left or to the right."""
    generator, batches = torch.Generator().manual_seed(0), []
    for _ in range(count):
        label = torch.arange(8) % classes
        level = (64 + 128 * label).view(8, 1, 1, 1, 1)
        noise = torch.randint(-40, 41, (8, 3, max(model.clip.frames, 1), SIDE, SIDE), generator=generator)
        flow = torch.randint(-40, 41, (8, 2, model.clip.flow_frames, SIDE, SIDE), generator=generator)
        batches.append(
            {
                "rgb": (level + noise)[:, :, : model.clip.frames].to(torch.uint8),
                "flow": (level + flow).to(torch.uint8),
                "flow_mean": torch.zeros(8, 2, model.clip.flow_frames),
                "target": one_hot(*label.tolist()),
                "video": torch.arange(8),
                "clip": torch.zeros(8, dtype=torch.long),
                "center": torch.zeros(8),
                "valid": torch.ones(8, dtype=torch.bool),
            }
        )
    return batches


def fit(
    model: VideoClassifier, batches: list[dict[str, Tensor]], epochs: int, seed: int = 0, **resume: object
) -> L.Trainer:
    trainer = L.Trainer(max_epochs=epochs, callbacks=bookkeeping(seed), **QUIET)
    trainer.fit(model, DataLoader(batches, batch_size=None), **resume)
    return trainer


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "two_stream_multi_task"])
def test_a_separable_problem_is_learnt_in_a_few_steps(name):
    clips = {"single_frame": (1, 0), "late_fusion": (2, 0), "cnn_lstm": (3, 0), "c3d": (8, 0), "two_stream": (1, 3)}
    model = build(name, *clips.get(name, (10, 0)), optimizer="adamw", lr=0.003, steps=30, schedule="cosine")
    batches = toy_batches(model, 10)
    trainer = fit(model, batches, 3)
    assert model.trained["clip_hit1"] == 1.0
    assert model.trained["per_class"][:2] == [1.0, 1.0]
    assert all(math.isnan(value) for value in model.trained["per_class"][2:])
    assert model.trained["seconds"] > 0
    trainer.test(model, DataLoader(toy_batches(model, 1), batch_size=None), verbose=False)
    votes = model.test_votes
    assert votes.scores.shape == (8, len(model.rows), CLASSES)
    for row in range(len(model.rows)):
        assert hits_at_k(votes.scores[:, row], votes.target, 1).all()


def weights_after(seed: int, epochs: int, folder: Path | None = None, stop: int = 0) -> dict[str, Tensor]:
    """Weights of a network with dropout after some epochs, on the way interrupted after `stop` of them."""
    model = build("late_fusion", 2, dropout=0.5, lr=0.05, warmup=5, steps=20, schedule="cosine")
    resume: dict[str, object] = {}
    if stop:
        assert folder is not None
        first = copy.deepcopy(model)
        fit(first, toy_batches(first, 3), stop, seed).save_checkpoint(folder / "stopped.ckpt")
        torch.rand(5)  # what else is drawn in between does not matter
        resume = {"ckpt_path": folder / "stopped.ckpt", "weights_only": True}
    fit(model, toy_batches(model, 3), epochs, seed, **resume)
    if stop:
        assert model.trained["seconds"] > first.trained["seconds"], "training time goes on from the first part's"
    return model.state_dict()


def test_a_resumed_training_is_bit_equal_to_an_undisturbed_one(tmp_path):
    undisturbed = weights_after(0, 3)
    resumed = weights_after(0, 3, tmp_path, stop=1)
    assert all(torch.equal(value, resumed[name]) for name, value in undisturbed.items())
    other_seed = weights_after(1, 3)  # starts from the same weights and sees the same clips: dropout differs
    assert any(not torch.equal(value, other_seed[name]) for name, value in undisturbed.items())


def test_checkpoints_carry_plain_data_only(tmp_path):
    model = build("single_frame", 1)
    model.provenance = {"classes": ["a", "b"]}
    fit(model, toy_batches(model, 1), 1).save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["vidfusion"]
    assert saved["provenance"] == {"classes": ["a", "b"]}
    assert saved["trained"]["clip_hit1"] == model.trained["clip_hit1"]


# -- evaluation ------------------------------------------------------------------------------------------------------


class Views(L.LightningDataModule):
    """Views in memory: video v has 2 + v clips of two crops; each process gets whole videos, v % world == rank."""

    def __init__(self, videos: int, batch_size: int = 3, broken: int | None = None) -> None:
        super().__init__()
        self.batch_size, generator = batch_size, torch.Generator().manual_seed(videos)
        self.views = [
            {
                "rgb": torch.randint(0, 256, (3, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8),
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
    model, data = build("single_frame", 1), Views(videos, batch_size, broken)
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
    return {videos: evaluated(videos) for videos in (1, 2, 3, 5)}


def assert_same(found: dict, expected: dict) -> None:
    for name in ("video", "clip", "center", "target", "hits", "validation"):
        assert found[name] == expected[name], name
    torch.testing.assert_close(torch.tensor(found["scores"]), torch.tensor(expected["scores"]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("videos", [1, 2, 3, 5])
def test_every_clip_is_tested_once_and_in_order(whole, videos):
    found = whole[videos]
    expected = [(video, clip) for video in range(videos) for clip in range(2 + video)]
    assert list(zip(found["video"], found["clip"], strict=True)) == expected
    assert found["center"] == [clip / 2 for _, clip in expected]
    counts = {"clip": len(expected), "video": videos}
    rates = {f"val/{name}": hits / counts[name.split("_")[0]] for name, hits in found["hits"].items()}
    assert found["validation"] == pytest.approx(rates, rel=1e-6)
    assert any(found["hits"].values())


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_scores_do_not_depend_on_how_many_views_are_scored_at_once(whole, batch_size):
    assert_same(evaluated(3, batch_size), whole[3])


def test_validations_do_not_add_up(whole):
    model, trainer = build("single_frame", 1), L.Trainer(**QUIET)
    for videos in (5, 1, 3):
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


def test_two_processes_find_what_one_finds(whole, tmp_path):
    command = [sys.executable, __file__, str(tmp_path)]  # Lightning starts the second one
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "sync_dist" not in done.stderr, "Lightning has nothing to say on how metrics are gathered"
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for rank in ranks:
        for videos in (2, 3, 5):
            assert_same(rank[str(videos)], whole[videos])
    assert ranks[0]["trained"] == ranks[1]["trained"], "the same weights, running means and metrics everywhere"
    assert {"train/loss", "train/clip_hit1", "val/video_hit1"} <= set(ranks[0]["trained"]["metrics"])


def two_processes(folder: Path) -> None:
    """Evaluate, and train with validations of unequal numbers of batches; each process writes what it saw."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    found: dict[str, object] = {str(videos): evaluated(videos, processes=2) for videos in (2, 3, 5)}
    model = build("single_frame", 1, lr=0.01)
    trainer = L.Trainer(devices=2, strategy="ddp", max_epochs=2, callbacks=bookkeeping(0), **QUIET)
    trainer.fit(model, datamodule=Views(3))
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    trainer.test(model, datamodule=Views(3), verbose=False)
    weights = float(sum(value.double().sum() for value in model.state_dict().values()))
    found["trained"] = {"metrics": metrics, "weights": weights, "clip_hit1": model.trained["clip_hit1"]}
    (folder / f"{trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    two_processes(Path(sys.argv[1]))
