"""Comparisons of two rows, or of a row with chance. They are records of their own, so that tables need records only.

<results>/comparisons/<id>.json   the names of both rows, digests of their runs' records and of the comparing code
                                  (without comments and layout), and the outcome
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field, TypeAdapter

from datamodules.files import write_atomically
from experiments import ROOT
from experiments.records.record import Count, Name, Record, Share, digest, first_problem
from experiments.tables.rows import Row
from experiments.tables.significance import compare

SOURCES = [
    *(ROOT / "experiments" / "tables" / f"{name}.py" for name in ("significance", "comparisons")),
    *(ROOT / "vidfusion" / f"{name}.py" for name in ("metrics", "votes")),
]
CODE = hashlib.sha256("".join(ast.dump(ast.parse(path.read_bytes())) for path in SOURCES).encode()).hexdigest()[:16]
CHANCE = "chance"  # the name of a baseline that guesses
Difference = Annotated[float, Field(ge=-10, le=10)]  # of shares; an interval may reach beyond -1 and 1


class Pair(NamedTuple):
    """A row and what it is compared with: another one, or chance (None). Of all test videos, or of those of a family
    `within` whose classes alone a guess can be."""

    row: Row
    baseline: Row | None
    within: str | None = None


@dataclass
class Seeds:
    """The number of seeds of each row."""

    row: Count
    baseline: Count


@dataclass
class Comparison:
    """What came of comparing a row with its baseline.

    inputs:     by id, the digest of each run's record
    code:       digest of the code that compared
    method:     `t interval`, `exact sign-flip` or `too few groups`; `cluster bootstrap` in old files
    clusters:   the number of groups of test videos
    draws:      patterns of signs, or replicates of a bootstrap; None for a t interval
    difference: of Video Hit@1, -1 to 1; `low` and `high` are the 95 % interval, and `p` is two-sided. These three are
                None where there are too few groups.
    paired:     whether both rows hold the same trained networks in each seed
    within:     the family whose videos and classes alone count; None for all
    """

    row: Name
    baseline: Name
    inputs: dict[str, str]
    code: str
    method: str
    clusters: Count
    draws: Count | None
    difference: Difference
    low: Difference | None
    high: Difference | None
    p: Share | None
    seeds: Seeds
    paired: bool
    within: Name | None = None


def comparison_id(row: Row, baseline: Row | None, within: str | None = None) -> str:
    """`<row>-vs-<baseline>-<hash>`: the same for the same runs and family."""
    runs = [sorted(record.id for record in of.records) for of in (row, baseline) if of]
    return f"{row.name}-vs-{baseline.name if baseline else CHANCE}-{digest([*runs, within] if within else runs)}"


def read_comparisons(results: Path) -> tuple[dict[str, Comparison], list[str]]:
    """The comparisons that are stored, by id, and a line for each file that is none and is left out."""
    reader, found, problems = TypeAdapter(Comparison), {}, []
    for path in sorted((results / "comparisons").glob("*.json")):
        try:
            found[path.stem] = reader.validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            problems.append(f"{path} is no comparison: {first_problem(error)}; it is left out: delete it")
    return found, problems


def update_comparisons(results: Path, pairs: Sequence[Pair]) -> None:
    """Compare the pairs that are new or out of date, and remove comparisons of other pairs.

    A comparison whose scores are not there any more cannot be made again. It stays, unless its runs' records have
    changed.
    """
    folder, (stored, _) = results / "comparisons", read_comparisons(results)
    wanted = {comparison_id(*pair): pair for pair in pairs}
    scored = {path.parent.name for path in (results / "runs").glob("*/scores.npz")}
    read = functools.lru_cache(maxsize=32)(_read)  # the runs of one baseline serve many comparisons
    for name in stored.keys() - wanted.keys():
        if stored[name].inputs.keys() <= scored:
            (folder / f"{name}.json").unlink(missing_ok=True)
    for name, pair in wanted.items():
        inputs = {record.id: record.digest for of in pair[:2] if of for record in of.records}
        known, complete = stored.get(name), inputs.keys() <= scored
        changed = known is not None and known.inputs != inputs
        if not changed and not (complete and (known is None or known.code != CODE)):
            continue
        path = folder / f"{name}.json"
        try:
            found = _compare(results, pair, inputs, read)
        except ValueError as error:
            path.unlink(missing_ok=True)
            print(f"{name}: not compared: {error}", file=sys.stderr, flush=True)
        else:
            folder.mkdir(exist_ok=True)
            write_atomically(path, json.dumps(asdict(found), indent=1))


class _Right(NamedTuple):
    """Which test videos a run has right, (N,) bool; the group of each; and a digest of the videos and their labels."""

    hits: np.ndarray
    groups: list[str] | None  # None in files of an earlier version
    videos: bytes


def _read(path: Path, row: str, classes: tuple[int, ...] | None) -> _Right:
    """What a row of a run has right, by its scores: a video of several labels with any of them, one without scores not.

    `classes` are those of a family, whose videos alone count. Raises ValueError for scores that are not whole.
    """
    from experiments.records.scores import read_scores  # here: it takes seconds to import
    from vidfusion.metrics import hits_at_k

    saved = read_scores(path)
    votes, groups = saved.of(row).videos(), saved.clusters
    scores, target, names = votes.scores[:, 0], votes.target, np.array(saved.videos)
    if classes is not None:
        own = target[:, classes].any(1)
        scores, target, names = scores[own][:, classes], target[own][:, classes], names[own.numpy()]
        groups = groups and np.array(groups)[own.numpy()].tolist()
    text = "\n".join(names.tolist()).encode(errors="surrogateescape")
    videos = hashlib.sha256(text + np.packbits(target.numpy()).tobytes()).digest()
    return _Right(hits_at_k(scores, target, 1).numpy(), groups, videos)


def _compare(
    results: Path,
    pair: Pair,
    inputs: dict[str, str],
    read: Callable[[Path, str, tuple[int, ...] | None], _Right],
) -> Comparison:
    """Compare two rows by their saved scores. Raises ValueError where scores are missing or of other videos.

    Seeds are paired where both rows have the same seeds and share a trained network in each.
    """
    last: dict[str, _Right] = {}  # of each split; in the end it is one of the baseline
    right: list[dict[str, list[np.ndarray]]] = []  # of each row, by split, of each seed
    for of in filter(None, pair[:2]):
        right.append(defaultdict(list))
        for record, own in sorted(of.runs, key=lambda run: str(run[0].seed)):
            path, split = results / "runs" / record.id / "scores.npz", str(record.split)
            found = read(path, own.name, _classes(record, pair.within))
            if last.get(split, found).videos != found.videos:
                raise ValueError(f"{path} has scores of other videos or labels than the other runs of split {split}")
            if of is (pair.baseline or pair.row) and found.groups is None:
                raise ValueError(f"{path} does not say which videos are alike: run that point again")
            last[split] = found
            right[-1][split].append(found.hits)
    if pair.baseline is None:
        share = guess(pair.row.first, pair.within)
        right.append({split: [np.full(len(found.hits), share)] for split, found in last.items()})
    ours, theirs = ([np.stack(of[split]) for split in sorted(last)] for of in right)
    paired = pair.baseline is not None and _paired(_networks(pair.row), _networks(pair.baseline))
    outcome = compare(ours, theirs, [np.array(last[split].groups) for split in sorted(last)], paired=paired)
    name = pair.baseline.name if pair.baseline else CHANCE
    return Comparison(
        pair.row.name, name, inputs, CODE, *outcome, Seeds(len(ours[0]), len(theirs[0])), paired, pair.within
    )


def guess(record: Record, family: str | None) -> float:
    """The hits of an even guess: among all classes, or among a family's own unless the record names it."""
    if family is None:
        return 1 / record.num_classes
    return record.chance.get(family, 1 / record.families[family])


def _classes(record: Record, family: str | None) -> tuple[int, ...] | None:
    if family is None:
        return None
    if not record.data.families.get(family):
        raise ValueError(f"{record.id} does not say which classes are of {family}: run that point again")
    return tuple(record.data.classes.index(name) for name in record.data.families[family])


def _networks(row: Row) -> dict[tuple[str, str], set[str]]:
    """By seed and split, the ids of the runs whose trained networks a row consists of."""
    return {
        (str(record.seed), str(record.split)): {record.id, *(record.ensemble.of.runs if record.ensemble else [])}
        for record in row.records
    }


def _paired(networks: dict[tuple[str, str], set[str]], others: dict[tuple[str, str], set[str]]) -> bool:
    return networks.keys() == others.keys() and all(networks[place] & others[place] for place in networks)
