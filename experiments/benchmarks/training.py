"""What `benchmark.py training` measures: a training as a run does it, beside a bare loop over the same batches.

Both train the same network from the same weights, in turn. The bare loop moves a batch to the device, and computes
loss, gradients and update. The run's has Lightning around that, with all that is counted, logged and checked.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.datamodule import VideoDataModule
from datamodules.processes import available_cores
from experiments.benchmarks.clips import GENERATED, STORES, from_files, make_videos, open_data
from experiments.benchmarks.networks import DTYPES, WARM_UP
from experiments.benchmarks.readers import EXACT, exact
from experiments.benchmarks.report import Report, check_words, count
from experiments.settings.compose import compose, parse
from experiments.settings.presets import did_you_mean
from experiments.settings.schema import RunConfig
from experiments.training.build import make_model, make_trainer, set_arithmetic
from experiments.training.callbacks import StopAfter
from experiments.training.stopwatch import StepClock

SOURCES = (*STORES.values(), EXACT)
WORDS = ("strategy", "dataset", "recipe", "clip", "batch", "steps", "repeats", "sources", "results")
COLUMNS = {
    "Network": "{network}",
    "From": "{source}",
    "Batch": "{batch_size}",
    "Bare s": "{bare:.4f}",
    "Run's s": "{lightning:.4f}",
    "More": "{more:+.1%}",
    "Clips/s": "{clips_per_second:.1f}",
    "Waiting": "{waiting:.1%}",
}
NOTES = f"""\
- Seconds of a step, without waiting for its clips: medians of the repeats, after {WARM_UP} steps. More: of the run's
  step than of the bare one, in turn. On a machine that does other things too, take many steps and repeats.
- Clips/s: of the run's training, with waiting. Waiting: the share of that time in which no clips were ready."""

Seconds = tuple[float, float]  # of a step: waiting for its clips, working on them


def measure_training(settings: list[str]) -> int:
    """Measure, print and write what the words ask for. Returns 0."""
    with tempfile.TemporaryDirectory() as temporary:
        runs, sources, counts = training_plan(settings, Path(temporary))
        report, rows = Report("training", settings, runs[0]), []
        try:
            for run in runs:
                set_arithmetic(run)
                for source in sources:
                    print(f"measuring: {run.strategy} from {source}", file=sys.stderr, flush=True)
                    rows.append(compare(run, source, Path(temporary), **counts))
        finally:
            report.add("training", rows, COLUMNS, NOTES)
    return 0


def training_plan(settings: list[str], temporary: Path) -> tuple[list[RunConfig], list[str], dict[str, int]]:
    """The runs, where their clips come from, and how many steps and repeats. Makes videos if none are given.

    Raises ValueError for a word or value that does not exist.
    """
    given = parse(settings)
    check_words(given, WORDS)
    for key in ("data.encoding", "data.flow.encoding", "training.batch_size"):
        if key in given:
            raise ValueError(f"{key}: expected sources= and batch= instead")
    for key in ("trainer.devices", "training.trained_layers"):
        if key in given:
            raise ValueError(f"{key}: one device trains all layers here; leave it out")
    if given.get("trainer.precision") == "16-mixed":
        raise ValueError("trainer.precision=16-mixed: expected 32-true or bf16-mixed, which scale no gradients")
    accelerator = given.pop("trainer.accelerator", "auto")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ValueError("trainer.accelerator=gpu: PyTorch finds no GPU here; leave it out to measure on the CPU")
    on_gpu = torch.cuda.is_available() and accelerator != "cpu"
    counts = {word: count(word, given.pop(word, default)) for word, default in (("steps", "20"), ("repeats", "3"))}
    sources = given.pop("sources", ",".join(SOURCES)).split(",")
    for source in sources:
        if source not in SOURCES:
            raise ValueError(f"sources={source}: no such source. {did_you_mean(source, list(SOURCES))}")
    strategies = given.pop("strategy", "c3d,two_stream").split(",")
    batch = count("batch", given.pop("batch", "32" if on_gpu else "4"))
    if "dataset" not in given and "data.root" not in given:
        make_videos(temporary / "videos", *GENERATED)
        given["data.root"] = str(temporary / "videos")
    machine = {
        "model.size": "published" if on_gpu else "small",
        "trainer.workers": str(min(8, available_cores() - 1) if on_gpu else 0),
        "trainer.accelerator": "gpu" if on_gpu else "cpu",
        "training.batch_size": str(batch),
    }
    common = {"dataset": "folder", "recipe": "published", "data.stores": str(temporary / "stores"), **machine, **given}
    words = [f"{key}={value}" for key, value in common.items()]
    return [compose([f"strategy={strategy}", *words]) for strategy in strategies], sources, counts


