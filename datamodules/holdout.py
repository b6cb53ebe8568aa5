"""Which groups of the training list are held out for validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

import numpy as np

from datamodules.datasets.base import Dataset
from datamodules.errors import DataError
from datamodules.videos import Video, VideoArray, decoded_path, label_sets, select


def hold_out(
    data: Dataset, videos: Sequence[Video], own: Sequence[Video] = ()
) -> tuple[Sequence[Video], Sequence[Video]]:
    """Split a training list into (train, validation) as the data set's settings say. Raises DataError.

    If the data set has validation videos of its `own`, they are the validation, and the training list stays whole.
    """
    if own and (data.validation or data.folds):
        raise DataError(
            f"data.validation={data.validation:g}, data.folds={data.folds}: the data set has {len(own)} validation "
            "videos of its own; set both to 0"
        )
    if not data.folds:
        if data.fold:
            raise DataError(f"data.fold={data.fold}: there are no folds; set data.folds, such as 5, or data.fold=0")
        return (videos, own) if own else hold_out_groups(videos, data.validation)
    if data.validation:
        raise DataError(
            f"data.folds={data.folds} and data.validation={data.validation:g} both hold out groups; set one to 0"
        )
    return hold_out_fold(videos, data.folds, data.fold)


def hold_out_groups(videos: Sequence[Video], share: float) -> tuple[Sequence[Video], Sequence[Video]]:
    """Split a training list into (train, validation) by whole groups, both in the list's order. Raises DataError.

    Every class gives `share` of its groups, rounded, but at least one and never its last. A group of several classes is
    held out only if each of them can spare it. The groups with the smallest hash are held out first,
    so the order of the list does not matter.
    """
    if not 0 <= share < 1:
        raise DataError(f"data.validation={share}: expected a share of at least 0 and below 1")
    if share == 0:
        return _split(videos, np.zeros(len(videos), bool))
    names, group_of, labels = _groups(videos)
    num_groups = Counter(label for own in labels for label in own)
    spare = {label: min(total - 1, max(1, round(share * total))) for label, total in num_groups.items()}
    held_out = np.zeros(len(names), bool)
    for group in _by_hash(names):
        if all(spare[label] > 0 for label in labels[group]):
            held_out[group] = True
            for label in labels[group]:
                spare[label] -= 1
    if not held_out.any():
        raise DataError(
            f"data.validation={share}: none of {len(names)} groups can be held out, because each is the only one of "
            "one of its classes; set data.validation=0 or give finer groups"
        )
    return _split(videos, held_out[group_of])


def hold_out_fold(videos: Sequence[Video], folds: int, fold: int) -> tuple[Sequence[Video], Sequence[Video]]:
    """Split a training list into (train, validation) by whole groups, both in the list's order.

    Every group is in the validation of exactly one fold. The groups of each class are spread evenly over the folds: a
    fold has at most one more than another. Raises DataError if a class would be left with nothing to train on.
    """
    names, group_of, labels = _groups(videos)
    if not 2 <= folds <= len(names):
        raise DataError(f"data.folds={folds}: expected 0, or 2 to {len(names)}, the groups of the training list")
    if not 0 <= fold < folds:
        raise DataError(f"data.fold={fold}: expected 0 to {folds - 1} with data.folds={folds}")
    fold_of = np.empty(len(names), np.int64)
    counts = [Counter[int]() for _ in range(folds)]  # groups of each class in each fold
    sizes = [0] * folds
    for group in _by_hash(names):
        own = labels[group]
        # The fold in which its classes have the fewest groups; of several such folds the smallest.
        chosen = min(range(folds), key=lambda f: (sum([counts[f][label] for label in own]), sizes[f], f))
        fold_of[group] = chosen
        counts[chosen].update(own)
        sizes[chosen] += 1
    for name, own in zip(names, labels, strict=True):
        for label in own:
            if sum(count[label] > 0 for count in counts) == 1:
                raise DataError(
                    f"data.folds={folds}: all groups of a class are in one fold, among them {decoded_path(name)!r}; "
                    "every class needs 2 groups or more, so give finer groups or set data.folds=0"
                )
    return _split(videos, fold_of[group_of] == fold)


def _split(videos: Sequence[Video], held_out: np.ndarray) -> tuple[Sequence[Video], Sequence[Video]]:
    return select(videos, ~held_out), select(videos, held_out)


def _groups(videos: Sequence[Video]) -> tuple[list[bytes], np.ndarray, list[list[int]]]:
    """(names of the groups in the list's order, group number of each video (N,), labels of each group)."""
    array = VideoArray.of(videos)
    numbers: dict[bytes, int] = {}
    group_of = np.fromiter((numbers.setdefault(name, len(numbers)) for name in array.groups.rows()), np.int64)
    sets = label_sets(np.repeat(group_of, np.diff(array.labels.starts)), array.labels.values, len(numbers))
    labels, starts = sets.values.tolist(), sets.starts.tolist()
    return list(numbers), group_of, [labels[start:end] for start, end in pairwise(starts)]


def _by_hash(groups: Sequence[bytes]) -> list[int]:
    """Indices of the groups in an order that does not depend on that of the list."""
    digests = b"".join(sha256(b"0 %s" % group).digest() for group in groups)
    words = np.frombuffer(digests, ">u8").reshape(-1, 4).astype(np.uint64)
    return np.lexsort(words.T[::-1]).tolist()
