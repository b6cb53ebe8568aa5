"""What the suite costs on this machine: seconds, memory, and how much of the machine's arithmetic is used.

python experiments/benchmark.py networks [key=value ...]     training steps of every published network
python experiments/benchmark.py frames [key=value ...]       clips from frame stores and from video files

networks: every preset of configs/strategy with recipe=published, each in a process of its own, on random clips. With
two data sets (two_stream_multi_task), on clips of the first.
    strategy=c3d,slow_fusion    only these
    batch=4                     clips per step (without: 1 on a CPU; on a GPU the recipe's, halved until they fit)
    repeats=5                   steps that are timed, after two that are not; medians are shown
    results=DIR                 where benchmark/networks.json and .md are written (without: results)
    trainer.precision=32-true,bf16-mixed trainer.channels_last=false,true trainer.compile=false,true
                                every combination is measured (without: on a GPU all of them, on a CPU a run's default)
    any other setting of a run's model, sampling or trainer, such as model.size=small or trainer.threads=2

frames: clips of 16 frames, 112x112 pixels of 128x171, per second and core from raw and JPEG frame stores and from the
files; then the loader alone, the memory of a loading process, and the start of a run.
    dataset=folder data.root=DIR    on these videos (without: on generated ones of 320x240 pixels, H.264)
    batch=16                    clips per batch
    repeats=5                   of each measurement, everything in turn; medians are shown
    clips=50000                 that one process loads while its memory is watched
    parts=sources,loader,memory,start   only these
    results=DIR                 where benchmark/frames.json and .md are written (without: results)
    any other setting of a run's data or sampling, such as data.stores=DIR (without: a temporary folder)
"""

from __future__ import annotations

import copy
import gc
import itertools
import json
import math
import multiprocessing
import os
import platform
import resource
import shlex
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cv2
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.files import write_atomically
from datamodules.processes import available_cores
from experiments.benchmarks import clips as supply
from experiments.records.provenance import PACKAGES, git_commit
from experiments.settings.compose import compose, parse
from experiments.settings.presets import did_you_mean, names
from experiments.settings.schema import RunConfig
from experiments.tables.text import aligned, joined
from experiments.training.build import make_model
from vidfusion.classifier import VideoClassifier
from vidfusion.layer_table import clip_inputs, multiply_adds
from vidfusion.strategies.c3d import C3D

WARM_UP = 2  # steps: the first one also chooses algorithms and makes the optimiser's momentum
NUM_CLASSES = {"ucf101": 101, "hmdb51": 51}
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
WORDS = ("strategy", "batch", "repeats", "results", "recipe", "clip")
FRAMES_WORDS = ("dataset", "batch", "repeats", "clips", "parts", "results")
COMPARED = {
    "trainer.precision": "32-true,bf16-mixed",
    "trainer.channels_last": "false,true",
    "trainer.compile": "false,true",
}


# -- one network -----------------------------------------------------------------------------------------------------


