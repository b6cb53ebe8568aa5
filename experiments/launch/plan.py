"""What a sweep will take, before any of it runs: time, memory and disk, from a short probe of each kind of point.

A probe is a run cut short, in a process of its own: the same network, loader, precision, threads and W&B, a few steps
and a few batches of the test, while as many processes are beside it as the sweep runs side by side. Where a frame store
is missing, a few videos are decoded into one for the time being, which tells how long the whole takes, and these stand
for all others in the probes. Nothing is written but in a temporary folder.
"""

from __future__ import annotations

import heapq
import math
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from datamodules.datamodule import VideoDataModule
from datamodules.datasets.base import Dataset
from datamodules.errors import DataError
from datamodules.known_bad import known_bad
from datamodules.processes import WorkerDied, available_cores, die_with_parent, in_processes
from datamodules.store.building import build_tracks, plan_store, time_shard
from datamodules.store.jobs import Job
from datamodules.store.key import store_folder
from datamodules.store.reading import open_store
from datamodules.store.size import KEEP_FREE, spread
from datamodules.store.tracks import Track
from experiments.benchmarks.networks import WARM_UP, Stopwatch, aligned
from experiments.launch.processes import device_groups
from experiments.launch.server import point_server
from experiments.launch.status import states_of
from experiments.launch.stores import needed
from experiments.records.make import make_record, row_names
from experiments.records.scores import write_scores
from experiments.settings.compose import parse
from experiments.settings.presets import WORDS
from experiments.settings.schema import RunConfig, flat
from experiments.tracking.mirror import resolve_mode, tracked_run
from experiments.training.build import make_data, make_model, make_trainer
from experiments.training.train import CHECKPOINTS

FEW = 6  # videos that are decoded where the frame store is missing
ENOUGH = 5.0  # seconds of training steps after which a probe has seen enough
MOST_STEPS = 100  # that a probe counts at most
TEST_BATCHES = 4  # of a probe; the first of several does not count

# Settings that change nothing in what a run takes.
ALIKE = (
    "seed", "sweep", "results", "overrides", "data.split", "data.fold",
    "training.lr", "training.head_lr_factor", "training.bias_lr_factor", "training.weight_decay", "training.schedule",
    "training.milestones", "training.gamma", "training.warmup", "training.label_smoothing",
)  # fmt: skip


# -- points that cost the same ---------------------------------------------------------------------------------------


def kind_of(run: RunConfig) -> str:
    """The same for runs that cost the same: they differ in nothing but ALIKE."""
    return repr({name: value for name, value in flat(asdict(run)).items() if name not in ALIKE})


def labels(runs: Sequence[RunConfig]) -> list[str]:
    """A name for each of some runs, of the words in which they differ: `c3d`, or `c3d lecture training.steps=500`."""
    words = [{word: getattr(run, word) for word in WORDS} | parse(run.overrides) for run in runs]
    known = dict.fromkeys(key for own in words for key in own if key not in ALIKE)
    differ = {key for key in known if len({own.get(key) for own in words}) > 1} | {"strategy"}
    return [
        " ".join(own[key] if key in WORDS else f"{key}={own[key]}" for key in known if key in own and key in differ)
        for own in words
    ]


def makespan(seconds: Sequence[float], jobs: int) -> float:
    """When the last of some points ends, if each starts in its turn as soon as fewer than `jobs` run."""
    ends = [0.0] * jobs
    for duration in seconds:
        heapq.heappush(ends, heapq.heappop(ends) + duration)
    return max(ends)


def side_by_side(amounts: Sequence[float], jobs: int) -> float:
    """The most that `jobs` of some points can hold together."""
    return sum(sorted(amounts, reverse=True)[:jobs])


# -- frame stores ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Store:
    """A data set's videos and frame store, what is missing of them, and what stands for them in probes.

    root, stores: where probes find videos and frames
    few:     the videos that stand for all; none where the store is whole
    to_make: videos to be generated, and to_decode: into the store; seconds and bytes of both, and bytes of the whole
             store, as far as the tracks that are needed go
    """

    name: str
    root: str
    stores: str
    few: tuple[str, ...] = ()
    to_make: int = 0
    make_seconds: float = 0.0
    make_bytes: int = 0
    to_decode: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    whole: float = 0.0


