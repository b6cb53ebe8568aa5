"""Files that break their decoder cost nothing but themselves. The processes import this file, and so no torch."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

from datamodules.doctor.children import examine_all
from datamodules.doctor.examine import Finding


def breaking(file: Path, alive):
    """What `examine` yields, but for files that crash, hang, and so on, as their names say."""
    known = Finding(size=7, modified=8, sha256="9")
    yield known
    if "seek" in file.name:
        yield replace(known, status="ok", frames=3, seekable="no")
    if "crash" in file.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in file.name:
        threading.Event().wait()
    if "error" in file.name:
        raise ValueError("an odd picture format")
    if "long" in file.name:
        for _ in range(20):
            time.sleep(0.1)
            alive()
    yield replace(known, status="ok", frames=3, seekable="yes")


def test_a_crash_or_a_hang_costs_one_file():
    names = ["a", "crash", "b", "hang", "error", "long", "seek-crash", "c"]
    findings = dict(examine_all({name: Path(name) for name in names}, 2, 1.0, breaking))
    assert findings.keys() == set(names)
    outcomes = {name: (f.status, f.seekable, f.message) for name, f in findings.items()}
    assert {outcomes.pop(name) for name in ("a", "b", "c", "long")} == {("ok", "yes", "")}
    assert outcomes == {
        "crash": ("crash", "", "the decoder crashed (SIGSEGV)"),
        "hang": ("hang", "", "the decoder gave no frame for 1 s"),
        "error": ("crash", "", "ValueError: an odd picture format"),
        "seek-crash": ("ok", "no", "at random access the decoder crashed (SIGSEGV)"),
    }
    assert findings["hang"].sha256 == "9"
