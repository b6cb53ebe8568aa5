"""The layers of a network as the lecture tabulates them, and where along them time comes into view.

python experiments/layers.py strategy=c3d model.size=published [key=value ...] [--json | --markdown]
python experiments/layers.py strategy=c3d --clip                how many bytes videos and this clip are

Settings are those of a run (experiments/run.py); neither data nor weights are needed. This command's own:

num_classes=101      classes to tell apart (HMDB51's 51 with dataset=hmdb51)
video_fps=25         frames per second of a video, for receptive fields in seconds
video_frames=180     frames of a test video, for the clips taken from it (180: the mean of UCF101)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from experiments.tables.text import aligned

# Other imports are inside the functions, so that --help does not pay for them.
if TYPE_CHECKING:
    from experiments.settings.schema import RunConfig
    from vidfusion.classifier import VideoClassifier
    from vidfusion.layer_table import Layer

NUM_CLASSES = {"hmdb51": 51}  # elsewhere UCF101's
BAR = 16  # characters for the share of the clip's frames that a layer sees
TEXT = ("layer", "kind", "frames seen", "network", "what")  # columns that are not numbers

Part = str | tuple[list[str], list[list[str]]]  # of a printed answer: a paragraph, or a grid's columns and rows


def main(arguments: list[str]) -> int:
    """Print the table; returns 0, or 1 after one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="layers.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, numbers unrounded")
    form.add_argument("--markdown", action="store_true", help="as Markdown")
    parser.add_argument("--clip", action="store_true", help="only the bytes of videos and of the clip")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings, such as model.size=published")
    options = parser.parse_intermixed_args(arguments)
    try:
        run, own = _compose(options.settings)
        content = _bytes(run) if options.clip else _layers(run, **own)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        text = json.dumps(content, indent=1)
    else:
        parts = _bytes_as_text(content) if options.clip else _layers_as_text(content)
        text = "\n\n".join(_shown(part, options.markdown) for part in parts)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


@dataclass
class Own:
    """This command's own settings; `num_classes` is the data set's where it is not given."""

    num_classes: Optional[int] = None  # noqa: UP045 - OmegaConf resolves this at run time on Python 3.10 too
    video_fps: float = 25.0
    video_frames: int = 180

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}={value}: expected a number above 0")


def _compose(settings: list[str]) -> tuple[RunConfig, dict[str, Any]]:
    """The run that the words describe, and the values of this command's own words."""
    from experiments.settings.compose import compose
    from experiments.settings.words import take_words

    own, others = take_words(Own(), settings)
    run = compose(others)
    own.num_classes = own.num_classes or NUM_CLASSES.get(run.dataset, 101)
    return run, vars(own)


# -- the layers --------------------------------------------------------------------------------------------------------


def _layers(run: RunConfig, num_classes: int, video_fps: float, video_frames: int) -> dict[str, Any]:
    """Everything that there is to say, as plain data."""
    import numpy as np
    import torch

    from datamodules.clips import test_starts
    from datamodules.transforms import view_windows
    from experiments.records.make import row_names
    from vidfusion.layer_table import layer_table

    with torch.device("meta"):
        model = run.strategy_class(run.model, run.clip_shape(), num_classes, run.training)
    layers = layer_table(model)
    spec, random = run.sampling, np.random.default_rng(0)
    clips = len(test_starts(spec, video_frames, video_fps, random))
    views = len(view_windows(spec.test_views, *spec.resize, spec.crop, run.data.mirror, random))

    def seconds(frames: int, layer: Layer) -> float:
        return _seconds(run, frames, "flow" in layer.modalities, video_fps, video_frames)

    def in_clip(layer: Layer) -> int:
        sizes = {"rgb": spec.frames, "flow": spec.flow_frames + 1}
        return max((sizes[modality] for modality in layer.modalities), default=0)

    rows = []
    for layer in layers:
        row = layer._asdict()
        row["frames_in_clip"] = in_clip(layer)
        row["seconds"] = seconds(layer.receptive_field[0], layer)
        row["seconds_clipped"] = seconds(layer.clipped[0], layer)
        rows.append(row)

    networks = []
    for stream, name in zip(model.rows, row_names(run, model), strict=True):
        own = [row for row in rows if not stream or row["name"].startswith(f"{stream}.")]
        part: VideoClassifier = getattr(model, stream) if stream else model
        macs = sum(row["multiply_adds"] for row in own)
        networks.append(
            {
                "name": name,
                "parameters": sum(parameter.numel() for parameter in part.parameters()),
                "multiply_adds_per_clip": macs,
                "multiply_adds_per_video": macs * clips * views,
                "sees_time_from": next((row["name"] for row in own if row["clipped"][0] > 1), None),
                "sees_whole_clip_from": next(
                    (row["name"] for row in own if 1 < row["frames_in_clip"] <= row["clipped"][0]), None
                ),
            }
        )
    return {
        "strategy": run.strategy,
        "dataset": run.dataset,
        "size": run.model.size,
        "num_classes": num_classes,
        "sampling": dataclasses.asdict(spec),
        "video_fps": video_fps,
        "video_frames": video_frames,
        "clips_per_video": clips,
        "views_per_clip": views,
        "mirror": run.data.mirror,
        "layers": rows,
        "networks": networks,
    }


