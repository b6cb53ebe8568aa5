"""What W&B shows of a finished run: numbers, a table of the classes, confusion, film strips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.settings.schema import WandbConfig
from experiments.tracking.mirror import is_private, only_a_mirror

if TYPE_CHECKING:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    from datamodules.datamodule import VideoDataModule
    from experiments.records.record import Record
    from vidfusion.votes import Votes

CONFUSED_PAIRS = 20
FILM_STRIPS = 6  # of right videos, and of wrong ones


def log_record(
    logger: WandbLogger | None,
    record: Record,
    classes: Sequence[str] = (),
    video_scores: np.ndarray | None = None,
    targets: np.ndarray | None = None,
    best: dict[str, float] | None = None,
) -> None:
    """Write a finished run's numbers into its W&B summary, and log those of its test.

    The record's last row has the plain keys (`test/clip_hit1`). Keys of earlier rows begin with the row's name. `best`
    holds what validation chose: its `val/video_hit1` is shown as `best/val_video_hit1`.

    `video_scores` (videos, C) and bool `targets` (videos, C) are those of the last row. Given these, a table of the
    classes, the most confused pairs and the confusion matrix follow, unless the run is private.
    """
    if logger is None:
        return
    with only_a_mirror(f"the summary or tables of {record.id}"):
        run = logger.experiment
        numbers = _numbers(record) | {f"best/{key.replace('/', '_')}": value for key, value in (best or {}).items()}
        if is_private(run):  # the id may hold the name of the data set's folder
            del numbers["record"]
        numbers = {key: value for key, value in numbers.items() if value is not None}
        run.log({key: value for key, value in numbers.items() if key.startswith("test/")})  # W&B draws what is logged
        run.summary.update(numbers)
        if video_scores is None or targets is None or is_private(run):
            return
        confusion = confusion_matrix(video_scores, targets)
        tables = {"per_class/table": _class_table(classes, video_scores, targets)}
        tables["confusion/pairs"] = _confused_pairs(classes, confusion)
        run.log({"confusion/matrix": _confusion_image(confusion, targets.sum(axis=0))})
        run.log(tables)  # last: where the network is gone, W&B waits for it here, and then gives up


def _numbers(record: Record) -> dict[str, float | int | str | None]:
    """A record's numbers by the keys that W&B shows."""
    seconds, rows = record.seconds, record.rows
    tested = (rows[-1].clips_per_video or 0) * record.videos.expected
    numbers: dict[str, float | int | str | None] = {"record": record.id, "speed/memory_mb": record.memory_mb}
    numbers |= {f"speed/{name}_seconds": value for name, value in seconds.items()}
    numbers["speed/test_clips_per_second"] = tested / seconds["test"]
    if seconds["train"]:
        numbers["speed/train_macs_per_second"] = rows[-1].macs_training / seconds["train"]
    for row in rows:
        prefix = "" if row is rows[-1] else f"{row.name}/"
        numbers |= {f"{prefix}{name}": value for name, value in row.metrics.items()}
        for family, part in row.families.items():
            numbers[f"{prefix}test/family/{family}_video_hit1"] = part.video_hit1
            numbers[f"{prefix}test/family/{family}_within_hit1"] = part.within_hit1
        for name in ("parameters", "macs_per_clip", "macs_training", "frames_per_video"):
            numbers[f"{prefix}model/{name}"] = getattr(row, name)
    return numbers


def confusion_matrix(video_scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Count (true class, predicted class), shape (C, C), of scores and bool targets, both (videos, C).

    A right prediction counts once, on the diagonal. A wrong one counts in the row of each of the video's labels.
    A video without scores (NaN) does not count.
    """
    scored = ~np.isnan(video_scores).any(axis=1)
    video_scores, targets = video_scores[scored], targets[scored]
    predicted = np.eye(targets.shape[1], dtype=np.int64)[video_scores.argmax(axis=1)]
    right = (predicted * targets).any(axis=1)
    return predicted[right].T @ predicted[right] + targets[~right].T.astype(np.int64) @ predicted[~right]


def _class_table(classes: Sequence[str], video_scores: np.ndarray, targets: np.ndarray) -> wandb.Table:
    """Videos of each class, and the share of them that is predicted right."""
    import wandb

    scored = ~np.isnan(video_scores).any(axis=1)
    right = targets[np.arange(len(targets)), video_scores.argmax(axis=1)] & scored
    rows = [
        [name, int(has_class.sum()), float(right[has_class].mean()) if has_class.any() else None]
        for name, has_class in zip(classes, targets.T, strict=True)
    ]
    return wandb.Table(columns=["class", "videos", "video_hit1"], data=rows)


def _confused_pairs(classes: Sequence[str], confusion: np.ndarray) -> wandb.Table:
    """The pairs of a true and another, predicted class that occur most often."""
    import wandb

    wrong = confusion * ~np.eye(len(classes), dtype=bool)
    most = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSED_PAIRS]
    pairs = [(true, guess) for true, guess in zip(*np.unravel_index(most, wrong.shape), strict=True)]
    rows = [[classes[true], classes[guess], int(wrong[true, guess])] for true, guess in pairs if wrong[true, guess]]
    return wandb.Table(columns=["true", "predicted", "videos"], data=rows)


def _confusion_image(confusion: np.ndarray, videos: np.ndarray) -> wandb.Image:
    """The matrix as an image: W&B's own chart is cut at 10,000 cells, and UCF101 has 10,201. `videos` (C,) counts."""
    import wandb

    shade = 255 - np.round(255 * confusion / np.maximum(videos, 1)[:, None]).astype(np.uint8)
    magnify = max(1, 512 // len(confusion))
    cells = np.kron(shade, np.ones((magnify, magnify), dtype=np.uint8))
    return wandb.Image(cells, caption="rows: true class, columns: predicted")


def log_film_strips(
    logger: WandbLogger | None, settings: WandbConfig, data: VideoDataModule, votes: Votes | None
) -> None:
    """Log film strips of up to 6 right and 6 wrong test videos, `samples/right` and `samples/wrong`.

    Nothing is logged where `settings` or the data set's terms forbid it. `votes` are the scores of all test clips. The
    last row's count. The wrong videos are those with the surest wrong answers. The right ones are spread evenly from
    the surest to the least sure, so that they do not look better than they are.
    """
    shown = settings.film_strips == "always" or (settings.film_strips == "auto" and data.dataset.MAY_BE_SHOWN)
    if logger is None or settings.private or not shown:
        return
    assert votes is not None, "the run was not tested"
    with only_a_mirror("the film strips"):
        if strips := _film_strips(data, votes):
            logger.experiment.log(strips)


def _film_strips(data: VideoDataModule, votes: Votes) -> dict[str, Any]:
    import wandb

    from datamodules.errors import DataError
    from experiments.tables.film_strip import film_strip, middle_frames

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
    """Indices of the right and of the wrong videos to show, from scores and bool targets, both (videos, C)."""
    best = np.nan_to_num(scores).argmax(axis=1)
    sureness = scores[np.arange(len(scores)), best]  # NaN where the video could not be scored
    order = [index for index in np.argsort(-sureness, kind="stable").tolist() if not np.isnan(sureness[index])]
    right = [index for index in order if targets[index, best[index]]]
    wrong = [index for index in order if not targets[index, best[index]]]
    count = min(len(right), FILM_STRIPS)
    return [right[(2 * number + 1) * len(right) // (2 * count)] for number in range(count)], wrong[:FILM_STRIPS]
