"""The record of a run: every number of it, and how it came about. Tables are made from records alone.

<results>/runs/<id>/record.json     the record
                    scores.npz      probabilities of every test clip, with its centre in seconds
                    validation.npz  the same for the clips that were held out of training, if any
                    last.ckpt       the network
                    error.txt       why the run failed, in place of a record
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, PositiveInt, StringConstraints, TypeAdapter, ValidationError

from datamodules.files import write_atomically

FORMAT = 1  # of record.json; raise it when the meaning or the default of a setting changes

# A name that becomes part of a path: it holds no separator and no NUL, and is neither `.` nor `..`.
NAME = r"^[^/\x00]*[^./\x00][^/\x00]*$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
Count = Annotated[int, Field(ge=0, le=10**30)]
Share = Annotated[float, Field(ge=0, le=1)]  # neither NaN nor infinite
Amount = Annotated[float, Field(ge=0, le=1e30)]  # such as of seconds
Metrics = dict[str, Share | None]
Member = tuple[Name, Name]  # the id of a run and the name of one of its rows


def digest(content: Any) -> str:
    """8 hex digits of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


@dataclass
class Protocol:
    """How the network was tested; `text` says it in words."""

    test_sampling: str
    test_views: str
    text: str


@dataclass
class Videos:
    """How many test videos there were, and how many clips were longer than their video.

    `damaged`: of half of their frames or more, the decoder made up a part. `drifting`: the frame rate varies, so that
    times by frame number are off by up to `drift` seconds. The file leaves these out where they are 0.
    """

    expected: Count
    scored: Count
    undecodable: Count
    truncated: Count
    padded_clips: Count
    damaged: Count = 0
    drifting: Count = 0
    drift: Amount = 0.0

    def plain(self) -> dict[str, int | float]:
        """All counts, without those of rare damage that are 0."""
        rare = ("damaged", "drifting", "drift")
        return {name: value for name, value in vars(self).items() if value or name not in rare}


@dataclass
class Family:
    """Hits among the videos of one family of classes.

    `video_hit1` counts the best of all classes, `within_hit1` the best of the family's own, which old records lack.
    """

    videos: Count
    video_hit1: Share | None
    train_clip_hit1: Share | None
    within_hit1: Share | None = None


@dataclass(kw_only=True)
class RunRow:
    """One row of the table, as one run fills it. Metrics are fractions; None where a metric is undefined."""

    name: Name
    metrics: Metrics
    families: dict[str, Family]
    parameters: Count
    macs_per_clip: Count
    macs_training: Count
    frames_per_clip: Count
    clips_per_video: Amount | None  # None for an ensemble whose members differ
    frames_per_video: Amount


@dataclass
class Code:
    """The code that made the run. `shared` is the part of it that no strategy or data set has for itself, which old
    records and ensembles lack."""

    hash: str
    commit: str
    versions: dict[str, str]
    shared: str | None = None


@dataclass(kw_only=True)
class Data:
    """The data that the run was trained and tested on. Old records lack `fingerprints`, `files` and `families`.

    `fingerprint` is of the data set that is tested; `fingerprints` are of all that are trained on, that one first.
    `built_with` holds the versions of the libraries that decoded the frame store.
    """

    fingerprint: str
    fingerprints: list[str] | None = None
    files: str | None = None
    classes: list[str]
    families: dict[str, list[str]] = field(default_factory=dict)
    training_videos: int | None = None
    store: dict[str, Any] | None = None
    built_with: list[str] | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ensemble:
    """Which runs are fused into the row `name`, and how.

    members: runs and rows, at least two
    fuse:    `mean` of class probabilities, or `svm`: a multi-class linear SVM on them (Crammer & Singer), as in
             Simonyan & Zisserman 2014, section 5. The paper does not say which videos it is fitted on.
    cost:    C of the SVM (the paper does not say which)
    folds:   by id of a member's run, the runs that were trained without one fold of the training list each.
             The SVM is fitted on their held-out scores. Empty: it is fitted on what the members held out themselves.
    """

    name: Name
    members: Annotated[list[Member], Field(min_length=1)]
    fuse: Literal["mean", "svm"] = "mean"
    cost: FiniteFloat = 1.0
    folds: dict[Name, list[Name]] = field(default_factory=dict)

    @property
    def runs(self) -> list[str]:
        """Ids of the members' runs; two streams of one run count once."""
        return list(dict.fromkeys(run_id for run_id, _ in self.members))

    @property
    def inputs(self) -> list[str]:
        """Ids of all runs whose scores are used."""
        return [*self.runs, *(fold for run_id in self.runs for fold in self.folds.get(run_id, []))]

    def fitted_on(self, run_id: str) -> list[str]:
        """Ids of the runs whose held-out scores the SVM is fitted on in place of a member's."""
        return self.folds.get(run_id, [run_id])


