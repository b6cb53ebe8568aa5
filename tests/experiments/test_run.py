"""The command line end to end, on a small data set: a sweep, its records and tables, what a second call does."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import ROOT
from experiments.run import main
from experiments.settings.compose import compose
from tests.factories import quiet_environment, record_in, small_run

STRATEGIES = [
    *("single_frame", "early_fusion", "late_fusion", "slow_fusion", "c3d", "two_stream", "cnn_lstm", "conv3d_lstm"),
]
STREAMS = ["two_stream_spatial", "two_stream_temporal", "cnn_lstm_rgb", "cnn_lstm_flow"]
VIDEOS = 42  # of the test


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder, and settings that make everything small and put it there."""
    folder = tmp_path_factory.mktemp("run")
    return folder, small_run(folder)


@pytest.fixture(scope="module")
def swept(place):
    """The README's first command at a small size, as a user runs it; its output."""
    folder, settings = place
    command = re.search(r"python experiments/run\.py --sweep fusion\n", (ROOT / "README.md").read_text())[0]
    words = [sys.executable, *shlex.split(command)[1:], *settings]
    environment = quiet_environment(folder)
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def records(folder: Path) -> dict[str, dict]:
    found = [record_in(path.parent) for path in (folder / "results" / "runs").glob("*/record.json")]
    return {record["strategy"]: record for record in found if record["kind"] == "run"}


