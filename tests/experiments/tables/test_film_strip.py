"""Film strips: what is drawn and written; and which of them W&B gets."""

import warnings
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from datamodules.datasets import DATASETS
from datamodules.decode.frames import iter_frames
from datamodules.store.tracks import Track
from experiments.settings.schema import WandbConfig
from experiments.tables.film_strip import (
    COLOURS,
    FRAME_HEIGHT,
    FRAMES_SHOWN,
    draw,
    film_strip,
    middle_frames,
    thumbnail,
)
from experiments.tracking.charts import _right_and_wrong, log_film_strips
from vidfusion.votes import Votes


def arguments(scores, times=None, truth=None, classes=None, title=""):
    scores = np.asarray(scores, float)
    times = np.arange(len(scores)) + 0.5 if times is None else np.asarray(times, float)
    frames = np.full((len(scores), 60, 80, 3), 127, np.uint8)
    return frames, times, scores, classes or [f"class {index}" for index in range(scores.shape[1])], truth, title


def written(figure):
    return list(dict.fromkeys(text.get_text() for text in figure.findobj(Text)))


def test_bands_are_as_high_as_the_probabilities_at_their_time():
    scores = [[0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.7, 0.2, 0.1], [0.6, 0.1, 0.3]]
    picture = np.asarray(film_strip(*arguments(scores)))
    colours = [tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in COLOURS]
    left, right = 60, 520
    for clip, own in enumerate(scores):  # by mean probability: 0.475, 0.275, 0.25
        column = picture[:, int(left + (right - left) * (clip + 0.5) / 4)]
        heights = [(column == colour).all(-1).sum() / 176 for colour in colours[:3]]
        assert np.allclose(heights, own, atol=0.03)


@pytest.mark.parametrize(("clips", "classes"), [(1, 101), (2, 2), (300, 101)])
def test_any_number_of_clips_and_classes_fits(clips, classes):
    scores = np.random.default_rng(clips).dirichlet(np.ones(classes), clips)
    names = ["a class of a long name " * 9] * classes
    picture = np.asarray(film_strip(*arguments(scores, classes=names, title="x" * 400)))
    assert picture.shape[:2] == (440, 1000) and (picture[:, -8:] == 255).all(), "nothing runs over the margin"
    assert any(f"{classes - 5} other classes" in text for text in written(draw(*arguments(scores)))) == (classes > 5)


@pytest.mark.parametrize(("truth", "verdict"), [([0], "RIGHT"), ([1], "WRONG"), ([2, 0], "RIGHT"), (None, None)])
def test_right_and_wrong_are_said(truth, verdict):
    texts = written(draw(*arguments([[0.6, 0.3, 0.1]] * 2, truth=truth, classes=["walk", "run", "jump"])))
    assert {"RIGHT", "WRONG"} & set(texts) == ({verdict} if verdict else set())
    assert any(text.startswith("walk  60.0%") for text in texts), "the answer is named"
    assert any("true: run" in text for text in texts) == (verdict == "WRONG")


def test_a_true_class_that_is_not_among_the_best_is_shown():
    texts = " ".join(written(draw(*arguments([np.linspace(1, 0.1, 20) / 11], truth=[19]))))
    assert "class 19 (true)" in texts and "class 4" not in texts and "15 other classes" in texts


def test_clips_at_one_time_are_one():
    three = arguments([[0.6, 0.4], [0.8, 0.2], [0.9, 0.1]], [1.0, 1.0, 3.0])
    assert [text for text in written(draw(*three)) if text.endswith(" s")] == ["1 s", "3 s"]
    seconds = [text for text in written(draw(*arguments(np.full((24, 2), 0.5)))) if text.endswith(" s")]
    assert len(seconds) == FRAMES_SHOWN and (seconds[0], seconds[-1]) == ("0.5 s", "23.5 s"), "evenly spread"
    assert np.asarray(film_strip(*arguments([[0.2, 0.8]] * 4, times=[0.4] * 4))).any()


