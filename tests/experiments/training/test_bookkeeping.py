"""What a training has beside its steps: dropout's seeds."""

from types import SimpleNamespace

import torch

from experiments.training.callbacks import DropoutSeeds
from tests.factories import clips_of, network


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