class Stopwatch:
    """Moments on the device's own clock, so that a GPU need not be waited for between them."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.moments: list[Any] = []

    def mark(self) -> None:
        """Note the moment when all that was asked for so far is computed."""
        if self.on_gpu:
            self.moments.append(torch.cuda.Event(enable_timing=True))
            self.moments[-1].record()
        else:
            self.moments.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """From each moment to the next."""
        if self.on_gpu:
            torch.cuda.synchronize()
            return [start.elapsed_time(end) / 1000 for start, end in itertools.pairwise(self.moments)]
        return [end - start for start, end in itertools.pairwise(self.moments)]


class BareLayer(NamedTuple):
    """The arithmetic of a convolution or linear layer alone: `compute(input, weight)`, without bias; shapes of one
    clip."""

    compute: Callable[[Tensor, Tensor], Tensor]
    input: torch.Size
    weight: torch.Size
    output: torch.Size

    @property
    def multiply_adds(self) -> int:
        """Of a forward pass of one clip."""
        return math.prod(self.weight[1:]) * math.prod(self.output)


def bare_layers(model: VideoClassifier) -> list[BareLayer]:
    """Every convolution and linear layer of a network, in the order of its forward pass."""
    found = []
    meta = copy.deepcopy(model).to("meta").eval()

    def add(layer: nn.Conv3d | nn.Linear, inputs: tuple[Tensor], output: Tensor) -> None:
        compute = F.linear
        if isinstance(layer, nn.Conv3d):
            compute = partial(
                F.conv3d, stride=layer.stride, padding=layer.padding, dilation=layer.dilation, groups=layer.groups
            )
        found.append(BareLayer(compute, inputs[0].shape, layer.weight.shape, output.shape))

    for layer in meta.modules():
        if isinstance(layer, nn.Conv3d | nn.Linear):
            layer.register_forward_hook(add)
    with torch.no_grad():
        meta.forward(**clip_inputs(model))  # not meta(...), which may be compiled
    return found


def random_batch(model: VideoClassifier, batch_size: int, device: torch.device) -> dict[str, Tensor]:
    """Clips as the data module delivers them, of random pixels: `rgb` and `flow` uint8, `flow_mean`, `target`."""
    generator = torch.Generator().manual_seed(0)
    batch = {
        name: torch.randint(0, 256, (batch_size, *clip.shape[1:]), dtype=torch.uint8, generator=generator)
        for name, clip in clip_inputs(model).items()
    }
    batch["flow_mean"] = torch.zeros(batch_size, 2, model.clip.flow_frames)
    batch["target"] = torch.eye(model.num_classes, dtype=torch.bool)[torch.arange(batch_size) % model.num_classes]
    return {name: values.to(device) for name, values in batch.items()}


def measure(run: RunConfig, batch_size: int, repeats: int) -> dict[str, Any]:
    """Seconds and memory of a network's training step, in this process: forward, backward, and the optimiser's update.

    A batch that a GPU has no memory for is halved until it fits; raises torch.OutOfMemoryError where one clip does not.
    C3D's multiply-add rate is compared with that of its layers alone, a step of one after a step of the other.
    """
    torch.set_num_threads(run.trainer.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)  # as in training
    warnings.filterwarnings("ignore", message=".*deterministic")
    while True:
        try:
            return _measure(run, batch_size, repeats)
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
        batch_size //= 2
        gc.collect()  # a network and its optimiser refer to each other
        torch.cuda.empty_cache()
        if run.trainer.compile:
            torch.compiler.reset()  # else the smaller batch is taken for one of many sizes, and compiled for all


def _measure(run: RunConfig, batch_size: int, repeats: int) -> dict[str, Any]:
    device = torch.device("cuda" if run.trainer.accelerator == "gpu" else "cpu")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = _peak_memory(device)
    model = make_model(run, list(map(str, range(NUM_CLASSES[run.dataset])))).to(device)
    optimizer = model.configure_optimizers()["optimizer"]
    batch = random_batch(model, batch_size, device)
    dtype = DTYPES[run.trainer.precision]

    def step() -> Stopwatch:
        optimizer.zero_grad()
        watch = Stopwatch(device)
        watch.mark()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = model.loss(model(**model.inputs(batch)), batch["target"])
        watch.mark()
        loss.backward()
        watch.mark()
        optimizer.step()
        watch.mark()
        return watch

    for _ in range(WARM_UP):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    peak = _peak_memory(device)
    layers = bare_layers(model) if isinstance(model, C3D) and not run.model.backbone else []
    bare_step = _bare_step(layers, batch_size, dtype, run.trainer.channels_last, device)
    for _ in range(WARM_UP if layers else 0):
        bare_step()
    watches = [(step(), bare_step()) for _ in range(repeats)]
    steps = [dict(zip(("forward", "backward", "update"), watch.seconds(), strict=True)) for watch, _ in watches]

    macs = sum(multiply_adds(model).values())
    passes = [seconds["forward"] + seconds["backward"] for seconds in steps]
    row = {
        "batch_size": batch_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "multiply_adds": macs,
        "seconds": {name: median(seconds[name] for seconds in steps) for name in steps[0]},
        "clips_per_second": batch_size / median(sum(seconds.values()) for seconds in steps),
        # A backward pass costs two forward passes.
        "multiply_adds_per_second": 3 * macs * batch_size / median(passes),
        "memory_mb": {"before": before, "network": peak - before},
        "steps": steps,
    }
    if layers:
        bare = [sum(watch.seconds()) for _, watch in watches]
        bare_macs = sum(layer.multiply_adds for layer in layers)
        row["bare"] = {
            "layers": len(layers),
            "multiply_adds": bare_macs,
            "multiply_adds_per_second": 3 * bare_macs * batch_size / median(bare),
            "share": median(alone / network for alone, network in zip(bare, passes, strict=True)),
            "steps": bare,
        }
    return row


def _bare_step(
    layers: list[BareLayer], batch_size: int, dtype: torch.dtype, channels_last: bool, device: torch.device
) -> Callable[[], Stopwatch]:
    """A function that computes each layer forward and backward, on tensors that are there already."""

    def random(shape: torch.Size) -> Tensor:
        values = torch.randn(shape, device=device).to(dtype)
        return values.to(memory_format=torch.channels_last_3d) if channels_last and values.ndim == 5 else values

    def scaled(shape: torch.Size) -> torch.Size:
        return torch.Size((batch_size * shape[0], *shape[1:]))

    tensors = [(random(scaled(layer.input)), random(layer.weight), random(scaled(layer.output))) for layer in layers]
    for index, (clip, weight, _) in enumerate(tensors):
        clip.requires_grad_(index > 0)  # nothing is learned below the first layer
        weight.requires_grad_()

    def bare_step() -> Stopwatch:
        watch = Stopwatch(device)
        watch.mark()
        for layer, (clip, weight, gradient) in zip(layers, tensors, strict=True):
            wanted = [tensor for tensor in (clip, weight) if tensor.requires_grad]
            torch.autograd.grad(layer.compute(clip, weight), wanted, gradient)
        watch.mark()
        return watch

    return bare_step


def _peak_memory(device: torch.device) -> int:
    """Megabytes (2**20 bytes) that this process has held at most: resident, or of a GPU's memory in tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20)