@pytest.mark.slow
class TestSweep:
    def test_makes_a_record_of_every_strategy_and_a_row_of_every_stream(self, place, swept):
        found = records(place[0])
        assert sorted(found) == sorted(STRATEGIES)
        rows = [row["name"] for name in STRATEGIES for row in found[name]["rows"]]
        assert sorted(rows) == sorted([*STRATEGIES, *STREAMS])
        table = (place[0] / "results" / "table.md").read_text()
        assert all(f"| {row} " in table for row in ["chance", "cnn_average", *rows])

    def test_a_stream_is_counted_by_what_it_reads(self, place, swept):
        """Frames and flow fields of a clip: the two streams of CNN + LSTM read eight each, the temporal stream ten."""
        found = records(place[0])
        read = {row["name"]: row["frames_per_clip"] for name in found for row in found[name]["rows"]}
        assert (read["cnn_lstm_rgb"], read["cnn_lstm_flow"], read["cnn_lstm"]) == (8, 8, 16)
        assert (read["two_stream_spatial"], read["two_stream_temporal"], read["two_stream"]) == (1, 10, 11)

    def test_says_what_it_does_and_how_long_it_takes(self, swept):
        commands = re.findall(r"^\[\d of 8\] python experiments/run.py (.*)$", swept, re.M)
        runs = [compose(shlex.split(command)) for command in commands]
        assert sorted(run.strategy for run in runs) == sorted(STRATEGIES)
        assert all((run.folder / "record.json").exists() for run in runs), "each command makes the same run"
        assert "s left" in swept and "8 of 8 points of fusion are finished" in swept
        assert "Traceback" not in swept and "Warning" not in swept

    def test_records_count_what_the_scores_say(self, place, swept):
        """Hit@1 and Hit@5 of every row, recounted from the saved probabilities of the clips."""
        for record in records(place[0]).values():
            with np.load(place[0] / "results" / "runs" / record["id"] / "scores.npz") as file:
                saved = dict(file)
            assert list(saved["rows"]) == [row["name"] for row in record["rows"]]
            assert len(saved["videos"]) == record["videos"]["expected"] == record["videos"]["scored"] == VIDEOS
            truth = np.stack([saved["target"][saved["video"] == v][0] for v in range(VIDEOS)]).argmax(1)
            for index, row in enumerate(record["rows"]):
                scores = saved["scores"][:, index]
                assert np.allclose(scores.sum(1), 1, atol=1e-5)
                order = np.argsort([-scores[saved["video"] == v].mean(0) for v in range(VIDEOS)], axis=1, kind="stable")
                for k in (1, 5):
                    hits = np.mean((order[:, :k] == truth[:, None]).any(1))
                    assert row["metrics"][f"test/video_hit{k}"] == pytest.approx(hits)
                clip_hits = np.mean(scores.argmax(1) == saved["target"].argmax(1))
                assert row["metrics"]["test/clip_hit1"] == pytest.approx(clip_hits)

    def test_records_say_how_their_numbers_came_about(self, place, swept):
        record = records(place[0])["two_stream"]
        spatial, temporal, fused = record["rows"]
        flow = {"method": "dis", "preset": "medium", "bound": 4.0, "encoding": "raw"}
        assert record["data"]["store"]["flow"]["flow"] == flow
        assert record["seconds"]["flow"] > 0 and record["seconds"]["train"] > 0
        assert record["selection"] == "last checkpoint" and record["sweep"] == "fusion"
        assert fused["parameters"] == spatial["parameters"] + temporal["parameters"]
        assert fused["macs_training"] == 3 * fused["macs_per_clip"] * 6 * 8
        assert records(place[0])["cnn_lstm"]["rows"][0]["clips_per_video"] == 2

    def test_again_makes_only_what_is_not_finished(self, place, swept):
        folder, settings = place
        written = {path: path.stat().st_mtime_ns for path in (folder / "results" / "runs").glob("*/record.json")}
        gone = folder / "results" / "runs" / records(folder)["late_fusion"]["id"]
        before = record_in(gone)
        (gone / "record.json").unlink()
        assert main(["--sweep", "fusion", *settings, "wandb.mode=disabled"]) == 0
        changed = {path.parent for path, time in written.items() if path.stat().st_mtime_ns != time}
        # Late fusion is one of the four of the average, which may be derived again.
        assert {path for path in changed if not path.name.startswith("cnn_average")} == {gone}
        assert record_in(gone)["rows"] == before["rows"], "the last checkpoint gives the same numbers"

    def test_tables_are_made_again_from_the_records(self, place, swept):
        table = place[0] / "results" / "table.md"
        before = table.read_text()
        table.unlink()
        assert main(["--table", f"results={place[0]}/results"]) == 0
        assert table.read_text() == before

    def test_tests_its_networks_with_clips_played_otherwise(self, place, swept, capsys):
        words = [*place[1], "wandb.mode=disabled", "--only", "strategy=single_frame,late_fusion"]
        assert main(["--sweep", "fusion", *words, "--time", "reversed"]) == 0
        assert "2 of 2 tests of fusion are there" in capsys.readouterr().out
        found = [record_in(path.parent) for path in (place[0] / "results" / "runs").glob("*-test-*/record.json")]
        before = records(place[0])
        assert sorted(record["test"]["run"] for record in found) == sorted(
            before[name]["id"] for name in ("single_frame", "late_fusion")
        )
        assert "clips played reversed" in (place[0] / "results" / "table.md").read_text()

    def test_goes_on_after_a_point_that_fails(self, place, swept, tmp_path, capsys):
        words = [f"results={tmp_path}/results", "wandb.mode=disabled", "sampling.frames=2", "training.steps=2"]
        assert main(["--sweep", "fusion", "--only", "strategy=single_frame,slow_fusion", *place[1], *words]) == 1
        (why,) = (tmp_path / "results" / "runs").glob("slow_fusion-*/error.txt")
        assert "slow_fusion needs sampling.frames >= 10, got 2" in why.read_text()
        assert "failed: python experiments/run.py strategy=slow_fusion" in capsys.readouterr().err
        assert set(records(tmp_path)) == {"single_frame"}


def test_dry_run_lists_commands_and_touches_nothing(tmp_path, capsys):
    assert main(["--sweep", "fusion", "--dry-run", f"results={tmp_path}/results"]) == 0
    assert capsys.readouterr().out.count("python experiments/run.py strategy=") == len(STRATEGIES)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("command", "results"),  # a folder that cannot be made, or one that takes no files
    [("strategy=c3d", "/proc/nowhere"), ("--sweep fusion --jobs 1", "/sys"), ("--table", "/sys")],
)
def test_a_folder_of_results_that_cannot_be_written_is_named_with_the_remedy(command, results, capsys):
    assert main([*command.split(), f"results={results}"]) == 1
    said = capsys.readouterr()
    assert re.fullmatch(
        rf"error: {results}\S*: cannot write there \([^\n]+\); make it writable or choose another results=\n", said.err
    )
    assert said.out == ""


def test_data_that_are_not_there_are_one_message_and_code_1(tmp_path, capsys):
    words = ["strategy=c3d", "dataset=ucf101", "data.root=/nowhere", f"results={tmp_path}", "wandb.mode=disabled"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: data.root=/nowhere: no such folder; expected") and "Traceback" not in error
