"""The command line end to end, on a data set made in the temporary folder: sweep, records, resume, failures."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.run import main
from experiments.settings.compose import compose
from experiments.training.build import make_data, make_model, public_config
from experiments.training.callbacks import Progress
from experiments.training.train import run_point
from vidfusion.classifier import VideoClassifier
from vidfusion.metrics import HitAtK

ROOT = Path(__file__).parents[2]
STRATEGIES = ["single_frame", "early_fusion", "late_fusion", "slow_fusion", "c3d", "two_stream", "cnn_lstm"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Settings that make everything small and put it into one temporary folder."""
    folder = tmp_path_factory.mktemp("run")
    return folder, [
        f"data.root={folder}/data", f"data.stores={folder}/stores", f"results={folder}/results",
        "data.families=[motion]", "data.clips.motion=1", "data.size=32",
        "training.steps=6", "training.batch_size=8", "training.warmup=2", "sampling.test_clips=2",
    ]  # fmt: skip


def quiet_home(folder: Path) -> dict[str, str]:
    """An environment in which no account, setting or log of the user is seen."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return {**kept, "HOME": str(folder), "WANDB_MODE": "offline", "NETRC": str(folder / "none")}


@pytest.fixture(scope="module")
def swept(place):
    """The README's first command at a small size, as a user runs it; its output."""
    folder, settings = place
    readme = (ROOT / "README.md").read_text()
    command = re.search(r"pip install -e \. && (python experiments/run\.py --sweep fusion)\n", readme)[1]
    words = [sys.executable, *shlex.split(command)[1:], *settings]
    done = subprocess.run(words, cwd=ROOT, env=quiet_home(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def records(folder: Path) -> dict[str, dict]:
    found = [json.loads(path.read_text()) for path in (folder / "results" / "runs").glob("*/record.json")]
    return {record["strategy"]: record for record in found if record["kind"] == "run"}


def test_sweep_makes_a_record_of_every_strategy_and_three_rows_of_two_stream(place, swept):
    found = records(place[0])
    assert sorted(found) == sorted(STRATEGIES)
    rows = [row["name"] for name in STRATEGIES for row in found[name]["rows"]]
    assert rows.count("two_stream") == rows.count("two_stream_spatial") == rows.count("two_stream_temporal") == 1
    assert len(rows) == 9
    table = (place[0] / "results" / "table.md").read_text()
    assert all(f"| {row} " in table for row in ["chance", *rows])


def test_sweep_derives_the_average_of_four_networks(place, swept):
    (path,) = (place[0] / "results" / "runs").glob("cnn_average-*/record.json")
    record, members = json.loads(path.read_text()), records(place[0])
    four = ["single_frame", "early_fusion", "late_fusion", "slow_fusion"]
    votes = []
    for name in four:
        with np.load(place[0] / "results" / "runs" / members[name]["id"] / "scores.npz") as saved:
            votes.append(saved["scores"][:, 0].astype(np.float64))
            target = saved["target"].argmax(1)
    average = np.mean(votes, axis=0)
    metrics = record["rows"][0]["metrics"]
    assert metrics["test/clip_hit1"] == pytest.approx(np.mean(average.argmax(1) == target))
    videos = average.reshape(42, 2, -1).mean(1)
    assert metrics["test/video_hit1"] == pytest.approx(np.mean(videos.argmax(1) == target[::2]))
    assert record["rows"][0]["parameters"] == sum(members[name]["rows"][0]["parameters"] for name in four)
    assert re.search(r"^\| cnn_average ", (place[0] / "results" / "table.md").read_text(), re.M)


def test_sweep_says_what_it_does_and_how_long_it_takes(swept):
    started = re.findall(r"^\[\d of 7\] python experiments/run.py strategy=(\w+) ", swept, re.M)
    assert sorted(started) == sorted(STRATEGIES)
    assert "s left" in swept
    assert "7 of 7 points of fusion are finished" in swept
    assert "Traceback" not in swept and "Warning" not in swept


def test_every_printed_command_makes_the_same_run(place, swept):
    for line in re.findall(r"^\[\d of 7\] python experiments/run.py (.*)$", swept, re.M):
        run = compose(shlex.split(line))
        assert (Path(run.results) / "runs" / run.id / "record.json").exists()


def test_records_count_what_the_scores_say(place, swept):
    """Hit@1 and Hit@5 of every row, recounted from the saved probabilities of the clips."""
    for record in records(place[0]).values():
        with np.load(place[0] / "results" / "runs" / record["id"] / "scores.npz") as saved:
            scores, video, target = saved["scores"], saved["video"], saved["target"]
            assert list(saved["rows"]) == [row["name"] for row in record["rows"]]
            assert len(saved["videos"]) == record["videos"]["expected"] == 42
        for index, row in enumerate(record["rows"]):
            assert np.allclose(scores[:, index].sum(1), 1, atol=1e-5)
            votes = np.stack([scores[video == v, index].mean(0) for v in range(42)])
            truth = np.stack([target[video == v][0] for v in range(42)]).argmax(1)
            order = np.argsort(-votes, axis=1, kind="stable")
            for k in (1, 5):
                hits = np.mean([truth[v] in order[v, :k] for v in range(42)])
                assert row["metrics"][f"test/video_hit{k}"] == pytest.approx(hits)
            clip_hits = np.mean(scores[:, index].argmax(1) == target.argmax(1))
            assert row["metrics"]["test/clip_hit1"] == pytest.approx(clip_hits)


def test_record_says_how_the_number_came_about(place, swept):
    record = records(place[0])["two_stream"]
    flow = {"method": "dis", "preset": "medium", "bound": 4.0, "encoding": "raw"}
    assert record["data"]["store"]["flow"]["flow"] == flow
    assert record["seconds"]["flow"] > 0 and record["seconds"]["train"] > 0
    assert record["selection"] == "last checkpoint" and record["sweep"] == "fusion"
    assert record["rows"][-1]["parameters"] == sum(row["parameters"] for row in record["rows"][:2])
    assert record["rows"][-1]["macs_training"] == 3 * record["rows"][-1]["macs_per_clip"] * 6 * 8
    assert records(place[0])["cnn_lstm"]["rows"][0]["clips_per_video"] == 2
    assert record["videos"] == {"expected": 42, "scored": 42, "undecodable": 0, "truncated": 0, "padded_clips": 0}


def test_wandb_log_says_what_the_record_says(place, swept):
    """The offline log, read by W&B's own reader."""
    record = records(place[0])["slow_fusion"]
    (log,) = (place[0] / "results" / "wandb").glob(f"offline-run-*-{record['id']}")
    words = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(log)]
    done = subprocess.run(words, env=quiet_home(place[0]), capture_output=True, text=True, check=True)
    logged = json.loads(done.stdout)
    for name, value in record["rows"][0]["metrics"].items():
        if value is not None:
            node = logged["summary"].get(name)
            assert node == pytest.approx(value), name
    assert str(place[0]) not in json.dumps(logged["config"])


def test_second_sweep_skips_what_is_finished_and_trains_what_is_not(place, swept):
    folder, settings = place
    written = {path: path.stat().st_mtime_ns for path in (folder / "results" / "runs").glob("*/record.json")}
    gone = folder / "results" / "runs" / records(folder)["late_fusion"]["id"] / "record.json"
    before = json.loads(gone.read_text())
    gone.unlink()
    assert main(["--sweep", "fusion", *settings, "wandb.mode=disabled"]) == 0
    changed = {path for path, time in written.items() if path.stat().st_mtime_ns != time}
    average = {path for path in written if path.parent.name.startswith("cnn_average")}  # late_fusion is one of the four
    assert changed - average == {gone}
    assert json.loads(gone.read_text())["rows"] == before["rows"], "the last checkpoint gives the same numbers"


def test_dry_run_lists_commands_and_touches_nothing(tmp_path, capsys):
    assert main(["--sweep", "fusion", "--dry-run", f"results={tmp_path}/results"]) == 0
    assert capsys.readouterr().out.count("python experiments/run.py strategy=") == 7
    assert not (tmp_path / "results").exists()


def test_table_alone(place, swept, capsys):
    table = place[0] / "results" / "table.md"
    before = table.read_text()
    table.unlink()
    assert main(["--table", f"results={place[0]}/results"]) == 0
    assert table.read_text() == before


@pytest.fixture
def run(place, tmp_path):
    """A run of four epochs on the sweep's data."""
    steps = ["training.steps=52", "training.batch_size=8", f"results={tmp_path}/results", "wandb.mode=disabled"]
    return compose(["strategy=early_fusion", *place[1], *steps])


def weights(run) -> dict[str, torch.Tensor]:
    path = Path(run.results) / "runs" / run.id / "last.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_run_gives_the_same_numbers_again_and_after_an_interruption(run, tmp_path, monkeypatch, capsys):
    run_point(run)
    first, record = weights(run), (tmp_path / "results/runs" / run.id / "record.json").read_text()

    again = compose([*shlex.split("strategy=early_fusion"), *run.overrides, f"results={tmp_path}/again"])
    assert again.id == run.id
    shown = Progress.on_train_batch_end

    def stop(self, trainer, *rest):
        shown(self, trainer, *rest)
        if trainer.global_step == 30:  # within the third of four epochs
            raise RuntimeError("stopped on purpose")

    monkeypatch.setattr(Progress, "on_train_batch_end", stop)
    with pytest.raises(RuntimeError, match="on purpose"):
        run_point(again)
    folder = tmp_path / "again/runs" / run.id
    assert "stopped on purpose" in (folder / "error.txt").read_text()
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 26
    monkeypatch.undo()
    capsys.readouterr()
    run_point(again)
    assert "goes on from its last checkpoint" in capsys.readouterr().out
    assert not (folder / "error.txt").exists()
    second = weights(again)
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = [json.loads(text)["rows"] for text in (record, (folder / "record.json").read_text())]
    assert rows[0] == rows[1]


def test_other_code_or_data_makes_a_record_stale(run, monkeypatch, capsys):
    run_point(run)
    run_point(run)
    assert "finished before, skipped" in capsys.readouterr().out
    monkeypatch.setattr("experiments.training.train.code_hash", lambda run: "other")
    run_point(run)
    assert "finished before with other code or data" in capsys.readouterr().out


def test_best_on_validation_is_tested_where_the_recipe_says_so(run, place, tmp_path):
    words = ["strategy=single_frame", *run.overrides, "training.select=best", "data.validation=0.3"]
    best = compose(words)
    run_point(best)
    record = json.loads((tmp_path / "results/runs" / best.id / "record.json").read_text())
    assert record["selection"] == "best on validation"
    data = make_data(best)
    data.prepare_data()
    data.setup()
    assert {video.group for video in data.validation_views.videos}.isdisjoint(
        {video.group for video in data.train_clips.videos}
    )
    saved = torch.load(tmp_path / "results/runs" / best.id / "best.ckpt", weights_only=True)
    model = make_model(best, data.lists.classes)
    model.load_state_dict(saved["state_dict"])
    with np.load(tmp_path / "results/runs" / best.id / "scores.npz") as stored:
        batch = next(iter(data.test_dataloader()))
        with torch.no_grad():
            scores = model.eval().probabilities(model(**model.inputs(batch)))
        clips = scores.view(-1, *scores.shape[1:]).numpy()
        assert np.allclose(stored["scores"][: len(clips)], clips, atol=1e-5)
    with np.load(tmp_path / "results/runs" / best.id / "validation.npz") as stored:
        assert stored["videos"].tolist() == [video.path for video in data.validation_views.videos]
        batch = next(iter(data.val_dataloader()))
        with torch.no_grad():
            scores = model.probabilities(model(**model.inputs(batch))).numpy()
        assert np.allclose(stored["scores"][: len(scores)], scores, atol=1e-5)
        assert (stored["target"][: len(scores)] == batch["target"].numpy()).all()


def test_the_best_on_validation_is_the_same_after_an_interruption(run, place, tmp_path, monkeypatch):
    """The second epoch is made the best one, and the run is cut off after it."""
    words = ["strategy=single_frame", *run.overrides, "training.select=best", "data.validation=0.3"]
    whole, cut = compose(words), compose([*words, f"results={tmp_path}/cut"])
    validated, shown = VideoClassifier.on_validation_epoch_end, Progress.on_train_batch_end

    def made_up(self):
        log = self.log
        hit1 = torch.tensor({0: 0.1, 1: 0.9}.get(self.current_epoch, 0.5))
        self.log = lambda name, value, **how: log(name, hit1 if name == "val/video_hit1" else value, **how)
        validated(self)
        del self.log

    def stop(self, trainer, *rest):
        shown(self, trainer, *rest)
        if trainer.current_epoch == 2:
            raise RuntimeError("stopped on purpose")

    monkeypatch.setattr(VideoClassifier, "on_validation_epoch_end", made_up)
    run_point(whole)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="on purpose"):
        patch.setattr(Progress, "on_train_batch_end", stop)
        run_point(cut)
    run_point(cut)
    best = [
        torch.load(folder / "runs" / whole.id / "best.ckpt", weights_only=True)
        for folder in (tmp_path / "results", tmp_path / "cut")
    ]
    assert best[0]["epoch"] == best[1]["epoch"] == 1
    assert all(torch.equal(tensor, best[1]["state_dict"][name]) for name, tensor in best[0]["state_dict"].items())
    assert record_of(whole)["rows"] == record_of(cut)["rows"]