# -- all networks ----------------------------------------------------------------------------------------------------


class Point(NamedTuple):
    """A network under some settings, and the clips of its steps."""

    run: RunConfig
    batch_size: int

    def settings(self) -> dict[str, Any]:
        """What is compared."""
        trainer = self.run.trainer
        return {
            "strategy": self.run.strategy,
            "precision": trainer.precision,
            "channels_last": trainer.channels_last,
            "compile": trainer.compile,
        }


def network_points(settings: list[str]) -> tuple[list[Point], int]:
    """What `networks` measures, and how often. Raises ValueError for a word or value that does not exist."""
    given = parse(settings)
    for key in given:
        if "." not in key and key not in WORDS:
            raise ValueError(f"{key}: no such word. {did_you_mean(key, [*WORDS, *COMPARED])}")
    if "training.batch_size" in given:
        raise ValueError("training.batch_size: expected batch=, the clips of a step on this device")
    strategies = given.pop("strategy").split(",") if "strategy" in given else names("strategy")
    batch = _count("batch", given.pop("batch")) if "batch" in given else None
    repeats = _count("repeats", given.pop("repeats", "5"))
    accelerator = given.get("trainer.accelerator", "auto")
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    if accelerator == "gpu" and not on_gpu:
        raise ValueError("trainer.accelerator=gpu: PyTorch finds no GPU here; leave it out to measure on the CPU")
    if not on_gpu:  # a run's own defaults, unless asked for more
        compared = {key: given.pop(key) for key in COMPARED if key in given}
    else:
        compared = {key: given.pop(key, values) for key, values in COMPARED.items()}
    combinations = list(itertools.product(*(values.split(",") for values in compared.values())))
    common = {"dataset": "ucf101", "recipe": "published", "trainer.threads": str(available_cores()), **given}
    points = []
    for strategy, values in itertools.product(strategies, combinations):
        words = {"strategy": strategy, **common, **dict(zip(compared, values, strict=True))}
        run = compose([f"{key}={value}" for key, value in words.items()])
        run.trainer.accelerator = "gpu" if on_gpu else "cpu"
        points.append(Point(run, batch or (run.training.batch_size if on_gpu else 1)))
    return points, repeats


def _count(word: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"{word}={value}: expected a whole number, 1 or more")
    return int(value)