def survey(data: Dataset, tracks: Sequence[Track], scratch: Path) -> Store:
    """What is missing of a data set's store, and how long it takes to build. Raises DataError.

    Where something is missing, a few videos are decoded into `scratch`, by as many processes as will build the store.
    Of a generated data set that is not made yet, a few videos are made there.
    """
    outline = data.outline(scratch)
    stand_in, seconds_each = outline or (data, 0.0)
    root, files, bad = (
        stand_in.folder(),
        sorted(set(stand_in.read().files)),
        known_bad(data.folder(), Path(data.stores)),
    )
    name = Path(root).name
    plan = plan_store(root, files, Path(data.stores), name, tracks, bad)
    if not plan.jobs:
        return Store(name, data.root, data.stores, whole=plan.whole)
    few = spread([path for path in files if path not in bad and (root / path).is_file()], FEW)
    print(f"{name}: decoding {len(few)} videos, to see how long the frame store takes", file=sys.stderr, flush=True)
    copies = min(available_cores(), len(plan.jobs))
    places = [scratch / f"stores{number}" for number in range(copies)]
    folders = [store_folder(root, few, place, name) for place in places]
    jobs = [Job(root.absolute(), folder, 0, tuple(few), tuple(tracks)) for folder in folders]
    started = time.monotonic()
    seconds = [duration for _, duration in in_processes(time_shard, jobs, copies)]
    starting = time.monotonic() - started - max(seconds)
    folder = build_tracks(root, few, places[0], name, tracks, workers=1, max_store=math.inf)
    videos = open_store(folder, len(few), tracks[:1]).videos
    if not (whole := [path for path in few if videos[path].frames]):
        raise DataError(f"{videos[few[0]].error}; none of {len(few)} videos that were tried can be decoded")
    written = sum(file.stat().st_size for track in tracks for file in (folder / track.name).iterdir())
    return Store(
        name,
        stand_in.root,
        str(places[0]),
        tuple(whole),
        to_make=len(files) if outline else 0,
        make_seconds=len(files) * seconds_each / available_cores() + (starting if outline else 0.0),
        make_bytes=sum((root / path).stat().st_size for path in files) if outline else 0,
        to_decode=sum(len(job.files) for job in plan.jobs),
        seconds=starting + fmean(seconds) * plan.missing / written / copies,
        bytes=plan.missing,
        whole=plan.whole,
    )


# -- one probe -------------------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """What a probe found.

    steps, epochs:     of the whole training;  views, validation_views: of the whole test, and of one validation
    clips:             of both, whose scores are written
    step, epoch, view: seconds of a training step with its wait for clips, of going from one epoch to the next, and of a
                       view in the test
    save:              seconds of writing a checkpoint
    others:            seconds of all else: start, record, W&B (known once the process has ended)
    checkpoint_bytes, clip_bytes, other_bytes: on disk, of a checkpoint, of a clip's scores, and of all else
    memory, gpu_memory: bytes that the process held at most, and of a GPU; gpu_whole: of all that the GPU has
    """

    steps: int
    epochs: int
    views: int
    validation_views: int
    clips: int
    step: float
    epoch: float
    view: float
    save: float
    others: float
    checkpoint_bytes: int
    clip_bytes: float
    other_bytes: int
    memory: int
    gpu_memory: int = 0
    gpu_whole: int = 0

    @property
    def looks(self) -> int:
        """How often the training stops for a checkpoint, and for a validation where there is one."""
        return self.epochs // max(1, self.epochs // CHECKPOINTS)

    @property
    def training_seconds(self) -> float:
        """With checkpoints and validations."""
        saves = self.looks * (2 if self.validation_views else 1) + 1
        validations = self.looks * self.validation_views * self.view
        return self.steps * self.step + self.epochs * self.epoch + saves * self.save + validations

    @property
    def test_seconds(self) -> float:
        """With the last validation."""
        return (self.views + self.validation_views) * self.view

    @property
    def seconds(self) -> float:
        """Of a whole point."""
        return self.others + self.training_seconds + self.test_seconds

    @property
    def bytes(self) -> float:
        """Of a point's output."""
        checkpoints = (2 if self.validation_views else 1) * self.checkpoint_bytes
        return checkpoints + self.clips * self.clip_bytes + self.other_bytes


