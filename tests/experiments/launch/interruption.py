"""Sweeps that are killed or stopped at an exact moment, for tests and by hand.

A `sitecustomize` that only these processes load watches for files that take their name: just before or some time after
the n-th of them, the sweep is sent a signal.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
HOOK = """
import json, os, signal, threading, time
_moment = json.loads(os.environ["MOMENT"])
_replace, _seen = os.replace, 0


def _strike():
    with open(_moment["main"]) as file:
        main = int(file.read())
    signum = getattr(signal, _moment["signal"])
    os.killpg(main, signum) if _moment["group"] else os.kill(main, signum)
    time.sleep(60 if signum == signal.SIGKILL else 0)


def _watched(source, target, **options):
    global _seen
    hit = os.fspath(target).endswith(_moment["file"])
    _seen += hit
    strikes = hit and _seen == _moment["count"] and not os.path.exists(_moment["struck"])
    if strikes:
        open(_moment["struck"], "w").close()
    if strikes and _moment["delay"] is None:
        _strike()
    _replace(source, target, **options)
    if strikes and _moment["delay"] is not None:
        threading.Timer(_moment["delay"], _strike).start()


os.replace = _watched
"""


class Moment(NamedTuple):
    """When and what: `delay` seconds after the `count`-th time that a process puts a `file` into place, or, for None,
    just before; the signal goes to the sweep's first process or to its whole group."""

    file: str
    count: int = 1
    delay: float | None = None
    group: bool = False
    signal: str = "SIGKILL"


def run_sweep(words: list[str], folder: Path, moment: Moment | None = None) -> subprocess.CompletedProcess:
    """Run `run.py` with these words until it ends, or until a moment strikes; then until no process of it is left."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    main, struck, mark = folder / "main", folder / "struck", uuid.uuid4().hex
    struck.unlink(missing_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment = {**kept, "HOME": str(folder), "NETRC": str(folder / "none"), "MARK": mark}
    if moment:
        watch = {**moment._asdict(), "main": str(main), "struck": str(struck)}
        environment |= {"MOMENT": json.dumps(watch), "PYTHONPATH": f"{folder}:{ROOT}"}
    with (folder / "out").open("w+") as out, (folder / "err").open("w+") as err:
        command = [sys.executable, str(ROOT / "experiments" / "run.py"), *words]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=err, start_new_session=True)
        main.write_text(str(process.pid))
        exit_code = process.wait(timeout=300)
        assert struck.exists() == (moment is not None), "the moment did not come"
        wait_for_end(mark)
        return subprocess.CompletedProcess(
            command, exit_code, (folder / "out").read_text(), (folder / "err").read_text()
        )


def wait_for_end(mark: str, seconds: float = 20) -> None:
    """Wait until no process is left that has inherited this mark, or fail naming those that are."""
    deadline = time.monotonic() + seconds
    while left := marked(mark):
        if time.monotonic() > deadline:
            for process in left:
                os.kill(process, signal.SIGKILL)
            raise AssertionError(f"orphans after {seconds} s: {left}")
        time.sleep(0.1)


def marked(mark: str) -> dict[int, str]:
    """Living processes with this mark in their environment, and their commands."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"MARK={mark}".encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
        except OSError:  # it has ended meanwhile, or is another user's
            continue
    return found


def what_came_out(results: Path) -> list[dict[str, str]]:
    """The rows of the table, without what no two runs share: times and memory."""
    for path in results.rglob("*.json"):
        json.loads(path.read_text())  # no half-written record
    rows = list(csv.DictReader((results / "table.csv").read_text().splitlines()))
    apart = ("seconds/", "memory", "command")
    return [{key: value for key, value in row.items() if not key.startswith(apart)} for row in rows]
