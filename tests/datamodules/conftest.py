from pathlib import Path

import pytest

from datamodules.dataset_store import prepare_store, tracks
from datamodules.datasets.folder import Folder
from tests.datamodules import numbered


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """The numbered videos, their manifest and their frame store."""
    root = tmp_path_factory.mktemp("data") / "clips"
    numbered.write(root)
    dataset = Folder(root=str(root), stores=str(root.parent / "stores"))
    prepare_store(dataset, tracks(dataset, numbered.FLOW), 1, dataset.read())
    return root
