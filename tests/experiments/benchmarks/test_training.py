"""The benchmark of a training: what it compares and how it answers. How long things take is measured, never tested."""

import json

import pytest
import torch

from experiments.benchmark import main
from experiments.benchmarks import gpu, training
from experiments.benchmarks.training import train_as_a_run, train_bare, training_plan
from tests.factories import write_clip

TINY = ["model.size=tiny", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.workers=0", "batch=4", "steps=2"]


@pytest.fixture(autouse=True)
def process_as_it_was(monkeypatch):
    """Measuring sets what is meant for a process of its own. The videos are few and short."""
    monkeypatch.setattr(training, "GENERATED", (3, 20))
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(deterministic)


@pytest.mark.slow
def test_the_command_writes_what_it_prints(tmp_path, capsys):
    words = ["strategy=c3d,two_stream", "repeats=1", "sources=JPEG store,exact decoding", f"results={tmp_path}", *TINY]
    assert main(["training", *words]) == 0
    shown = capsys.readouterr().out
    assert shown.endswith((tmp_path / "benchmark" / "training.md").read_text().partition("\n## ")[2])
    rows = json.loads((tmp_path / "benchmark" / "training.json").read_text())["training"]
    sources = ["JPEG store", "exact decoding"]
    assert [(row["network"], row["source"]) for row in rows] == [(n, s) for n in ("c3d", "two_stream") for s in sources]
    for row in rows[:3]:
        assert row["bare"] > 0 and row["lightning"] > 0 and 0 < row["waiting"] < 1
        assert row["more"] == pytest.approx(row["lightning"] / row["bare"] - 1)
    assert "- two_stream: no flow is computed while a network trains" in shown


@pytest.mark.slow
def test_both_trainings_do_the_same(tmp_path, monkeypatch):
    (run,), _, _ = training_plan(["strategy=single_frame", "model.dropout=0", *TINY], tmp_path)
    data = training.open_data(run, 4, num_clips=20)
    made, make_model = [], training.make_model
    monkeypatch.setattr(training, "make_model", lambda *words: made.append(make_model(*words)) or made[-1])
    for train in (train_bare, train_as_a_run):
        train(run, data, 2, tmp_path)
    bare, as_a_run = (dict(model.named_parameters()) for model in made)
    assert all(torch.equal(value, as_a_run[name]) for name, value in bare.items())


def test_flow_is_measured_beside_training(monkeypatch):
    monkeypatch.setattr(gpu, "FIELDS", 2)
    monkeypatch.setattr(gpu, "make_videos", lambda root, *_: write_clip(root / "a.mp4", 3))
    row = gpu.measure_flow()
    assert row["tvl1_torch"] > 0 and row["dis"] > 0 and gpu.FLOW_COLUMNS["Frames"].format(**row).count("x") == 1


@pytest.mark.parametrize(
    ("command", "word", "said"),
    [
        ("training", "sources=tape", "sources=tape: no such source. Known: raw store"),
        ("training", "data.encoding=jpeg", "data.encoding: expected sources= and batch= instead"),
        ("training", "trainer.accelerator=gpu", "trainer.accelerator=gpu: PyTorch finds no GPU here"),
        ("training", "trainer.devices=2", "trainer.devices: one device trains all layers here; leave it out"),
        ("training", "trainer.precision=16-mixed", "trainer.precision=16-mixed: expected 32-true or bf16-mixed"),
        ("training", "steps=0", "steps=0: expected a whole number, 1 or more"),
        ("gpu", "steps=2", "PyTorch finds no GPU here"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(capsys, monkeypatch, command, word, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([command, word]) == 1
    assert said in capsys.readouterr().err
