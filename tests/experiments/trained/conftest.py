"""Finished tiny runs, their checkpoints, and a copy of their results."""

import shutil
from pathlib import Path

import pytest

from experiments.settings.compose import compose
from experiments.training.train import run_point
from tests.experiments.trained.small_runs import SMALL, checkpoint_of, make_videos


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two finished runs by strategy: one tests its best checkpoint, the other has streams."""
    folder = tmp_path_factory.mktemp("trained")
    make_videos(folder / "videos")
    places = ["dataset=folder", f"data.root={folder}/videos", f"data.stores={folder}/stores"]
    best, streams = ["strategy=early_fusion", "training.select=best"], ["strategy=two_stream", "sampling.flow_frames=2"]
    made = [compose([*words, *SMALL, *places, f"results={folder}/results"]) for words in (best, streams)]
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.training.train.log_film_strips", lambda *of: asked.append(of))
        for run in made:
            run_point(run)
    for run, (_, settings, data, votes) in zip(made, asked, strict=True):
        assert settings == run.wandb and len(votes.videos().video) == len(data.lists.test) == 6
    return {run.strategy: run for run in made}


@pytest.fixture
def checkpoint(runs):
    return checkpoint_of(runs["early_fusion"])


@pytest.fixture
def apart(runs, tmp_path):
    """The results folder of the runs copied, so that what a test writes there is the test's own."""
    shutil.copytree(runs["early_fusion"].results, tmp_path / "results")
    return {name: tmp_path / checkpoint_of(run).relative_to(Path(run.results).parent) for name, run in runs.items()}
