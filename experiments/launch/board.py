"""How far a sweep is: at a terminal live lines of the running points and of all, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from tqdm import tqdm

from experiments.settings.schema import RunConfig
from vidfusion.layer_table import training_multiply_adds

CLASSES = 100  # a stand-in: work hardly depends on how many there are
TRAINING = 0.9  # share of a point's work that its training is; its test follows
STEP = 1e9  # multiply-adds that the rest of a training step is worth: loading, optimiser, and its share of the test


class Board:
    """Shows the points of a sweep and estimates the time that is left.

    Points differ in work: a 3-D network's step may take five times as long as a single frame's. So what is left is
    estimated from multiply-adds and steps, at the pace of what is done.
    """

    def __init__(self, name: str, runs: Sequence[RunConfig]) -> None:
        self.name, self.started = name, time.monotonic()
        kinds = {run.settings_hash: run for run in runs}
        works = {kind: work_of(run) for kind, run in kinds.items()}
        self.work = {run.id: works[run.settings_hash] for run in runs}
        self.share = dict.fromkeys(self.work, 0.0)  # of each point's work that is done
        self.ended = self.failed = 0
        self.live = sys.stderr.isatty()
        self.bars: dict[str, tqdm] = {}
        self.all = self._bar(0, name, 100, "{desc}: {percentage:3.0f}%|{bar}|{postfix}") if self.live else None

    @staticmethod
    def _bar(place: int, text: str, total: int, form: str) -> tqdm:
        return tqdm(total=total, desc=text, position=place, bar_format=form, leave=False, file=sys.stderr)

    def say(self, text: str) -> None:
        """Print a line; at a terminal above the live ones."""
        if self.live:
            tqdm.write(text)
        else:
            print(text, flush=True)

    def aside(self) -> AbstractContextManager:
        """While it lasts the live lines are away, so that whatever is printed stands above them."""
        return tqdm.external_write_mode(sys.stderr) if self.live else nullcontext()

    def progress(self, run: RunConfig, step: int, steps: int, loss: float) -> None:
        """A point is so far."""
        self.share[run.id] = TRAINING * step / steps
        if not self.live:
            return
        if run.id not in self.bars:
            taken = {-bar.pos for bar in self.bars.values()}
            place = next(place for place in range(1, len(self.work) + 1) if place not in taken)
            self.bars[run.id] = self._bar(place, f"  {run.strategy}", steps, "{desc}: {n}/{total}|{bar}|{postfix}")
        bar = self.bars[run.id]
        bar.set_postfix_str(f"loss {loss:.3f}" if step < steps else "testing", refresh=False)
        bar.n = step
        bar.refresh()
        self._show_all()

    def end(self, run: RunConfig, failed: bool) -> None:
        """A point has ended."""
        self.share[run.id], self.ended, self.failed = 1.0, self.ended + 1, self.failed + failed
        if not self.live:
            print(f"{self.name}: {self._state()}", flush=True)
            return
        if run.id in self.bars:
            self.bars.pop(run.id).close()
        self._show_all()

    def seconds_left(self) -> float | None:
        """What is left at the pace until now; None before anything is done."""
        done = self._done()
        return (time.monotonic() - self.started) * (1 - done) / done if done else None

    def _done(self) -> float:
        return sum(work * self.share[point] for point, work in self.work.items()) / sum(self.work.values())

    def _state(self) -> str:
        failures, left = f", {self.failed} not finished" if self.failed else "", self.seconds_left()
        return f"{self.ended} of {len(self.work)} points done{failures}" + (
            "" if left is None else f", about {left:.0f} s left"
        )

    def _show_all(self) -> None:
        assert self.all is not None, "at a terminal"
        self.all.set_postfix_str(self._state(), refresh=False)
        self.all.n = 100 * self._done()
        self.all.refresh()

    def close(self) -> None:
        """Take the live lines away."""
        for bar in [*self.bars.values(), *([self.all] if self.all is not None else [])]:
            bar.close()


def work_of(run: RunConfig) -> float:
    """Multiply-adds of a run's training, and what its steps take besides."""
    steps, batch = run.training.steps, run.training.batch_size
    try:
        with torch.device("meta"):
            model = run.strategy_class(run.model, run.clip_shape(), CLASSES, run.training)
    except ValueError:  # the point says what is wrong with it
        return steps * STEP
    per_step = batch * sum(training_multiply_adds(model).values())
    if run.training.multiply_adds:
        steps = run.training.multiply_adds / per_step
    return steps * (STEP + per_step)
