"""The benchmarks: what they count and how they answer. How long things take is measured, never tested."""

import json
import os

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from datamodules.decode.frames import iter_frames
from datamodules.decode.info import probe
from experiments.benchmark import main
from experiments.benchmarks import clips as supply
from experiments.benchmarks import networks as benchmark
from experiments.benchmarks.networks import bare_layers, frames_plan, measure, network_points, random_batch
from experiments.settings.compose import compose
from experiments.settings.presets import names
from experiments.training.build import make_model
from vidfusion.layer_table import multiply_adds

TINY = ["model.size=tiny", "trainer.accelerator=cpu", "trainer.threads=1"]
CLASSES = [str(index) for index in range(101)]


@pytest.fixture(autouse=True)
def process_as_it_was():
    """Measuring sets what is meant for a process of its own."""
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    threads_of_opencv = cv2.getNumThreads()
    yield
    cv2.setNumThreads(threads_of_opencv)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


def built(*words: str, classes: list[str] = CLASSES):
    return make_model(compose(["dataset=ucf101", "recipe=published", *words]), classes)


def test_the_command_writes_what_it_prints(tmp_path, capsys):
    words = ["strategy=c3d,two_stream", "repeats=2", f"results={tmp_path}", *TINY]
    assert main(["networks", *words]) == 0
    shown, progress = capsys.readouterr()
    page = (tmp_path / "benchmark" / "networks.md").read_text()
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert [line for line in page.splitlines() if line.startswith("|")] == table
    assert len({len(line) for line in table}) == 1, "columns are not aligned"
    head, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    report = json.loads((tmp_path / "benchmark" / "networks.json").read_text())
    assert {path.name for path in (tmp_path / "benchmark").iterdir()} == {"networks.md", "networks.json"}
    assert [row["strategy"] for row in report["rows"]] == ["c3d", "two_stream"]
    assert "[1 of 2] strategy c3d" in progress and "s left" in progress
    if not torch.cuda.is_available():
        assert "there was no GPU, nothing was measured on one" in page and report["machine"]["gpu"] is None
    assert report["machine"]["threads"] == 1 and report["versions"]["torch"] == torch.__version__.partition("+")[0]
    for row, line in zip(report["rows"], lines, strict=True):
        model = built(f"strategy={row['strategy']}", "model.size=tiny")
        assert row["parameters"] == sum(parameter.numel() for parameter in model.parameters())
        assert row["multiply_adds"] == sum(multiply_adds(model).values())
        cells = dict(zip(head, line, strict=True))
        assert cells["strategy".capitalize()] == row["strategy"] and cells["Batch"] == "1"
        assert int(cells["Parameters"].replace(",", "")) == row["parameters"]
        assert float(cells["Forward s"]) == pytest.approx(row["seconds"]["forward"], abs=1e-4)
        assert float(cells["Backward s"]) == pytest.approx(row["seconds"]["backward"], abs=1e-4)
        assert int(cells["Before"]) == row["memory_mb"]["before"] > 0 <= row["memory_mb"]["network"]
        assert cells["Of bare layers"] == (f"{row['bare']['share']:.1%}" if row["strategy"] == "c3d" else "")


def test_the_numbers_of_a_row_agree():
    run = network_points(["strategy=c3d", *TINY])[0][0].run
    row = measure(run, batch_size=2, repeats=3)
    steps = [sum(step.values()) for step in row["steps"]]
    passes = [step["forward"] + step["backward"] for step in row["steps"]]
    assert len(steps) == len(row["bare"]["steps"]) == 3
    assert row["batch_size"] == 2 and row["clips_per_second"] == pytest.approx(2 / sorted(steps)[1])
    rates = [3 * 2 * row["multiply_adds"] / seconds for seconds in passes]
    bare_rates = [3 * 2 * row["bare"]["multiply_adds"] / seconds for seconds in row["bare"]["steps"]]
    assert row["multiply_adds_per_second"] == pytest.approx(sorted(rates)[1])
    assert row["bare"]["multiply_adds_per_second"] == pytest.approx(sorted(bare_rates)[1])
    shares = [rate / bare for rate, bare in zip(rates, bare_rates, strict=True)]
    assert row["bare"]["share"] == pytest.approx(sorted(shares)[1])