def measure_networks(settings: list[str]) -> int:
    """Measure, print and write what the words ask for. 0, or 1 where a network could not be measured."""
    points, repeats = network_points(settings)
    folder = Path(points[0].run.results) / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    table = _Table(points)
    report: dict[str, Any] = {
        "command": shlex.join(["python", "experiments/benchmark.py", "networks", *settings]),
        "machine": _machine(points[0].run),
        "commit": git_commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "repeats": repeats,
        "everywhere": table.everywhere,
        "rows": [],
    }
    print("\n".join([*_facts(report), "", *table.head()]), flush=True)
    # Forked from a server that has imported everything once: what it holds then is no part of a network's memory.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["experiments.training.train", "vidfusion.nets.torchvision_nets"])
    started, lines = time.monotonic(), []
    for done, point in enumerate(points):
        spent = time.monotonic() - started
        left = f", about {spent / done * (len(points) - done):.0f} s left" if done else ""
        print(f"[{done + 1} of {len(points)}] {table.told(point.settings())}{left}", file=sys.stderr, flush=True)
        row = {**point.settings(), **_measure_apart(context, point, repeats)}
        report["rows"].append(row)
        lines.append(table.line(row))
        print(lines[-1], flush=True)
        write_atomically(folder / "networks.json", json.dumps(report, indent=1))
        rows = [*table.head(), *lines]
        page = ["# What the networks cost", "", *_facts(report), "", *rows, "", *_notes(report, table), ""]
        write_atomically(folder / "networks.md", "\n".join(page))
    print("\n".join(["", *_notes(report, table)]))
    for name in ("networks.json", "networks.md"):
        print(f"wrote {folder / name}")
    return int(any("error" in row for row in report["rows"]))


