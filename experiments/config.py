"""From words on the command line to one typed configuration.

Dataclass defaults < presets (`strategy=`, `dataset=`, `recipe=`, `clip=`, YAML files in `configs/`) < `key=value`.
After `compose` the code sees dataclasses only.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Optional

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datamodules import DATASETS
from datamodules.clips import ClipSpec
from datamodules.lists import Dataset
from experiments.tracking import WandbConfig
from vidfusion.classifier import ClipShape, StrategyConfig, TrainingConfig, VideoClassifier
from vidfusion.strategies import STRATEGIES

CONFIGS = Path(__file__).parent / "configs"
# Each names a preset, configs/<word>/<name>.yaml; `auxiliary` names one of configs/dataset, or none.
WORDS = ("strategy", "dataset", "recipe", "clip", "auxiliary")

# Settings that say where and how something runs, not what comes out: they are no part of a run's identity.
PLACES = (
    "strategy", "dataset", "recipe", "clip", "seed", "sweep", "results", "overrides", "wandb",
    "data.root", "data.stores", "data.max_store",
    "auxiliary_data.root", "auxiliary_data.stores", "auxiliary_data.max_store",
    "trainer.workers", "trainer.test_batch_size", "trainer.accelerator",
)  # fmt: skip


@dataclass
class TrainerConfig:
    """Where and how fast a network is trained (config node `trainer`).

    accelerator: `auto`, `cpu` or `gpu`;  devices: processes, one device each
    precision:   `32-true`, `bf16-mixed` or `16-mixed`
    threads:     of the processor, per run: one is the most efficient for tiny networks, and a sweep without a GPU runs
                 so many points side by side as the cores allow
    channels_last: keep a pixel's channels together in memory, which convolutions take best
    compile:     translate the network with torch.compile, which takes minutes and then saves time on a GPU
    workers:     processes that load clips, per device (0: the training process itself)
    test_batch_size: views scored at once, which bounds memory and does not change scores
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 1
    channels_last: bool = True
    compile: bool = False
    workers: int = 0
    test_batch_size: int = 64


@dataclass
class RunConfig:
    """One run: what is trained on what, how, and where its output goes.

    `strategy`, `dataset`, `recipe` and `clip` are the names of the presets that filled `model` and `sampling`, `data`,
    `training`, and `sampling`. `auxiliary` names a second data set, `auxiliary_data`, which the network is trained on
    too. `results` is the folder of all output, `sweep` the sweep that the run belongs to, and `overrides` are the other
    `key=value` words as they were given.
    """

    strategy: str
    dataset: str
    recipe: str
    clip: str
    auxiliary: str = "none"
    seed: int = 0
    sweep: str = ""
    results: str = "results"
    overrides: list[str] = field(default_factory=list)
    model: StrategyConfig = field(default_factory=StrategyConfig)
    sampling: ClipSpec = field(default_factory=ClipSpec)
    data: Dataset = field(default_factory=Dataset)
    auxiliary_data: Optional[Dataset] = None  # noqa: UP045 - OmegaConf resolves this at run time on Python 3.10 too
    training: TrainingConfig = field(default_factory=TrainingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)

    @property
    def dataset_label(self) -> str:
        """The data set's name in ids and tables; of a folder of videos, the folder's."""
        return self.data.folder().resolve().name if self.dataset == "folder" else self.dataset

    @property
    def id(self) -> str:
        """`<strategy>-<dataset>-s<seed>-<hash>`: the same on every machine for the same settings."""
        return f"{self.strategy}-{self.dataset_label}-s{self.seed}-{_digest(self.identity())}"

    @property
    def settings_hash(self) -> str:
        """8 hex digits that runs share which differ in nothing but seed and split."""
        return _digest({name: value for name, value in self.identity().items() if name != "data.split"})

    def identity(self) -> dict[str, Any]:
        """The settings that change the numbers and differ from their defaults, flat by dotted name.

        Adding a setting with a default that keeps the old behaviour therefore keeps every id.
        """
        defaults = flat(dataclasses.asdict(_defaults(self.strategy_class, type(self.data), type(self.auxiliary_data))))
        settings = flat(dataclasses.asdict(self))
        if self.model.weights:
            settings["model.weights"] = _content(Path(self.model.weights))  # wherever that file lies
        changed = {name: value for name, value in settings.items() if defaults.get(name, dataclasses.MISSING) != value}
        return {name: value for name, value in changed.items() if not is_place(name)}

    @property
    def strategy_class(self) -> type[VideoClassifier]:
        """The network's class, which the strategy's preset names."""
        return _class_of(self.strategy)

    def clip_shape(self) -> ClipShape:
        """What the network needs to know of a clip."""
        clip = self.sampling
        apart = clip.fps is not None or clip.stride > 1 or clip.span == "video"
        a_path = clip.flow_direction == "forward" and not apart
        return ClipShape(clip.frames, clip.flow_frames, clip.crop, self.data.flow.bound, a_path)