@pytest.mark.parametrize("strategy", ["c3d", "c3d_search"])
def test_bare_layers_are_all_of_c3ds_convolutions_and_linear_layers(strategy):
    with torch.device("meta"):
        model = built(f"strategy={strategy}")
    layers = bare_layers(model)
    assert sum(layer.multiply_adds for layer in layers) == sum(multiply_adds(model).values())
    weighted = [layer for layer in model.modules() if isinstance(layer, nn.Conv3d | nn.Linear)]
    assert [layer.weight for layer in layers] == [layer.weight.shape for layer in weighted]
    for layer in layers:
        arguments = (torch.empty(shape, device="meta") for shape in (layer.input, layer.weight))
        assert layer.compute(*arguments).shape == layer.output
    if strategy == "c3d":  # specs, section 2.1
        assert sum(layer.multiply_adds for layer in layers) == 38_547_378_176
        assert [tuple(layer.input[1:]) for layer in layers] == [
            (3, 16, 112, 112), (64, 16, 56, 56), (128, 8, 28, 28), (256, 8, 28, 28), (256, 4, 14, 14), (512, 4, 14, 14),
            (512, 2, 7, 7), (512, 2, 7, 7), (8192,), (4096,), (4096,),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("channels_last", "precision", "dtype"), [(True, "bf16-mixed", torch.bfloat16), (False, "32-true", torch.float32)]
)
def test_bare_layers_compute_what_the_network_does_in_its_type_and_memory_format(channels_last, precision, dtype):
    layers = bare_layers(built("strategy=c3d", "model.size=tiny"))
    seen = []

    def spy(layer):
        def compute(clip, weight):
            seen.append((clip, weight))
            return layer.compute(clip, weight)

        return layer._replace(compute=compute)

    step = benchmark._bare_step(
        [spy(layer) for layer in layers], 2, benchmark.DTYPES[precision], channels_last, torch.device("cpu")
    )
    with FlopCounterMode(display=False) as counter:
        step()
    macs = [2 * layer.multiply_adds for layer in layers]
    # Backward: one product for the weights, one for the input, of which the first layer needs none.
    assert counter.get_total_flops() == 2 * (3 * sum(macs) - macs[0])
    assert [tuple(clip.shape) for clip, _ in seen] == [(2, *layer.input[1:]) for layer in layers]
    assert [clip.requires_grad for clip, _ in seen] == [index > 0 for index in range(len(layers))]
    for tensor in (tensor for pair in seen for tensor in pair):
        assert tensor.dtype == dtype and (tensor.grad is None)
        # A kernel of one pixel or a single channel is contiguous either way.
        if tensor.ndim == 5 and min(tensor.shape[1], tensor[0, 0].numel()) > 1:
            assert tensor.is_contiguous(memory_format=torch.channels_last_3d) == channels_last


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("strategy", ["two_stream_multi_task", "cnn_lstm"])
def test_a_step_trains_all_that_the_clips_reach(monkeypatch, strategy, precision):
    frames = 3 if strategy == "cnn_lstm" else 1
    words = [f"strategy={strategy}", f"trainer.precision={precision}", f"sampling.frames={frames}", *TINY]
    started, models = [], []

    def make_and_keep(*arguments):
        models.append(make_model(*arguments))
        started.append({name: value.detach().clone() for name, value in models[0].named_parameters()})
        return models[0]

    monkeypatch.setattr(benchmark, "make_model", make_and_keep)
    (point,), _ = network_points(words)
    row = measure(point.run, point.batch_size, repeats=1)
    still = [name for name, value in models[0].named_parameters() if torch.equal(value, started[0][name])]
    # HMDB51's classifier waits for clips of its own.
    assert still == [name for name in started[0] if name.startswith("second")]
    assert len(still) == (2 if "multi_task" in strategy else 0)
    assert row["parameters"] == sum(value.numel() for value in started[0].values())
    assert "bare" not in row and set(row["seconds"]) == {"forward", "backward", "update"}


def test_random_clips_are_those_of_the_data_module():
    model = built("strategy=two_stream", "model.size=tiny")
    batch = random_batch(model, 3, torch.device("cpu"))
    assert {name: (tuple(value.shape), value.dtype) for name, value in batch.items()} == {
        "rgb": ((3, 3, 1, 32, 32), torch.uint8),
        "flow": ((3, 2, 10, 32, 32), torch.uint8),
        "flow_mean": ((3, 2, 10), torch.float32),
        "target": ((3, 101), torch.bool),
    }
    assert batch["rgb"].min() == 0 and batch["rgb"].max() == 255
    assert batch["target"].sum(1).tolist() == [1, 1, 1]
    assert torch.equal(batch["rgb"], random_batch(model, 3, torch.device("cpu"))["rgb"])


