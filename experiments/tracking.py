"""Weights & Biases: a mirror of the results that no table depends on, online where credentials exist, else on disk."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from experiments.render import Section, to_csv

if TYPE_CHECKING:  # both cost seconds to import, and a run without W&B needs neither
    from lightning.pytorch.loggers import WandbLogger

    from datamodules.video import VideoDataModule
    from vidfusion.metrics import Votes

OLDER_NAMES = {"run": "online", "dryrun": "offline"}  # still taken by WANDB_MODE
PRIVATE = {
    "host": "private",  # the run's own record of it, and of the program's path, which no switch below leaves out
    "program": "private",
    "x_disable_meta": True,  # arguments, program path, user
    "x_disable_machine_info": True,  # CPU, GPU, memory
    "x_disable_stats": True,
    "x_save_requirements": False,
    "disable_git": True,
    "console": "off",
}
CONFUSED_PAIRS = 20
FILM_STRIPS = 6  # of right videos, and of wrong ones


@dataclass
class WandbConfig:
    """Node `wandb` of the configuration.

    `auto` takes WANDB_MODE (or `wandb offline`) where set, else it is online with credentials and offline without.
    `private` sends numbers and settings only: no host, arguments, git state, console output, packages or media.
    `film_strips` of test videos are sent `always`, `never`, or with `auto` where the data set's terms allow to show it.
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "vidfusion"
    entity: str | None = None
    private: bool = False
    film_strips: Literal["auto", "always", "never"] = "auto"  # not on and off, which YAML reads as true and false


def resolve_mode(mode: str) -> str:
    """Return `online`, `offline` or `disabled` for a `wandb.mode`, without network and without asking anyone.

    Raises ValueError for a WANDB_MODE that is none of them.
    """
    if mode != "auto":
        return mode
    if found := os.environ.get("WANDB_MODE"):
        resolved = OLDER_NAMES.get(found, found)
        if resolved not in ("online", "offline", "disabled"):
            raise ValueError(f"WANDB_MODE is {found!r}; expected online, offline or disabled: correct or unset it")
        return resolved
    import wandb

    try:
        saved = wandb.setup(wandb.Settings(silent=True)).settings.mode  # as `wandb offline` leaves it in a file
        if saved != "online":
            return OLDER_NAMES.get(saved, saved)
        return "online" if wandb.login(prompt=False, verify=False) else "offline"
    except Exception:
        return "online"  # credentials exist but are malformed, or worse: the attempt to use them says what is wrong


@contextmanager
def tracked_run(
    settings: WandbConfig,
    *,
    run_id: str,
    group: str,
    config: dict[str, Any],
    tags: list[str],
    folder: Path,
    job_type: str = "train",
    resume: bool = False,
) -> Iterator[WandbLogger | None]:
    """Yield the logger of one W&B run; the run ends with the block, failed if the block raised.

    Files go to `folder`/wandb. With `resume` it goes on where an earlier run of this id ended. Else it replaces that
    one, of which the offline parts that have not been uploaded are removed, since W&B would join them to the new one.
    Where W&B cannot be reached or refuses, the run continues offline. None is yielded where W&B is disabled, or cannot
    start offline either. Under a W&B agent the agent's run id replaces `run_id`. At the end, an upload may take
    WANDB_FINISH_TIMEOUT seconds (60).
    """
    if settings.private:
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # before W&B's background process starts, which reads it
    mode = resolve_mode(settings.mode)
    if mode == "disabled":
        yield None
        return

    folder.mkdir(parents=True, exist_ok=True)
    os.environ["WANDB_DATA_DIR"] = data_folder(folder)
    import wandb

    assert wandb.run is None, f"run {wandb.run.id} is still open: a second logger would silently join it"
    under_agent = "WANDB_SWEEP_ID" in os.environ
    if not (resume or under_agent):
        _remove_waiting(folder, wandb_id(run_id))
    arguments = {
        "project": settings.project,
        "entity": settings.entity,
        "id": None if under_agent else wandb_id(run_id),
        "resume": "allow" if resume and not under_agent else None,
        "name": run_id,
        "group": group,
        "job_type": job_type,
        "tags": [tag[:64] for tag in tags],  # W&B takes no longer ones
        "config": config,
        "save_dir": folder,
    }
    logger = _start(mode, settings.private, arguments)
    exit_code = 1
    try:
        yield logger
        exit_code = 0
    finally:
        _finish(exit_code)


def data_folder(folder: Path) -> str:
    """Where tables and artifacts wait for `wandb sync`; by itself, W&B would put them into HOME."""
    return str(folder.resolve() / "wandb")