@dataclass(kw_only=True)
class Fused:
    """How the row of an ensemble was made. `inputs` holds a digest of each input's record."""

    of: Ensemble
    text: str
    level: str
    clips: dict[str, Any]
    fit: dict[str, Any] | None = None
    code: str
    inputs: dict[str, str]


@dataclass
class NetworkTest:
    """Which run's network was tested again, and with which other settings."""

    run: str
    checkpoint: str
    changed: dict[str, Any]
    path: str = ""
    steps: int = 0
    made_of: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Record:
    """One finished run. The file leaves out what is None, but for metrics and other numbers of rows."""

    format: int = FORMAT
    id: Name
    kind: Literal["run", "fold", "ensemble", "test", "transfer"]
    sweep: str
    command: str
    strategy: Name
    dataset: Name
    split: int | str
    seed: int | str
    settings: str
    recipe: str
    size: str
    clip: str
    selection: str
    pretrained: str
    given: list[str] | None = None  # None: an old record, which does not say
    ensemble: Fused | None = None
    test: NetworkTest | None = None
    num_classes: PositiveInt
    families: dict[str, PositiveInt]
    chance: dict[str, Share]
    protocol: Protocol
    videos: Videos
    rows: Annotated[list[RunRow], Field(min_length=1)]
    seconds: dict[str, Amount]  # train, waiting (for clips, a part of train), test, flow
    memory_mb: Count
    code: Code
    data: Data
    device: str
    config: dict[str, Any] | None = None
    digest: str = ""  # of the content of the file that was read; not written
    file_digest: str = ""  # of its bytes

    @classmethod
    def read(cls, path: Path) -> Record:
        """The record in a file. Keys that this code does not know are ignored.

        Raises FileNotFoundError, and ValueError for a file that is no whole record of this format.
        """
        try:
            content = path.read_bytes()
            plain = json.loads(content.decode("utf-8"))
            found = plain.get("format") if isinstance(plain, dict) else type(plain).__name__
            if found != FORMAT:
                raise ValueError(f"it has record format {found!r}, this code reads format {FORMAT}")
            record = _reader().validate_python(plain)
            record.check()
            record.digest, record.file_digest = digest(plain), hashlib.sha256(content).hexdigest()[:16]
            return record
        except FileNotFoundError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no record: {first_problem(error)}") from None

    def check(self) -> None:
        """Raise ValueError where parts of the record contradict each other."""
        if self.num_classes != len(self.data.classes):
            raise ValueError(f"num_classes is {self.num_classes}, and it names {len(self.data.classes)} classes")
        for kind, part in (("test", self.test), ("ensemble", self.ensemble)):
            if self.kind == kind and part is None:
                raise ValueError(f"its kind is {kind}, and it has no part `{kind}`")

    def write(self, path: Path) -> None:
        """Write the record as JSON, whole or not at all."""
        write_atomically(path, json.dumps(self.plain(), indent=1))

    def plain(self) -> dict[str, Any]:
        """The content of the file."""
        content = dataclasses.asdict(self)
        del content["digest"], content["file_digest"]
        content["videos"] = self.videos.plain()
        for part in (content, content["data"], content["ensemble"] or {}):  # None is a value in rows only
            for key in [key for key, value in part.items() if value is None]:
                del part[key]
        return content

    @property
    def made_of(self) -> list[str]:
        """Hash of the code, and fingerprints of the data sets, that the record was made of."""
        return [self.code.hash, *(self.data.fingerprints or [self.data.fingerprint])]


@cache
def _reader() -> TypeAdapter:
    return TypeAdapter(Record)


def first_problem(error: Exception) -> str:
    """One line that says what is wrong with a file."""
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}, found {str(problem['input'])[:80]!r}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