def record_of(run) -> dict:
    return json.loads((Path(run.results) / "runs" / run.id / "record.json").read_text())


def test_a_run_starts_from_anothers_weights_and_trains_the_last_layer_only(run):
    run_point(run)
    first = Path(run.results) / "runs" / run.id / "last.ckpt"
    words = [*run.overrides, f"model.weights={first}", "training.trained_layers=1", "training.steps=3"]
    second = compose(["strategy=early_fusion", *words])
    run_point(second)
    before, after = weights(run), weights(second)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.2.weight", "head.2.bias"}
    assert record_of(second)["pretrained"] == f"last.ckpt (vidfusion layout, {len(before)} tensors loaded)"
    assert record_of(run)["pretrained"] == "none"


def test_what_wandb_is_told_holds_no_path_of_this_machine(run, tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"")
    words = [f"model.weights={tmp_path}/weights.pt", f"model.second_data.root={tmp_path}"]
    told = public_config(compose(["strategy=two_stream_multi_task", *run.overrides, *words]))
    assert str(tmp_path.parent) not in json.dumps(told) and told["model"]["weights"] == "weights.pt"
    for dataset, word in (("ucf101", "data.lists"), ("folder", "data.manifest")):
        words = [f"dataset={dataset}", f"{word}={tmp_path}/file", f"data.root={tmp_path}"]
        assert str(tmp_path.parent) not in json.dumps(public_config(compose(["strategy=c3d", *words])))


