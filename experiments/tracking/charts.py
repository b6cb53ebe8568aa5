"""What of a run W&B shows: numbers, a table per class, confusion, film strips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.settings.schema import WandbConfig
from experiments.tracking.mirror import is_private, only_a_mirror

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

    from datamodules.datamodule import VideoDataModule
    from experiments.records.record import Record, RunRow
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
    """Write a finished run's numbers into its W&B summary, on rank 0.

    The record's last row has the plain keys (`test/clip_hit1`), earlier ones are prefixed by their names; what
    validation chose (`best`, `val/video_hit1` -> value) is `best/val_video_hit1`. With `video_scores` (videos, C) and
    bool `targets` (videos, C), both of the last row, a table per class, the most confused pairs and the confusion
    matrix follow, unless the run is private.
    """
    if logger is None:
        return
    with only_a_mirror(f"the summary or tables of {record.id}"):
        run = logger.experiment
        *others, last = record.rows
        numbers = _speed(record) | _row_numbers(last)
        for row in others:
            numbers |= {f"{row.name}/{key}": value for key, value in _row_numbers(row).items()}
        numbers |= {f"best/{key.replace('/', '_')}": value for key, value in (best or {}).items()}
        numbers = {key: value for key, value in numbers.items() if value is not None}
        run.summary.update(numbers | {"record": record.id})
        if video_scores is not None and not is_private(run):
            assert targets is not None and video_scores.shape == targets.shape == (len(targets), len(classes))
            image, tables = _per_class(classes, video_scores, targets)
            run.log(image)
            run.log(tables)  # last: where the network is gone, W&B waits for it here, and then gives up


def _speed(record: Record) -> dict[str, float | None]:
    seconds, last = record.seconds, record.rows[-1]
    numbers = {f"speed/{name}_seconds": value for name, value in seconds.items()}
    tested = (last.clips_per_video or 0) * record.videos.expected
    numbers["speed/test_clips_per_second"] = tested / seconds["test"]
    numbers["speed/train_macs_per_second"] = last.macs_training / seconds["train"] if seconds["train"] else None
    return numbers | {"speed/memory_mb": record.memory_mb}


def _row_numbers(row: RunRow) -> dict[str, float | int | None]:
    return {
        **row.metrics,
        **{f"test/family/{family}_video_hit1": part.video_hit1 for family, part in row.families.items()},
        "model/parameters": row.parameters,
        "model/macs_per_clip": row.macs_per_clip,
        "model/macs_training": row.macs_training,
        "model/frames_per_video": row.frames_per_video,
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
    """Which right and which wrong videos are shown, of scores and bool targets, both (videos, C)."""
    best = np.nan_to_num(scores).argmax(axis=1)
    sureness = scores[np.arange(len(scores)), best]  # NaN where the video could not be scored
    order = [index for index in np.argsort(-sureness, kind="stable").tolist() if not np.isnan(sureness[index])]
    right = [index for index in order if targets[index, best[index]]]
    wrong = [index for index in order if not targets[index, best[index]]]
    count = min(len(right), FILM_STRIPS)
    return [right[(2 * number + 1) * len(right) // (2 * count)] for number in range(count)], wrong[:FILM_STRIPS]
