"""Frames -> a small film that every browser plays."""

from __future__ import annotations

import base64
import io

import av
import numpy as np

LARGEST = 40_000  # bytes of a film
QUALITIES = ("27", "32", "38", "44")  # of H.264, the best first


def film(frames: np.ndarray, fps: float) -> bytes:
    """Frames (N, H, W, 3) uint8 as MP4 with H.264, of the best quality that fits into LARGEST, or else of the least.

    The same frames give the same bytes. H and W are even.
    """
    for quality in QUALITIES:
        content = _encoded(frames, fps, quality)
        if len(content) <= LARGEST:
            break
    return content


def _encoded(frames: np.ndarray, fps: float, quality: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": quality, "preset": "fast", "threads": "1"}
        stream = container.add_stream("libx264", rate=max(1, round(fps)), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def data_uri(content: bytes) -> str:
    """A film as the address that a page can hold."""
    return f"data:video/mp4;base64,{base64.b64encode(content).decode('ascii')}"