@pytest.mark.parametrize(("fits", "expected"), [(7, 5), (1, 1)])
def test_a_batch_that_does_not_fit_is_halved(monkeypatch, fits, expected):
    def pretended(run, batch_size, repeats):
        if batch_size > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"batch_size": batch_size}

    monkeypatch.setattr(benchmark, "_measure", pretended)
    run = network_points(["strategy=c3d", *TINY])[0][0].run
    assert measure(run, batch_size=20, repeats=1) == {"batch_size": expected}


def test_one_clip_that_does_not_fit_is_an_error(monkeypatch):
    def pretended(run, batch_size, repeats):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(benchmark, "_measure", pretended)
    run = network_points(["strategy=c3d", *TINY])[0][0].run
    with pytest.raises(torch.OutOfMemoryError):
        measure(run, batch_size=4, repeats=1)


def test_a_network_that_fails_costs_its_row_only(monkeypatch, tmp_path, capsys):
    rows = iter(
        [{"error": "CUDA out of memory"}, measure(network_points(["strategy=lecture_3d", *TINY])[0][0].run, 1, 1)]
    )
    monkeypatch.setattr(benchmark, "_measure_apart", lambda *_: next(rows))
    assert main(["networks", "strategy=c3d,lecture_3d", f"results={tmp_path}", *TINY]) == 1
    shown = capsys.readouterr().out
    assert "- strategy c3d: CUDA out of memory" in shown
    failed, measured = (line for line in shown.splitlines() if line.startswith(("| c3d", "| lecture_3d")))
    assert failed.count("—") == len(benchmark.NUMBERS) and "—" not in measured and len(failed) == len(measured)


# -- words -----------------------------------------------------------------------------------------------------------


def test_without_words_every_network_is_measured_as_published():
    points, repeats = network_points(["trainer.accelerator=cpu"])
    assert [point.run.strategy for point in points] == names("strategy")
    assert {point.batch_size for point in points} == {1} and repeats == 5
    assert {point.run.model.size for point in points} == {"published"}
    frames = {point.run.strategy: point.run.sampling.frames for point in points}
    assert (frames["snippets_pool"], frames["snippets_lstm"], frames["c3d"]) == (120, 30, 16)


def test_every_combination_of_the_settings_that_are_compared():
    words = ["strategy=c3d,slow_fusion", "trainer.precision=32-true,bf16-mixed", "trainer.channels_last=false"]
    points, _ = network_points([*words, "batch=3", *TINY])
    assert {point.batch_size for point in points} == {3}
    assert [tuple(point.settings().values()) for point in points] == [
        (strategy, precision, False, False)
        for strategy in ("c3d", "slow_fusion")
        for precision in ("32-true", "bf16-mixed")
    ]
    assert not any(point.run.trainer.compile for point in points)