def _measure_apart(context: Any, point: Point, repeats: int) -> dict[str, Any]:
    """`measure` in a process of its own; `error` instead of the numbers where it fails."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_measurement, args=(sender, point, repeats))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except KeyboardInterrupt:
        process.terminate()
        raise
    except EOFError:
        process.join()
        killed = " (killed, probably for want of memory: try a smaller batch=)" if process.exitcode == -9 else ""
        return {"error": f"its process ended with exit code {process.exitcode}{killed}"}
    finally:
        process.join()


def _send_measurement(sender: Any, point: Point, repeats: int) -> None:
    try:
        sender.send(measure(point.run, point.batch_size, repeats))
    except Exception as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        sender.send({"error": line, "traceback": traceback.format_exc()})


def _machine(run: RunConfig) -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        models = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = models[0].partition(":")[2].strip() if models else processor
    machine = {
        "processor": processor,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "threads": run.trainer.threads,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load_before": round(os.getloadavg()[0], 1),
        "measured_on": run.trainer.accelerator,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    if machine["gpu"]:
        machine["cuda"] = torch.version.cuda
        machine["cudnn"] = torch.backends.cudnn.version()
        machine["tf32_convolutions"] = torch.backends.cudnn.allow_tf32
    return machine


def _facts(report: dict[str, Any]) -> list[str]:
    machine = report["machine"]
    gpu = "there was no GPU, nothing was measured on one"
    if machine["measured_on"] == "gpu":
        tf32 = "may use TF32" if machine["tf32_convolutions"] else "do not use TF32"
        gpu = f"measured on {machine['gpu']}, CUDA {machine['cuda']}; its float32 convolutions {tf32}"
    elif machine["gpu"]:
        gpu = f"measured on the processor, not on {machine['gpu']}"
    return [
        f"- `{report['command']}`, commit {report['commit'] or 'unknown'}",
        f"- {machine['processor']} ({machine['instructions']}), {machine['threads']} threads on {machine['cores']} "
        f"cores, {machine['memory_gb']} GiB, load {machine['load_before']} before; {gpu}",
        "- " + ", ".join(f"{name} {number}" for name, number in report["versions"].items()),
        *(f"- {name}: {value}" for name, value in report["everywhere"].items()),
    ]


def _notes(report: dict[str, Any], table: _Table) -> list[str]:
    held = "in tensors" if report["machine"]["measured_on"] == "gpu" else "resident"
    notes = [
        f"- Medians of {report['repeats']} training steps after {WARM_UP}. Forward: from 8-bit clips to the loss. "
        "Update: the optimiser's.",
        "- Multiply-adds: of one clip, forward. G/s counts a backward pass as two forward passes and leaves the update "
        "out. With few clips in a step, large fully connected layers cost the reading and writing of their weights.",
        f"- Memory: the most that was {held} in the process, MiB, with gradients and the optimiser's momentum, less "
        "what was there before the network was made (Before).",
    ]
    if any("bare" in row for row in report["rows"]):
        notes.append(
            "- Of bare layers: the network's rate as a share of that of its convolutions (F.conv3d) and linear layers "
            "(F.linear) alone, without bias, on tensors of the same shapes, type and memory format, in turn with it."
        )
    failed = [row for row in report["rows"] if "error" in row]
    return notes + [f"- {table.told(row)}: {row['error']} (the traceback is in networks.json)" for row in failed]


NUMBERS: tuple[tuple[str, int, Callable[[dict[str, Any]], str]], ...] = (  # title, width, cell
    ("Batch", 5, lambda row: str(row["batch_size"])),
    ("Parameters", 11, lambda row: f"{row['parameters']:,}"),
    ("G multiply-adds", 8, lambda row: f"{row['multiply_adds'] / 1e9:.3f}"),
    ("Forward s", 8, lambda row: f"{row['seconds']['forward']:.4f}"),
    ("Backward s", 8, lambda row: f"{row['seconds']['backward']:.4f}"),
    ("Update s", 8, lambda row: f"{row['seconds']['update']:.4f}"),
    ("Clips/s", 8, lambda row: f"{row['clips_per_second']:.2f}"),
    ("G/s", 8, lambda row: f"{row['multiply_adds_per_second'] / 1e9:.2f}"),
    ("Memory", 6, lambda row: str(row["memory_mb"]["network"])),
    ("Before", 6, lambda row: str(row["memory_mb"]["before"])),
    ("Of bare layers", 6, lambda row: f"{row['bare']['share']:.1%}" if "bare" in row else ""),
)


class _Table:
    """Markdown that also reads well line by line at a terminal: each column's width is known beforehand."""

    def __init__(self, points: list[Point]) -> None:
        settings = [point.settings() for point in points]
        values = {name: {str(entry[name]) for entry in settings} for name in settings[0]}
        self.widths = {
            name: max(map(len, [name, *found]))
            for name, found in values.items()
            if name == "strategy" or len(found) > 1
        }
        self.everywhere = {name: value for name, value in settings[0].items() if name not in self.widths}

    def head(self) -> list[str]:
        """Titles and the rule below them."""
        titles = [name.capitalize().replace("_", " ").ljust(width) for name, width in self.widths.items()]
        titles += [title.rjust(width) for title, width, _ in NUMBERS]
        rule = ["-" * width for width in self.widths.values()]
        rule += ["-" * (len(title) - 1) + ":" for title in titles[len(rule) :]]
        return [joined(titles), joined(rule)]

    def told(self, row: dict[str, Any]) -> str:
        """What tells a row from the others."""
        return ", ".join(f"{name} {row[name]}" for name in self.widths)

    def line(self, row: dict[str, Any]) -> str:
        """One row; dashes where it could not be measured."""
        cells = [str(row[name]).ljust(width) for name, width in self.widths.items()]
        for title, width, cell in NUMBERS:
            cells.append(("—" if "error" in row else cell(row)).rjust(max(width, len(title))))
        return joined(cells)


# -- frames ----------------------------------------------------------------------------------------------------------


TARGETS = {supply.STORES["raw"]: 100, supply.STORES["jpeg"]: 8}  # times the clips of exact decoding
OVERHEAD = 0.1  # of exact decoding, above the bare decoder
GROWTH = 0.05  # of a loading process
LOADED = 200  # batches from a raw store in each pass of the loader
UNUSED = ("wandb", "sklearn", "scipy", "torchvision", "ray", "matplotlib", "pandas")  # by single_frame without W&B
GENERATED = (8, 200)  # videos, and frames of each


