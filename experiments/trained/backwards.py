"""Do trained networks see the direction of time? Plays the `motion` test videos of moving_shapes backwards.

    python experiments/reversal.py [results=DIR]

A video of `left` played backwards is one of `right`, and so on. Every finished run of moving_shapes in the results
folder is scored on the videos as they are, and on lossless copies with their frames in the opposite order, whose flow
is computed anew, over the same clips: with the label of the reversed motion, and with the video's own.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch
from omegaconf import OmegaConf

from datamodules.clips import clip_span
from datamodules.datamodule import VideoDataModule
from datamodules.datasets.moving_shapes import MovingShapes
from datamodules.loading import TestViews
from datamodules.processes import available_cores
from datamodules.store.building import build_store
from datamodules.store.shards import StoredVideo
from datamodules.videos import Video
from experiments.records.files import read_record
from experiments.settings.compose import compose
from experiments.settings.schema import RunConfig
from experiments.training.build import make_data, make_model
from vidfusion.classifier import VideoClassifier
from vidfusion.metrics import HitAtK
from vidfusion.votes import ViewVotes, Votes

OPPOSITE = {
    "MotionLeft": "MotionRight",
    "MotionUp": "MotionDown",
    "MotionClockwise": "MotionCounterClockwise",
}
OPPOSITE |= {second: first for first, second in OPPOSITE.items()}


def reverse_video(source: Path, target: Path) -> None:
    """Write the frames of a video in the opposite order, without loss."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        frames, rate = list(container.decode(stream)), stream.average_rate
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"qp": "0", "preset": "ultrafast", "g": "1"})
        stream.height, stream.width, stream.pix_fmt = frames[0].height, frames[0].width, frames[0].format.name
        for index, frame in enumerate(reversed(frames)):
            frame.pts, frame.time_base = index, 1 / rate
            frame.pict_type = av.video.frame.PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def reversed_views(data: VideoDataModule, videos: list[Video]) -> TestViews:
    """The same test clips of the same videos, played backwards; labels are the videos' own."""
    source = data.dataset.folder()
    folder = source.with_name(f"{source.name}-reversed")
    for video in videos:
        target = folder / video.path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".partial-{target.name}")
            reverse_video(source / video.path, partial)
            partial.replace(target)
    store = build_store(
        folder,
        [video.path for video in videos],
        Path(data.dataset.stores),
        folder.name,
        data.tracks,
        workers=available_cores(),
        max_store=data.dataset.max_store,
    )
    return _MirroredViews(videos, store, data.spec, data.num_classes, data.dataset.mirror)


class _MirroredViews(TestViews):
    """The frames of a video's clips where they are when it is played backwards."""

    def starts(self, stored: StoredVideo, rng: np.random.Generator | None) -> np.ndarray:
        return stored.frames - clip_span(self.spec, stored.frames, stored.fps) - super().starts(stored, rng)


@torch.no_grad()
def video_scores(model: VideoClassifier, data: VideoDataModule, views: TestViews) -> Votes:
    """Scores of every video of `views`, all rows."""
    votes = ViewVotes()
    for batch in data.view_loader(views):
        scores = model.probabilities(model(**model.inputs(batch)))
        votes.add(Votes(batch["video"], batch["clip"], batch["center"], batch["target"], scores))
    return votes.clips().videos()


def hit1(votes: Votes, row: int, labels: list[int]) -> float:
    """Video Hit@1 of a row against these labels."""
    target = torch.nn.functional.one_hot(torch.tensor(labels), votes.scores.shape[-1]).bool()
    metric = HitAtK(1)
    metric.update(votes.scores[:, row], target)
    return float(metric.compute())


def main(arguments: list[str]) -> None:
    """Print one line per row of every finished run."""
    results = Path(OmegaConf.from_dotlist(arguments).get("results", "results"))
    print(f"{'run':45} {'row':22} forward  reversed  reversed   largest change")
    print(f"{'':45} {'':22} video    opposite  own label  of a score")
    for folder in sorted((results / "runs").iterdir()):
        record = read_record(folder)
        if (
            record is None
            or record.kind != "run"
            or record.dataset != "moving_shapes"
            or "motion" not in record.families
        ):
            continue
        run: RunConfig = compose(shlex.split(record.command)[2:])
        run = replace(run, results=str(results))
        assert isinstance(run.data, MovingShapes)
        data = make_data(run)
        data.prepare_data()
        data.setup()
        model = make_model(run, data.lists.classes).eval()
        model.load_state_dict(torch.load(folder / "last.ckpt", weights_only=True, map_location="cpu")["state_dict"])
        classes = data.lists.classes
        videos = [video for video in data.lists.test if classes[video.labels[0]] in OPPOSITE]
        forward = video_scores(
            model, data, TestViews(videos, data.store, data.spec, data.num_classes, data.dataset.mirror)
        )
        backward = video_scores(model, data, reversed_views(data, videos))
        own = [video.labels[0] for video in videos]
        opposite = [classes.index(OPPOSITE[classes[label]]) for label in own]
        for index, stream in enumerate(model.rows):
            row = f"{run.strategy}_{stream}" if stream else run.strategy
            change = (forward.scores[:, index] - backward.scores[:, index]).abs().max()
            print(
                f"{record['id']:45} {row:22} {hit1(forward, index, own):7.1%}  {hit1(backward, index, opposite):8.1%}  "
                f"{hit1(backward, index, own):9.1%}  {change:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
