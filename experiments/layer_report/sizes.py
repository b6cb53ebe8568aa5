"""Bytes of uncompressed videos and of a network's clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.layer_report.wording import count

if TYPE_CHECKING:
    from experiments.settings.schema import RunConfig


def sizes_of(run: RunConfig) -> list[dict[str, Any]]:
    """Bytes of uncompressed videos and clips, a byte per pixel and colour or component of flow."""
    rows = []
    for name, width, height in (("SD", 640, 480), ("HD", 1920, 1080)):
        frame, video = width * height * 3, f"{name} video of 24 bits: a"
        rows.append((f"{video} frame of {width}x{height} pixels", frame))
        rows += [(f"{video} second of 30 frames", 30 * frame), (f"{video} minute", 60 * 30 * frame)]
    rows.append(("the lecture's clip, 3.2 s at 5 frames per second: 16 frames of 112x112", 16 * 112 * 112 * 3))
    spec = run.sampling
    rgb, flow = 3 * spec.frames * spec.crop**2, 2 * spec.flow_frames * spec.crop**2
    parts = {count(spec.frames, "RGB frame"): rgb, count(spec.flow_frames, "flow field"): flow}
    parts |= {"both": rgb + flow} if rgb and flow else {}
    parts["as the network takes it, in float32"] = 4 * (rgb + flow)
    name = f"{run.strategy}'s clip, {spec.crop}x{spec.crop} pixels"
    rows += [(f"{name}: {part}", size) for part, size in parts.items() if size]
    return [{"what": what, "bytes": size} for what, size in rows]


def sizes_as_text(content: list[dict[str, Any]]) -> list[Any]:
    """The same as one grid: columns, and rows."""
    rows = [[row["what"], f"{row['bytes']:,}", *_units(row["bytes"])] for row in content]
    return [(["what", "bytes", "powers of 1000", "powers of 1024"], rows)]


def _units(size: int) -> tuple[str, str]:
    """A number of bytes as 1.66 GB and as 1.545 GiB."""
    power = 1 + (size >= 1e6) + (size >= 1e9)
    decimal, binary = size / 1000**power, size / 1024**power
    unit = " kMG"[power]
    return f"{decimal:.{2 if decimal < 100 else 1}f} {unit}B", f"{binary:#.4g} {unit.upper()}iB"