def wandb_id(run_id: str) -> str:
    """A run's id as W&B takes it: a data set's folder may have a name with letters that W&B reserves."""
    return re.sub(r"[:;,#?/']", "-", run_id)


def uploaded_mark(log: Path) -> Path:
    """The file that W&B makes beside the log of an offline run once it is uploaded."""
    return log.with_name(f"{log.name}.synced")


def _remove_waiting(folder: Path, run_id: str) -> None:
    """Remove the offline parts of a run that wait for their upload, on rank 0: on others, the run has begun by then."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    for part in (folder / "wandb").glob("offline-run-*"):
        log = part / f"run-{run_id}.wandb"
        if log.exists() and not uploaded_mark(log).exists():
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _only_a_mirror(what: str) -> Iterator[None]:
    """Whatever W&B cannot do costs one line and nothing else."""
    try:
        yield
    except Exception as error:
        print(f"W&B: {what} failed ({_reason(error)}); the results here are whole", flush=True)


def _start(mode: str, private: bool, arguments: dict[str, Any]) -> WandbLogger | None:
    """Start the run now, so that a refusal shows before training; offline if it is refused, else not at all."""
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    try:
        wandb.setup(wandb.Settings(silent=True))
        if mode == "online":
            wandb.setup(wandb.Settings(mode="online"))  # over a WANDB_MODE=offline, with which login finds nothing
            if not wandb.login(prompt=False, verify=False):  # init alone would prompt at a terminal
                raise wandb.errors.UsageError("no credentials found, `wandb login` stores them")
        settings = wandb.Settings(
            silent=True,
            save_code=False,  # explicit, since an account can switch code saving on
            disable_code=True,
            init_timeout=30,
            finish_timeout=float(os.environ.get("WANDB_FINISH_TIMEOUT", 60)),
            finish_timeout_raises=True,
            **(PRIVATE if private else {}),
        )
        logger = WandbLogger(mode=mode, settings=settings, **arguments)
        _ = logger.experiment
        return logger
    except Exception as error:  # W&B's own are not all of one kind
        reason = _reason(error)
    if mode == "offline":
        print(f"W&B: cannot start ({reason}); this run goes on without it", flush=True)
        return None
    print(f"W&B: cannot start online ({reason}); this run continues offline", flush=True)
    with suppress(Exception):
        wandb.teardown()  # W&B's background process still holds the run id of the failed attempt
    return _start("offline", private, arguments)


def _reason(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _finish(exit_code: int) -> None:
    """End the run of this process, if it has one, and say in one line where it is."""
    import wandb

    if wandb.run is None:  # ranks other than 0
        return
    url, run_folder = wandb.run.url, Path(wandb.run.dir).parent
    with _only_a_mirror("the end of a run"):
        try:
            wandb.finish(exit_code=exit_code)
        except TimeoutError:
            print(f"W&B: upload unfinished; complete it with: wandb sync --include-online {run_folder}", flush=True)
        else:
            print(f"W&B: {url}" if url else f"W&B: offline run; upload it with: wandb sync {run_folder}", flush=True)


def log_record(
    logger: WandbLogger | None,
    record: dict[str, Any],
    classes: Sequence[str] = (),
    video_scores: np.ndarray | None = None,
    targets: np.ndarray | None = None,
    best: dict[str, float] | None = None,
) -> None:
    """Write a finished run's numbers into its W&B summary, on rank 0.

    The record's last row has the plain keys (`test/clip_hit1`), earlier ones are prefixed by their names; what
    validation chose (`best`, `val/video_hit1` -> value) is `best/val_video_hit1`. With `video_scores` (videos, C) and
    bool `targets` (videos, C), both of the last row, a table per class, the most confused pairs and the confusion
    matrix follow, unless the run is private.
    """
    if logger is None:
        return
    with _only_a_mirror(f"the summary or tables of {record['id']}"):
        run = logger.experiment
        *others, last = record["rows"]
        numbers = _speed(record) | _row_numbers(last)
        for row in others:
            numbers |= {f"{row['name']}/{key}": value for key, value in _row_numbers(row).items()}
        numbers |= {f"best/{key.replace('/', '_')}": value for key, value in (best or {}).items()}
        numbers = {key: value for key, value in numbers.items() if value is not None}
        run.summary.update(numbers | {"record": record["id"]})
        if video_scores is not None and not _private(run):
            assert targets is not None and video_scores.shape == targets.shape == (len(targets), len(classes))
            image, tables = _per_class(classes, video_scores, targets)
            run.log(image)
            run.log(tables)  # last: where the network is gone, W&B waits for it here, and then gives up


def _private(run: Any) -> bool:
    return run.settings.x_disable_meta  # the run itself knows


def _speed(record: dict[str, Any]) -> dict[str, float | None]:
    seconds, last = record["seconds"], record["rows"][-1]
    numbers = {f"speed/{name}_seconds": value for name, value in seconds.items()}
    tested = last["clips_per_video"] * record["videos"]["expected"]
    numbers["speed/test_clips_per_second"] = tested / seconds["test"]
    numbers["speed/train_macs_per_second"] = last["macs_training"] / seconds["train"] if seconds["train"] else None
    return numbers | {"speed/memory_mb": record["memory_mb"]}


def _row_numbers(row: dict[str, Any]) -> dict[str, float | int | None]:
    return {
        **row["metrics"],
        **{f"test/family/{family}_video_hit1": part["video_hit1"] for family, part in row["families"].items()},
        "model/parameters": row["parameters"],
        "model/macs_per_clip": row["macs_per_clip"],
        "model/macs_training": row["macs_training"],
        "model/frames_per_video": row["frames_per_video"],
    }


def confusion_matrix(video_scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Count (true class, predicted class), shape (C, C), of scores and bool targets, both (videos, C).

    A video of several labels that is predicted as one of them counts once, on the diagonal; a wrong one counts in the
    row of each of its labels. A video without scores (NaN) is predicted as nothing and does not count.
    """
    scored = ~np.isnan(video_scores).any(axis=1)
    video_scores, targets = video_scores[scored], targets[scored]
    predicted = np.eye(targets.shape[1], dtype=np.int64)[video_scores.argmax(axis=1)]
    right = (predicted * targets).any(axis=1)
    return predicted[right].T @ predicted[right] + targets[~right].T.astype(np.int64) @ predicted[~right]


