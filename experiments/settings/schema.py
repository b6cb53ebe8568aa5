"""Everything that can be set, as dataclasses; and a run's identity, which follows from the settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datamodules.clips import ClipSpec
from datamodules.datasets.base import Dataset
from experiments.settings.beside import beside
from experiments.settings.presets import class_of
from vidfusion.classifier import ClipShape, StrategyConfig, VideoClassifier
from vidfusion.optimisation import TrainingConfig

# Settings that say where something runs or is called, not what comes out. They do not change a run's id.
PLACES = (
    "strategy", "dataset", "recipe", "clip", "seed", "sweep", "results", "overrides", "wandb",
    "data.root", "data.stores", "data.max_store",
    "model.second_data.root",
    "trainer.workers", "trainer.test_batch_size", "trainer.accelerator",
)  # fmt: skip


@dataclass
class WandbConfig:
    """Node `wandb` of the configuration.

    mode:        `auto` follows WANDB_MODE or `wandb offline` where one is set; else it is online where there are
                 credentials, and offline where there are none
    private:     send numbers and settings only: no host, arguments, git state, console output, packages or media
    film_strips: send pictures of test videos `always` or `never`; `auto` asks whether the data set's terms allow it
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "vidfusion"
    entity: str | None = None
    private: bool = False
    film_strips: Literal["auto", "always", "never"] = "auto"


@dataclass
class TrainerConfig:
    """Where and how fast a network is trained (node `trainer`).

    accelerator:     `auto`, `cpu` or `gpu`
    devices:         processes that train together, one device each
    precision:       `32-true`, `bf16-mixed` or `16-mixed`
    threads:         processor threads of a run. One is best for tiny networks: a sweep without a GPU runs as many
                     points side by side as the cores allow
    channels_last:   keep a pixel's channels together in memory, which makes convolutions faster
    compile:         translate the network with torch.compile; that takes minutes and then saves time on a GPU
    workers:         processes that load clips, per device (0: the training process loads them)
    test_batch_size: views scored at once; it bounds the memory and does not change scores
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 1
    channels_last: bool = True
    compile: bool = False
    workers: int = 0
    test_batch_size: int = 64

    def __post_init__(self) -> None:
        for name, least in (("devices", 1), ("threads", 1), ("workers", 0), ("test_batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"trainer.{name}={getattr(self, name)}: expected {least} or more")


@dataclass
class RunConfig:
    """One run: which network is trained on which videos, how, and where its output goes.

    strategy, dataset, recipe, clip: names of the presets that filled the nodes below
    sweep:     name of the sweep that the run belongs to
    results:   folder of all output
    overrides: the other `key=value` words
    """

    strategy: str
    dataset: str
    recipe: str
    clip: str
    seed: int = 0
    sweep: str = ""
    results: str = "results"
    overrides: list[str] = field(default_factory=list)
    model: StrategyConfig = field(default_factory=StrategyConfig)
    sampling: ClipSpec = field(default_factory=ClipSpec)
    data: Dataset = field(default_factory=Dataset)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed}: expected 0 or more, and less than 2**32")
        for name in ("steps", "batch_size"):
            if getattr(self.training, name) < 1:
                raise ValueError(f"training.{name}={getattr(self.training, name)}: expected 1 or more")
        if self.training.select == "best" and not (self.data.validation or self.data.folds):
            raise ValueError("training.select=best needs a validation split: set data.validation, such as 0.2")
        if self.training.batch_size % self.trainer.devices:
            raise ValueError(
                f"training.batch_size={self.training.batch_size}: expected a multiple of "
                f"trainer.devices={self.trainer.devices}"
            )

    @property
    def dataset_label(self) -> str:
        """The data set's name in ids and tables; of a folder of videos, the folder's."""
        return self.data.folder().resolve().name if self.dataset == "folder" else self.dataset

    @property
    def id(self) -> str:
        """`<strategy>-<dataset>-s<seed>-<hash>`: the same on every machine for the same settings."""
        return f"{self.strategy}-{self.dataset_label}-s{self.seed}-{_digest(self.identity())}"

    @property
    def folder(self) -> Path:
        """Where the run's output lies."""
        return Path(self.results) / "runs" / self.id

    @property
    def settings_hash(self) -> str:
        """8 hex digits, the same for runs that differ in seed and split only."""
        return _digest({name: value for name, value in self.identity().items() if name != "data.split"})

    def identity(self) -> dict[str, Any]:
        """The settings that change the numbers and differ from their defaults, by dotted name.

        A new setting therefore keeps every id, if its default keeps the old behaviour.
        """
        defaults = flat(dataclasses.asdict(defaults_of(self.strategy_class, type(self.data))))
        settings = flat(dataclasses.asdict(self))
        if self.model.weights:
            settings["model.weights"] = _content(Path(self.model.weights))  # wherever that file lies
        changed = {name: value for name, value in settings.items() if defaults.get(name, dataclasses.MISSING) != value}
        return {name: value for name, value in changed.items() if not is_place(name)}

    @property
    def strategy_class(self) -> type[VideoClassifier]:
        """The network's class, which the strategy's preset names."""
        return class_of(self.strategy)

    def datasets(self) -> list[Dataset]:
        """The data sets that the network is trained on: `data`, and those that its strategy adds. Raises ValueError."""
        return [self.data, *(beside(self.data, *other) for other in self.strategy_class.other_data(self.model))]

    def clip_shape(self) -> ClipShape:
        """What the network needs to know of a clip."""
        clip = self.sampling
        apart = clip.fps is not None or clip.stride > 1 or clip.span == "video"
        a_path = clip.flow_direction == "forward" and not apart
        return ClipShape(clip.frames, clip.flow_frames, clip.crop, self.data.flow.bound, a_path)


def _content(path: Path) -> str:
    """8 hex digits of a file's content. Raises ValueError if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    except OSError as error:
        raise ValueError(f"model.weights={path}: cannot be read ({error.strerror}); give a file of weights") from None


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def is_place(name: str) -> bool:
    """Whether a dotted key is one of PLACES or lies below one."""
    return any(name == place or name.startswith(place + ".") for place in PLACES)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested settings by their dotted names."""
    leaves = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return leaves


def defaults_of(strategy: type[VideoClassifier], dataset: type[Dataset]) -> RunConfig:
    """A run whose every setting has its default."""
    return RunConfig("", "", "", "", model=strategy.Config(), data=dataset())


def with_seed(run: RunConfig, word: str) -> RunConfig:
    """The same run with another seed. Raises ValueError for a word that is no seed."""
    if not word.removeprefix("-").isdecimal():
        raise ValueError(f"seed={word}: expected a whole number")
    others = [other for other in run.overrides if not other.startswith("seed=")]
    return dataclasses.replace(run, seed=int(word), overrides=sorted([*others, f"seed={int(word)}"]))
