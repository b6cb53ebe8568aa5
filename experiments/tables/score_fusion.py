"""Several members' scores -> one: their mean, or an SVM on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.svm import LinearSVC
from torch.nn import functional as F

from vidfusion.votes import Votes


def mean(members: list[Votes]) -> Votes:
    """Mean class probabilities over members whose clips (or videos) are the same ones; NaN where one has no score."""
    return members[0]._replace(scores=torch.stack([votes.scores for votes in members]).mean(0).float())


def alignment(members: list[Votes], names: list[str]) -> tuple[float | None, str]:
    """Largest difference between the centres of the members' clips, in seconds, and why they are not aligned, or "".

    They are if each video has as many clips in every member, and the centres of a clip differ by less than half the
    distance between neighbouring clips. A long clip cannot lie as near to the ends of a video as a short one.
    """
    counts = [np.bincount(votes.video, minlength=len(names)) for votes in members]
    for other in counts[1:]:
        if (other != counts[0]).any():
            video = int(np.argmax(other != counts[0]))
            return None, f"the members have {counts[0][video]} and {other[video]} clips of {names[video]}"
    centers = np.stack([votes.center.double().numpy() for votes in members])  # (members, M)
    if np.isnan(centers).any():
        return None, "a member does not say when its clips are"
    num_clips = counts[0][counts[0] > 0]
    last = num_clips.cumsum() - 1
    # The member whose clips are the least held back by the ends tells the distance.
    spread = (centers[:, last] - centers[:, last - num_clips + 1]).max(0)
    distance = np.where(num_clips > 1, spread / np.maximum(num_clips - 1, 1), np.inf).repeat(num_clips)
    apart = np.ptp(centers, axis=0)
    too_far = (apart > 0) & (apart >= distance / 2)
    if not too_far.any():
        return float(apart.max()), ""
    clip = int(np.argmax(apart * too_far))
    return float(apart.max()), (
        f"the members' clips of {names[members[0].video[clip]]} are {apart[clip]:.2g} s apart, neighbouring ones "
        f"{distance[clip]:.2g} s"
    )


def svm(held_out: list[Votes], members: list[Votes], cost: float) -> tuple[Votes, dict[str, Any]]:
    """Scores of the test videos by an SVM that is fitted on held-out videos, and facts of the fit.

    Both lists have the members in the same order. The features are the members' L2-normalised class probabilities, side
    by side (Simonyan & Zisserman 2014, section 5); a held-out video of several labels is one sample of each. The scores
    are the softmax of the decision values: they rank the classes as these do, but are no probabilities. A class that no
    held-out video has is never chosen. The labels of the test are not looked at.
    """

    def features(votes: list[Votes]) -> np.ndarray:
        return torch.cat([F.normalize(of.videos().scores[:, 0], dim=1) for of in votes], 1).numpy()

    known, target = features(held_out), held_out[0].videos().target.numpy()
    scored = ~np.isnan(known).any(1)
    sample, label = np.nonzero(target[scored])
    classes = np.unique(label)
    if len(classes) < 2:
        raise ValueError(f"the held-out videos have {len(classes)} classes, an SVM needs 2 or more")
    machine = LinearSVC(multi_class="crammer_singer", C=cost, max_iter=100_000, random_state=0)
    machine.fit(known[scored][sample], label)

    asked, videos = features(members), members[0].videos()
    decisions = np.full(videos.target.shape, -np.inf)
    # What cannot be scored is asked as zeros and then set to NaN.
    values = machine.decision_function(np.nan_to_num(asked))
    # Of two classes, it is the second's value less the first's.
    decisions[:, classes] = np.stack([-values / 2, values / 2], 1) if values.ndim == 1 else values
    decisions[np.isnan(asked).any(1)] = np.nan
    scores = torch.from_numpy(decisions).softmax(1)[:, None].float()
    fit = {"videos": int(scored.sum()), "classes": len(classes), "scores": "softmax of decision values"}
    return videos._replace(scores=scores), fit