def _per_class(
    classes: Sequence[str], video_scores: np.ndarray, targets: np.ndarray
) -> tuple[dict[str, Any], dict[str, Any]]:
    import wandb

    scored = ~np.isnan(video_scores).any(axis=1)
    right = targets[np.arange(len(targets)), video_scores.argmax(axis=1)] & scored
    videos = targets.sum(axis=0)
    per_class = [
        [name, int(count), float(right[has_class].mean()) if count else None]
        for name, count, has_class in zip(classes, videos, targets.T, strict=True)
    ]
    confusion = confusion_matrix(video_scores, targets)
    wrong = confusion * ~np.eye(len(classes), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSED_PAIRS]
    pairs = [(true, guess) for true, guess in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    confused = [[classes[true], classes[guess], int(wrong[true, guess])] for true, guess in pairs if wrong[true, guess]]
    # An image: W&B's own chart of a matrix is cut at 10,000 cells, and UCF101 has 10,201.
    shade = 255 - np.round(255 * confusion / np.maximum(videos, 1)[:, None]).astype(np.uint8)
    magnify = max(1, 512 // len(classes))
    image = wandb.Image(
        np.kron(shade, np.ones((magnify, magnify), dtype=np.uint8)), caption="rows: true class, columns: predicted"
    )
    tables = {
        "per_class/table": wandb.Table(columns=["class", "videos", "video_hit1"], data=per_class),
        "confusion/pairs": wandb.Table(columns=["true", "predicted", "videos"], data=confused),
    }
    return {"confusion/matrix": image}, tables


def log_film_strips(
    logger: WandbLogger | None, settings: WandbConfig, data: VideoDataModule, votes: Votes | None
) -> None:
    """Log film strips of up to 6 right and 6 wrong test videos, `samples/right` and `samples/wrong`, on rank 0.

    Nothing where `settings` or the data set's terms forbid it. `votes` are the scores of all test clips, of which the
    last row counts. The wrong videos are those with the surest wrong answers, from which most is to be learnt; the
    right ones are evenly spread from the surest to the least sure, so that they do not look better than they are.
    """
    shown = settings.film_strips == "always" or (settings.film_strips == "auto" and data.dataset.MAY_BE_SHOWN)
    if logger is None or settings.private or not shown:
        return
    assert votes is not None, "the run was not tested"
    with _only_a_mirror("the film strips"):
        if strips := _film_strips(data, votes):
            logger.experiment.log(strips)


def _film_strips(data: VideoDataModule, votes: Votes) -> dict[str, Any]:
    import wandb

    from datamodules.lists import DataError
    from experiments.pictures import film_strip, middle_frames

    videos, classes = votes.videos(), data.lists.classes
    scores, targets = videos.scores[:, -1].numpy(), videos.target.numpy()
    track = next(iter(data.store.tracks.values()))
    strips = {}
    for name, chosen in zip(("right", "wrong"), _right_and_wrong(scores, targets), strict=True):
        images = []
        for index in chosen:
            own = votes.video == index
            truth, centers = np.flatnonzero(targets[index]).tolist(), votes.center[own].numpy()
            try:  # the frame store may have outlived the files
                frames = middle_frames(data.dataset.folder(), data.lists.test[index].path, track, centers)
            except (DataError, OSError) as error:
                print(f"W&B: no film strip: {error}", flush=True)
                continue
            strip = film_strip(frames, centers, votes.scores[own, -1].numpy(), classes, truth)
            true, answer = ", ".join(classes[label] for label in truth), int(scores[index].argmax())
            images.append(wandb.Image(strip, caption=f"{true} / {classes[answer]}, {scores[index, answer]:.0%}"))
        if images:
            strips[f"samples/{name}"] = images
    return strips


def _right_and_wrong(scores: np.ndarray, targets: np.ndarray) -> tuple[list[int], list[int]]:
    """Which right and which wrong videos are shown, of scores and bool targets, both (videos, C)."""
    best = np.nan_to_num(scores).argmax(axis=1)
    sureness = scores[np.arange(len(scores)), best]  # NaN where the video could not be scored
    order = [index for index in np.argsort(-sureness, kind="stable").tolist() if not np.isnan(sureness[index])]
    right = [index for index in order if targets[index, best[index]]]
    wrong = [index for index in order if not targets[index, best[index]]]
    count = min(len(right), FILM_STRIPS)
    return [right[(2 * number + 1) * len(right) // (2 * count)] for number in range(count)], wrong[:FILM_STRIPS]


def log_report(settings: WandbConfig, sweep: str, sections: list[Section], folder: Path) -> None:
    """Show a sweep's tables as one W&B run of job type `report` in the sweep's group; a repeated sweep replaces it.

    Its id is `<sweep>-report-<hash>` of this machine and folder: the same sweep elsewhere has a report of its own. Each
    of our sections is a table and a bar per row; all are `table.csv`, an artifact; the summary holds each row's shares
    (`c3d/test/video_hit1`), after the section's title where there are several. A private run has the summary only.
    Under a W&B agent, which knows one point of the sweep, there is no report.
    """
    ours = [section for section in sections if section.csv]
    if not ours or "WANDB_SWEEP_ID" in os.environ:
        return
    from experiments.comparisons import digest

    place = digest([platform.node(), str(folder.resolve())])
    with (
        _only_a_mirror(f"the report of {sweep}"),
        tracked_run(
            settings,
            run_id=f"{sweep}-report-{place}",
            group=sweep,
            config={"sweep": sweep},
            tags=[sweep, "report"],
            folder=folder,
            job_type="report",
        ) as logger,
    ):
        if logger is None:
            return
        run = logger.experiment
        for name, section in _named(ours):
            run.summary.update(_shares(section, f"{name}/" if name else ""))
            if not _private(run):
                run.log(_charts(section, name or "report"))
        if not _private(run):
            run.log_artifact(_table_file(sweep, ours))


def _named(sections: list[Section]) -> list[tuple[str, Section]]:
    """Sections with their titles, counted where equal; the only one needs no name."""
    if len(sections) == 1:
        return [("", sections[0])]
    titles = [section.title for section in sections]
    counts = [titles[:place].count(title) + 1 for place, title in enumerate(titles)]
    names = [f"{title} ({count})" if count > 1 else title for title, count in zip(titles, counts, strict=True)]
    return list(zip(names, sections, strict=True))


def _shares(section: Section, prefix: str) -> dict[str, float]:
    """Every row's metrics, and those of its families of classes."""
    return {
        f"{prefix}{row['strategy']}/{key}": value
        for row in section.csv
        for key, value in row.items()
        if isinstance(value, int | float) and "/" in key and key.split("/")[0] not in ("seconds", "videos")
    }


def _charts(section: Section, name: str) -> dict[str, Any]:
    import wandb

    shown = [[row["strategy"], row["test/video_hit1"]] for row in section.csv if row.get("test/video_hit1") is not None]
    bars = wandb.Table(columns=["row", "video_hit1"], data=shown)
    return {
        f"{name}/table": wandb.Table(columns=section.columns, data=section.rows),
        f"{name}/video_hit1": wandb.plot.bar(bars, "row", "video_hit1", title=f"Video Hit@1, {section.title}"),
    }


def _table_file(sweep: str, sections: list[Section]) -> Any:
    import wandb

    artifact = wandb.Artifact(f"{sweep}-table", type="table")
    without_paths = [  # the command holds those of this machine
        replace(section, csv=[{key: value for key, value in row.items() if key != "command"} for row in section.csv])
        for section in sections
    ]
    with artifact.new_file("table.csv") as file:
        file.write(to_csv(without_paths))
    return artifact
