"""Builds in processes of their own, which import this module and so no torch."""

import os
import signal
from pathlib import Path

from datamodules.flow import FlowConfig
from datamodules.store import building, writing
from datamodules.store.tracks import Track

RGB, FLOW = Track(20, 24), Track(20, 24, FlowConfig(preset="ultrafast", bound=4.0))
MOMENTS = {  # what is about to happen when a build is killed, for the how manieth time
    "writing a row": (writing.ShardWriter, "write", 100),
    "moving a file into place": (os, "replace", 5),
    "writing an index": (building, "_write_index", 2),
}


def files(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*.avi")]


def in_turn(function, jobs, workers):
    yield from ((job, function(job)) for job in jobs)


def build_here(root: Path, stores: Path, *tracks: Track, max_store: float = 1.0, launcher=in_turn) -> Path:
    settings = {"workers": 2, "max_store": max_store, "launcher": launcher}
    return building.build_tracks(root, files(root), stores, "test", tracks or (RGB, FLOW), **settings)


def build_and_note(root: Path, stores: Path, decoded: Path) -> None:
    """Build, and write down which videos are decoded."""
    real = building.probe

    def noted(path: Path):
        with decoded.open("a") as file:
            file.write(f"{path.name}\n")
        return real(path)

    building.probe = noted
    build_here(root, stores)


def build_and_die(root: Path, stores: Path, moment: str) -> None:
    owner, name, number = MOMENTS[moment]
    real, calls = getattr(owner, name), []

    def counted(*arguments, **keywords):
        calls.append(name)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keywords)

    setattr(owner, name, counted)
    build_here(root, stores)


def crash(job: building.Job) -> None:
    writing.ShardWriter(job, job.tracks[0])
    os._exit(139)


def claim_and_sleep(folder: Path, held) -> None:
    with building.claim(folder, 3, "00003.*.tmp", wait=False) as got:
        held.send(got)
        signal.pause()
