"""Many files, examined in child processes, because a decoder may crash or hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

from datamodules.doctor.examine import Finding, examine
from datamodules.processes import die_with_parent

SIGN_OF_LIFE = 0.2  # seconds between two signs of life of a child
FINAL = "final"  # a child says that its last finding stands


def _serve(pipe: Connection, examiner: Callable[..., Iterator[Finding]]) -> None:
    """Examine the files that come through the pipe, one at a time. Send back findings and signs of life."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # else a stopped check would blame the files
        signal.signal(ignored, signal.SIG_IGN)
    die_with_parent()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what decoders say of damaged files would spoil the progress line
    last = 0.0

    def alive() -> None:
        nonlocal last
        if time.monotonic() - last > SIGN_OF_LIFE:
            last = time.monotonic()
            pipe.send(None)

    alive()
    while True:
        file, finding = pipe.recv(), Finding()
        try:
            for finding in examiner(file, alive):
                pipe.send(finding)
        except Exception as error:  # it would stop whoever else reads this file
            pipe.send(replace(finding, status="crash", message=f"{type(error).__name__}: {error}"))
        pipe.send(FINAL)


class _Child:
    """A process that examines one file at a time, and what its parent knows of it."""

    def __init__(self, examiner: Callable[..., Iterator[Finding]]) -> None:
        context = multiprocessing.get_context("spawn")  # a forked copy of a process that runs threads may hang
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, examiner), daemon=True)
        self.process.start()
        theirs.close()
        self.path: str | None = None  # of the file that it examines
        self.finding = Finding()  # of this file, so far
        self.heard: float | None = None  # time of its last sign of life; None while it starts

    def give(self, path: str, file: Path) -> None:
        self.path, self.finding = path, Finding()
        if self.heard is not None:
            self.heard = time.monotonic()
        self.pipe.send(file)

    def listen(self, patience: float) -> Finding | None:
        """The finding of its file, once that stands. A crashed or hanging child is stopped."""
        try:
            while self.pipe.poll():
                word = self.pipe.recv()
                self.heard = time.monotonic()
                if word == FINAL:
                    return self.finding
                self.finding = word or self.finding
        except (EOFError, OSError):
            self.process.join()
            if self.heard is None:
                raise OSError(
                    f"a process to decode in cannot start: it ended with code {self.process.exitcode}"
                ) from None
            return self._broken("crash", f"the decoder crashed ({_death(self.process.exitcode)})")
        if self.heard is not None and time.monotonic() - self.heard > patience:
            return self._broken("hang", f"the decoder gave no frame for {patience:g} s")
        return None

    def _broken(self, status: str, message: str) -> Finding:
        self.stop()
        if not self.finding.status:
            return replace(self.finding, status=status, message=message)
        # The file was decoded whole. Only the trial of random access crashed or hung, and nothing else needs that.
        message = "; ".join(filter(None, [self.finding.message, f"at random access {message}"]))
        return replace(self.finding, message=message)

    def stop(self) -> None:
        self.process.kill()
        self.process.join(5)  # a process that waits for a dead disk cannot be killed
        self.pipe.close()


def _death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"code {code}"
    name = signal.Signals(-code).name
    return f"{name}, perhaps because memory ran out" if name == "SIGKILL" else name


def examine_all(
    files: Mapping[str, Path],
    workers: int,
    patience: float,
    examiner: Callable[..., Iterator[Finding]] = examine,
) -> Iterator[tuple[str, Finding]]:
    """(path, finding) of every file, as they are finished, from `workers` child processes.

    A child that dies, or gives no sign of life for `patience` seconds, condemns its file and is replaced. Raises
    OSError if no process can be started.
    """
    waiting = deque(files.items())
    team = [_Child(examiner) for _ in range(min(workers, len(files)))]
    try:
        while True:
            for place, child in enumerate(team):
                if child.path is None and waiting:
                    if not child.process.is_alive():
                        team[place] = child = _Child(examiner)
                    child.give(*waiting.popleft())
            busy = [child for child in team if child.path is not None]
            if not busy:
                return
            wait([child.pipe for child in busy], timeout=SIGN_OF_LIFE)
            for child in busy:
                if (finding := child.listen(patience)) is not None:
                    path, child.path = child.path, None
                    yield path, finding
    finally:
        for child in team:
            child.stop()