@cache
def _class_of(strategy: str) -> type[VideoClassifier]:
    return STRATEGIES[_preset("strategy", strategy)["class"]]


def _content(path: Path) -> str:
    """8 hex digits of what is in a file. Raises ValueError where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    except OSError as error:
        raise ValueError(f"model.weights={path}: cannot be read ({error.strerror}); give a file of weights") from None


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def is_place(name: str) -> bool:
    """Whether a dotted setting is one of PLACES or lies below one."""
    return any(name == place or name.startswith(place + ".") for place in PLACES)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested settings by their dotted names."""
    leaves = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return leaves


def _defaults(strategy: type[VideoClassifier], dataset: type[Dataset], auxiliary: type[Dataset | None]) -> RunConfig:
    return RunConfig("", "", "", "", model=strategy.Config(), data=dataset(), auxiliary_data=auxiliary())


def names(word: str) -> list[str]:
    """The presets that a word can name."""
    return sorted(path.stem for path in (CONFIGS / word).glob("*.yaml"))


def did_you_mean(name: str, known: list[str]) -> str:
    """Closest known names as a question, or all of them."""
    close = difflib.get_close_matches(name, known, n=2)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known)}"


def _preset(word: str, name: str) -> dict[str, Any]:
    """What a preset's file says; over what the one says that it `extends`."""
    if name not in names(word):
        raise ValueError(f"{word}={name}: no such preset. {did_you_mean(name, names(word))}")
    loaded = OmegaConf.load(CONFIGS / word / f"{name}.yaml")
    if "extends" in loaded:
        base = _preset(word, loaded.pop("extends"))
        loaded = OmegaConf.merge(base, loaded)
    preset = OmegaConf.to_container(loaded)
    return preset if isinstance(preset, dict) else {}  # a file of comments only changes nothing


def parse(arguments: list[str]) -> dict[str, str]:
    """`key=value` words as a dict; the last of equal keys holds."""
    pairs = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key or key.startswith("-"):
            raise ValueError(f"{argument!r}: expected key=value, such as strategy=c3d or training.steps=500")
        pairs[key] = value
    return pairs


def compose(arguments: list[str]) -> RunConfig:
    """The configuration that the words describe. Raises ValueError for a key or value that does not exist."""
    pairs = parse(arguments)
    chosen = {
        "strategy": pairs.get("strategy", ""),
        "dataset": pairs.get("dataset", "moving_shapes"),
        "recipe": pairs.get("recipe", "quick"),
        "clip": pairs.get("clip", "native"),
    }
    if not chosen["strategy"]:
        raise ValueError(f"strategy= is missing. Known: {', '.join(names('strategy'))}")
    presets = {word: _preset(word, name) for word, name in chosen.items()}
    strategy = STRATEGIES[presets["strategy"].pop("class")]
    # A strategy may have something to add to presets of other words, such as its own schedule to recipe=published, or
    # its second data set to each first one.
    required = presets["strategy"].pop("requires", None)
    for words, addition in presets["strategy"].pop("with", {}).items():
        if all(chosen.get(word) == name for word, name in parse(words.split()).items()):
            second = addition.pop("auxiliary", None)
            if pairs.get("auxiliary", second) != second:
                addition.pop("auxiliary_data", None)  # of another one than the command line's
            chosen["auxiliary"] = second or chosen.get("auxiliary", "none")
            presets[f"strategy/{chosen['strategy']}.yaml with {words}"] = addition
    chosen["auxiliary"] = pairs.get("auxiliary", chosen.get("auxiliary", "none"))
    if required and chosen[required] == "none":
        raise ValueError(
            f"strategy={chosen['strategy']} trains on a second data set; with dataset={chosen['dataset']} say which: "
            f"{required}=NAME. Known: {', '.join(DATASETS)}"
        )
    auxiliary = type(None)
    if (name := chosen["auxiliary"]) != "none":
        if name not in DATASETS:
            raise ValueError(f"auxiliary={name}: no such data set. {did_you_mean(name, ['none', *DATASETS])}")
        presets = {"auxiliary": {"auxiliary_data": _preset("dataset", name)["data"]}, **presets}  # additions win
        auxiliary = DATASETS[name]
    config = OmegaConf.structured(_defaults(strategy, DATASETS[chosen["dataset"]], auxiliary))
    for source, preset in presets.items():
        config = _merge(config, preset, f"configs/{source}")
    given = [f"{key}={_spelt(value)}" for key, value in pairs.items() if key == "auxiliary" or key not in WORDS]
    # Sorted, and spelt in one way: the record is the same however W&B's agent writes the words.
    config = _merge(config, {**chosen, "overrides": sorted(given)}, "the command line")
    for key, value in pairs.items():
        if key not in WORDS:
            _check_key(config, key)
            config = _merge(config, _setting(key, value), f"{key}={value}")
    net = strategy.network(OmegaConf.to_object(config.model))
    if config.sampling.resize is None:
        config.sampling.resize = list(net.resize)
    if config.sampling.crop is None:
        config.sampling.crop = net.crop
    for node, word in (("data", "dataset"), ("auxiliary_data", "auxiliary")):
        if config[node] is not None and OmegaConf.is_missing(config[node], "root"):
            raise ValueError(f"{node}.root is missing: {word}={chosen[word]} needs the folder of its videos")
    run: RunConfig = OmegaConf.to_object(config)
    _check(run)
    return run


