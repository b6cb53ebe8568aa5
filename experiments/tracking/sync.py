"""Upload offline runs to W&B, and check that each arrived: `wandb sync` reports success when nothing went."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from experiments.records.lock import holder
from experiments.tracking.mirror import data_folder, sign_in, uploaded_mark, wandb_id

EMPTY = 7  # bytes of a log that has a header and nothing else


def sync(results: Path) -> int:
    """Upload the offline runs of `results`/wandb in the order of their starts. Returns 0, or 1 if one did not go.

    Prints a line for each. A run that is still being made waits, because W&B never looks again at an uploaded log.

    Raises ValueError if there is no such folder, if the server cannot be reached, or if it takes no credentials.
    """
    if not (results / "wandb").is_dir():
        raise ValueError(f"results={results}: there is no folder {results / 'wandb'}, so no run of W&B; set results=")
    waiting, unfinished = _look(results)
    if unfinished:
        print(f"{unfinished} still being made: the same command uploads them later", file=sys.stderr)
    elif not waiting:
        print(f"no offline run in {results / 'wandb'} waits for its upload")
    if waiting:
        os.environ.setdefault("WANDB_X_GRAPHQL_RETRY_MAX", "3")  # by itself W&B tries for minutes without a server
        sign_in()
    failed = _upload(waiting, results)
    if failed:
        print(f"{len(failed)} of {len(waiting)} did not go:", *failed, sep="\n  ", file=sys.stderr)
    return 1 if failed or unfinished else 0


def _look(results: Path) -> tuple[list[Path], int]:
    """Logs that wait for their upload, and how many runs are still being made."""
    points = {
        wandb_id(point.name, private): point for point in (results / "runs").glob("*") for private in (False, True)
    }
    waiting, unfinished = [], 0
    for folder in sorted((results / "wandb").glob("offline-run-*")):  # a name begins with the time of the start
        log = next(folder.glob("run-*.wandb"), None)
        if log is None or log.stat().st_size <= EMPTY:
            print(f"{folder.name}: empty, its process was killed in its first seconds; skipped")
        elif uploaded_mark(log).exists():
            print(f"{folder.name}: uploaded before")
        elif (point := points.get(log.stem.removeprefix("run-"))) and (process := holder(point)):
            print(f"{folder.name}: still being made by {process}; upload it later")
            unfinished += 1
        else:
            waiting.append(log)
    return waiting, unfinished


def _upload(logs: list[Path], results: Path) -> list[Path]:
    """Upload each log in a call of its own, since one that cannot be read keeps all others of a call back.

    Returns the folders of those that did not go. Later parts of a run wait for its earlier ones: W&B adds them to the
    run's history in the order in which they come.
    """
    environment = {**os.environ, "WANDB_DIR": str(results), "WANDB_DATA_DIR": data_folder(results)}
    failed: list[Path] = []
    for log in logs:
        if any((folder / log.name).exists() for folder in failed):
            failed.append(log.parent)
            print(f"{log.parent.name}: waits for its earlier part", flush=True)
            continue
        command = [sys.executable, "-m", "wandb", "sync", "--yes", str(log.parent)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if uploaded_mark(log).exists():
            print(f"{log.parent.name}: uploaded", flush=True)
        else:
            failed.append(log.parent)
            said = [line.partition("ERROR ")[2] for line in done.stderr.splitlines() if "ERROR " in line]
            print(f"{log.parent.name}: not uploaded ({(said or ['no reason given'])[0]})", flush=True)
    return failed
