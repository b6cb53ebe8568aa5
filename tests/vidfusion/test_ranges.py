"""Numbers out of their range are refused when a configuration is composed, in one line."""

import re

import pytest

from experiments.settings.compose import compose

REFUSED = {
    "training.steps": ["0"],
    "training.multiply_adds": ["-1"],
    "training.batch_size": ["0"],
    "training.lr": ["0", "inf", "nan"],
    "training.head_lr_factor": ["-1"],
    "training.bias_lr_factor": ["-1"],
    "training.momentum": ["1", "-0.1"],
    "training.weight_decay": ["-0.1"],
    "training.milestones": ["[3,-1]"],
    "training.gamma": ["0"],
    "training.warmup": ["-1"],
    "training.label_smoothing": ["1"],
    "training.clip_norm": ["-1"],
    "training.trained_layers": ["-1"],
    "model.dropout": ["1"],
    "model.mean": ["[1,inf,1]"],
    "model.std": ["[1,0,1]"],
    "model.spatial_dropout": ["1"],
    "model.hidden": ["0"],
    "model.layers": ["0"],
    "model.second_classes": ["1"],
}
STRATEGY = {
    "model.spatial_dropout": "two_stream",
    "model.hidden": "cnn_lstm",
    "model.layers": "snippets_lstm",
    "model.second_classes": "two_stream_multi_task",
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_a_number_out_of_its_range_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"^{re.escape(name)}=.*: expected ") as error:
        compose([f"strategy={STRATEGY.get(name, 'c3d')}", f"{name}={value}"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "word",
    ["training.lr=1e-9", "training.weight_decay=0", "training.momentum=0", "model.dropout=0", "model.dropout=0.99"],
)
def test_what_is_still_in_the_range_is_taken(word):
    compose(["strategy=c3d", word])


def test_the_message_says_what_is_expected():
    for word, expected in (
        ("training.lr=nan", "training.lr=nan: expected a finite number above 0"),
        ("model.dropout=1.5", "model.dropout=1.5: expected 0 or more, below 1"),
        ("model.std=[0]", "model.std=[0.0]: expected for each a finite number above 0"),
    ):
        with pytest.raises(ValueError, match=re.escape(expected)):
            compose(["strategy=c3d", word])


def test_nesterovs_momentum_needs_one():
    with pytest.raises(ValueError, match=r"^training\.nesterov=true: .*training\.momentum above 0"):
        compose(["strategy=c3d", "training.optimizer=sgd", "training.nesterov=true", "training.momentum=0"])