def _spelt(value: str) -> str:
    """A list in one spelling: [a,b] for ['a', 'b']. What is not a plain list stays as it is."""
    match = re.fullmatch(r"\[([^][]*)\]", value)
    parts = [part.strip() for part in match[1].split(",")] if match else []
    plain = [re.fullmatch(r"(['\"]?)([\w.+-]+)\1", part) for part in parts]
    if not plain or not all(part and (not part[1] or isinstance(yaml.safe_load(part[2]), str)) for part in plain):
        return value
    return f"[{','.join(part[2] for part in plain if part)}]"


def _setting(key: str, value: str) -> DictConfig:
    try:
        return OmegaConf.from_dotlist([f"{key}={value}"])
    except yaml.YAMLError:
        raise ValueError(f"{key}={value}: YAML cannot read this value; put it into quotes of its own") from None


def _merge(config: DictConfig, update: Any, source: str) -> DictConfig:
    try:
        return OmegaConf.merge(config, update)
    except OmegaConfBaseException as error:
        raise ValueError(f"{source}: {str(error).splitlines()[0]}") from None


def _check_key(config: DictConfig, key: str) -> None:
    node, parts = config, key.split(".")
    for depth, part in enumerate(parts):
        known = list(node) if isinstance(node, DictConfig) else []
        if OmegaConf.is_dict(node) and OmegaConf.get_type(node) is dict:
            return  # a free dict, such as clips per family: its keys are checked by whoever reads it
        if part not in known:
            prefix = ".".join(parts[:depth])
            dotted = [f"{prefix}.{name}" if prefix else str(name) for name in known]
            raise ValueError(
                f"{key}: no such setting. {did_you_mean('.'.join(parts[: depth + 1]), dotted or [prefix])}"
            )
        child = None if OmegaConf.is_missing(node, part) else node[part]
        node = child if OmegaConf.is_config(child) else None
        if node is None and depth < len(parts) - 1:
            raise ValueError(f"{key}: {'.'.join(parts[: depth + 1])} is a single value")


def _check(run: RunConfig) -> None:
    training = run.training
    for name, value, least in (
        ("seed", run.seed, 0),
        ("training.steps", training.steps, 1),
        ("training.batch_size", training.batch_size, 1),
        ("trainer.devices", run.trainer.devices, 1),
        ("trainer.threads", run.trainer.threads, 1),
        ("trainer.workers", run.trainer.workers, 0),
        ("trainer.test_batch_size", run.trainer.test_batch_size, 1),
    ):
        if value < least:
            raise ValueError(f"{name}={value}: expected {least} or more")
    if run.seed >= 2**32:
        raise ValueError(f"seed={run.seed}: expected less than 2**32")
    if training.select == "best" and not (run.data.validation or run.data.folds):
        raise ValueError("training.select=best needs a validation split: set data.validation, such as 0.2")
    if training.batch_size % run.trainer.devices:
        raise ValueError(
            f"training.batch_size={training.batch_size}: expected a multiple of trainer.devices={run.trainer.devices}"
        )
