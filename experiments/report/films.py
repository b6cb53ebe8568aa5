"""A few test videos as films, with the answers of every network over time below: records and scores -> HTML."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from experiments.records.record import Record
from experiments.report.answers import Answers, read_answers
from experiments.report.environment import PAGE
from experiments.report.pictures import Picture, looks, picture
from experiments.tables.rows import make_rows, section_groups

SEED = 0  # of the choice among videos that networks disagree on equally
FILMS = 4  # of a data set without families of classes
LOOKS = 4  # films of where a network looks, of each run


@dataclass(frozen=True)
class Piece:
    """Neighbouring clips with one answer: where they lie, in percent of the video's time, the class, is it right?"""

    start: float
    width: float
    answer: str
    right: bool


@dataclass(frozen=True)
class Line:
    """What one network answers to a video: to its clips, and to all of it."""

    name: str
    answer: str
    right: bool
    pieces: list[Piece]


@dataclass(frozen=True)
class Film:
    """A test video: its path, family and true classes, its film, its length in seconds, and a line for each network."""

    path: str
    family: str
    truth: str
    picture: Picture
    seconds: float
    lines: list[Line]


@dataclass(frozen=True)
class FilmSection:
    """The films of one data set and split; `looks` are names and films of where networks look."""

    title: str
    rule: str
    films: list[Film]
    looks: list[tuple[str, Picture]] = field(default_factory=list)


@dataclass(frozen=True)
class Network:
    """A row of a run, with what the run answered."""

    name: str
    record: Record
    row: str
    answers: Answers


def films_html(results: Path, records: Sequence[Record]) -> str:
    """The part of a page in the folder `results` that shows films; empty where no two runs have scores there."""
    found = film_sections(results, records)
    return PAGE.get_template("films.html").render(sections=found, looks=LOOKS) if found else ""


def film_sections(results: Path, records: Sequence[Record]) -> list[FilmSection]:
    """Films of each data set and test protocol, of the runs that share the seed and split that most runs have."""
    found = []
    for group in section_groups([record for record in records if record.kind == "run"]):
        most = Counter((str(record.split), str(record.seed)) for record in group)
        place = min(most, key=lambda place: (-most[place], place))
        networks = _networks(results, [record for record in group if (str(record.split), str(record.seed)) == place])
        if len(_runs(networks)) >= 2:
            found.append(networks)
    return [_section(results, networks) for networks in sorted(found, key=len, reverse=True)]


def _networks(results: Path, records: Sequence[Record]) -> list[Network]:
    """The rows of some runs that have scores of the same videos, in the order of tables."""
    answers: dict[str, Answers] = {}
    for record in records:
        try:
            found = read_answers(results / "runs" / record.id / "scores.npz", len(record.data.classes))
        except ValueError:  # as of committed records, which have none; the tables say which files are not whole
            continue
        first = next(iter(answers.values()), found)
        if found.videos == first.videos and np.array_equal(found.truth(), first.truth()):
            answers[record.id] = found
    rows = [(record, own.name) for row in make_rows(list(records)) for record, own in row.runs if record.id in answers]
    rows = [(record, name) for record, name in rows if name in answers[record.id].rows]
    twice = Counter(name for _, name in rows)
    return [
        Network(f"{name} ({record.id})" if twice[name] > 1 else name, record, name, answers[record.id])
        for record, name in rows
    ]


def _section(results: Path, networks: Sequence[Network]) -> FilmSection:
    first = networks[0].record
    chosen = choose(networks[0].answers, [network.answers.means(network.row) for network in networks], first)
    what = "one of each family of classes" if first.data.families else f"{FILMS} of different classes"
    rule = (
        f"{len(chosen)} test videos, {what}: those on which the networks disagree most, so they are no fair sample. "
        f"Among equals a hash of the path decides (seed {SEED})."
    )
    shown = [
        (f"{record.strategy}, {name}", found)
        for record in _runs(networks)
        for name, found in islice(looks(results, record), LOOKS)
    ]
    words = [word for word in first.given or [] if word.startswith("data.")]
    title = ", ".join([f"{first.dataset}, split {first.split}, seed {first.seed}", *words])
    films = [_film(results, networks, index, family) for family, index in chosen]
    return FilmSection(title, rule, films, shown)


def _runs(networks: Sequence[Network]) -> list[Record]:
    return list({network.record.id: network.record for network in networks}.values())


# -- which videos ------------------------------------------------------------------------------------------------------


def choose(answers: Answers, means: Sequence[np.ndarray], record: Record) -> list[tuple[str, int]]:
    """(family, index) of the videos that are shown, from each network's mean scores (N, C).

    Networks disagree most where as many are right as wrong. A video that somebody has no scores of is not shown.
    """
    truth, scored = answers.truth(), ~np.isnan(np.stack(means)).any((0, 2))
    right = np.stack([truth[np.arange(len(own)), np.nan_to_num(own).argmax(1)] for own in means]).sum(0)
    split = right * (len(means) - right)
    hashes = [hashlib.sha256(f"{SEED} {path}".encode("utf-8", "surrogateescape")).digest() for path in answers.videos]
    order = sorted(np.flatnonzero(scored).tolist(), key=lambda index: (-split[index], hashes[index]))
    return list(_first_of_each(order, truth, record.data.classes, record.data.families))


def _first_of_each(
    order: Sequence[int], truth: np.ndarray, classes: Sequence[str], families: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, int]]:
    """The first video of each family; without families the first ones of FILMS classes."""
    for family, members in families.items():
        own = [classes.index(name) for name in members if name in classes]
        yield from [(family, index) for index in order if truth[index, own].any()][:1]
    seen: set[int] = set()
    for index in () if families else order:
        label = int(truth[index].argmax())
        if len(seen) < FILMS and label not in seen:
            seen.add(label)
            yield "", index


# -- what is shown of one ----------------------------------------------------------------------------------------------


def _film(results: Path, networks: Sequence[Network], index: int, family: str) -> Film:
    first = networks[0]
    path, classes = first.answers.videos[index], first.record.data.classes
    shown = picture(results, first.record, path)
    truth = np.flatnonzero(first.answers.truth()[index])
    last = max(float(network.answers.center[network.answers.video == index].max()) for network in networks)
    seconds = shown.seconds or last
    lines = [_line(network, index, classes, set(truth.tolist()), seconds) for network in networks]
    return Film(path, family, ", ".join(classes[label] for label in truth), shown, seconds, lines)


def _line(network: Network, index: int, classes: Sequence[str], truth: set[int], seconds: float) -> Line:
    answers = network.answers
    own = answers.video == index
    scores = answers.scores[own, answers.rows.index(network.row)].astype(np.float64)
    times, clip = np.unique(np.clip(answers.center[own], 0, seconds), return_inverse=True)  # a video may be one clip
    best = [int(scores[clip == number].mean(0).argmax()) for number in range(len(times))]
    edges = [0.0, *((times[1:] + times[:-1]) / 2), seconds]
    pieces: list[Piece] = []
    for number, answer in enumerate(best):
        if number and answer == best[number - 1]:
            continue
        stop = next((after for after in range(number, len(best)) if best[after] != answer), len(best))
        start, end = (100 * edges[place] / seconds if seconds else 100.0 * (place > 0) for place in (number, stop))
        pieces.append(Piece(round(start, 2), round(end - start, 2), classes[answer], answer in truth))
    whole = int(scores.mean(0).argmax())
    return Line(network.name, classes[whole], whole in truth, pieces)
