"""What many tests need: small videos, records, networks and runs. Each is made in one line; a test says what differs.

A section a subject. Everything here is deterministic and takes milliseconds.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from datamodules.datasets import rendering
from datamodules.datasets.folder import Folder

# A folder with `data` (real clips with manifests) and `lists` (official lists), or none: see tests/README.md.
REAL = Path(os.environ.get("VIDFUSION_REAL", "nowhere"))

# -- videos ------------------------------------------------------------------------------------------------------------


def scrolling(frames: int = 5, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """Pictures of random squares that scroll by one pixel a frame: uint8 (frames, height, width, 3), RGB."""
    picture = np.random.default_rng(seed).integers(0, 256, (height // 8 + frames, width // 8, 3), dtype=np.uint8)
    picture = picture.repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([picture[start : start + height] for start in range(frames)])


def write_video(path: Path, pictures: np.ndarray, rate: int = 25, codec: str = "mpeg4", rotation: int = 0) -> None:
    """Encode pictures, uint8 (frames, height, width, 3), RGB; the codec `ffv1` loses nothing. Folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name(f"plain{path.suffix}")  # some names mean something to FFmpeg's writers
    with av.open(str(plain), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"preset": "ultrafast"} if codec == "libx264" else {})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    plain.rename(path)


def write_manifest(root: Path, *rows: str) -> None:
    """Write `manifest.csv`; a row is `path,label,group,split`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "manifest.csv").write_text("\n".join(["path,label,group,split", *rows]) + "\n")


SOUND = "a.avi,x,1,train b.avi,y,2,train c.avi,x,3,test d.avi,y,4,test"


def four_videos(root: Path, manifest: str = SOUND) -> Folder:
    """Four videos, a.avi to d.avi, and a manifest of any rows, with spaces between them."""
    for name in "abcd":
        write_video(root / "videos" / f"{name}.avi", scrolling(seed=ord(name)))
    write_manifest(root / "videos", *manifest.split())
    return Folder(root=str(root / "videos"), stores=str(root / "stores"))


def touch(root: Path, *paths: str) -> None:
    """Make empty files and the folders that they are in."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def folder_of_videos(root: Path, classes: tuple[str, ...] = ("left", "right"), each: int = 3) -> Path:
    """A data set for `dataset=folder`: moving noise of 24 frames; `each` videos a class to train on, one to test."""
    for label, name in enumerate(classes):
        for number in range(each + 1):
            picture = np.random.default_rng([label, number]).integers(0, 256, (48, 48, 3), dtype=np.uint8)
            moving = np.stack([np.roll(picture, (2 * label - 1) * time, axis=1) for time in range(24)])
            path = root / ("test" if number == each else "train") / name / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            rendering.write_video(path, moving, 25)
    return root


def write_clip(
    path: Path,
    frames: int,
    codec: str = "mpeg4",
    *,
    size: tuple[int, int] = (48, 64),
    seed: int = 0,
    rotation: int = 0,
    matrix: Sequence[int] = (),
    times: Sequence[int] = (),
    settings: Mapping[str, str] | None = None,
    **options: str,
) -> Path:
    """A clip of a colour pattern that moves by two pixels a frame, at 25 frames per second; each frame differs.

    rotation, matrix: in degrees, or a whole display matrix: how a player shows it
    times: when each frame is shown, in milliseconds, where that is not every 40 ms
    settings, options: of the codec and of the container
    """
    height, width = size
    noise = np.random.default_rng(seed).integers(0, 256, (height + 2 * frames, width, 3), dtype=np.uint8)
    pattern = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1), None, 0, 255, cv2.NORM_MINMAX)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25, options=dict(settings or {}))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix:
            stream.set_display_matrix(matrix)
        for number in range(frames):
            picture = np.ascontiguousarray(pattern[2 * number : 2 * number + height])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def remuxed(source: Path, target: Path, *, skip: int = 0, sound: float = 0.0) -> Path:
    """The packets of a video in another file, as `ffmpeg -c copy` writes them.

    skip: frames before which an edit list cuts, as after `-ss`; sound: seconds of silence beside the video
    """
    options = {"avoid_negative_ts": "disabled"} if skip else {}
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        video = new.add_stream_from_template(old.streams.video[0])
        audio = new.add_stream("aac", rate=44100) if sound else None
        for packet in old.demux(video=0):
            if packet.dts is not None:
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


def in_this_process(function: Callable, jobs: Sequence, workers: int) -> Iterator[tuple]:
    """A launcher that starts no process."""
    for job in jobs:
        yield job, function(job)


# -- networks ----------------------------------------------------------------------------------------------------------


# -- records and scores ------------------------------------------------------------------------------------------------


# -- runs --------------------------------------------------------------------------------------------------------------