def test_on_a_gpu_all_settings_are_compared_at_the_recipes_batch(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    points, _ = network_points(["strategy=two_stream"])
    assert len(points) == len({tuple(point.settings().values()) for point in points}) == 8
    assert {point.batch_size for point in points} == {256}
    assert {point.run.trainer.accelerator for point in points} == {"gpu"}
    points, _ = network_points(["strategy=c3d", "trainer.compile=false", "trainer.precision=32-true", "batch=8"])
    assert len(points) == 2 and {point.batch_size for point in points} == {8}
    points, _ = network_points(["strategy=c3d", "trainer.accelerator=cpu"])
    assert [point.batch_size for point in points] == [1]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["stategy=c3d"], "stategy: no such word. Did you mean strategy?"),
        (["strategy=c3d,slow_fusoin"], "strategy=slow_fusoin: no such preset. Did you mean slow_fusion"),
        (["dataset=hmdb51"], "dataset: no such word"),
        (
            ["strategy=c3d", "trainer.precison=bf16-mixed"],
            "trainer.precison: no such setting. Did you mean trainer.prec",
        ),
        (["strategy=c3d", "trainer.precision=32-true,8-true"], "trainer.precision=8-true: "),
        (["strategy=c3d", "trainer.compile="], "trainer.compile=: "),
        (["batch=0"], "batch=0: expected a whole number, 1 or more"),
        (["repeats=many"], "repeats=many: expected a whole number, 1 or more"),
        (["training.batch_size=8"], "training.batch_size: expected batch="),
        (["c3d"], "'c3d': expected key=value"),
    ],
)
def test_mistakes_are_answered_in_one_line(words, answer, capsys):
    assert main(["networks", *words]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(f"error: {answer}") and shown.err.count("\n") == 1


def test_a_gpu_that_is_not_there(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["networks", "trainer.accelerator=gpu"]) == 1
    assert capsys.readouterr().err.startswith("error: trainer.accelerator=gpu: PyTorch finds no GPU here")


def test_there_is_nothing_else_to_measure():
    with pytest.raises(SystemExit):
        main(["network"])


# -- frames ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    supply.make_videos(root, 4, 24)
    return root


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(supply, "SLOT", 0.0)
    monkeypatch.setattr(supply, "SETTLING", 0.1)
    monkeypatch.setattr(supply, "COPIED", 2**16)
    monkeypatch.setattr(benchmark, "LOADED", 2)


def test_frames_writes_what_it_prints(videos, brief, tmp_path, capsys):
    words = [f"data.root={videos}", "batch=4", "repeats=2", "clips=80", "sampling.crop=32", "sampling.resize=[36,48]"]
    assert main(["frames", "parts=sources,loader,memory", f"results={tmp_path}", *words]) == 0
    shown = capsys.readouterr().out
    page = (tmp_path / "benchmark" / "frames.md").read_text()
    tables = [line for line in shown.splitlines() if line.startswith("|")]
    assert [line for line in page.splitlines() if line.startswith("|")] == tables
    report = json.loads((tmp_path / "benchmark" / "frames.json").read_text())
    assert {path.name for path in (tmp_path / "benchmark").iterdir()} == {"frames.json", "frames.md"}
    assert f"videos: 3 of {videos.name}, 24 frames on average, the first of 320x240 pixels" in shown
    rows = {row["source"]: row for row in report["sources"]["rows"]}
    assert list(rows)[:4] == ["raw store", "JPEG store", supply.EXACT, supply.BARE]
    assert rows["raw store"]["same"] == rows["PyAV, sequential"]["same"] == 1 and rows["raw store"]["differ"] == 0
    assert rows["JPEG store"]["same"] < 1 and 0 < rows["JPEG store"]["differ"] < 8
    for name, row in rows.items():
        ratios = [a / b for a, b in zip(row["repeats"], rows[supply.EXACT]["repeats"], strict=True)]
        assert len(ratios) == 2 and row["of_exact"] == pytest.approx(sum(ratios) / 2)
        line = next(line for line in tables if line.startswith(f"| {name} "))
        assert f"{row['clips_per_second']:.1f}" in line
    loaders = [(row["encoding"], row["workers"]) for row in report["loader"]["rows"]]
    assert loaders == [(encoding, workers) for encoding in ("raw", "jpeg") for workers in (0, 1, 2)]
    assert [look["clips"] for look in report["memory"]["looks"]] == [8, 80]
    assert all(look["resident"] > look["own"] > 0 for look in report["memory"]["looks"])


@pytest.mark.parametrize("length", [24, 40])
def test_files_give_the_clips_of_the_raw_store(videos, tmp_path, length):
    words = [f"data.root={videos}", f"data.stores={videos.parent / 'stores'}", f"sampling.frames={length}"]
    data = supply.open_data(frames_plan(words, tmp_path)[0], 3)
    keys = [(epoch, video, 0) for epoch in range(2) for video in range(3)]
    expected = supply._batch(data.train_clips, keys)
    assert expected["rgb"].shape == (6, 3, length, 112, 112)
    readers = [reader for reader in supply.readers()[0] if "random" not in reader.name]
    assert len(readers) == 2
    for reader in readers:
        batch = supply._batch(supply._from_files(data, reader), keys)
        assert all(torch.equal(batch[name], expected[name]) for name in expected), reader.name


def test_each_reader_gives_the_frames_that_it_is_asked_for(videos):
    path = next(videos.glob("train/*/*.mp4"))
    info, frames = probe(path), list(iter_frames(path))
    for reader in supply.readers()[0]:
        found = list(reader.read(path, info, [3, 4, 17]))
        assert len(found) == 3
        for frame, index in zip(found, (3, 4, 17), strict=True):
            assert abs(frame.astype(int) - frames[index]).max() <= 3, reader.name  # decoders round differently


def test_the_bare_decoder_decodes_what_the_exact_one_does(videos, monkeypatch):
    path = next(videos.glob("train/*/*.mp4"))
    info, seen = probe(path), []

    def counted(*arguments):
        for frame in iter_frames(*arguments):
            seen.append(frame)
            yield frame

    monkeypatch.setattr(supply, "iter_frames", counted)
    assert len(list(supply.read_exactly(path, info, [2, 9]))) == 2 and len(seen) == 10
    supply.decode_only(path, info, [2, 9])
    assert len(seen) == 20


def test_a_rate_counts_loading_alone(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(supply.time, "process_time", lambda: clock[0])
    monkeypatch.setattr(supply, "SLOT", 1.0)

    def passes(seconds):
        def work(_):
            clock[0] += seconds

        return work

    source = supply.Source("", load=passes(0.4), plan=passes(100.0))
    assert supply._rate(source, lambda number: [number], batch_size=2) == pytest.approx(3 * 2 / 1.2)


def test_batches_of_a_repeat_differ_and_come_again():
    first = supply._random_keys(5, 4, 1, 0)
    assert first == supply._random_keys(5, 4, 1, 0)
    others = [supply._random_keys(5, 4, *place) for place in ((1, 1), (2, 0))]
    assert len({*first, *others[0], *others[1]}) == 12 and {video for _, video, _ in first} <= set(range(5))


def test_memory_counts_what_a_process_takes():
    before = supply.memory_of(os.getpid())
    taken = np.ones(2**26, np.uint8)
    after = supply.memory_of(os.getpid())
    assert len(taken) and 60 < after["own"] - before["own"] < 70 and 60 < after["resident"] - before["resident"] < 70


IMPORTS = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 | early
warnings.py: a line of the run's own
import time:        50 |         50 |     deep.inner
import time:        10 |         60 |   broad.part
import time:        30 |         30 |     deep
import time:         5 |        95 | broad
import time:         7 |          7 |   deep.more
import time:         1 |          8 | late
"""


def test_imports_are_summed_by_package_with_who_asked_first():
    assert supply.packages(IMPORTS.splitlines()) == [
        {"package": "early", "seconds": 100e-6, "wanted_by": ""},
        {"package": "deep", "seconds": pytest.approx(87e-6), "wanted_by": "broad"},
        {"package": "broad", "seconds": pytest.approx(15e-6), "wanted_by": ""},
        {"package": "late", "seconds": 1e-6, "wanted_by": ""},
    ]


def test_a_start_is_that_of_a_run_on_the_same_videos(videos, tmp_path, monkeypatch, capsys):
    started = []

    def start(words):
        started.append(compose(words))
        return 2.0, ["import time: 500000 | 500000 | wandb"]

    monkeypatch.setattr(supply, "_start", start)
    words = [f"data.root={videos}", f"data.stores={videos.parent / 'stores'}", "data.mirror=false"]
    words += [f"results={tmp_path}", "repeats=3", "batch=2"]
    assert main(["frames", "parts=start", *words]) == 0
    shown = capsys.readouterr().out
    assert "2.0 s to the end of the first step, 25% of it for imports" in shown
    assert "Imported without a use here: wandb (0.50 s" in shown
    assert len(started) == 4, "the first builds the store"
    run = started[0]
    assert (run.strategy, run.training.steps, run.training.batch_size, run.data.root) == (
        "single_frame", 1, 2, str(videos),
    )  # fmt: skip
    assert not run.data.mirror and run.results != str(tmp_path) and run.wandb.mode == "disabled"


def test_a_run_that_ends_early_is_an_error():
    with pytest.raises(
        ValueError, match=r"^run\.py strategy=c3: ended before its first step: strategy=c3: no such preset"
    ):
        supply._start(["strategy=c3"])


def test_without_words_videos_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "GENERATED", (2, 3))
    run, parts, counts = frames_plan([], tmp_path)
    made = [probe(path) for path in tmp_path.glob("videos/*/*/*.mp4")]
    assert [(info.frames, info.width, info.height) for info in made] == [(3, 320, 240)] * 2
    assert run.data.folder() == tmp_path / "videos" and parts == list(benchmark.PARTS)
    assert (run.sampling.frames, run.sampling.resize, run.sampling.crop) == (16, [128, 171], 112)
    assert counts == {"batch": 16, "repeats": 5, "clips": 50000}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["repeat=3"], "repeat: no such word. Did you mean repeats?"),
        (["parts=sources,lader"], "parts=lader: no such part. Did you mean loader"),
        (["clips=0"], "clips=0: expected a whole number, 1 or more"),
        (["data.encoding=jpeg"], "data.encoding: several are measured; leave it out"),
        (["data.store_fps=5"], "data.store_fps, sampling.flow_frames: "),
        (["dataset=folder"], "data.root is missing"),
    ],
)
def test_mistakes_of_frames_are_answered_in_one_line(words, answer, capsys):
    assert main(["frames", *words]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(f"error: {answer}") and shown.err.count("\n") == 1
