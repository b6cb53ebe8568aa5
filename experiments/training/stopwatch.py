"""How long a training waits for its clips, and how long it works on them."""

from __future__ import annotations

import time

import torch


class StepClock:
    """Adds up the time between the steps of an epoch and the time within them, in seconds.

    On a GPU both are taken on its own clock. The processor runs ahead of it, so that by the processor's clock a
    training would seem to wait for clips while the GPU is still busy with earlier ones.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.marks = [self._mark()]  # the epoch's start, then start and end of each step

    def _mark(self) -> float | torch.cuda.Event:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def step_starts(self) -> None:
        """The step's clips are there."""
        self.marks.append(self._mark())

    def step_ends(self) -> None:
        """The weights are updated."""
        self.marks.append(self._mark())

    def seconds(self) -> tuple[float, float]:
        """(between steps, within steps) since the epoch's start."""
        if self.on_gpu:
            torch.cuda.synchronize()
            spans = [a.elapsed_time(b) / 1000 for a, b in zip(self.marks, self.marks[1:], strict=False)]
        else:
            spans = [b - a for a, b in zip(self.marks, self.marks[1:], strict=False)]
        return sum(spans[::2]), sum(spans[1::2])