class _Pace(Callback):
    """Notes when steps and batches of the test end, and stops the training when there are enough steps."""

    def __init__(self, warm_up: int, steps: int) -> None:
        self.warm_up, self.enough = warm_up, min(MOST_STEPS, max(1, steps - warm_up))
        self.firsts: list[bool] = []  # of each step, whether it is an epoch's first
        self.views: list[int] = []  # of each batch of the test

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.training = Stopwatch(model.device)

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, index: int) -> None:
        self.training.mark()
        self.firsts.append(index == 0)

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        self.training.mark()
        counted = len(self.firsts) - self.warm_up
        if counted == 0:
            self.counting_since = time.monotonic()
        elif counted > 0:
            trainer.should_stop = counted >= self.enough or time.monotonic() - self.counting_since > ENOUGH

    def on_test_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.testing = Stopwatch(model.device)
        self.testing.mark()

    def on_test_batch_end(
        self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, batch: dict[str, torch.Tensor], *_: Any
    ) -> None:
        self.testing.mark()
        self.views.append(len(batch["video"]))

    def seconds(self) -> tuple[float, float, float, float]:
        """Of a step, an epoch's change and a view; and of all steps and batches that there were, at this pace."""
        spans = self.training.seconds()
        waits = list(zip(self.firsts[1:], spans[1::2], strict=True))[self.warm_up - 1 :]
        within = fmean([span for first, span in waits if not first] or [0.0])
        between = [span for first, span in waits if first]
        epoch = max(0.0, fmean(between) - within) if between else 0.0
        step = median(spans[::2][self.warm_up :]) + within
        batches = self.testing.seconds()
        counted = slice(min(1, len(batches) - 1), None)
        view = sum(batches[counted]) / sum(self.views[counted])
        paced = len(self.firsts) * step + (sum(self.firsts) - 1) * epoch + sum(self.views) * view
        return step, epoch, view, paced


