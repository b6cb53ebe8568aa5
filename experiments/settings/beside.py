"""A second data set, which a strategy is trained on beside the run's own."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datamodules.datasets import DATASETS
from datamodules.datasets.base import Dataset
from experiments.settings.presets import did_you_mean, read_preset

# How a data set is stored: the two of a run are stored alike, so that one network reads both.
STORED_ALIKE = ("stores", "max_store", "encoding", "quality", "store_fps", "undecodable", "flow")


def beside(main: Dataset, name: str, settings: dict[str, Any]) -> Dataset:
    """The data set `name` as its preset and `settings` describe it, stored as the `main` one is.

    Raises ValueError for a name or a setting that does not exist.
    """
    if name not in DATASETS:
        raise ValueError(f"model.second_dataset={name}: no such data set. {did_you_mean(name, list(DATASETS))}")
    stored = {field: getattr(main, field) for field in STORED_ALIKE}
    config = OmegaConf.structured(DATASETS[name])
    try:
        config = OmegaConf.merge(config, read_preset("dataset", name).get("data", {}), stored, settings)
    except OmegaConfBaseException as error:
        raise ValueError(f"model.second_data, of {name}: {str(error).splitlines()[0]}") from None
    if OmegaConf.is_missing(config, "root"):
        raise ValueError(f"model.second_data.root is missing: {name} needs the folder of its videos")
    if config.validation or config.folds:
        raise ValueError("model.second_data.validation, .folds: the network is trained on all of it; leave them out")
    return OmegaConf.to_object(config)
