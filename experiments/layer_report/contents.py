"""All that there is to say of a network's layers, as plain data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from datamodules.clip_spec import snippet

# Other imports are inside the functions, so that --help does not pay for them.
if TYPE_CHECKING:
    from experiments.settings.schema import RunConfig
    from vidfusion.classifier import VideoClassifier
    from vidfusion.layer_table import Layer


@dataclass
class Own:
    """This command's own settings; `num_classes` is the data set's where it is not given."""

    num_classes: Optional[int] = None  # noqa: UP045 - OmegaConf resolves this at run time on Python 3.10 too
    video_fps: float = 25.0
    video_frames: int = 180

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name}={value}: expected a number above 0")


def layers_of(run: RunConfig, own: Own) -> dict[str, Any]:
    """Everything that there is to say, as plain data."""
    import numpy as np
    import torch

    from datamodules.clips import test_starts
    from datamodules.transforms import view_windows
    from vidfusion.layer_table import layer_table

    with torch.device("meta"):
        model = run.strategy_class(run.model, run.clip_shape(), own.num_classes, run.training)
    spec, random = run.sampling, np.random.default_rng(0)
    clips = len(test_starts(spec, own.video_frames, own.video_fps, random))
    views = len(view_windows(spec.test_views, *spec.resize, spec.crop, run.data.mirror, random))
    rows = [_row(run, own, layer) for layer in layer_table(model)]
    return {
        "strategy": run.strategy,
        "dataset": run.dataset,
        "size": run.model.size,
        "num_classes": own.num_classes,
        "sampling": dataclasses.asdict(spec),
        "video_fps": own.video_fps,
        "video_frames": own.video_frames,
        "clips_per_video": clips,
        "views_per_clip": views,
        "mirror": run.data.mirror,
        "layers": rows,
        "networks": _networks(run, model, rows, clips * views),
    }


def _row(run: RunConfig, own: Own, layer: Layer) -> dict[str, Any]:
    """A layer, with what it sees in frames and seconds."""
    sizes = {"rgb": run.sampling.frames, "flow": run.sampling.flow_frames + 1}
    fields = {"seconds": layer.receptive_field[0], "seconds_clipped": layer.clipped[0]}
    return {
        **layer._asdict(),
        "frames_in_clip": max((sizes[modality] for modality in layer.modalities), default=0),
        **{name: _seconds(run, frames, "flow" in layer.modalities, own) for name, frames in fields.items()},
    }


def _networks(run: RunConfig, model: VideoClassifier, rows: list[dict[str, Any]], passes: int) -> list[dict[str, Any]]:
    """Size, cost and first sight of time of each stream and of all together; `passes` of each test video."""
    from experiments.records.make import row_names

    networks = []
    for stream, name in zip(model.rows, row_names(run, model), strict=True):
        own = [row for row in rows if not stream or row["name"].startswith(f"{stream}.")]
        part: VideoClassifier = getattr(model, stream) if stream else model
        macs = sum(row["multiply_adds"] for row in own)
        seeing = [row for row in own if row["clipped"][0] > 1]
        whole = [row for row in seeing if row["clipped"][0] >= row["frames_in_clip"]]
        networks.append(
            {
                "name": name,
                "parameters": sum(parameter.numel() for parameter in part.parameters()),
                "multiply_adds_per_clip": macs,
                "multiply_adds_per_video": macs * passes,
                "sees_time_from": seeing[0]["name"] if seeing else None,
                "sees_whole_clip_from": whole[0]["name"] if whole else None,
            }
        )
    return networks


def _seconds(run: RunConfig, frames: int, flow: bool, own: Own) -> float:
    """How long so many neighbouring frames of a clip are on the screen, from the first one's start to the last's end.

    With `sampling.fps` the video is one of that rate, so that 16 frames at 5 per second are 3.2 s. Otherwise frames are
    picked out of the video and each lasts as long as it does there; a flow field lasts two of the video's frames.
    """
    spec = run.sampling
    if not frames:
        return 0.0
    snippets, part = snippet(spec)
    apart = 1 / spec.fps if spec.fps else spec.stride / own.video_fps
    last = 2 / own.video_fps if flow else 1 / spec.fps if spec.fps else 1 / own.video_fps
    count, own_count = (frames - 1, part.flow_frames) if flow else (frames, part.frames)  # of fields, or of frames
    segments = -(-count // own_count) - 1  # so many that are seen whole, and some of the last one
    return segments * own.video_frames / snippets / own.video_fps + (min(count, own_count) - 1) * apart + last