def test_a_budget_of_multiply_adds_decides_the_steps(run):
    budget = compose(["strategy=single_frame", *run.overrides, "training.multiply_adds=1.5e9"])
    run_point(budget)
    record = record_of(budget)
    per_step = 3 * record["rows"][0]["macs_per_clip"] * 8
    assert abs(record["rows"][0]["macs_training"] - 1.5e9) <= per_step / 2
    saved = torch.load(Path(budget.results) / "runs" / budget.id / "last.ckpt", weights_only=True)
    assert saved["global_step"] == round(1.5e9 / per_step)


def test_a_second_data_set_is_trained_on_beside_the_first(run, place):
    moved = [word.replace("data.", "model.second_data.", 1) for word in place[1] if word.startswith("data.")]
    words = [*run.overrides, *(word for word in moved if "stores" not in word)]
    both = compose(["strategy=two_stream_multi_task", *words, "training.steps=3"])
    run_point(both)
    record = record_of(both)
    spatial, temporal, fused = record["rows"]
    assert (
        len(record["data"]["fingerprints"]) == 2 and record["data"]["fingerprint"] == record["data"]["fingerprints"][0]
    )
    assert spatial["macs_training"] == 3 * spatial["macs_per_clip"] * 3 * 8
    assert temporal["macs_training"] == 2 * 3 * temporal["macs_per_clip"] * 3 * 8, "a batch of each data set"
    assert fused["macs_training"] == spatial["macs_training"] + temporal["macs_training"]
    assert [name for name in weights(both) if name.startswith("second")] == ["second.weight", "second.bias"]


