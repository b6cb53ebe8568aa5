"""Where a point of a sweep stands, derived from what lies in its folder: nothing else remembers it."""

from __future__ import annotations

from typing import NamedTuple

import torch

from experiments.config import RunConfig
from experiments.record import code_hash, read_record, run_folder
from experiments.running import holder
from experiments.training import make_data

STATES = {
    "finished": "record.json, made by this code of these data",
    "running": "`lock` is held by a living process",
    "failed": "error.txt says why",
    "interrupted": "last.ckpt and none of the others",
    "stale": "record.json or last.ckpt made by other code or of other data",
    "to do": "none of these",
}


class State(NamedTuple):
    """One of STATES, and what there is to say about it."""

    name: str
    detail: str = ""


class Ingredients:
    """What records and checkpoints of runs must have been made of; data sets that runs share are looked at once."""

    def __init__(self) -> None:
        self._prints: dict[str, tuple[str, str] | None] = {}

    def of(self, run: RunConfig) -> list[str] | None:
        """Hash of the code and fingerprints of the data, None where the data are not built here."""
        key = repr((run.data, run.auxiliary_data, run.sampling))
        if key not in self._prints:
            data = make_data(run)
            if data.is_built():
                data.setup()
                self._prints[key] = data.fingerprint(), data.auxiliary_fingerprint()
            else:
                self._prints[key] = None
        prints = self._prints[key]
        return None if prints is None else [code_hash(run), *prints]


def state_of(run: RunConfig, made_of: list[str] | None) -> State:
    """Where a run stands.

    `made_of` is what its record and checkpoint must have been made of (`Ingredients`), None where the data are not here
    to be compared.
    """
    folder = run_folder(run)
    if process := holder(folder):
        return State("running", process)
    try:
        return State("failed", (folder / "error.txt").read_text().strip().splitlines()[-1])
    except (OSError, IndexError):
        pass
    if record := read_record(folder):
        data = record["data"]
        own = [record["code"]["hash"], data["fingerprint"], data["auxiliary_fingerprint"]]
        return _compared("finished", own, made_of)
    try:
        saved = torch.load(folder / "last.ckpt", weights_only=True, map_location="cpu", mmap=True)
    except FileNotFoundError:
        return State("to do")
    own = saved["vidfusion"]["provenance"]["made_of"]
    return _compared("interrupted", own, made_of, f"after step {saved['global_step']}")


def _compared(name: str, own: list[str], made_of: list[str] | None, detail: str = "") -> State:
    if made_of is None:
        return State(name, f"{detail}; the data are not here to be compared".removeprefix("; "))
    pairs = zip(("code", "data", "auxiliary data"), own, made_of, strict=True)
    changed = [what for what, before, now in pairs if before != now]
    return State("stale", f"made with other {' and '.join(changed)}") if changed else State(name, detail)