def measure_frames(settings: list[str]) -> int:
    """Measure, print and write how fast clips come, as the words ask for. 0; failures are errors."""
    with tempfile.TemporaryDirectory() as temporary:
        run, parts, counts = frames_plan(settings, Path(temporary))
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        folder = Path(run.results) / "benchmark"
        folder.mkdir(parents=True, exist_ok=True)
        report: dict[str, Any] = {
            "command": shlex.join(["python", "experiments/benchmark.py", "frames", *settings]),
            "machine": _machine(run),
            "commit": git_commit(),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            **counts,
            "everywhere": _videos(run, counts["batch"]),
        }
        page = ["# How fast clips come", "", *_facts(report)]
        print("\n".join(page[2:]), flush=True)
        for name in parts:
            measure_part, shown = PARTS[name]
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            report[name] = measure_part(run, counts)
            page += ["", *shown(report[name])]
            print("\n".join(["", *shown(report[name])]), flush=True)
            write_atomically(folder / "frames.json", json.dumps(report, indent=1))
            write_atomically(folder / "frames.md", "\n".join([*page, ""]))
    for name in ("frames.json", "frames.md"):
        print(f"wrote {folder / name}")
    return 0


def frames_plan(settings: list[str], temporary: Path) -> tuple[RunConfig, list[str], dict[str, int]]:
    """What `frames` measures: the run whose data it loads, the parts, and how many. Makes videos where none are given.

    Raises ValueError for a word or value that does not exist.
    """
    given = parse(settings)
    for key in given:
        if "." not in key and key not in FRAMES_WORDS:
            raise ValueError(f"{key}: no such word. {did_you_mean(key, list(FRAMES_WORDS))}")
    for key in ("data.encoding", "trainer.workers", "sampling.train_clips"):
        if key in given:
            raise ValueError(f"{key}: several are measured; leave it out")
    if "data.store_fps" in given or "sampling.flow_frames" in given:
        raise ValueError(
            "data.store_fps, sampling.flow_frames: what stores hold is compared with files; leave them out"
        )
    counts = {
        word: _count(word, given.pop(word, default))
        for word, default in (("batch", "16"), ("repeats", "5"), ("clips", "50000"))
    }
    parts = given.pop("parts", ",".join(PARTS)).split(",")
    for name in parts:
        if name not in PARTS:
            raise ValueError(f"parts={name}: no such part. {did_you_mean(name, list(PARTS))}")
    if "dataset" not in given and "data.root" not in given:
        supply.make_videos(temporary / "videos", *GENERATED)
        given["data.root"] = str(temporary / "videos")
    clip = {"sampling.frames": "16", "sampling.resize": "[128,171]", "sampling.crop": "112"}
    words = {"dataset": "folder", "data.stores": str(temporary / "stores"), **clip, **given}
    run = compose([f"{key}={value}" for key, value in {"strategy": "c3d", **words}.items()])
    run.trainer.accelerator = "cpu"  # nothing is asked of a network
    return run, parts, counts


def _videos(run: RunConfig, batch_size: int) -> dict[str, str]:
    data = supply.open_data(run, batch_size)
    clip = run.sampling
    height, width = clip.resize
    videos = data.train_clips.videos
    first = supply.probed(data.dataset.folder() / videos[0].path)
    frames = sum(data.store.videos[video.path].frames for video in videos)
    return {
        "videos": f"{len(videos)} of {run.dataset_label}, {frames / len(videos):.0f} frames on average, the first of "
        f"{first.width}x{first.height} pixels",
        "clips": f"{clip.frames} frames of {width}x{height}, crops of {clip.crop}x{clip.crop}, batches of {batch_size}",
    }


def _sources(run: RunConfig, counts: dict[str, int]) -> dict[str, Any]:
    rows, absent = supply.compare_sources(run, counts["batch"], counts["repeats"])
    return {"rows": rows, "absent": absent}


