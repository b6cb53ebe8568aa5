"""How far a long piece of work is: a bar at a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

PAUSE = 20.0  # seconds between two lines in a file or a pipe


class Progress(tqdm):
    """tqdm's bar. In a file or a pipe, where nothing can be overwritten, it prints a line every `PAUSE` seconds."""

    def __init__(self, total: int, desc: str, unit: str = "video", initial: int = 0) -> None:
        pause = 0.1 if sys.stderr.isatty() else PAUSE
        super().__init__(
            total=total, desc=desc, unit=unit, initial=initial, mininterval=pause, maxinterval=pause, file=sys.stderr
        )

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """What prints a state of the bar; tqdm calls it."""
        if file.isatty():
            return tqdm.status_printer(file)
        before = ""

        def print_line(text: str) -> None:
            nonlocal before
            file.write(before + text)
            file.flush()
            before = "\n"  # tqdm ends the last line

        return print_line
