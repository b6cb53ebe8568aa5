"""Weights & Biases: a mirror of the results that no table depends on, online where credentials exist, else on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:  # both cost seconds to import, and a run without W&B needs neither
    from lightning.pytorch.loggers import WandbLogger

    from datamodules.video import VideoDataModule
    from vidfusion.metrics import Votes

OLDER_NAMES = {"run": "online", "dryrun": "offline"}  # still taken by WANDB_MODE
PRIVATE = {
    "host": "private",  # the run's own record of it, which no switch below leaves out
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

    saved = wandb.setup(wandb.Settings(silent=True)).settings.mode  # as `wandb offline` leaves it in a settings file
    if saved != "online":
        return OLDER_NAMES.get(saved, saved)
    try:
        return "online" if wandb.login(prompt=False, verify=False) else "offline"
    except wandb.Error:
        return "online"  # credentials exist but are malformed: the attempt to use them says what is wrong


@contextmanager
def tracked_run(
    settings: WandbConfig, *, run_id: str, group: str, config: dict[str, Any], tags: list[str], folder: Path
) -> Iterator[WandbLogger | None]:
    """Yield the logger of one W&B run, None where disabled; the run ends with the block, failed if the block raised.

    Files go to `folder`/wandb. Where W&B cannot be reached or refuses, the run continues offline. Under a W&B agent
    the agent's run id replaces `run_id`.
    """
    mode = resolve_mode(settings.mode)
    if mode == "disabled":
        yield None
        return

    folder.mkdir(parents=True, exist_ok=True)
    os.environ["WANDB_DATA_DIR"] = str(folder.resolve() / "wandb")  # tables wait here for `wandb sync`, not in HOME
    if settings.private:
        os.environ["WANDB_ERROR_REPORTING"] = "false"
    import wandb

    assert wandb.run is None, f"run {wandb.run.id} is still open: a second logger would silently join it"
    run_settings = wandb.Settings(
        silent=True,
        save_code=False,  # explicit, since an account can switch code saving on
        disable_code=True,
        init_timeout=30,
        finish_timeout=60,
        finish_timeout_raises=True,
        **(PRIVATE if settings.private else {}),
    )
    under_agent = "WANDB_SWEEP_ID" in os.environ
    arguments = {
        "project": settings.project,
        "entity": settings.entity,
        "id": None if under_agent else run_id,
        "resume": None if under_agent else "allow",
        "name": run_id,
        "group": group,
        "job_type": "train",
        "tags": tags,
        "config": config,
        "save_dir": folder,
        "settings": run_settings,
    }
    logger = _start(mode, arguments)
    exit_code = 1
    try:
        yield logger
        exit_code = 0
    finally:
        _finish(exit_code)


def _start(mode: str, arguments: dict[str, Any]) -> WandbLogger:
    """Start the run now, so that a refusal shows before training, and offline if it is refused."""
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    wandb.setup(wandb.Settings(silent=True))
    try:
        if mode == "online":
            wandb.setup(wandb.Settings(mode="online"))  # over a WANDB_MODE=offline, with which login finds nothing
            if not wandb.login(prompt=False, verify=False):  # init alone would prompt at a terminal
                raise wandb.errors.UsageError("no credentials found, `wandb login` stores them")
        logger = WandbLogger(mode=mode, **arguments)
        _ = logger.experiment
    except wandb.Error as error:
        if mode == "offline":
            raise
        reason = " ".join(str(error).split())
        print(f"W&B: cannot start online ({reason}); this run continues offline", flush=True)
        wandb.teardown()  # W&B's background process still holds the run id of the failed attempt
        return _start("offline", arguments)
    return logger


def _finish(exit_code: int) -> None:
    """End the run of this process, if it has one, and say in one line where it is."""
    import wandb

    if wandb.run is None:  # ranks other than 0
        return
    url, run_folder = wandb.run.url, Path(wandb.run.dir).parent
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
) -> None:
    """Write a finished run's numbers into its W&B summary, on rank 0.

    The record's last row has the plain keys (`test/clip_hit1`), earlier ones are prefixed by their names. With
    `video_scores` (videos, C) and bool `targets` (videos, C), both of the last row, a table per class, the most
    confused pairs and the confusion matrix follow, unless the run is private.
    """
    if logger is None:
        return
    run = logger.experiment
    numbers = {f"speed/{name}_seconds": seconds for name, seconds in record["seconds"].items()}
    *others, last = record["rows"]
    numbers |= _row_numbers(last)
    for row in others:
        numbers |= {f"{row['name']}/{key}": value for key, value in _row_numbers(row).items()}
    run.summary.update({key: value for key, value in numbers.items() if value is not None} | {"record": record["id"]})
    if video_scores is not None and not run.settings.x_disable_meta:  # the run itself knows whether it is private
        assert targets is not None and video_scores.shape == targets.shape == (len(targets), len(classes))
        run.log(_per_class(classes, video_scores, targets))


def _row_numbers(row: dict[str, Any]) -> dict[str, float | int | None]:
    return {
        **row["metrics"],
        **{f"test/family/{family}_video_hit1": part["video_hit1"] for family, part in row["families"].items()},
        "model/parameters": row["parameters"],
        "model/macs_per_clip": row["macs_per_clip"],
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


def _per_class(classes: Sequence[str], video_scores: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
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
    return {
        "per_class/table": wandb.Table(columns=["class", "videos", "video_hit1"], data=per_class),
        "confusion/pairs": wandb.Table(columns=["true", "predicted", "videos"], data=confused),
        "confusion/matrix": image,
    }


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
    if strips:
        logger.experiment.log(strips)


def _right_and_wrong(scores: np.ndarray, targets: np.ndarray) -> tuple[list[int], list[int]]:
    """Which right and which wrong videos are shown, of scores and bool targets, both (videos, C)."""
    best = np.nan_to_num(scores).argmax(axis=1)
    sureness = scores[np.arange(len(scores)), best]  # NaN where the video could not be scored
    order = [index for index in np.argsort(-sureness, kind="stable").tolist() if not np.isnan(sureness[index])]
    right = [index for index in order if targets[index, best[index]]]
    wrong = [index for index in order if not targets[index, best[index]]]
    count = min(len(right), FILM_STRIPS)
    return [right[(2 * number + 1) * len(right) // (2 * count)] for number in range(count)], wrong[:FILM_STRIPS]
