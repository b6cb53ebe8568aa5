"""Folders of results whose rows are right on known videos, and what a table says of them."""

import itertools

import numpy as np

from experiments.records.files import read_records
from experiments.tables.baselines import pairs
from experiments.tables.update import update
from tests.factories import record_of, save_run

NUM_VIDEOS = 120
SPLIT_LABELS = np.tile([True, True, False], (NUM_VIDEOS, 1))  # each video has two labels and is right with either


def make_run(results, name, right, *, groups=24, unscored=(), **changes):
    """A run whose two-clip videos are right where `right` (N,) or (rows, N) says so."""
    right = np.atleast_2d(right)
    scores = np.full((*right.shape, 2, 3), 1 / 3)
    scores[:, :, 0] = np.eye(3)[np.where(right, np.arange(NUM_VIDEOS) % 2, 2)]
    scores[:, list(unscored)] = np.nan
    changes = {"classes": ("a", "b", "c"), "families": {}} | changes
    return save_run(results, record_of(name, **changes), scores, SPLIT_LABELS, groups=groups)


def make_runs(results, rates, *, seeds=1, splits=1, **settings):
    """Runs of these rows with a share of right videos each; returns what is right by row, split and seed."""
    made = {}
    for name, rate in rates.items():
        for split, seed in itertools.product(range(1, splits + 1), range(seeds)):
            rng = np.random.default_rng([*name.encode(), split, seed])
            made[name, split, seed] = rng.random(NUM_VIDEOS) < rate
            make_run(results, name, made[name, split, seed], split=split, seed=seed, **settings)
    return made


def groups_of(split):
    return np.array([f"test{split}/{video % 24}" for video in range(NUM_VIDEOS)])


def section_of(results):
    return update(results).sections[0]


def pairs_of(results):
    return pairs(read_records(results)[0])


def cells(section, name="Difference to"):
    (place,) = (place for place, column in enumerate(section.columns) if column.startswith(name))
    return {row[0]: row[place] for row in section.rows}


def stored(results):
    return {path: path.read_bytes() for path in (results / "comparisons").glob("*")}


def folder_of(results, name):
    (found,) = (results / "runs").glob(f"{name}-*")
    return found
