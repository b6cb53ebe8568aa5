"""What a training has beside its steps: dropout's seeds, clocks, accuracy, what checkpoints carry."""

import copy
import math
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from experiments.training.bookkeeping import DropoutSeeds, StopOnDivergence, bookkeeping
from tests.factories import QUIET, clips_of, network, one_hot
from vidfusion.classifier import VideoClassifier
from vidfusion.metrics import hits_at_k

SIDE = 16  # of a crop, pixels
# Lightning's own advice, on workers and the like, is not ours.
pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore:::lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]


def toy_batches(model: VideoClassifier, count: int, classes: int = 2) -> list[dict[str, Tensor]]:
    """Batches of 8 clips whose class is plain to see: dark or bright frames, motion to the left or to the right."""
    generator, batches = torch.Generator().manual_seed(0), []
    for _ in range(count):
        label = torch.arange(8) % classes
        level = (64 + 128 * label).view(8, 1, 1, 1, 1)
        noise = torch.randint(-40, 41, (8, max(model.clip.frames, 1), SIDE, SIDE, 3), generator=generator)
        flow = torch.randint(-40, 41, (8, model.clip.flow_frames, SIDE, SIDE, 2), generator=generator)
        batches.append(
            {
                "rgb": (level + noise)[:, : model.clip.frames].to(torch.uint8),
                "flow": (level + flow).to(torch.uint8),
                "flow_mean": torch.zeros(8, model.clip.flow_frames, 2),
                "target": one_hot(*label.tolist()),
                "video": torch.arange(8),
                "clip": torch.zeros(8, dtype=torch.long),
                "center": torch.zeros(8),
                "valid": torch.ones(8, dtype=torch.bool),
            }
        )
    return batches


def fit(model: VideoClassifier, batches: list[dict[str, Tensor]], epochs: int, *first: L.Callback) -> L.Trainer:
    trainer = L.Trainer(max_epochs=epochs, callbacks=[*first, *bookkeeping(0)], **QUIET)
    trainer.fit(model, DataLoader(batches, batch_size=None))
    return trainer


@pytest.mark.parametrize("preset", ["late_fusion", "two_stream"])
def test_a_separable_problem_is_learnt_in_a_few_steps(preset):
    recipe = {"optimizer": "adamw", "lr": 0.003, "steps": 30, "schedule": "cosine"}
    model = network(preset, crop=SIDE, training=recipe)
    trainer = fit(model, toy_batches(model, 10), 3)
    assert model.trained["clip_hit1"] == 1.0
    assert model.trained["per_class"][:2] == [1.0, 1.0]
    assert all(math.isnan(value) for value in model.trained["per_class"][2:])
    assert model.trained["seconds"] > 0
    trainer.test(model, DataLoader(toy_batches(model, 1), batch_size=None), verbose=False)
    votes = model.test_votes
    assert votes.scores.shape == (8, len(model.rows), 5)
    for row in range(len(model.rows)):
        assert hits_at_k(votes.scores[:, row], votes.target, 1).all()


def test_checkpoints_carry_plain_data_only(tmp_path):
    model = network("single_frame", crop=SIDE)
    model.provenance = {"classes": ["a", "b"]}
    fit(model, toy_batches(model, 1), 1).save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["vidfusion"]
    assert saved["provenance"] == {"classes": ["a", "b"]}
    assert saved["trained"]["clip_hit1"] == model.trained["clip_hit1"]


def test_only_the_last_layers_are_trained_where_asked():
    model = network(
        "late_fusion", "model.dropout=0.5", crop=SIDE, training={"trained_layers": 2, "lr": 0.1, "steps": 3}
    )
    model.freeze()
    before = copy.deepcopy(model.state_dict())
    fit(model, toy_batches(model, 3), 1)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("head.")}, "frozen norms keep their statistics too"


def test_dropout_is_another_at_each_step_process_and_seed_and_the_same_when_repeated():
    model = network("late_fusion", "model.dropout=0.5")
    rgb, drawn = clips_of(model)["rgb"], {}
    for case in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)):
        seed, step, rank = case
        torch.rand(3)  # what else was drawn does not matter
        DropoutSeeds(seed).on_train_batch_start(SimpleNamespace(global_step=step, global_rank=rank), model)
        logits = tuple(model(rgb).flatten().tolist())
        assert drawn.setdefault(case, logits) == logits
    assert len(set(drawn.values())) == 4


class Poison(L.Callback):
    """Makes the loss, a weight or a running statistic not finite at some step."""

    def __init__(self, what: str, at: int) -> None:
        self.what, self.at = what, at

    def on_train_batch_start(self, trainer: L.Trainer, model: VideoClassifier, *_: object) -> None:
        if (self.what, self.at) == ("loss", trainer.global_step + 1):
            model.loss = lambda *_: model.head[-1].bias.sum() * math.nan

    def on_before_optimizer_step(self, trainer: L.Trainer, model: VideoClassifier, *_: object) -> None:
        if trainer.global_step + 1 == self.at and self.what != "loss":
            norm = next(layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm3d))
            with torch.no_grad():
                (norm.running_var if self.what == "statistic" else model.head[-1].bias)[0] = math.inf


@pytest.mark.parametrize(("what", "at"), [("loss", 4), ("weight", 3), ("statistic", 1)])
def test_a_training_that_diverges_stops_at_that_step(what, at):
    model = network("late_fusion", crop=SIDE, training={"lr": 0.05, "clip_norm": 3.0})
    found = f"loss is nan at step {at}" if what == "loss" else f"the weights are not finite after step {at}"
    with pytest.raises(ValueError, match=f"^{found}: lower training.lr .now 0.05., or lower training.clip_norm .now 3"):
        fit(model, toy_batches(model, 3), 2, Poison(what, at))
    assert model.trainer.global_step == at


def test_on_a_gpu_a_step_is_looked_at_when_the_next_is_done(monkeypatch):
    model, watch = network("late_fusion", crop=SIDE), StopOnDivergence()
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    watch.on_train_start(SimpleNamespace(), model)
    watch.on_train_batch_end(SimpleNamespace(global_step=1), model, {"loss": torch.tensor(math.nan)})
    with pytest.raises(ValueError, match="loss is nan at step 1"):
        watch.on_train_batch_end(SimpleNamespace(global_step=2), model, {"loss": torch.tensor(1.0)})
    watch.on_train_start(SimpleNamespace(), model)
    watch.on_train_batch_end(SimpleNamespace(global_step=3), model, {"loss": torch.tensor(math.inf)})
    with pytest.raises(ValueError, match="loss is inf at step 3"):  # the epoch's last step, before its checkpoint
        watch.on_train_epoch_end(SimpleNamespace(), model)


def test_weights_that_are_not_finite_are_not_trained_on():
    model = network("late_fusion", crop=SIDE)
    model.config.weights = "other.ckpt"
    model.head[-1].bias.data[0] = math.nan
    with pytest.raises(ValueError, match=r"^the weights of other\.ckpt are not finite"):
        fit(model, toy_batches(model, 3), 1)
