"""What `benchmark.py networks` measures: a training step of each network, beside its convolutions alone."""

from __future__ import annotations

import gc
import itertools
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from resource import RUSAGE_SELF, getrusage
from statistics import median
from typing import Any

import torch
from torch import Tensor

from datamodules.processes import available_cores
from experiments.benchmarks.bare_layers import bare_layers
from experiments.benchmarks.report import Report, check_words, count
from experiments.launch.processes import in_processes
from experiments.settings.compose import compose, parse
from experiments.settings.presets import names
from experiments.settings.schema import RunConfig
from experiments.training.build import make_model, set_arithmetic
from vidfusion.classifier import VideoClassifier
from vidfusion.layer_table import clip_inputs, multiply_adds
from vidfusion.strategies.c3d import C3D

WARM_UP = 2  # steps: the first one also chooses algorithms and makes the optimiser's state
NUM_CLASSES = {"ucf101": 101, "hmdb51": 51}
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
WORDS = ("strategy", "batch", "repeats", "results", "recipe", "clip")
COMPARED = ("trainer.precision", "trainer.tf32", "trainer.channels_last", "trainer.compile")  # may name several values
COLUMNS = {
    "Network": "{network}",
    "Batch": "{batch_size}",
    "Parameters": "{parameters:,}",
    "G multiply-adds": "{giga_multiply_adds:.3f}",
    "Forward s": "{forward:.4f}",
    "Backward s": "{backward:.4f}",
    "Update s": "{update:.4f}",
    "Clips/s": "{clips_per_second:.2f}",
    "G/s": "{giga_per_second:.2f}",
    "Memory MiB": "{memory_mb}",
    "Of bare layers": "{of_bare_layers:.1%}",
}
NOTES = """\
- Medians of training steps after two more. Forward: from 8-bit clips to the loss. Update: the optimiser's.
- Multiply-adds: of one clip, forward. G/s: a backward pass counts as two forward passes, the update as none.
- Memory: the most that was held, less what was held before the network was made; on a GPU, in tensors.
- Of bare layers: the network's rate as a share of the rate of its convolutions and linear layers alone, without bias,
  on tensors of the same shapes, type and memory format, in turn with it. Measured for C3D."""


def measure_networks(settings: list[str]) -> int:
    """Measure, print and write what the words ask for. Returns 1 if a network cannot be measured, else 0."""
    runs, repeats = network_runs(settings)
    report, rows = Report("networks", settings, runs[0]), []

    def announce(number: int, run: RunConfig) -> None:
        print(f"[{number} of {len(runs)}] {name_of(run)}", file=sys.stderr, flush=True)

    try:
        for ended in in_processes(partial(measure, repeats), runs, 1, announce):
            lost = {"error": f"its process ended with exit code {ended.exit_code}; try a smaller batch="}
            rows.append({"network": name_of(ended.run), **(ended.result or lost)})
    finally:
        report.add("networks", rows, COLUMNS, NOTES)
    return int(any("error" in row for row in rows))


def name_of(run: RunConfig) -> str:
    """What tells a row from the others."""
    trainer = run.trainer
    flags = ["TF32"] * (trainer.tf32 and trainer.precision == "32-true" and trainer.accelerator == "gpu")
    flags += ["channels last"] * trainer.channels_last + ["compiled"] * trainer.compile
    return ", ".join([run.strategy, trainer.precision, *flags])


def network_runs(settings: list[str]) -> tuple[list[RunConfig], int]:
    """The networks to measure, and how often. Raises ValueError for a word or value that does not exist."""
    given = parse(settings)
    check_words(given, (*WORDS, *COMPARED))
    if "training.batch_size" in given:
        raise ValueError("training.batch_size: expected batch=, the clips of a step on this device")
    strategies = given.pop("strategy").split(",") if "strategy" in given else names("strategy")
    batch = count("batch", given.pop("batch")) if "batch" in given else None
    repeats = count("repeats", given.pop("repeats", "5"))
    accelerator = given.get("trainer.accelerator", "auto")
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    if accelerator == "gpu" and not on_gpu:
        raise ValueError("trainer.accelerator=gpu: PyTorch finds no GPU here; leave it out to measure on the CPU")
    asked = {key: given.pop(key).split(",") for key in COMPARED if key in given}
    common = {"dataset": "ucf101", "recipe": "published", "trainer.threads": str(available_cores()), **given}
    runs = []
    for strategy, *values in itertools.product(strategies, *asked.values()):
        words = {"strategy": strategy, **common, **dict(zip(asked, values, strict=True))}
        run = compose([f"{key}={value}" for key, value in words.items()])
        run.trainer.accelerator = "gpu" if on_gpu else "cpu"
        run.training.batch_size = batch or (run.training.batch_size if on_gpu else 1)
        runs.append(run)
    return runs, repeats