def test_names_are_data_and_no_formulas():
    names = ["cost_$5$_and_$x^2", "跳 \U00012345\nnew line"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        film_strip(*arguments([[0.6, 0.4]], classes=names, truth=[1]))
    assert any("跳 \U00012345 new line" in text for text in written(draw(*arguments([[0.6, 0.4]], classes=names))))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A folder with a video of 40 frames at 20 per second, all of different pictures."""
    folder = tmp_path_factory.mktemp("video")
    with av.open(str(folder / "some.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(40):
            picture = np.zeros((48, 64, 3), np.uint8)
            picture[:, : index + 4] = 5 * index + 20
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return folder


@pytest.mark.parametrize(
    ("fps", "centers", "numbers"), [(None, [0.0, 0.45, 0.375, 9.0], [0, 9, 8, 39]), (5.0, [0.2, 1.0], [4, 20])]
)
def test_middle_frames_are_those_at_the_centres(video, fps, centers, numbers):
    found = middle_frames(video, "some.mp4", Track(36, 36, fps=fps), centers)
    frames = list(iter_frames(video / "some.mp4"))
    assert found.shape == (len(centers), FRAME_HEIGHT, 128, 3)
    for own, number in zip(found, numbers, strict=True):
        apart = [np.abs(own.astype(int) - thumbnail(frame)).mean() for frame in frames]
        assert int(np.argmin(apart)) == number and min(apart) == 0


# -- W&B ---------------------------------------------------------------------------------------------------------------


class Logger:
    """In the place of Lightning's: keeps what is logged."""

    def __init__(self):
        self.logged = {}
        self.experiment = SimpleNamespace(log=self.logged.update)


def votes_of(video_scores, targets):
    scores = np.repeat(np.asarray(video_scores, np.float32)[:, None, None], 2, 0)
    return Votes(
        torch.arange(len(video_scores)).repeat_interleave(2),
        torch.tensor([0, 1] * len(video_scores)),
        torch.tensor([0.5, 1.5] * len(video_scores)),
        torch.from_numpy(np.repeat(np.eye(3, dtype=bool)[targets], 2, 0)),
        torch.from_numpy(scores.reshape(-1, 1, 3)),
    )


@pytest.fixture
def tested(video):
    """Data and votes of 10 test videos, of which two cannot be shown: one has no file, one no scores."""
    names = ["some.mp4"] * 8 + ["gone.mp4", "some.mp4"]
    data = SimpleNamespace(
        dataset=SimpleNamespace(MAY_BE_SHOWN=True, folder=lambda: video),
        lists=SimpleNamespace(classes=("walk", "run", "jump"), test=[SimpleNamespace(path=name) for name in names]),
        store=SimpleNamespace(tracks={"rgb": Track(36, 36)}),
    )
    sure = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.95, 0.85, 0.99, np.nan]
    scores = [[p, (1 - p) * 0.6, (1 - p) * 0.4] for p in sure]
    return data, votes_of(scores, [0, 1, 0, 2, 0, 0, 1, 0, 0, 0])


def test_film_strips_show_right_and_wrong_with_captions(tested, capsys, monkeypatch):
    monkeypatch.setattr("experiments.tables.film_strip.film_strip", lambda *_: Image.new("RGB", (8, 8)))
    logger = Logger()
    log_film_strips(logger, WandbConfig(), *tested)
    captions = {name: [image._caption for image in images] for name, images in logger.logged.items()}
    assert captions == {
        "samples/right": [
            "walk / walk, 90%",
            "walk / walk, 85%",
            "walk / walk, 70%",
            "walk / walk, 50%",
            "walk / walk, 40%",
        ],
        "samples/wrong": ["run / walk, 95%", "run / walk, 80%", "jump / walk, 60%"],
    }
    assert "gone.mp4" in capsys.readouterr().out


def test_film_strips_that_wandb_does_not_take_cost_one_line(tested, capsys, monkeypatch):
    def refuse(*_):
        raise ValueError("no room")

    monkeypatch.setattr("experiments.tracking.charts._film_strips", refuse)
    log_film_strips(Logger(), WandbConfig(), *tested)
    assert "W&B: the film strips failed (no room); the results here are whole\n" in capsys.readouterr().out


def test_wrong_ones_are_the_surest_and_right_ones_are_spread():
    sure = np.linspace(0.4, 0.97, 100)
    scores = np.stack([sure, (1 - sure) * 0.6, (1 - sure) * 0.4], axis=1)
    targets = np.eye(3, dtype=bool)[np.arange(100) % 2]
    right, wrong = _right_and_wrong(scores, targets)
    assert wrong == [99, 97, 95, 93, 91, 89]
    assert len(right) == 6 and all(index % 2 == 0 for index in right) and right == sorted(right, reverse=True)
    assert np.ptp(np.diff(right)) <= 2, "evenly"


@pytest.mark.parametrize(
    ("strips", "private", "may_be_shown", "shown"),
    [
        ("auto", False, True, True), ("auto", False, False, False), ("always", False, False, True),
        ("never", False, True, False), ("always", True, True, False), ("auto", True, True, False),
    ],
)  # fmt: skip
def test_film_strips_are_sent_where_they_may_be(tested, monkeypatch, strips, private, may_be_shown, shown):
    monkeypatch.setattr("experiments.tracking.charts._film_strips", lambda *_: {"samples/right": []})
    data, votes = tested
    data.dataset.MAY_BE_SHOWN = may_be_shown
    logger = Logger()
    log_film_strips(logger, WandbConfig(film_strips=strips, private=private), data, votes)
    assert bool(logger.logged) == shown
    log_film_strips(None, WandbConfig(film_strips=strips), data, votes)


def test_only_generated_videos_may_be_shown():
    assert {name for name, dataset in DATASETS.items() if dataset.MAY_BE_SHOWN} == {"moving_shapes"}
