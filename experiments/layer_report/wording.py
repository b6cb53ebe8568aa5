"""A network's layers as paragraphs and grids, for people."""

from __future__ import annotations

from typing import Any

BAR = 16  # characters for the share of the clip's frames that a layer sees


def layers_as_text(content: dict[str, Any]) -> list[Any]:
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
    inputs = [count(spec["frames"], "RGB frame")] if spec["frames"] else []
    inputs += [count(spec["flow_frames"], "flow field")] if spec["flow_frames"] else []
    rate = f"a video of {content['video_fps']:g} frames per second (video_fps=)"
    if spec["span"] == "segments":
        snippets = spec["snippets"] or spec["frames"] or spec["flow_frames"]
        timing = f"in {snippets} snippets over all {content['video_frames']} frames (video_frames=) of {rate}"
    elif spec["fps"]:
        timing = f"{spec['fps']:g} per second (sampling.fps)"
    else:
        timing = f"{count(spec['stride'], 'frame')} apart (sampling.stride) in {rate}"
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
        f"Per video: {count(content['clips_per_video'], 'clip')} (sampling.test_clips={spec['test_clips']}) of "
        f"{count(content['views_per_clip'], 'view')} (sampling.test_views={spec['test_views']}{mirrored}), for a "
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


def count(number: int, what: str) -> str:
    """A number of things: `1 frame`, `2 frames`."""
    return f"{number} {what}{'s' * (number != 1)}"


def _size(sizes: tuple[int, ...] | None) -> str:
    return "x".join(map(str, sizes)) if sizes and any(sizes) else ""


def _scaled(number: float) -> str:
    for unit in ("", " k", " M", " G"):
        if number < 1000:
            return f"{number:.4g}{unit}"
        number /= 1000
    return f"{number:,.4g} T"
