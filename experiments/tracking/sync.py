"""Offline runs to Weights & Biases, each looked at afterwards: `wandb sync` reports success when nothing went."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from experiments.records.lock import holder
from experiments.tracking.mirror import data_folder, uploaded_mark, wandb_id

EMPTY = 7  # bytes of a log that has a header and nothing else


def sync(results: Path) -> int:
    """Upload the offline runs of `results`/wandb in the order of their starts; 0, or 1 where one did not go.

    Says in a line what happened to each. A log that W&B cannot read would keep all others of a call back, so each has a
    call of its own, and went if W&B's mark is there afterwards. What is still being written waits, since a log that has
    the mark is never looked at again; so do the later parts of a run of which one did not go, since W&B adds them to
    its history in the order in which they come.

    Raises ValueError where there is no such folder, and where something is to be uploaded and the server cannot be
    reached or takes no credentials.
    """
    if not (results / "wandb").is_dir():
        raise ValueError(f"results={results}: there is no folder {results / 'wandb'}, so no run of W&B; set results=")
    points = {wandb_id(point.name): point for point in (results / "runs").glob("*")}
    waiting, unfinished = [], 0
    for folder in sorted((results / "wandb").glob("offline-run-*")):  # the time of the start comes first in the name
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
    if unfinished:
        print(f"{unfinished} still being made: the same command uploads them later", file=sys.stderr)
    if not waiting:
        if not unfinished:
            print(f"no offline run in {results / 'wandb'} waits for its upload")
        return 1 if unfinished else 0
    os.environ.setdefault("WANDB_X_GRAPHQL_RETRY_MAX", "3")  # by itself W&B tries for minutes where there is no server
    _sign_in()
    failed: list[Path] = []
    for log in waiting:
        if any(log.name == earlier.name for earlier in failed):
            failed.append(log)
            print(f"{log.parent.name}: waits for its earlier part", flush=True)
            continue
        command = [sys.executable, "-m", "wandb", "sync", "--yes", str(log.parent)]
        environment = {**os.environ, "WANDB_DIR": str(results), "WANDB_DATA_DIR": data_folder(results)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if uploaded_mark(log).exists():
            print(f"{log.parent.name}: uploaded", flush=True)
        else:
            failed.append(log)
            said = [line.partition("ERROR ")[2] for line in done.stderr.splitlines() if "ERROR " in line]
            print(f"{log.parent.name}: not uploaded ({(said or ['no reason given'])[0]})", flush=True)
    if failed:
        parts = [log.parent for log in failed]
        print(f"{len(failed)} of {len(waiting)} did not go:", *parts, sep="\n  ", file=sys.stderr)
    return 1 if failed or unfinished else 0


def _sign_in() -> None:
    import wandb

    os.environ["WANDB_ERROR_REPORTING"] = "false"  # nothing here knows which of the runs are private
    os.environ.pop("WANDB_MODE", None)  # with `offline`, W&B looks for no credentials
    wandb.setup(wandb.Settings(silent=True, mode="online"))
    try:
        if not wandb.login(prompt=False, verify=True):
            raise wandb.errors.UsageError("no credentials found, `wandb login` stores them")
    except wandb.Error as error:
        raise ValueError(f"W&B: {' '.join(str(error).split())}; nothing was sent") from None
