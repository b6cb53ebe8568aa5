"""Which points a sweep has."""

import pytest

from experiments.launch.grid import read_points
from experiments.records.command import command
from experiments.run import main
from experiments.settings.compose import compose


def test_words_that_name_several_values_are_axes():
    runs = read_points("fusion", ["strategy=c3d,early_fusion", "seed=0,2", "data.split=1,3", "training.steps=5"])
    found = [(run.seed, run.data.split, run.strategy, run.training.steps) for run in runs]
    expected = [(seed, split, name, 5) for split in (1, 3) for seed in (0, 2) for name in ("c3d", "early_fusion")]
    assert sorted(found) == sorted(expected) and len(found) == 8
    assert len({run.id for run in runs}) == 8
    assert len({run.settings_hash for run in runs}) == 2, "seeds and splits are one row"
    assert [run.seed for run in read_points("fusion", ["strategy=c3d", "seed=07,7"])] == [7], "one run, once"


def test_every_point_is_the_run_that_its_command_makes():
    for run in read_points("clip", ["seed=0,1", "strategy=c3d"]):
        assert compose(command(run).split()[2:]) == run


def test_only_keeps_the_points_that_it_names():
    runs = read_points("fusion", ["seed=0,1"], ["strategy=c3d,two_stream", "seed=1"])
    assert sorted((run.strategy, run.seed) for run in runs) == [("c3d", 1), ("two_stream", 1)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "strategy=c3"], "--only strategy=c3: fusion has no c3. Did you mean c3d"),
        (["--only", "strategi=c3d"], "fusion has no strategi. Did you mean strategy?"),
        (["seed=99999999999"], "seed=99999999999: expected 0 or more, and less than 2**32"),
        (["training.steps=1,2"], "training.steps=1,2"),
    ],
)
def test_a_wrong_word_is_named(words, message, capsys):
    assert main(["--sweep", "fusion", "--dry-run", *words]) == 1
    assert message in capsys.readouterr().err