def _show_sources(part: dict[str, Any]) -> list[str]:
    lines = []
    for row in part["rows"]:
        name, ratio = row["source"], row["of_exact"]
        wanted = f"{TARGETS[name]} or more: {_met(ratio >= TARGETS[name])}" if name in TARGETS else ""
        if name == supply.BARE:
            wanted = f"{1 / (1 - OVERHEAD):.2f} or less: {_met(ratio <= 1 / (1 - OVERHEAD))}"
        alike = [f"{row['same']:.0%}", f"{row['differ']:.2f}"] if "same" in row else ["", ""]
        lines.append([name, f"{row['clips_per_second']:.1f}", f"{ratio:.2f}", *alike, wanted])
    lines += [[name, "—", "—", "", "", why] for name, why in part["absent"].items()]
    return [
        "## Clips per second of one core",
        "",
        *aligned(["From", "Clips/s", "Of exact", "Same clips", "Differ by", "Target"], lines, markdown=True),
        "",
        "- Per second of processor time, of all threads. Of exact: times the clips of exact decoding, in each repeat.",
        "- Same clips: those of a batch that are to the last bit what exact decoding gives; differ by: the mean "
        "absolute difference of the worst, of 0 to 255. JPEG changes pixels; what seeks may give other frames.",
    ]


def _loader(run: RunConfig, counts: dict[str, int]) -> dict[str, Any]:
    return {"rows": supply.compare_loaders(run, counts["batch"], counts["repeats"], LOADED)}


def _show_loader(part: dict[str, Any]) -> list[str]:
    lines = [
        [
            supply.STORES[row["encoding"]], str(row["workers"]), f"{row['clips_per_second']:.0f}",
            f"{row['of_no_workers']:.2f}", f"{row['of_copying']:.1%}",
        ]
        for row in part["rows"]
    ]  # fmt: skip
    copied = part["rows"][0]["copied_bytes_per_second"]
    return [
        "## The loader alone",
        "",
        *aligned(["From", "Workers", "Clips/s", "Of no workers", "Of copying"], lines, markdown=True),
        "",
        "- Clips per second that the training's loader delivers to a step that does nothing.",
        f"- Of copying: their bytes as a share of those that np.copyto copies in that time, in turn: "
        f"{copied / 1e9:.1f} GB/s.",
    ]


def _memory(run: RunConfig, counts: dict[str, int]) -> dict[str, Any]:
    return supply.watch_memory(run, counts["batch"], counts["clips"])


def _show_memory(part: dict[str, Any]) -> list[str]:
    looks = [[f"{look['clips']:,}", f"{look['resident']:.1f}", f"{look['own']:.1f}"] for look in part["looks"]]
    growth = part["growth"]
    met = _met(max(growth.values()) <= GROWTH)
    return [
        "## Memory of a loading process",
        "",
        *aligned(["After clips", "Resident MiB", "Own MiB"], looks, markdown=True),
        "",
        "- Of a worker of the loader that waits. Own: shared with no other process.",
        f"- Growth: {growth['resident']:+.1%} resident, {growth['own']:+.1%} own; target {GROWTH:.0%} or less: {met}.",
    ]


def _start(run: RunConfig, counts: dict[str, int]) -> dict[str, Any]:
    words = [
        word for word in run.overrides if word.partition("=")[0] not in ("sampling.frames", "sampling.resize",
        "sampling.crop", "results")
    ]  # fmt: skip
    settings = ["strategy=single_frame", f"dataset={run.dataset}", f"training.batch_size={counts['batch']}", *words]
    return supply.time_start(settings, counts["repeats"])


def _show_start(part: dict[str, Any]) -> list[str]:
    imports = [[row["package"], f"{row['seconds']:.2f}", row["wanted_by"]] for row in part["imports"][:12]]
    unused = [
        f"{row['package']} ({row['seconds']:.2f} s of its own, by {row['wanted_by']})"
        for row in part["imports"]
        if row["package"] in UNUSED
    ]
    return [
        "## Start of a run",
        "",
        *aligned(["Package", "Seconds", "First imported by"], imports, markdown=True),
        "",
        f"- strategy=single_frame, its store built before: {part['seconds']:.1f} s to the end of the first step, "
        f"{part['importing']:.0%} of it for imports.",
        f"- Imported without a use here: {', '.join(unused) or 'none'}.",
        "- Waiting for clips beside a GPU's steps is not measured here: a run's record has it, `seconds.waiting`.",
    ]


PARTS: dict[str, tuple[Callable[..., dict[str, Any]], Callable[[dict[str, Any]], list[str]]]] = {
    "sources": (_sources, _show_sources),
    "loader": (_loader, _show_loader),
    "memory": (_memory, _show_memory),
    "start": (_start, _show_start),
}


def _met(reached: bool) -> str:
    return "met" if reached else "missed"
