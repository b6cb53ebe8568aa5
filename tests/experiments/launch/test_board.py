"""How far a sweep is, as it is shown."""

import io
import time

import pytest

from experiments.launch import board
from experiments.launch.board import STEP, Board, work_of
from experiments.settings.compose import compose

SLOW, QUICK = (compose([f"strategy={name}", "training.steps=100"]) for name in ("c3d", "single_frame"))


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("done_first", [SLOW, QUICK], ids=["slow", "quick"])
def test_the_time_left_follows_the_work_and_not_the_number_of_points(done_first, clock, monkeypatch, capsys):
    monkeypatch.setattr(board, "work_of", lambda run: 9.0 if run is SLOW else 1.0)
    shown = Board("two", [SLOW, QUICK])
    assert shown.seconds_left() is None
    clock[0] = 90.0 if done_first is SLOW else 10.0
    shown.end(done_first, failed=False)
    assert shown.seconds_left() == pytest.approx(100 - clock[0])
    assert capsys.readouterr().out == f"two: 1 of 2 points done, about {100 - clock[0]:.0f} s left\n"
    other = QUICK if done_first is SLOW else SLOW
    shown.progress(other, 50, 100, 0.5)
    assert shown.seconds_left() < 100 - clock[0], "also a part of a point counts"


def test_work_is_counted_in_multiply_adds_and_steps():
    light, heavy = work_of(QUICK), work_of(SLOW)
    assert 100 * STEP < light < heavy / 2
    budget = compose(["strategy=c3d", "training.multiply_adds=1e13"])
    assert work_of(budget) == pytest.approx(1e13, rel=0.5) and work_of(budget) > 1e13
    assert work_of(compose(["strategy=slow_fusion", "sampling.frames=2"])) > 0, "the point says what is wrong"


def test_a_terminal_shows_a_line_for_each_running_point_and_one_for_all(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    shown = Board("two", [SLOW, QUICK])
    for step in (10, 60):
        clock[0] += 30.0
        shown.progress(SLOW, step, 100, 2.0 / step)
        shown.progress(QUICK, step, 100, 1.0)
    shown.end(QUICK, failed=True)
    with shown.aside():
        print("derived", file=terminal)
    text = terminal.getvalue()
    before, _, after = text.partition("derived\n")
    assert "\r" in before[-5:] and "c3d: 60/100" in after, "it has a line of its own, and the live lines come back"
    for part in ("c3d: 60/100", "single_frame: 60/100", "loss 0.033", "1 of 2 points done, 1 not finished, about"):
        assert part in text
    assert not shown.bars.keys() - {SLOW.id}
    shown.close()
