"""Video files made of others, and what is right: a plain sequential decode."""

from pathlib import Path

import av
import numpy as np


def remuxed(source: Path, target: Path, *, skip: int = 0, sound: float = 0.0, lost: int | None = None) -> Path:
    """The packets of a video in another file, as `ffmpeg -c copy` writes them.

    skip: frames before which an edit list cuts, as after `-ss`; sound: seconds of silence beside the video; lost: the
    number of a packet that is not written
    """
    options = {"avoid_negative_ts": "disabled"} if skip else {}
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        video = new.add_stream_from_template(old.streams.video[0])
        audio = new.add_stream("aac", rate=44100) if sound else None
        for number, packet in enumerate(old.demux(video=0)):
            if packet.dts is not None and number != lost:
                shift = round(skip / 25 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, video
                new.mux(packet)
        if audio is not None:
            silence = np.zeros((1, int(sound * 44100)), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.rate = 44100
            new.mux(audio.encode(frame))
            new.mux(audio.encode())
    return target


def sequence(path: Path) -> np.ndarray:
    """What is right: the frames of a sequential decode by PyAV, (N, H, W, 3), as they are stored in the file."""
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.best("video"))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
