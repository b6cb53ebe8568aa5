"""From words on the command line to one typed configuration.

Each of these wins over the ones before it: defaults of the dataclasses; presets in the order strategy, dataset, recipe,
clip; the strategy's additions for these; the `key=value` words. After `compose` the code sees dataclasses only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datamodules.clip_spec import check
from datamodules.datasets import DATASETS
from experiments.settings.presets import names, network_of, settings_of
from experiments.settings.schema import RunConfig, defaults_of
from experiments.settings.words import parse, set_word, spelt, to_dataclass
from vidfusion.strategies import STRATEGIES

DEFAULTS = {"strategy": "", "dataset": "moving_shapes", "recipe": "quick", "clip": "native"}


def compose(words: Iterable[str]) -> RunConfig:
    """The run that `key=value` words describe. Raises ValueError for what does not exist or makes no sense."""
    given = parse(words)
    chosen = {word: given.pop(word, default) for word, default in DEFAULTS.items()}
    if not chosen["strategy"]:
        raise ValueError(f"strategy= is missing. Known: {', '.join(names('strategy'))}")
    presets = settings_of(chosen)
    model = STRATEGIES[network_of(chosen["strategy"])].settings
    if chosen["dataset"] not in DATASETS:
        raise ValueError(f"configs/dataset/{chosen['dataset']}.yaml: no such data set. Known: {', '.join(DATASETS)}")
    defaults = defaults_of(model, DATASETS[chosen["dataset"]])
    config = OmegaConf.structured(defaults)
    for source, settings in {**presets, "the command line": chosen}.items():
        _merge(config, settings, source)
    for key, word in given.items():
        set_word(config, defaults, key, word)
    # In one order and one spelling: the record is the same however W&B's agent writes the words.
    config.overrides = sorted(f"{key}={spelt(OmegaConf.select(config, key), word)}" for key, word in given.items())
    if OmegaConf.is_missing(config.data, "root"):
        raise ValueError(f"data.root is missing: dataset={chosen['dataset']} needs the folder of its videos")
    run: RunConfig = to_dataclass(config)
    clip, net = run.sampling, run.model.network()
    clip.resize = list(net.resize) if clip.resize is None else clip.resize
    clip.crop = net.crop if clip.crop is None else clip.crop
    check(clip)
    run.datasets()  # raises ValueError for a second data set that does not exist
    return run


def _merge(config: DictConfig, settings: Any, source: str) -> None:
    try:
        config.merge_with(settings)
    except OmegaConfBaseException as error:
        raise ValueError(f"{source}: {str(error).splitlines()[0]}") from None
