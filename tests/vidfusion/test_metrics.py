import math

import pytest
import torch

from vidfusion.metrics import HitAtK, PerClassHits, hits_at_k
from vidfusion.votes import ViewVotes, Votes


def slow_hit(scores: list[float], labels: list[bool], k: int) -> bool:
    """Hit@k of one sample as its definition reads; a lower class index wins a tie."""
    if any(math.isnan(score) for score in scores):
        return False
    ranking = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    return any(labels[index] for index in ranking[:k])


def samples(count: int, classes: int, labels: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores in steps of a quarter, so that ties abound, some of them NaN; targets of 1 to `labels` labels."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 5, (count, classes), generator=generator) / 4
    scores[torch.rand(count, generator=generator) < 0.2] = torch.nan
    target = torch.zeros(count, classes, dtype=torch.bool)
    for row in target:
        size = int(torch.randint(1, labels + 1, (), generator=generator))
        row[torch.randperm(classes, generator=generator)[:size]] = True
    return scores, target


@pytest.mark.parametrize(("k", "labels"), [(1, 1), (5, 3)])
def test_hit_at_k_is_the_slow_count(k, labels):
    scores, target = samples(60, 8, labels, seed=k)
    expected = [slow_hit(row, true, k) for row, true in zip(scores.tolist(), target.tolist(), strict=True)]
    assert hits_at_k(scores, target, k).tolist() == expected
    scored = int((~scores.isnan().any(1)).sum())
    assert 0 < sum(expected) < scored < 60
    for only, total in ((False, 60), (True, scored)):
        metric = HitAtK(k, scored_only=only)
        for part in range(0, 60, 7):
            metric.update(scores[part : part + 7], target[part : part + 7])
        assert (int(metric.hits), int(metric.total)) == (sum(expected), total)
        assert metric.compute() == pytest.approx(sum(expected) / total)
        metric.reset()
        metric.update(scores[:1], target[:1])
        assert int(metric.hits) == expected[0]


@pytest.mark.parametrize("classes", [4, 5])
def test_hit_at_k_says_nothing_where_every_guess_hits(classes):
    metric = HitAtK(5)
    metric.update(torch.full((3, classes), 1 / classes), torch.eye(classes, dtype=torch.bool)[:3])
    assert metric.compute().isnan()
    metric = HitAtK(5)
    metric.update(torch.rand(3, 6), torch.eye(6, dtype=torch.bool)[:3])
    assert not metric.compute().isnan()


def test_per_class_hits_are_the_slow_count():
    scores, target = samples(40, 6, 3, seed=7)
    target[:, 5] = False  # a class without samples
    scores, target = scores[target.any(1)], target[target.any(1)]
    metric = PerClassHits(6)
    for part in range(0, len(scores), 9):
        metric.update(scores[part : part + 9], target[part : part + 9])
    rows = list(zip(scores.tolist(), target.tolist(), strict=True))
    found = metric.compute()
    for index in range(5):
        hits = [slow_hit(row, true, 1) for row, true in rows if true[index]]
        assert found[index] == pytest.approx(sum(hits) / len(hits))
    assert found[5].isnan()


def some_views(rows: int = 2, classes: int = 4) -> Votes:
    """Views of four videos with 1 to 3 clips of 1 to 4 crops each; video 2 cannot be decoded."""
    crops = {(0, 0): 3, (0, 1): 1, (1, 0): 2, (2, 0): 1, (2, 1): 1, (3, 0): 4, (3, 1): 2, (3, 2): 1}
    keys = [key for key, count in crops.items() for _ in range(count)]
    video, clip = torch.tensor(keys).T
    scores = torch.rand(len(keys), rows, classes, generator=torch.Generator().manual_seed(3)).softmax(-1)
    scores[video == 2] = torch.nan
    return Votes(video, clip, video * 10.0 + clip, torch.eye(classes, dtype=torch.bool)[video], scores)


def voted(views: Votes, chunk: int) -> Votes:
    votes = ViewVotes()
    for start in range(0, len(views.video), chunk):
        votes.add(Votes(*(field[start : start + chunk] for field in views)))
    return votes.clips()


def test_votes_are_the_slow_means():
    views = some_views()
    clips = voted(views, len(views.video))
    keys = list(zip(views.video.tolist(), views.clip.tolist(), strict=True))
    order = sorted(set(keys))
    assert list(zip(clips.video.tolist(), clips.clip.tolist(), strict=True)) == order
    assert clips.center.tolist() == [video * 10 + clip for video, clip in order]
    assert clips.target.int().argmax(1).tolist() == [video for video, _ in order]
    crops = {key: [views.scores[i].tolist() for i, other in enumerate(keys) if other == key] for key in order}

    def mean(parts: list[list[list[float]]]) -> list[list[float]]:
        return [[math.fsum(part[row][index] for part in parts) / len(parts) for index in range(4)] for row in range(2)]

    clip_means = {key: mean(parts) for key, parts in crops.items()}
    torch.testing.assert_close(clips.scores, torch.tensor(list(clip_means.values())), equal_nan=True)
    videos = clips.videos()
    assert videos.video.tolist() == [0, 1, 2, 3]
    video_means = [mean([clip_means[key] for key in order if key[0] == video]) for video in range(4)]
    torch.testing.assert_close(videos.scores, torch.tensor(video_means), equal_nan=True)
    assert videos.scores.isnan().all((1, 2)).tolist() == [False, False, True, False]
    # Each clip weighs the same, however many crops it has: not the mean over all views.
    assert not torch.allclose(videos.scores[0], views.scores[views.video == 0].mean(0), atol=1e-3)


def test_votes_do_not_depend_on_how_views_are_cut_into_batches():
    views = some_views()
    whole = voted(views, len(views.video))
    for chunk in range(1, len(views.video)):
        part = voted(views, chunk)
        for name in ("video", "clip", "center", "target"):
            assert torch.equal(getattr(part, name), getattr(whole, name)), (chunk, name)
        torch.testing.assert_close(part.scores, whole.scores, atol=1e-6, rtol=0, equal_nan=True)
