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
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from datamodules.clip_spec import snippet
from experiments.tables.text import aligned

# Other imports are inside the functions, so that --help does not pay for them.
if TYPE_CHECKING:
    from experiments.settings.schema import RunConfig
    from vidfusion.classifier import VideoClassifier
    from vidfusion.layer_table import Layer

BAR = 16  # characters for the share of the clip's frames that a layer sees
TEXT = ("layer", "kind", "frames seen", "network", "what")  # columns that are not numbers


def main(arguments: list[str]) -> int:
    """Print the table; returns 0, or 1 after one line on standard error."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("layers.py", description=__doc__, formatter_class=as_written)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, numbers unrounded")
    form.add_argument("--markdown", action="store_true", help="as Markdown")
    parser.add_argument("--clip", action="store_true", help="only the bytes of videos and of the clip")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings, such as model.size=published")
    options = parser.parse_intermixed_args(arguments)
    try:
        run, own = _compose(options.settings)
        content = _bytes(run) if options.clip else _layers(run, own)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = json.dumps(content, indent=1)
    if not options.json:
        parts = _bytes_as_text(content) if options.clip else _layers_as_text(content)
        grids = (x if isinstance(x, str) else "\n".join(aligned(*x, options.markdown, words=TEXT)) for x in parts)
        text = "\n\n".join(grids)
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
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name}={value}: expected a number above 0")


def _compose(settings: list[str]) -> tuple[RunConfig, Own]:
    """The run that the words describe, and this command's own settings."""
    from experiments.settings.compose import compose
    from experiments.settings.words import take_words

    own, others = take_words(Own(), settings)
    run = compose(others)
    own.num_classes = own.num_classes or (51 if run.dataset == "hmdb51" else 101)
    return run, own


def _layers(run: RunConfig, own: Own) -> dict[str, Any]:
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


def _layers_as_text(content: dict[str, Any]) -> list[Any]:
    """Paragraphs, and grids as columns and rows."""
    layers, networks = content["layers"], content["networks"]
    parts = networks[:-1] or networks  # of streams, each by itself
    columns = ["layer", "kind", "kernel", "stride", "output", "receptive field", "in the clip", "seconds"]
    columns += ["frames seen", "parameters", "multiply-adds"]
    begins = {network["sees_time_from"] for network in parts}
    totals = [
        [n["name"], f"{n['parameters']:,}", *(_scaled(n[f"multiply_adds_per_{part}"]) for part in ("clip", "video"))]
        for n in networks
    ]
    return [
        _heading(content),
        (columns, [_cells(layer, layer["name"] in begins) for layer in layers]),
        "\n".join(_time_line(network, layers) for network in parts),
        (["network", "parameters", "multiply-adds per clip", "multiply-adds per video"], totals),
        _protocol(content),
    ]


def _heading(content: dict[str, Any]) -> str:
    """What the network is, and what one clip is."""
    spec = content["sampling"]
    inputs = [_count(spec["frames"], "RGB frame")] if spec["frames"] else []
    inputs += [_count(spec["flow_frames"], "flow field")] if spec["flow_frames"] else []
    rate = f"a video of {content['video_fps']:g} frames per second (video_fps=)"
    if spec["span"] == "segments":
        snippets = spec["snippets"] or spec["frames"] or spec["flow_frames"]
        timing = f"in {snippets} snippets over all {content['video_frames']} frames (video_frames=) of {rate}"
    elif spec["fps"]:
        timing = f"{spec['fps']:g} per second (sampling.fps)"
    else:
        timing = f"{_count(spec['stride'], 'frame')} apart (sampling.stride) in {rate}"
    return (
        f"{content['strategy']}, model.size={content['size']}, {content['num_classes']} classes (num_classes=)\n"
        f"One clip: {' and '.join(inputs)} of {spec['crop']}x{spec['crop']} pixels, {timing}.\n"
        "Output: CxTxHxW. Kernel, stride, receptive field: TxHxW, in frames and pixels of the clip; a flow field sees "
        "two frames.\n"
        "Where a receptive field reaches over the clip's edges, `in the clip` is the rest. Seconds and frames seen: in "
        "the clip."
    )


