"""Everything that can be set, as dataclasses; and a run's identity, which follows from the settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from datamodules.clip_spec import ClipSpec, snippet
from datamodules.datasets.base import Dataset
from experiments.settings.beside import beside
from experiments.settings.presets import network_of
from vidfusion.nets.choice import StrategyConfig
from vidfusion.ranges import Range, Ranged, number
from vidfusion.settings import ClipShape, TrainingConfig
from vidfusion.strategies import strategy_class

if TYPE_CHECKING:
    from vidfusion.classifier import VideoClassifier

# Settings that say where something runs or is called, not what comes out. They do not change a run's id.
PLACES = (
    "strategy", "dataset", "recipe", "clip", "seed", "sweep", "results", "overrides", "wandb",
    "data.root", "data.manifest", "data.stores", "data.max_store",
    "model.second_data.root",
    "trainer.workers", "trainer.test_batch_size", "trainer.accelerator", "trainer.checkpoint_minutes",
)  # fmt: skip
# Of the words on W&B in a record or checkpoint, which may be somebody else's, only those that send less are taken.
SENDS_LESS = ("wandb.private=true", "wandb.mode=disabled", "wandb.mode=offline")

# Of settings of data sets, each of which has some of these.
DATA_RANGES = {
    "split": Range(least=1), "validation": Range(least=0, below=1), "folds": Range(least=0), "fold": Range(least=0),
    "max_store": Range(least=0), "quality": Range(least=1, below=101),
    "store_fps": Range(least=0.001, below=10_000),
    "image_fps": Range(least=0.001, below=10_000), "data_seed": Range(least=0), "size": Range(least=1),
    "frames": Range(least=1),
    "fps": Range(above=0), "clips_per_video": Range(least=0), "clip_seconds": Range(least=0),
}  # fmt: skip


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
class TrainerConfig(Ranged):
    """Where and how fast a network is trained (node `trainer`).

    accelerator:     `auto`, `cpu` or `gpu`
    devices:         processes that train together, one device each
    precision:       `32-true`, `bf16-mixed` or `16-mixed`. On a CPU, `bf16-mixed` made PyTorch 2.14 crash in
                     training on frames of more than 200x200 pixels (two_stream, tsn, cnn_lstm)
    tf32:            with `32-true`, a GPU multiplies in TensorFloat-32, which keeps 10 of 23 bits behind the point
    threads:         processor threads of a run. One is best for tiny networks: a sweep without a GPU runs as many
                     points side by side as the cores allow
    channels_last:   keep a pixel's channels together in memory, which makes convolutions faster
    compile:         translate the network with torch.compile; that takes minutes and then saves time on a GPU
    workers:         processes that load clips, per device (0: the training process loads them)
    test_batch_size: views scored at once; it bounds the memory and does not change scores
    checkpoint_minutes: a training writes a checkpoint at least that often
    """

    NODE: ClassVar[str] = "trainer"

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = number(1, least=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    tf32: bool = True
    threads: int = number(1, least=1, below=10_000)
    channels_last: bool = True
    compile: bool = False
    workers: int = number(0, least=0, below=10_000)
    test_batch_size: int = number(64, least=1)
    checkpoint_minutes: float = number(10.0, above=0)


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
        _check_ranges(self.data, "data")
        own = self.dataset == "folder"  # whose lists, read later, may have a `val` part
        if self.training.select == "best" and not (self.data.validation or self.data.folds or own):
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
        defaults = flat(dataclasses.asdict(defaults_of(type(self.model), type(self.data))))
        settings = flat(dataclasses.asdict(self))
        if self.model.weights:
            settings["model.weights"] = _content(Path(self.model.weights))  # wherever that file lies
        if self._lists:
            settings["data.lists"] = self._lists
        changed = {name: value for name, value in settings.items() if defaults.get(name, dataclasses.MISSING) != value}
        return {name: value for name, value in changed.items() if not is_place(name)}

    @cached_property
    def _lists(self) -> str:
        """What the lists of a folder of videos hold, whose name tells nothing. Raises DataError."""
        return self.data.identity()

    @property
    def strategy_class(self) -> type[VideoClassifier]:
        """The network's class, which the strategy's preset names; this imports PyTorch."""
        return strategy_class(network_of(self.strategy))

    def datasets(self) -> list[Dataset]:
        """The data sets that the network is trained on: `data`, and those that its strategy adds. Raises ValueError."""
        others = [beside(self.data, *other) for other in self.model.other_data()]
        for other in others:
            _check_ranges(other, "model.second_data")
        return [self.data, *others]

    def clip_shape(self) -> ClipShape:
        """What the network needs to know of a clip."""
        clip = self.sampling
        apart = clip.fps is not None or clip.stride > 1 or clip.span == "segments"
        a_path = clip.flow_direction == "forward" and not apart
        return ClipShape(clip.frames, clip.flow_frames, clip.crop, self.data.flow.bound, a_path, snippet(clip)[0])


def _check_ranges(data: Dataset, node: str) -> None:
    """Raise ValueError for the first number out of its range."""
    for name, allowed in DATA_RANGES.items():
        value = getattr(data, name, None)
        if value is not None and not allowed.holds(value):
            raise ValueError(f"{node}.{name}={value}: expected {allowed}")


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


def defaults_of(model: type[StrategyConfig], dataset: type[Dataset]) -> RunConfig:
    """A run whose every setting has its default."""
    return RunConfig("", "", "", "", model=model(), data=dataset())


def with_seed(run: RunConfig, word: str) -> RunConfig:
    """The same run with another seed. Raises ValueError for a word that is no seed."""
    if not word.removeprefix("-").isdecimal():
        raise ValueError(f"seed={word}: expected a whole number")
    others = [other for other in run.overrides if not other.startswith("seed=")]
    return dataclasses.replace(run, seed=int(word), overrides=sorted([*others, f"seed={int(word)}"]))
