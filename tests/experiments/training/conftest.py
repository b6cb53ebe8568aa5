"""Data that all trainings here share."""

import pytest

from experiments.settings.compose import compose
from experiments.training.build import make_data
from tests.factories import small_run


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Settings of small runs, whose data are made once."""
    words = [*small_run(tmp_path_factory.mktemp("training")), "wandb.mode=disabled"]
    make_data(compose(["strategy=single_frame", *words])).prepare_data()
    return words