def _cells(layer: dict[str, Any], begins: bool) -> list[str]:
    """A layer's row; `begins` marks the one where time comes into view."""
    seen, clipped, frames = layer["receptive_field"], layer["clipped"], layer["frames_in_clip"]
    filled = -(-clipped[0] * min(BAR, frames) // frames) if frames else 0
    bar = "#" * filled + "." * (min(BAR, frames) - filled)
    return [
        layer["name"],
        layer["kind"],
        *(_size(layer[name]) for name in ("kernel", "stride", "output", "receptive_field")),
        _size(clipped) if clipped != seen else "",
        f"{layer['seconds_clipped']:.2f}" if frames else "",
        f"{bar} {clipped[0]:{len(str(frames))}} of {frames}{'  <- time' * begins}" if frames else "",
        *(f"{layer[name]:,}" if layer[name] else "" for name in ("parameters", "multiply_adds")),
    ]


def _protocol(content: dict[str, Any]) -> str:
    """How a video is tested."""
    spec = content["sampling"]
    mirrored = "" if content["mirror"] or spec["test_views"] in ("center", "3crop") else ", no mirror images"
    return (
        f"Per video: {_count(content['clips_per_video'], 'clip')} (sampling.test_clips={spec['test_clips']}) of "
        f"{_count(content['views_per_clip'], 'view')} (sampling.test_views={spec['test_views']}{mirrored}), for a "
        f"video of {content['video_frames']} frames (video_frames=). One multiplication and one addition count as one."
    )


def _time_line(network: dict[str, Any], layers: list[dict[str, Any]]) -> str:
    """Where a network begins to see time."""
    begins, whole = network["sees_time_from"], network["sees_whole_clip_from"]
    if begins is None:
        return f"{network['name']} never sees time: each layer sees one frame."
    layer = next(layer for layer in layers if layer["name"] == begins)
    then = f"; the whole clip from {whole} on" if whole else "; never the whole clip"
    return (
        f"{network['name']} sees time from {begins} on: {layer['clipped'][0]} of {layer['frames_in_clip']} frames, "
        f"{layer['seconds_clipped']:.2f} s{'' if whole == begins else then}."
    )


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


def _bytes(run: RunConfig) -> list[dict[str, Any]]:
    """Bytes of uncompressed videos and clips, a byte per pixel and colour or component of flow."""
    rows = []
    for name, width, height in (("SD", 640, 480), ("HD", 1920, 1080)):
        frame, video = width * height * 3, f"{name} video of 24 bits: a"
        rows.append((f"{video} frame of {width}x{height} pixels", frame))
        rows += [(f"{video} second of 30 frames", 30 * frame), (f"{video} minute", 60 * 30 * frame)]
    rows.append(("the lecture's clip, 3.2 s at 5 frames per second: 16 frames of 112x112", 16 * 112 * 112 * 3))
    spec = run.sampling
    rgb, flow = 3 * spec.frames * spec.crop**2, 2 * spec.flow_frames * spec.crop**2
    parts = {_count(spec.frames, "RGB frame"): rgb, _count(spec.flow_frames, "flow field"): flow}
    parts |= {"both": rgb + flow} if rgb and flow else {}
    parts["as the network takes it, in float32"] = 4 * (rgb + flow)
    name = f"{run.strategy}'s clip, {spec.crop}x{spec.crop} pixels"
    rows += [(f"{name}: {part}", size) for part, size in parts.items() if size]
    return [{"what": what, "bytes": size} for what, size in rows]


def _bytes_as_text(content: list[dict[str, Any]]) -> list[Any]:
    rows = [[row["what"], f"{row['bytes']:,}", *_units(row["bytes"])] for row in content]
    return [(["what", "bytes", "powers of 1000", "powers of 1024"], rows)]


def _units(size: int) -> tuple[str, str]:
    """A number of bytes as 1.66 GB and as 1.545 GiB."""
    power = 1 + (size >= 1e6) + (size >= 1e9)
    decimal, binary = size / 1000**power, size / 1024**power
    unit = " kMG"[power]
    return f"{decimal:.{2 if decimal < 100 else 1}f} {unit}B", f"{binary:#.4g} {unit.upper()}iB"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
