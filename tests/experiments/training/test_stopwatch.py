"""The clocks of a training, with times that are given."""

import torch

from experiments.training.stopwatch import StepClock


def test_time_between_steps_is_told_from_time_within(monkeypatch):
    ticks = iter([0.0, 3.0, 4.0, 9.0, 11.0])  # epoch, start, end, start, end
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    clock = StepClock(torch.device("cpu"))
    for _ in range(2):
        clock.step_starts()
        clock.step_ends()
    assert clock.seconds() == (3.0 + 5.0, 1.0 + 2.0)


def test_on_a_gpu_the_gpus_own_clock_counts(monkeypatch):
    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = next(ticks)

        def elapsed_time(self, other: "Event") -> float:
            return other.at - self.at  # milliseconds

    ticks = iter([0.0, 500.0, 2000.0])
    monkeypatch.setattr("torch.cuda.Event", Event)
    monkeypatch.setattr("torch.cuda.synchronize", lambda: None)
    clock = StepClock(torch.device("cuda"))
    clock.step_starts()
    clock.step_ends()
    assert clock.seconds() == (0.5, 1.5)
