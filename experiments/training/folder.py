"""A run's folder: a finished result stays until the next one is whole.

<results>/runs/<id>/                the result that counts: record.json, its scores and checkpoints
                    unfinished/     the run that is being made, or was stopped
                    stale-*/        results and checkpoints that other code or other data made
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from experiments.records.files import read_record
from experiments.training.progress import read_progress

PARTS = ("best.ckpt", "last.ckpt", "validation.npz", "scores.npz", "record.json")  # the record says that all is there


def unfinished(folder: Path) -> Path:
    """Where a run is made, until it takes the place of an earlier result."""
    return folder / "unfinished"


def clean(folder: Path) -> None:
    """Remove what a killed process left half done, and complete its exchange of results. Folders are left alone."""
    (folder / "error.txt").unlink(missing_ok=True)
    for place in (folder, unfinished(folder)):
        for half_file in [*place.glob(".*"), *place.glob("*.tmp")]:
            if not half_file.is_dir():
                half_file.unlink(missing_ok=True)
    if (unfinished(folder) / "record.json").exists():
        publish(folder)


def publish(folder: Path) -> None:
    """Put the new result in the earlier one's place. After an interruption, a second call completes it.

    At each moment there is a whole record under its name. An earlier result of other code or data is kept aside.
    """
    new, old = read_record(unfinished(folder)), read_record(folder)
    made_of = old.made_of if old else _made_of(folder / "last.ckpt")
    if made_of and (new is None or new.made_of != made_of):
        keep(folder, made_of)
    for name in PARTS:
        with suppress(FileNotFoundError):
            os.replace(unfinished(folder) / name, folder / name)
    shutil.rmtree(unfinished(folder))


def keep(place: Path, made_of: list[str], move: bool = False) -> Path:
    """Keep a result or checkpoint of `place` under `stale-<code>-<data>` beside it; returns that folder.

    The files stay in `place` too, unless `move`.
    """
    folder = place.parent if place.name == "unfinished" else place
    aside = folder / "-".join(["stale", *(part[:8] for part in made_of if part)])
    aside.mkdir(exist_ok=True)
    for name in PARTS:
        if not (place / name).exists():
            continue
        if move:
            os.replace(place / name, aside / name)
            continue
        (aside / name).unlink(missing_ok=True)
        try:
            os.link(place / name, aside / name)
        except OSError:  # a file system without links
            shutil.copyfile(place / name, aside / name)
    return aside


def _made_of(checkpoint: Path) -> list[str] | None:
    saved = read_progress(checkpoint)
    return saved.made_of if saved else None
