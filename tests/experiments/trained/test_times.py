"""`--time`: tests with clips played otherwise, of one network or of a sweep's."""

import re
import shlex
from dataclasses import replace

import numpy as np
import pytest

from experiments.launch.processes import Ended
from experiments.run import main
from experiments.trained import times
from tests.experiments.trained.small_runs import folder_of, record_of


@pytest.fixture
def updates(monkeypatch):
    """How often tables were updated: the names of the folders."""
    found, own = [], times.update
    monkeypatch.setattr(times, "update", lambda results: found.append(results.name) or own(results))
    return found


def made_in(results):
    """Of each test's record: its run, how its clips were played, and its folder."""
    found = [(record_of(path.parent), path.parent) for path in (results / "runs").glob("*-test-*/record.json")]
    return sorted((record["strategy"], record["test"]["changed"]["sampling.test_time"], of) for record, of in found)


def test_a_checkpoint_is_tested_at_several_times_and_the_tables_are_written_once(apart, updates, capsys):
    path = apart["two_stream"]
    results = path.parents[2]
    assert main(["--test", str(path), "--time", "reversed,frozen,reversed"]) == 0
    (_, frozen, first), (_, backwards, second) = made_in(results)
    assert (frozen, backwards, updates) == ("frozen", "reversed", ["results"])
    assert "[2 of 2] sampling.test_time=frozen" in capsys.readouterr().out
    command = shlex.split(record_of(second)["command"])[2:]
    assert command == ["--test", str(path), "sampling.test_time=reversed"], "what makes this record alone"
    scores = [np.load(folder / "scores.npz")["scores"] for folder in (path.parent, first, second)]
    assert not any(np.array_equal(one, other) for one, other in zip(scores, scores[1:] + scores[:1], strict=True))


def in_this_process(function, runs, jobs, announce):
    for number, run in enumerate(runs, start=1):
        announce(number, run)
        yield Ended(number, run, 0, function(run))


@pytest.fixture
def points(runs, apart, monkeypatch):
    monkeypatch.setattr(times, "in_processes", in_this_process)
    return [replace(run, results=str(apart[run.strategy].parents[2])) for run in runs.values()]


@pytest.mark.slow
def test_a_sweeps_networks_are_tested_once_each_and_again_if_they_are_others(points, apart, updates, capsys):
    results = apart["two_stream"].parents[2]
    assert times.sweep_times("both", points, ["reversed", "frozen"]) == 0
    said = capsys.readouterr().out
    found = made_in(results)
    assert [of[:2] for of in found] == [
        (name, time) for name in ("early_fusion", "two_stream") for time in ("frozen", "reversed")
    ]
    assert record_of(found[0][2])["selection"] == "best on validation", "the network that its own record tests"
    assert updates == ["results"] and "both: 4 of 4 tests done\n" in said and "4 of 4 tests of both are there" in said
    commands = re.findall(r"^\[\d of 4\] python experiments/run.py (.*)$", said, re.M)
    assert sorted(commands) == sorted(record_of(of[2])["command"].partition("run.py ")[2] for of in found)

    assert times.sweep_times("both", points, ["reversed", "frozen", "shuffled"]) == 0
    said = capsys.readouterr().out
    assert "4 of 6 tests were made before" in said and "both: 2 of 2 tests done" in said
    record = apart["two_stream"].parent / "record.json"
    record.write_text(record.read_text().replace(f'"{record_of(record.parent)["code"]["hash"]}"', '"other"'))
    assert times.sweep_times("both", points, ["frozen"]) == 0
    said = capsys.readouterr().out
    assert "two_stream-videos" in said.partition("made with other code; its network is tested")[0]
    assert "1 of 2 tests were made before" in said, "the network there is no longer the one that was tested"


def test_what_is_not_finished_or_fails_is_said_and_does_not_stop_the_others(points, apart, capsys):
    (apart["early_fusion"].parent / "error.txt").write_text("no luck")
    apart["two_stream"].write_text("no checkpoint")
    assert times.sweep_times("both", points, ["frozen"]) == 1
    said = capsys.readouterr()
    assert f"not finished: {folder_of(points[0]).name}: failed no luck" in said.err
    assert "1 of 2 points of both are not finished: --sweep both runs them" in said.err
    assert "failed: python experiments/run.py --test" in said.err and "no checkpoint, or one that is cut" in said.err
    assert "both: 1 of 1 tests done, 1 failed" in said.out and "0 of 2 tests of both are there" in said.out
    (apart["early_fusion"].parent / "error.txt").unlink()
    assert times.sweep_times("both", points, ["frozen"]) == 1
    apart["early_fusion"].unlink()
    assert times.sweep_times("both", points, ["reversed"]) == 1
    assert f"{folder_of(points[0]).name}: {apart['early_fusion']} is not there" in capsys.readouterr().err
    assert [of[:2] for of in made_in(apart["two_stream"].parents[2])] == [("early_fusion", "frozen")]