def probe(run: RunConfig, stores: Sequence[Store], folder: Path) -> tuple[Measured, float]:
    """Run a point for a few steps and batches of the test, in this process; its output goes to `folder`. What it found,
    and the seconds that those steps and batches took.

    `stores` are those of the run's data sets.
    """
    torch.set_num_threads(run.trainer.threads)
    data = _opened(run, stores)
    model = make_model(run, data.lists.classes)
    steps = model.training_config.steps
    epochs = -(-steps // data.steps_per_epoch(run.trainer.devices))
    if run.wandb.private:  # before W&B is asked anything
        os.environ["WANDB_ERROR_REPORTING"] = "false"
    mode = "disabled" if resolve_mode(run.wandb.mode) == "disabled" else "offline"
    # What loading processes have ready when the steps begin says nothing about how fast they are.
    pace = _Pace(WARM_UP + 2 * run.trainer.workers, steps)
    folder.mkdir(parents=True)
    with tracked_run(
        replace(run.wandb, mode=mode), run_id=run.id, group="plan", config={}, tags=[], folder=folder
    ) as wandb_logger:
        trainer = make_trainer(
            run,
            folder,
            wandb_logger,
            [pace],
            devices=1,
            strategy="auto",
            max_epochs=-1,
            limit_val_batches=0,
            limit_test_batches=TEST_BATCHES,
            enable_checkpointing=False,
        )
        trainer.fit(model, datamodule=data)
        checkpoint, scores = folder / "last.ckpt", folder / "scores.npz"
        started = time.monotonic()
        trainer.save_checkpoint(checkpoint)
        save = time.monotonic() - started
        trainer.test(model, datamodule=data, verbose=False)
        make_record(run, model, data, 0.0)
        votes = model.test_votes
        assert votes is not None, "it was tested"
        write_scores(scores, votes, row_names(run, model), [], [])
    step, epoch, view, paced = pace.seconds()
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    on_gpu = pace.training.on_gpu
    devices = run.trainer.devices
    found = Measured(
        steps,
        epochs,
        views=-(-len(data.test_views) // devices),
        validation_views=-(-len(data.validation_views) // devices),
        clips=data.test_views.num_clips + data.validation_views.num_clips,
        step=step,
        epoch=epoch,
        view=view,
        save=save,
        others=0.0,
        checkpoint_bytes=sizes.pop(checkpoint),
        clip_bytes=sizes.pop(scores) / len(votes.clip),
        other_bytes=sum(sizes.values()),
        memory=devices * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform == "linux" else 1),
        gpu_memory=torch.cuda.max_memory_reserved() if on_gpu else 0,
        gpu_whole=torch.cuda.mem_get_info()[1] if on_gpu else 0,
    )
    return found, paced


def _opened(run: RunConfig, stores: Sequence[Store]) -> VideoDataModule:
    """The run's clips. Where a store is missing, a few videos stand for all others of the lists."""
    sets: list[Dataset] = []
    lists = []
    for data, store in zip(run.datasets(), stores, strict=True):
        few = store.few
        if few:
            data = replace(data, root=store.root, stores=store.stores, max_store=math.inf, undecodable="skip")
        read = data.read()
        if few:
            read.files = list(few)
            read.train, read.test = (
                [replace(video, path=few[place % len(few)]) for place, video in enumerate(videos)]
                for videos in (read.train, read.test)
            )
        sets.append(data)
        lists.append(read)
    clips = make_data(run, sets)
    for part, read in zip([clips, *filter(None, [getattr(clips, "second", None)])], lists, strict=True):
        part.lists = read
    clips.setup()
    return clips


# -- all probes ------------------------------------------------------------------------------------------------------


def probe_all(
    runs: Sequence[RunConfig], stores: Sequence[Sequence[Store | str]], jobs: int, scratch: Path
) -> tuple[list[Measured | str], float]:
    """Probe runs, `jobs` at a time: what each found or why it failed; and the seconds until processes can start.

    `stores` are those of each run's data sets, or why they cannot be used.
    While the last ones run, others are repeated beside them, so that each has as much of the machine as in the sweep.
    """
    began = time.monotonic()
    context, devices = point_server(), device_groups(runs)
    first = context.Process(target=_nothing)
    first.start()
    first.join()  # the server has imported everything by now
    starting = time.monotonic() - began
    names, found = labels(runs), dict[int, Measured | str]()
    for place, own in enumerate(stores):
        for why in own:
            if isinstance(why, str):
                found[place] = why
    waiting, started = [place for place in range(len(runs)) if place not in found], 0
    free = list(range(jobs))
    running: dict[int, tuple[BaseProcess, Any, int, int, bool, float, Path]] = {}  # by what tells of a process's end
    try:
        while len(found) < len(runs):
            healthy = [place for place in range(len(runs)) if not isinstance(found.get(place), str)]
            while free and (waiting or healthy):
                slot = free.pop(0)
                counts = bool(waiting)
                place = waiting.pop(0) if counts else healthy[started % len(healthy)]
                if counts:
                    print(f"probing {names[place]} [{place + 1} of {len(runs)}]", file=sys.stderr, flush=True)
                receiver, sender = context.Pipe(duplex=False)
                device = devices[slot % len(devices)] if devices else None
                folder = scratch / f"probe{started}"
                arguments = sender, runs[place], stores[place], folder, device
                process = context.Process(target=_send_probe, args=arguments)
                began = time.monotonic()
                process.start()
                sender.close()
                started += 1
                running[process.sentinel] = process, receiver, slot, place, counts, began, folder
            for ended in wait(list(running)):
                process, receiver, slot, place, counts, began, folder = running.pop(ended)
                lived = time.monotonic() - began
                process.join()
                shutil.rmtree(folder, ignore_errors=True)
                free.append(slot)
                if counts:
                    found[place] = _received(process, receiver, lived)
    finally:
        for process, *_ in running.values():
            process.terminate()
            process.join()
    return [found[place] for place in range(len(runs))], starting


def _nothing() -> None:
    """A process that ends at once."""


def _send_probe(sender: Any, run: RunConfig, stores: Sequence[Store], folder: Path, device: str | None) -> None:
    die_with_parent()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    try:
        sender.send(probe(run, stores, folder))
    except Exception as error:
        sender.send((str(error) or type(error).__name__).strip().splitlines()[0])


def _received(process: BaseProcess, receiver: Any, lived: float) -> Measured | str:
    try:
        found = receiver.recv()
    except EOFError:
        killed = ", probably for want of memory" if process.exitcode == -9 else ""
        return f"the probe's process ended with exit code {process.exitcode}{killed}"
    if isinstance(found, str):
        return found
    measured, paced = found
    return measured._replace(others=max(0.0, lived - paced))


# -- the plan --------------------------------------------------------------------------------------------------------


def plan(name: str, runs: Sequence[RunConfig], jobs: int) -> int:
    """Print what points that are not finished will take, `jobs` of them side by side. 0, or 1 where a probe failed."""
    todo = [run for run, state in zip(runs, states_of(runs), strict=True) if state.name != "finished"]
    finished = f"{len(runs) - len(todo)} of {len(runs)} points of {name} are finished"
    if not todo:
        print(f"{finished}: nothing is left to do")
        return 0
    kinds, jobs = [kind_of(run) for run in todo], min(jobs, len(todo))
    order = list(dict.fromkeys(kinds))
    firsts = [todo[kinds.index(kind)] for kind in order]
    with tempfile.TemporaryDirectory(prefix="vidfusion-plan-", ignore_cleanup_errors=True) as scratch:
        surveyed = survey_all(firsts, Path(scratch))
        own = [[surveyed[_place(data)][1] for data in run.datasets()] for run in firsts]
        results, starting = probe_all(firsts, own, jobs, Path(scratch))
    of_kind = dict(zip(order, results, strict=True))
    rows = [(name, kinds.count(kind), of_kind[kind]) for name, kind in zip(labels(firsts), order, strict=True)]
    points = [(run, of_kind[kind]) for run, kind in zip(todo, kinds, strict=True)]
    points = [(run, found) for run, found in points if isinstance(found, Measured)]
    stores = [(data, store) for data, store in surveyed.values() if isinstance(store, Store)]
    failed = [label for label, _, found in rows if isinstance(found, str)]
    print("\n".join([f"{finished}; {len(todo)} to do, {jobs} side by side.", "", *table(rows), ""]))
    print("\n".join(totals(points, stores, jobs, starting)))
    if failed:
        print(f"Not counted, since they cannot run as they are: {', '.join(failed)}.")
    return int(bool(failed))


def _place(data: Dataset) -> tuple:
    return type(data), data.folder(), data.stores


def survey_all(runs: Sequence[RunConfig], scratch: Path) -> dict[tuple, tuple[Dataset, Store | str]]:
    """Every data set of some runs, by where it lies, with its store or why it cannot be used."""
    found = {}
    for number, (data, tracks) in enumerate(needed(runs)):
        try:
            store: Store | str = survey(data, tracks, scratch / f"data{number}")
        except WorkerDied as error:
            store = f"{data.folder()}: a process died while it decoded {error}"
        except (ValueError, OSError) as error:
            store = str(error).splitlines()[0]
        found[_place(data)] = data, store
    return found


def table(rows: Sequence[tuple[str, int, Measured | str]]) -> list[str]:
    """Markdown: a row for each kind of point, of its name, its points, and what a probe found or why it failed."""
    on_gpu = any(isinstance(found, Measured) and found.gpu_memory for *_, found in rows)
    failed = any(isinstance(found, str) for *_, found in rows)
    titles = ["Point", "Points", "Steps", "Seconds per step", "Start and end", "Training", "Test", "Each", "Memory MB"]
    titles += ["GPU MB"] * on_gpu + ["Disk MB"] + ["Failed"] * failed
    lines = []
    for name, count, found in rows:
        if isinstance(found, str):
            cells = ["—"] * (len(titles) - 3) + [found]
        else:
            times = (found.others, found.training_seconds, found.test_seconds, found.seconds)
            cells = [f"{found.steps:,}", f"{found.step:.4f}", *map(clock, times), f"{found.memory / 1e6:,.0f}"]
            cells += [f"{found.gpu_memory / 1e6:,.0f}"] * on_gpu + [f"{found.bytes / 1e6:,.1f}"] + [""] * failed
        lines.append([name, str(count), *cells])
    return aligned(titles, lines, markdown=True)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def totals(
    points: Sequence[tuple[RunConfig, Measured]],
    stores: Sequence[tuple[Dataset, Store]],
    jobs: int,
    starting: float,
) -> list[str]:
    """What all points take together, beside what there is of it; warnings where that is not enough."""
    lines, warnings = [], []
    for data, store in stores:
        if store.to_make:
            lines.append(
                f"Videos of {store.name}: {store.to_make} to be made, {clock(store.make_seconds)}, "
                f"{store.make_bytes / 1e9:.2f} GB; their lists and sizes are taken from one of each class."
            )
        if store.to_decode:
            lines.append(
                f"Frame store of {store.name}: {store.to_decode} videos to be decoded, {clock(store.seconds)}, "
                f"{store.bytes / 1e9:.2f} GB; clips of {len(store.few)} of them stood for all in the probes."
            )
        else:
            lines.append(f"Frame store of {store.name}: it is there; the probes loaded its clips.")
        if store.to_decode and store.whole > data.max_store * 1e9:
            warnings.append(
                f"the frame store of {store.name} takes {store.whole / 1e9:.2f} GB, data.max_store is "
                f"{data.max_store:g}: build it with experiments/prepare.py, or set data.encoding=jpeg"
            )
    if any(run.trainer.devices > 1 for run, _ in points):
        lines.append("Points of several devices were probed on one: what these say to each other is left out.")
    preparing = sum(store.make_seconds + store.seconds for _, store in stores)
    running = makespan([found.seconds for _, found in points], jobs)
    lines.append(
        f"Time: {clock(starting + preparing + running)}, of which {clock(starting)} to import, {clock(preparing)} for "
        f"videos and frame stores, {clock(running)} for the points."
    )
    memory, available = side_by_side([found.memory for _, found in points], jobs), available_memory()
    mapped = sum(store.whole for _, store in stores)
    lines.append(
        f"Memory: {memory / 1e9:.2f} GB side by side, {available / 1e9:.2f} GB are available; a process also shows up "
        f"to {mapped / 1e9:.2f} GB of frame stores as its own, which the system takes back when it needs them."
    )
    if memory > available:
        warnings.append("the points do not fit into memory side by side: lower --jobs, or training.batch_size")
    gpu = side_by_side(
        [found.gpu_memory for _, found in points], -(-jobs // max(1, len(device_groups([run for run, _ in points]))))
    )
    if gpu:
        whole = max(found.gpu_whole for _, found in points)
        lines.append(f"GPU memory: {gpu / 1e9:.2f} GB on a device, which has {whole / 1e9:.2f} GB.")
        if gpu > whole:
            warnings.append("the points of a device do not fit into its memory: lower --jobs, or training.batch_size")
    wanted: dict[int, tuple[Path, float]] = {}
    outputs = [(Path(run.results), found.bytes) for run, found in points]
    outputs += [(Path(data.stores), store.bytes) for data, store in stores]
    outputs += [(Path(data.root), store.make_bytes) for data, store in stores]
    for path, size in outputs:
        path = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        first, so_far = wanted.setdefault(path.stat().st_dev, (path, 0.0))
        wanted[path.stat().st_dev] = first, so_far + size
    for path, size in wanted.values():
        free = shutil.disk_usage(path).free
        lines.append(f"Disk of {path}: {size / 1e9:.2f} GB, {free / 1e9:.2f} GB are free.")
        if size > free - KEEP_FREE:
            warnings.append(f"this does not fit on the disk of {path}, which should keep {KEEP_FREE / 1e9:g} GB free")
    return lines + [f"WARNING: {text}." for text in warnings]


def available_memory() -> float:
    """Bytes that new processes can have here, within the limit of the container if there is one."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    amounts = [pages]
    try:
        said = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        amounts.append(int(said["MemAvailable"].split()[0]) * 1024)
        amounts.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, KeyError, ValueError):
        pass
    return min(amounts)
