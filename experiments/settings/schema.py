"""Everything that can be set, as dataclasses."""

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

# Settings that say where and how something runs, not what comes out: they are no part of a run's identity.
PLACES = (
    "strategy", "dataset", "recipe", "clip", "seed", "sweep", "results", "overrides", "wandb",
    "data.root", "data.stores", "data.max_store",
    "model.second_data.root",
    "trainer.workers", "trainer.test_batch_size", "trainer.accelerator", "trainer.checkpoint_minutes",
)  # fmt: skip


@dataclass
class WandbConfig:
    """Node `wandb` of the configuration.

    `auto` takes WANDB_MODE (or `wandb offline`) where set, else it is online with credentials and offline without.
    `private` sends numbers and settings only: no host, arguments, git state, console output, packages or media.
    `film_strips` of test videos are sent `always`, `never`, or with `auto` where the data set's terms allow to show it.
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "vidfusion"
    entity: str | None = None
    private: bool = False
    film_strips: Literal["auto", "always", "never"] = "auto"  # not on and off, which YAML reads as true and false


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
    checkpoint_minutes: a training writes a checkpoint at least that often
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 1
    channels_last: bool = True
    compile: bool = False
    workers: int = 0
    test_batch_size: int = 64
    checkpoint_minutes: float = 10.0


@dataclass
class RunConfig:
    """One run: what is trained on what, how, and where its output goes.

    `strategy`, `dataset`, `recipe` and `clip` are the names of the presets that filled `model` and `sampling`, `data`,
    `training`, and `sampling`. `results` is the folder of all output, `sweep` the sweep that the run belongs to, and
    `overrides` are the other `key=value` words as they were given.
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
        """8 hex digits that runs share which differ in nothing but seed and split."""
        return _digest({name: value for name, value in self.identity().items() if name != "data.split"})

    def identity(self) -> dict[str, Any]:
        """The settings that change the numbers and differ from their defaults, flat by dotted name.

        Adding a setting with a default that keeps the old behaviour therefore keeps every id.
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


def defaults_of(strategy: type[VideoClassifier], dataset: type[Dataset]) -> RunConfig:
    """A run whose every setting has its default."""
    return RunConfig("", "", "", "", model=strategy.Config(), data=dataset())