def test_undecodable_test_video_counts_as_wrong_and_is_shown(run, place, tmp_path):
    data = make_data(run)
    data.prepare_data()
    source = data.dataset.folder()
    copy = tmp_path / "spoilt" / source.name
    shutil.copytree(source, copy)
    broken = copy / data.lists.test[0].path
    broken.write_bytes(b"not a video")
    spoilt = compose(["strategy=single_frame", *run.overrides, f"data.root={copy.parent}"])
    run_point(spoilt)
    record = json.loads((tmp_path / "results/runs" / spoilt.id / "record.json").read_text())
    assert record["videos"]["expected"] == 42 and record["videos"]["scored"] == 41
    assert record["videos"]["undecodable"] == 1
    metrics = record["rows"][0]["metrics"]
    assert metrics["test/video_hit1"] * 42 == pytest.approx(metrics["test/scored_video_hit1"] * 41)
    trained = copy / data.lists.train[0].path
    trained.write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 108 training videos cannot be decoded whole.*data\.undecodable=skip"):
        run_point(spoilt)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sweep", "fuson"], "--sweep fuson: no such sweep. Did you mean fusion?"),
        (["strategy=slow_fusion", "sampling.frames=4"], "slow_fusion needs sampling.frames >= 10, got 4"),
        (["strategy=c3d", "dataset=ucf101", "data.root=/nowhere"], "data.root=/nowhere: no such folder; expected"),
        (["strategy=c3d", "results=/proc/nowhere"], "results=/proc/nowhere: cannot write"),
        (["strategy=c3d", "data.max_store=0.0001"], "raise data.max_store"),
        (["--table", "strategy=c3d"], "expected nothing but results=FOLDER"),
    ],
)
def test_bad_input_ends_with_one_message_and_code_1(place, swept, words, message, capsys):
    rest = [] if words[0] == "--table" else [word for word in place[1] if word.split("=")[0] not in str(words)]
    if "data.max_store=0.0001" in words:
        rest.append("sampling.resize=[40,40]")
    if any(word.startswith("dataset=") for word in words):
        rest = [word for word in rest if not word.startswith("data.")]
    assert main([*words, *rest, *([] if words[0] == "--table" else ["wandb.mode=disabled"])]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_failing_point_does_not_stop_the_sweep(place, swept, tmp_path, capsys):
    words = [*place[1], f"results={tmp_path}/results", "wandb.mode=disabled", "sampling.frames=2", "training.steps=2"]
    assert main(["--sweep", "fusion", *words]) == 1
    captured = capsys.readouterr()
    (why,) = (tmp_path / "results" / "runs").glob("slow_fusion-*/error.txt")
    assert "slow_fusion needs sampling.frames >= 10, got 2" in why.read_text()
    assert "failed: python experiments/run.py strategy=slow_fusion" in captured.err
    assert set(records(tmp_path)) == {"single_frame", "early_fusion", "late_fusion", "cnn_lstm"}


def test_hit_at_5_of_few_classes_says_nothing():
    metric = HitAtK(5)
    metric.update(torch.eye(5), torch.eye(5, dtype=torch.bool))
    assert metric.compute().isnan()