def _seconds(run: RunConfig, frames: int, flow: bool, video_fps: float, video_frames: int) -> float:
    """How long so many neighbouring frames of a clip are on the screen, from the first one's start to the last's end.

    With `sampling.fps` the video is one of that rate, so that 16 frames at 5 per second are 3.2 s. Otherwise frames are
    picked out of the video and each lasts as long as it does there; a flow field lasts two of the video's frames.
    """
    spec = run.sampling
    if not frames:
        return 0.0
    if spec.span == "video":
        apart = video_frames / max(spec.frames, spec.flow_frames) / video_fps
    else:
        apart = 1 / spec.fps if spec.fps else spec.stride / video_fps
    last = 1 / spec.fps if spec.fps and spec.span == "fixed" else 1 / video_fps
    return (frames - 2) * apart + 2 / video_fps if flow else (frames - 1) * apart + last


def _layers_as_text(content: dict[str, Any]) -> list[Part]:
    spec, layers, networks = content["sampling"], content["layers"], content["networks"]
    inputs = [_count(spec["frames"], "RGB frame")] if spec["frames"] else []
    inputs += [_count(spec["flow_frames"], "flow field")] if spec["flow_frames"] else []
    rate = f"a video of {content['video_fps']:g} frames per second (video_fps=)"
    if spec["span"] == "video":
        timing = f"spread over all {content['video_frames']} frames (video_frames=) of {rate}"
    elif spec["fps"]:
        timing = f"{spec['fps']:g} per second (sampling.fps)"
    else:
        timing = f"{_count(spec['stride'], 'frame')} apart (sampling.stride) in {rate}"
    heading = [
        f"{content['strategy']}, model.size={content['size']}, {content['num_classes']} classes (num_classes=)",
        f"One clip: {' and '.join(inputs)} of {spec['crop']}x{spec['crop']} pixels, {timing}.",
        "Output: CxTxHxW. Kernel, stride, receptive field: TxHxW, in frames and pixels of the clip; a flow field sees "
        "two frames.",
        "Where a receptive field reaches over the clip's edges, `in the clip` is the rest. Seconds and frames seen: in "
        "the clip.",
    ]
    parts = networks[:-1] or networks  # of streams, each by itself
    begins = {network["sees_time_from"] for network in parts}
    grid = []
    for layer in layers:
        seen, clipped, frames = layer["receptive_field"], layer["clipped"], layer["frames_in_clip"]
        filled = -(-clipped[0] * min(BAR, frames) // frames) if frames else 0
        bar = "#" * filled + "." * (min(BAR, frames) - filled)
        seen_frames = f"{bar} {clipped[0]:{len(str(frames))}} of {frames}{'  <- time' * (layer['name'] in begins)}"
        grid.append(
            [
                layer["name"],
                layer["kind"],
                _size(layer["kernel"]),
                _size(layer["stride"]),
                _size(layer["output"]),
                _size(seen),
                _size(clipped) if clipped != seen else "",
                f"{layer['seconds_clipped']:.2f}" if frames else "",
                seen_frames if frames else "",
                f"{layer['parameters']:,}" if layer["parameters"] else "",
                f"{layer['multiply_adds']:,}" if layer["multiply_adds"] else "",
            ]
        )
    columns = ["layer", "kind", "kernel", "stride", "output", "receptive field", "in the clip", "seconds"]
    columns += ["frames seen", "parameters", "multiply-adds"]
    clips, views = content["clips_per_video"], content["views_per_clip"]
    mirrored = "" if content["mirror"] or spec["test_views"] in ("center", "3crop") else ", no mirror images"
    protocol = (
        f"Per video: {_count(clips, 'clip')} (sampling.test_clips={spec['test_clips']}) of {_count(views, 'view')} "
        f"(sampling.test_views={spec['test_views']}{mirrored}), for a video of "
        f"{content['video_frames']} frames (video_frames=). One multiplication and one addition count as one."
    )
    totals = [
        [
            network["name"],
            f"{network['parameters']:,}",
            _scaled(network["multiply_adds_per_clip"]),
            _scaled(network["multiply_adds_per_video"]),
        ]
        for network in networks
    ]
    return [
        "\n".join(heading),
        (columns, grid),
        "\n".join(_time_line(network, layers) for network in parts),
        (["network", "parameters", "multiply-adds per clip", "multiply-adds per video"], totals),
        protocol,
    ]


def _time_line(network: dict[str, Any], layers: list[dict[str, Any]]) -> str:
    """Where a network begins to see time."""
    if network["sees_time_from"] is None:
        return f"{network['name']} never sees time: each layer sees one frame."
    layer = next(layer for layer in layers if layer["name"] == network["sees_time_from"])
    line = (
        f"{network['name']} sees time from {layer['name']} on: {layer['clipped'][0]} of {layer['frames_in_clip']} "
        f"frames, {layer['seconds_clipped']:.2f} s"
    )
    whole = network["sees_whole_clip_from"]
    if whole == layer["name"]:
        return f"{line}."
    return f"{line}; the whole clip from {whole} on." if whole else f"{line}; never the whole clip."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _size(sizes: tuple[int, ...] | None) -> str:
    return "x".join(map(str, sizes)) if sizes and any(sizes) else ""


def _scaled(number: float) -> str:
    for unit in ("", " k", " M", " G"):
        if number < 1000:
            return f"{number:.4g}{unit}"
        number /= 1000
    return f"{number:,.4g} T"


# -- bytes -------------------------------------------------------------------------------------------------------------


def _bytes(run: RunConfig) -> list[dict[str, Any]]:
    """Bytes of uncompressed videos and clips, a byte per pixel and colour or component of flow."""
    rows = []
    for name, width, height in (("SD", 640, 480), ("HD", 1920, 1080)):
        frame = width * height * 3
        video = f"{name} video of 24 bits: a"
        rows.append((f"{video} frame of {width}x{height} pixels", frame))
        rows += [(f"{video} second of 30 frames", 30 * frame), (f"{video} minute", 60 * 30 * frame)]
    rows.append(("the lecture's clip, 3.2 s at 5 frames per second: 16 frames of 112x112", 16 * 112 * 112 * 3))
    spec = run.sampling
    pixels = spec.crop**2
    rgb, flow = 3 * spec.frames * pixels, 2 * spec.flow_frames * pixels
    name = f"{run.strategy}'s clip, {spec.crop}x{spec.crop} pixels"
    rows += [(f"{name}: {_count(spec.frames, 'RGB frame')}", rgb)] if rgb else []
    rows += [(f"{name}: {_count(spec.flow_frames, 'flow field')}", flow)] if flow else []
    rows += [(f"{name}: both", rgb + flow)] if rgb and flow else []
    rows.append((f"{name}: as the network takes it, in float32", 4 * (rgb + flow)))
    return [{"what": what, "bytes": size} for what, size in rows]


def _bytes_as_text(content: list[dict[str, Any]]) -> list[Part]:
    rows = [[row["what"], f"{row['bytes']:,}", *_units(row["bytes"])] for row in content]
    return [(["what", "bytes", "powers of 1000", "powers of 1024"], rows)]


def _units(size: int) -> tuple[str, str]:
    """A number of bytes as 1.66 GB and as 1.545 GiB."""
    power = 1 + (size >= 1e6) + (size >= 1e9)
    decimal, binary = size / 1000**power, size / 1024**power
    unit = " kMG"[power]
    return f"{decimal:.{2 if decimal < 100 else 1}f} {unit}B", f"{binary:#.4g} {unit.upper()}iB"


# -- text --------------------------------------------------------------------------------------------------------------


def _shown(part: Part, markdown: bool) -> str:
    """A paragraph as it is, a grid in columns."""
    return part if isinstance(part, str) else "\n".join(aligned(*part, markdown, words=TEXT))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
