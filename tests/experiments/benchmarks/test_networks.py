"""The benchmark of networks: what it counts and how it answers. How long things take is measured, never tested."""

import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmark import main
from experiments.benchmarks import networks
from experiments.benchmarks.bare_layers import bare_layers
from experiments.benchmarks.networks import measure, name_of, network_runs, training_step
from experiments.launch.processes import Ended
from experiments.settings import presets
from experiments.settings.compose import compose
from experiments.training.build import make_model
from vidfusion.layer_table import multiply_adds

TINY = ["model.size=tiny", "trainer.accelerator=cpu", "trainer.threads=1"]
CLASSES = [str(index) for index in range(101)]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def process_as_it_was():
    """Measuring sets what is meant for a process of its own."""
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


def built(*words: str):
    return make_model(compose(["dataset=ucf101", "recipe=published", *words]), CLASSES)


@pytest.mark.slow
def test_the_command_writes_what_it_prints(tmp_path, capsys):
    words = ["strategy=c3d,two_stream", "repeats=2", f"results={tmp_path}", *TINY]
    assert main(["networks", *words]) == 0
    shown, progress = capsys.readouterr()
    assert (tmp_path / "benchmark" / "networks.md").read_text() == shown
    assert "[1 of 2] c3d, 32-true" in progress
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    head, _, *cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    report = json.loads((tmp_path / "benchmark" / "networks.json").read_text())
    assert report["measured on"] == "the processor" and report["torch"] == torch.__version__.partition("+")[0]
    for name, row, line in zip(("c3d", "two_stream"), report["networks"], cells, strict=True):
        model = built(f"strategy={name}", "model.size=tiny")
        assert row["parameters"] == sum(parameter.numel() for parameter in model.parameters())
        assert row["giga_multiply_adds"] == sum(multiply_adds(model).values()) / 1e9
        found = dict(zip(head, line, strict=True))
        assert found["Network"].startswith(name) and found["Batch"] == "1"
        assert float(found["Forward s"]) == pytest.approx(row["forward"], abs=1e-4)
        assert found["Of bare layers"] == (f"{row['of_bare_layers']:.1%}" if name == "c3d" else "—")


def test_bare_layers_are_all_of_c3ds_convolutions_and_linear_layers():
    with torch.device("meta"):
        model = built("strategy=c3d")
    layers = bare_layers(model)
    assert sum(layer.multiply_adds for layer in layers) == sum(multiply_adds(model).values())
    weighted = [layer for layer in model.modules() if isinstance(layer, nn.Conv3d | nn.Linear)]
    assert [layer.weight for layer in layers] == [layer.weight.shape for layer in weighted]
    for layer in layers:
        arguments = (torch.empty(shape, device="meta") for shape in (layer.input, layer.weight))
        assert layer.compute(*arguments).shape == layer.output


def test_bare_layers_compute_what_the_network_does_in_its_type_and_memory_format():
    for layer in bare_layers(built("strategy=c3d", "model.size=tiny")):
        clip, weight, gradient = layer.tensors(2, torch.bfloat16, True, CPU)
        with FlopCounterMode(display=False) as counter:
            output = layer.compute(clip, weight)
            torch.autograd.grad(output, [clip, weight], gradient)
        assert counter.get_total_flops() == 2 * 3 * 2 * layer.multiply_adds
        assert output.dtype == torch.bfloat16 and clip.shape[1:] == layer.input[1:]
        assert clip.ndim != 5 or clip.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_step_trains_the_whole_network():
    model = built("strategy=cnn_lstm", "model.size=tiny", "sampling.frames=3")
    before = [value.detach().clone() for value in model.parameters()]
    training_step(model, 2, torch.bfloat16, CPU)()
    assert not any(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(("fits", "expected"), [(7, {"batch_size": 5}), (0, None)])
def test_a_batch_that_does_not_fit_is_halved(monkeypatch, fits, expected):
    def pretended(run, batch_size, repeats):
        if batch_size > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"batch_size": batch_size}

    monkeypatch.setattr(networks, "measure_steps", pretended)
    (run,), _ = network_runs(["strategy=c3d", "batch=20", *TINY])
    found = measure(1, run)
    assert found == expected if expected else found["error"] == "CUDA out of memory"


def test_a_network_that_fails_costs_its_row_only(monkeypatch, tmp_path, capsys):
    def pool(function, runs, jobs, announce):
        return [Ended(1, runs[0], 0, {"error": "CUDA out of memory"}), Ended(2, runs[1], -9, None)]

    monkeypatch.setattr(networks, "in_processes", pool)
    assert main(["networks", "strategy=c3d,lecture_3d", f"results={tmp_path}", *TINY]) == 1
    shown = capsys.readouterr().out
    assert "- c3d, 32-true, channels last: CUDA out of memory" in shown
    assert "- lecture_3d, 32-true, channels last: its process ended with exit code -9; try a smaller batch=" in shown


def test_words_choose_what_is_measured(monkeypatch):
    """Without words, every network as published, a clip at a time; on a GPU, with the recipe's batch."""
    runs, repeats = network_runs(["trainer.accelerator=cpu"])
    assert [run.strategy for run in runs] == presets.names("strategy") and repeats == 5
    assert {(run.training.batch_size, run.model.size) for run in runs} == {(1, "published")}
    words = ["strategy=c3d,slow_fusion", "trainer.precision=32-true,bf16-mixed", "trainer.channels_last=false"]
    runs, _ = network_runs([*words, "batch=3", *TINY])
    assert {run.training.batch_size for run in runs} == {3}
    assert [name_of(run) for run in runs] == [
        f"{strategy}, {precision}" for strategy in ("c3d", "slow_fusion") for precision in ("32-true", "bf16-mixed")
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (run,), _ = network_runs(["strategy=two_stream"])
    assert run.training.batch_size == 256 and run.trainer.accelerator == "gpu"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["stategy=c3d"], "stategy: no such word. Did you mean strategy?"),
        (["strategy=c3d", "trainer.precision=32-true,8-true"], "trainer.precision=8-true: "),
        (["batch=0"], "batch=0: expected a whole number, 1 or more"),
        (["training.batch_size=8"], "training.batch_size: expected batch="),
        (["trainer.accelerator=gpu"], "trainer.accelerator=gpu: PyTorch finds no GPU here"),
    ],
)
def test_mistakes_are_answered_in_one_line(words, answer, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["networks", *words]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(f"error: {answer}") and shown.err.count("\n") == 1
