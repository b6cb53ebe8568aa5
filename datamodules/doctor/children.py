"""Many files, each examined in a child process, since a decoder may crash or hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

from datamodules.doctor.examine import Finding, examine
from datamodules.processes import die_with_parent

SIGN_OF_LIFE = 0.2  # seconds between two of them
FINAL = "final"  # a child's word that its last finding stands


def _serve(pipe: Connection, examiner: Callable[..., Iterator[Finding]]) -> None:
    """Examine the files that come through the pipe, one at a time, and send back what is found and signs of life."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # or a stopped check would blame the files
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


# Many files.


class _Child:
    """A process that examines one file at a time."""

    def __init__(self, examiner: Callable[..., Iterator[Finding]]) -> None:
        context = multiprocessing.get_context("spawn")  # a forked copy of a process that runs threads may hang
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, examiner), daemon=True)
        self.process.start()
        theirs.close()
        self.path: str | None = None  # of what it works on
        self.finding = Finding()  # so far
        self.heard: float | None = None  # when; None: it is still starting

    def give(self, path: str, file: Path) -> None:
        self.path, self.finding = path, Finding()
        if self.heard is not None:
            self.heard = time.monotonic()
        self.pipe.send(file)

    def listen(self, patience: float) -> Finding | None:
        """The finding that stands, if it is there; a crashed or hanging child is then stopped."""
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
        # It was decoded whole; what crashed or hung was the trial of random access, which nothing else needs.
        message = "; ".join(filter(None, [self.finding.message, f"at random access {message}"]))
        return replace(self.finding, message=message)

    def stop(self) -> None:
        self.process.kill()
        self.process.join(5)  # not for ever: a process that waits for a dead disk cannot be killed
        self.pipe.close()


def _death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"code {code}"
    name = signal.Signals(-code).name
    return f"{name}, perhaps for want of memory" if name == "SIGKILL" else name


def examine_all(
    files: Mapping[str, Path],
    workers: int,
    patience: float,
    examiner: Callable[..., Iterator[Finding]] = examine,
) -> Iterator[tuple[str, Finding]]:
    """(path, finding) of every file, as they are finished, from so many child processes.

    A process that dies, or gives no sign of life for `patience` seconds, costs its file and is replaced. Raises OSError
    where no process can be started.
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


class CheckProgress:
    """One line that renews itself on a terminal; elsewhere a line every 10 seconds."""

    def __init__(self, known: Mapping[str, Finding], sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.done, self.total = len(known), len(known) + len(sizes)
        self.unsound = sum(finding.status != "ok" for finding in known.values())
        # Time goes with size, but an empty file takes some too.
        self.todo, self.ahead = (sum(sizes.values()) + 10**5 * len(sizes),) * 2
        self.started = self.printed = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def add(self, path: str, finding: Finding) -> None:
        """Count a finding, and show how far the check is."""
        self.done += 1
        self.ahead -= self.sizes[path] + 10**5
        self.unsound += finding.status != "ok"
        now = time.monotonic()
        if now - self.printed < (0.2 if self.terminal else 10) and self.done < self.total:
            return
        self.printed = now
        left = (now - self.started) * self.ahead / max(1, self.todo - self.ahead)
        line = (
            f"checked {self.done:,} of {self.total:,} videos ({self.done / self.total:.0%}), "
            f"{self.unsound:,} not sound, about {_duration(left)} left"
        )
        end = "\n" if not self.terminal or self.done == self.total else ""
        print(f"\r{line}\033[K" if self.terminal else line, end=end, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