def compare(run: RunConfig, source: str, temporary: Path, *, steps: int, repeats: int) -> dict[str, Any]:
    """A row of the table: seconds of a step in a bare loop and in a run's training, in turn."""
    if source == EXACT and run.sampling.flow_frames:
        return {"network": run.strategy, "source": source, "error": "no flow is computed while a network trains"}
    batch_size, needed = run.training.batch_size, (WARM_UP + steps + 1) * run.training.batch_size
    encoding = next((encoding for encoding, name in STORES.items() if name == source), "raw")
    run = dataclasses.replace(run, data=dataclasses.replace(run.data))
    run.data.flow = dataclasses.replace(run.data.flow, encoding=encoding)
    data = open_data(run, batch_size, encoding=encoding, workers=run.trainer.workers, num_clips=needed)
    if source == EXACT:
        data.train_clips = from_files(data, exact)
    spent: dict[str, list[Seconds]] = defaultdict(list)
    ways = [("bare", train_bare), ("lightning", train_as_a_run)]
    for repeat in range(repeats):
        for name, train in ways if repeat % 2 == 0 else reversed(ways):
            spent[name].append(train(run, data, steps, temporary))
    bare, lightning = ([working for _, working in spent[name]] for name in ("bare", "lightning"))
    waiting = sum(wait for wait, _ in spent["lightning"])
    whole = waiting + sum(lightning)
    return {
        "network": run.strategy,
        "source": source,
        "batch_size": batch_size,
        "bare": median(bare),
        "lightning": median(lightning),
        "more": median(b / a - 1 for a, b in zip(bare, lightning, strict=True)),
        "clips_per_second": batch_size * repeats / whole,
        "waiting": waiting / whole,
        "repeats": spent,
    }


class _Timed:
    """A loader's batches; `clock` times `steps` of what is done with them, after the first WARM_UP."""

    def __init__(self, loader: DataLoader, steps: int, device: torch.device) -> None:
        self.loader, self.steps, self.device = loader, steps, device
        self.clock: StepClock | None = None

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for number, batch in enumerate(self.loader, start=1):
            timed = WARM_UP < number <= WARM_UP + self.steps
            if timed:
                self.clock.step_starts()
            yield batch  # the step is done when the next batch is asked for
            if timed:
                self.clock.step_ends()
            if number == WARM_UP:
                self.clock = StepClock(self.device)

    def per_step(self) -> Seconds:
        """Seconds of a timed step."""
        waiting, working = self.clock.seconds()
        return waiting / self.steps, working / self.steps


def train_bare(run: RunConfig, data: VideoDataModule, steps: int, temporary: Path) -> Seconds:
    """The seconds of a step of a loop without Lightning."""
    device = device_of(run)
    model = make_model(run, data.lists.classes).to(device).train()
    batches = _Timed(data.train_dataloader(), steps, device)
    optimisation, dtype = model.configure_optimizers(), DTYPES[run.trainer.precision]
    optimizer, schedule = optimisation["optimizer"], optimisation["lr_scheduler"]["scheduler"]
    torch.use_deterministic_algorithms(True, warn_only=True)  # as in training
    warnings.filterwarnings("ignore", message=".*deterministic")
    for _, batch in zip(range(WARM_UP + steps + 1), batches, strict=False):
        batch = {name: values.to(device, non_blocking=True) for name, values in batch.items()}
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = model.loss(model(**model.inputs(batch)), batch.get("drawn", batch["target"]))
        optimizer.zero_grad()
        loss.backward()
        if run.training.clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), run.training.clip_norm)
        optimizer.step()
        schedule.step()
    return batches.per_step()


def train_as_a_run(run: RunConfig, data: VideoDataModule, steps: int, temporary: Path) -> Seconds:
    """The seconds of a step of the training that `run.py` does, without its checkpoints and lines of progress."""
    batches = _Timed(data.train_dataloader(), steps, device_of(run))
    stop = StopAfter(WARM_UP + steps + 1)
    trainer = make_trainer(run, temporary, None, [stop], max_epochs=1, enable_checkpointing=False)
    trainer.fit(make_model(run, data.lists.classes), train_dataloaders=batches)
    return batches.per_step()


def device_of(run: RunConfig) -> torch.device:
    """Where a run trains."""
    return torch.device("cuda" if run.trainer.accelerator == "gpu" else "cpu")