# -- one network, in a process of its own ------------------------------------------------------------------------------


def measure(repeats: int, run: RunConfig) -> dict[str, Any]:
    """Seconds and memory of a training step: forward, backward and update. `error` and `traceback` if it fails.

    A batch for which a GPU has no memory is halved until it fits. C3D is measured in turn with its layers alone.
    """
    set_arithmetic(run)
    torch.use_deterministic_algorithms(True, warn_only=True)  # as in training
    warnings.filterwarnings("ignore", message=".*deterministic")
    batch_size = run.training.batch_size
    while True:
        try:
            return measure_steps(run, batch_size, repeats)
        except Exception as error:
            if not isinstance(error, torch.OutOfMemoryError) or batch_size == 1:
                line = (str(error) or type(error).__name__).splitlines()[0]
                return {"error": line, "traceback": traceback.format_exc()[-10_000:]}
        batch_size //= 2
        gc.collect()  # a network and its optimiser refer to each other
        torch.cuda.empty_cache()
        if run.trainer.compile:
            torch.compiler.reset()  # or the smaller batch is compiled for any size


def measure_steps(run: RunConfig, batch_size: int, repeats: int) -> dict[str, Any]:
    """A row of the table: the numbers of a network with a given batch."""
    device = torch.device("cuda" if run.trainer.accelerator == "gpu" else "cpu")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = _peak_memory(device)
    model = make_model(run, list(map(str, range(NUM_CLASSES[run.dataset])))).to(device)
    dtype = DTYPES[run.trainer.precision]
    step = training_step(model, batch_size, dtype, device)
    for _ in range(WARM_UP):
        step()
    peak = _peak_memory(device)
    layers = bare_layers(model) if isinstance(model, C3D) and not run.model.backbone else []
    tensors = [layer.tensors(batch_size, dtype, run.trainer.channels_last, device) for layer in layers]

    def bare_step() -> float:
        began = now(device)
        for layer, (clip, weight, gradient) in zip(layers, tensors, strict=True):
            wanted = [weight] if layer is layers[0] else [clip, weight]  # nothing is learned below the first layer
            torch.autograd.grad(layer.compute(clip, weight), wanted, gradient)
        return now(device) - began

    for _ in range(WARM_UP):
        bare_step()
    steps, bare = zip(*((step(), bare_step()) for _ in range(repeats)), strict=True)
    macs, bare_macs = sum(multiply_adds(model).values()), sum(layer.multiply_adds for layer in layers)
    passes = [forward + backward for forward, backward, _ in steps]
    row = {
        "batch_size": batch_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "giga_multiply_adds": macs / 1e9,
        **{name: median(step[part] for step in steps) for part, name in enumerate(("forward", "backward", "update"))},
        "clips_per_second": batch_size / median(map(sum, steps)),
        "giga_per_second": 3 * macs / 1e9 * batch_size / median(passes),  # a backward pass costs two forward passes
        "memory_mb": peak - before,
        "steps": steps,
    }
    if layers:
        shares = [alone / bare_macs / (network / macs) for alone, network in zip(bare, passes, strict=True)]
        row |= {"of_bare_layers": median(shares), "bare_steps": bare}
    return row


def training_step(
    model: VideoClassifier, batch_size: int, dtype: torch.dtype, device: torch.device
) -> Callable[[], tuple[float, float, float]]:
    """A function that trains on the same random clips; seconds of its forward pass, backward pass and update."""
    optimizer = model.configure_optimizers()["optimizer"]
    batch = random_batch(model, batch_size, device)

    def step() -> tuple[float, float, float]:
        optimizer.zero_grad()
        moments = [now(device)]
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = model.loss(model(**model.inputs(batch)), batch["target"])
        moments.append(now(device))
        loss.backward()
        moments.append(now(device))
        optimizer.step()
        moments.append(now(device))
        return tuple(end - start for start, end in itertools.pairwise(moments))

    return step


def random_batch(model: VideoClassifier, batch_size: int, device: torch.device) -> dict[str, Tensor]:
    """Clips as the data module delivers them, of random pixels: `rgb` and `flow` uint8, `flow_mean`, `target`."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: (batch_size, *clip.shape[2:], clip.shape[1]) for name, clip in clip_inputs(model).items()}
    batch = {
        name: torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for name, shape in shapes.items()
    }
    batch["flow_mean"] = torch.zeros(batch_size, model.clip.flow_frames, 2)
    batch["target"] = torch.eye(model.num_classes, dtype=torch.bool)[torch.arange(batch_size) % model.num_classes]
    return {name: values.to(device) for name, values in batch.items()}


def now(device: torch.device) -> float:
    """Seconds, when all that was asked for so far is computed."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak_memory(device: torch.device) -> int:
    """MiB that this process has held at most: resident, or of a GPU's memory in tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() // 2**20
    return getrusage(RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20)
