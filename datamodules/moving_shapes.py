"""A generated data set laid out like UCF101, in which it is known by construction what each class asks of a network.

Every video shows one shape moving over a textured ground, seen by a slightly swaying camera. Families of classes:

- `appearance`: the shape is the class and its motion is random. One frame is enough.
- `motion`: one shape; its direction of travel or turn is the class. Every frame is equally likely in every class, and
  opposite classes are each other's time reversal, so at least two frames in their order are needed.
- `order`: what comes first is the class, and the shape tells only which pair of classes it is. The windows of up to 16
  consecutive frames of a video are, as a bag, equally likely in both classes of a pair: even a network that sees each
  motion perfectly stays at 1/2 unless it knows which came earlier.
- `camouflage` (on request): `motion`, with a shape cut from the ground's own texture, which only its motion gives away.
- `shift` (on request): a shape is there for two frames and jumps left or right between them, in the first half of a
  training video and in the second half of a test video. The frames of a video are, as a bag, equally likely in both
  classes. A network that knows a motion only at the times at which it has seen it learns the training videos and stays
  at 1/2 in the test.

Frames are a torus: what leaves on one side enters on the other, so that no position tells of the past. Pixel values in
this file are those of a 64-pixel frame and scale with `size`. x points right, y down, positive angles turn clockwise.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import ClassVar

import av
import cv2
import numpy as np
from tqdm import tqdm

from datamodules.flow import FlowConfig
from datamodules.lists import DataError, Dataset, VideoLists
from datamodules.ucf101 import UCF101

GENERATOR = 1  # raise when the same settings give other videos
ENCODER = {"preset": "ultrafast", "qp": "22", "g": "1", "threads": "1"}
GROUPS = range(1, 26)
TEST_GROUPS = {1: range(1, 8), 2: range(8, 15), 3: range(15, 22)}  # per split, as in UCF101

# Times of the `order` family, in frames: its videos have two slots of LEG steps, the second LAG after the first, in
# which the shape may move. Rests before, between and after them are longer than 16 frames. The camera's period divides
# LAG, so that its state does not tell the slots apart.
LEG = (16, 20)
LAG = 40
REST = 17
ORDER_FRAMES = REST - 1 + LAG + LEG[1] + REST

# Per family; `appearance` shows motions of all kinds, and 20 frames are the clip of the lecture's toy networks.
MIN_FRAMES = {"appearance": ORDER_FRAMES, "motion": 20, "order": ORDER_FRAMES, "camouflage": 20, "shift": 20}


# ---------------------------------------------------------------- shapes and classes


def _box(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    dx, dy = abs(x) - half_width, abs(y) - half_height
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.max([x * np.sin(a) - y * np.cos(a) for a in np.pi * np.array([1, 1 / 3, -1 / 3])], axis=0) - 0.53


def _dots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (
        np.min([np.hypot(x - 0.7 * np.cos(a), y - 0.7 * np.sin(a)) for a in np.arange(3) * np.pi / 1.5], axis=0) - 0.33
    )


# Signed distance to the outline, negative inside; nothing reaches farther than 1.15 from the centre.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "Disc": lambda x, y: np.hypot(x, y) - 0.95,
    "Ring": lambda x, y: abs(np.hypot(x, y) - 0.82) - 0.17,
    "Bar": lambda x, y: _box(x, y, 1.05, 0.25),
    "Triangle": _triangle,
    "Plus": lambda x, y: np.minimum(_box(x, y, 1.05, 0.22), _box(x, y, 0.22, 1.05)),
    "Dots": _dots,
    "Flag": lambda x, y: np.minimum(_box(x + 0.4, y, 0.22, 0.9), _box(x - 0.15, y + 0.5, 0.55, 0.38)),
    "Hourglass": lambda x, y: np.maximum(abs(x) - abs(y) * 0.9 - 0.08, abs(y) - 0.8) * 0.8,
    "Square": lambda x, y: _box(x, y, 0.8, 0.8),
    "Crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.95, 0.75 - np.hypot(x - 0.5, y)),
}

REVERSAL = {
    "Right": "Left",
    "Down": "Up",
    "CounterClockwise": "Clockwise",
    "RestThenMove": "MoveThenRest",
    "JumpRight": "JumpLeft",
}
DIRECTIONS = {"Left": (-1, 0), "Right": (1, 0), "Up": (0, -1), "Down": (0, 1)}
TURNS_AND_TRAVELS = (*DIRECTIONS, "Clockwise", "CounterClockwise")
SEQUENCES = {
    "LeftThenRight": "Hourglass",
    "RightThenLeft": "Hourglass",
    "MoveThenRest": "Crescent",
    "RestThenMove": "Crescent",
}

# family -> class -> its shape, its motion (None: any of those of the other families)
CLASSES: dict[str, dict[str, tuple[str, str | None]]] = {
    "appearance": {f"Appearance{s}": (s, None) for s in ("Disc", "Ring", "Bar", "Triangle", "Plus", "Dots")},
    "motion": {f"Motion{m}": ("Flag", m) for m in TURNS_AND_TRAVELS},
    "order": {f"Order{m}": (shape, m) for m, shape in SEQUENCES.items()},
    "camouflage": {f"Camouflage{m}": ("Flag", m) for m in TURNS_AND_TRAVELS},
    "shift": {f"Shift{m}": ("Square", m) for m in ("JumpLeft", "JumpRight")},
}


# ---------------------------------------------------------------- what is in a video


@dataclass
class Scene:
    """All that a video of `n` frames of `size` x `size` pixels shows.

    shape:      name in SHAPES
    radius:     pixels per unit of SHAPES
    colour:     RGB of the shape, (3,) in 0..255; None: it carries the ground's texture
    positions:  (n, 2) x and y of the shape's centre before the camera moves it, pixels, not wrapped
    angles:     (n,) radians
    visible:    (n,) bool, whether the shape is there
    camera:     (n, 2) shift of everything visible, pixels
    period:     (2,) the shape appears again every so many pixels along x and y; divides `size`
    ground:     (size, size, 3) uint8, periodic texture
    noise_seed: seed of the sensor's noise
    """

    shape: str
    radius: float
    colour: np.ndarray | None
    positions: np.ndarray
    angles: np.ndarray
    visible: np.ndarray
    camera: np.ndarray
    period: tuple[int, int]
    ground: np.ndarray
    noise_seed: int


def make_scene(seed: int, family: str, name: str, group: int, clip: int, size: int = 64, frames: int = 96) -> Scene:
    """The scene of clip number `clip` of class `name` of `family`; the same arguments always give the same scene."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), group, clip])
    return draw_scene(rng, family, name, make_ground(seed, group, size), frames, late=group in TEST_GROUPS[1])


def draw_scene(
    rng: np.random.Generator, family: str, name: str, ground: np.ndarray, frames: int, late: bool = False
) -> Scene:
    """A random scene of a class; generators in equal states give opposite classes scenes that are reversals in time.

    `late` puts the jump of the `shift` family into the second half of the video, of which `frames` is an even number:
    a jump and its reversal are in different halves, so of these scenes one is `late` and the other is not.
    """
    size = len(ground)
    shape, motion = CLASSES[family][name]
    motion = motion or str(rng.choice([*TURNS_AND_TRAVELS, *SEQUENCES]))
    backwards = motion in REVERSAL
    path, turn, visible, repeats = _motion(REVERSAL.get(motion, motion), frames, late != backwards, rng)
    positions = rng.uniform(0, size, 2) + path * size / 64
    angles = rng.uniform(0, 2 * np.pi) + turn
    # In both halves of a video with a jump the camera does the same; or where the shape is seen on the camera's way
    # would tell in which order to put a bag of frames.
    period = frames // 2 if family == "shift" else LAG
    camera = rng.uniform(0, size, 2) + _sway(frames, period, rng) * size / 64
    if backwards:
        positions, angles, visible, camera = positions[::-1], angles[::-1], visible[::-1], camera[::-1]
    return Scene(
        shape=shape,
        radius=rng.uniform(10.5, 12.5) * size / 64,
        colour=None if family == "camouflage" else _bright_colour(rng),
        positions=positions,
        angles=angles,
        visible=visible,
        camera=camera,
        period=(size // repeats[0], size // repeats[1]),
        ground=ground,
        noise_seed=int(rng.integers(2**32)),
    )


def _motion(
    motion: str, frames: int, late: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Path (n, 2) in pixels, turn (n,) in radians, both from 0, whether the shape is there (n,), and how often it
    repeats along x and y.

    A turn over 15 frames stays below 180 degrees and a travel below 32 pixels, half of what looks the same again, so
    that two frames so far apart still tell the direction.
    """
    time, still, always = np.arange(frames), np.zeros(frames), np.ones(frames, bool)
    if motion == "Clockwise":
        return np.zeros((frames, 2)), np.deg2rad(rng.uniform(5, 11)) * time, always, (1, 1)
    if motion in DIRECTIONS:
        return np.outer(rng.uniform(1, 2) * time, DIRECTIONS[motion]), still, always, (1, 1)
    if motion == "JumpLeft":
        # There for two frames only: were it there before and after, its first and last place would tell the class at
        # whatever time it jumps. Each half begins and ends with a frame of bare ground.
        landing = int(rng.integers(2, frames // 2 - 1)) + late * (frames // 2)
        path = np.outer(rng.uniform(6, 12) * (time >= landing), DIRECTIONS["Left"])
        return path, still, (time == landing - 1) | (time == landing), (1, 1)

    # A leg ends where it began: the shape has a double half a frame away, whose place it takes. Otherwise the places
    # of the rests would tell which leg came first.
    leg = int(rng.integers(LEG[0], LEG[1] + 1))
    first = int(rng.integers(REST - 1, frames - REST - LAG - leg + 1))  # the last frame at rest
    heading = str(rng.choice(list(DIRECTIONS)))
    legs = {"LeftThenRight": ["Left", "Right"], "RightThenLeft": ["Right", "Left"], "MoveThenRest": [heading]}[motion]
    path = sum(
        np.outer(32 * np.clip((time - start) / leg, 0, 1), DIRECTIONS[heading])
        for start, heading in zip((first, first + LAG), legs, strict=False)
    )
    return path, still, always, (2, 1) if legs[0] in ("Left", "Right") else (1, 2)


def _sway(frames: int, period: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 2) pixels: a slow swing along each axis, whose reversal in time is as likely as itself.

    After `period` frames it is where it was.
    """
    amplitude, phase, swings = rng.uniform(0.5, 1.5, 2), rng.uniform(0, 2 * np.pi, 2), rng.integers(1, 3, 2)
    return amplitude * np.sin(2 * np.pi * swings * np.arange(frames)[:, None] / period + phase)


@lru_cache(maxsize=4)
def make_ground(seed: int, group: int, size: int) -> np.ndarray:
    """The texture that all videos of a group share: (size, size, 3) uint8, periodic, dark, of low contrast."""
    rng = np.random.default_rng([seed, group])
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.rfftfreq(64), indexing="ij"))
    band = np.exp(-(((frequency - rng.uniform(0.05, 0.11)) / 0.03) ** 2))
    texture = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((64, 64))) * band)
    texture = cv2.resize(np.tile(texture / texture.std(), (3, 3)), (3 * size, 3 * size), interpolation=cv2.INTER_AREA)
    texture = texture[size : 2 * size, size : 2 * size, None]
    colour = rng.uniform(55, 95) + rng.uniform(-20, 20, 3)
    return np.clip(np.round(colour + texture * rng.uniform(6, 12, 3)), 0, 255).astype(np.uint8)


def luma(colour: np.ndarray) -> np.ndarray:
    """Brightness (...,) of RGB colours (..., 3), ITU-R BT.601."""
    return colour @ np.array([0.299, 0.587, 0.114])


def _bright_colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) RGB of any hue, much brighter than every ground: small networks must find the shape within few passes."""
    while True:
        colour = rng.uniform(100, 255, 3)
        if luma(colour) >= 185:
            return colour


# ---------------------------------------------------------------- its frames


TABLE_REACH = 1.5


@lru_cache
def _distances(shape: str) -> np.ndarray:
    """A shape's signed distances on a grid over +-TABLE_REACH, because evaluating them per frame is slow."""
    x, y = np.meshgrid(*[np.linspace(-TABLE_REACH, TABLE_REACH, 193)] * 2)
    return SHAPES[shape](x, y).astype(np.float32)


def _around(scene: Scene, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The torus around the shape: a tile of one period with the shape near its middle.

    Returns the rotation from the tile's axes to the shape's (2, 2), the shape's centre in the tile (2,), and which row
    and column of the tile each row and column of the frame shows, (size, 1) and (size,).
    """
    corner, centre = np.divmod(scene.positions[t] + scene.camera[t], 1)
    middle = np.array(scene.period) // 2
    pixels = np.arange(len(scene.ground))
    columns, rows = ((pixels - int(c) + m) % p for c, m, p in zip(corner, middle, scene.period, strict=True))
    c, s = np.cos(scene.angles[t]), np.sin(scene.angles[t])
    return np.array([[c, s], [-s, c]]), middle + centre, rows[:, None], columns


def coverage(scene: Scene, t: int) -> np.ndarray:
    """Share of each pixel that the shape covers at frame `t`: (size, size) float32 in 0..1."""
    if not scene.visible[t]:
        return np.zeros_like(scene.ground[..., 0], np.float32)
    rotation, centre, rows, columns = _around(scene, t)
    table = _distances(scene.shape)
    scale = (len(table) - 1) / 2 / TABLE_REACH / scene.radius
    distance = _sample(table, rotation * scale, centre, (len(table) - 1) / 2, scene.period, cv2.BORDER_REPLICATE)
    return np.clip(0.5 - distance * scene.radius, 0, 1)[rows, columns]


def _sample(
    image: np.ndarray, matrix: np.ndarray, centre: np.ndarray, origin: float, size: tuple[int, int], border: int
) -> np.ndarray:
    """Image of `size` (width, height) whose pixel p is `image` at matrix @ (p - centre) + origin, bilinear."""
    affine = np.column_stack([matrix, origin - matrix @ centre])
    return cv2.warpAffine(image, affine, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border)


def render(scene: Scene, noise: bool = True) -> np.ndarray:
    """The frames of a scene: (n, size, size, 3) uint8 RGB, without the sensor's noise on request."""
    size = len(scene.ground)
    frames = np.empty((len(scene.positions), size, size, 3), np.uint8)
    fill = np.empty_like(frames[0])
    if scene.colour is not None:
        fill[:] = np.round(scene.colour)
    rng, bank = np.random.default_rng(scene.noise_seed), _noise()
    for t, frame in enumerate(frames):
        ground = _sample(scene.ground, np.eye(2), scene.camera[t], 0, (size, size), cv2.BORDER_WRAP)
        if scene.colour is None:
            rotation, centre, rows, columns = _around(scene, t)
            fill = _sample(scene.ground, rotation, centre, 0, scene.period, cv2.BORDER_WRAP)[rows, columns]
        share = coverage(scene, t)
        cv2.blendLinear(fill, ground, share, 1 - share, dst=frame)
        if noise:
            start = rng.integers(bank.size - frame.size)
            cv2.add(frame, bank[start : start + frame.size].reshape(frame.shape), dst=frame, dtype=cv2.CV_8U)
    return frames


@lru_cache
def _noise() -> np.ndarray:
    """A strip of sensor noise long enough that frames cut from anywhere in it look unrelated: int8, sigma 4."""
    return np.round(4 * np.random.default_rng(0).standard_normal(1 << 21)).astype(np.int8)


def true_flow(scene: Scene, t: int) -> np.ndarray:
    """Where each pixel of frame `t` goes in frame `t + 1`: (size, size, 2) float32, x and y in pixels.

    A pixel belongs to the shape if the shape covers at least half of it.
    """
    rotation, centre, rows, columns = _around(scene, t)
    tile = np.stack(np.meshgrid(*map(np.arange, scene.period)), axis=-1) - centre
    turned = tile @ rotation.T @ _around(scene, t + 1)[0]
    pan = scene.camera[t + 1] - scene.camera[t]
    motion = (turned - tile)[rows, columns] + pan + scene.positions[t + 1] - scene.positions[t]
    return np.where(coverage(scene, t)[..., None] >= 0.5, motion, pan).astype(np.float32)


def write_video(path: Path, frames: np.ndarray, fps: int) -> None:
    """Encode frames (n, H, W, 3) uint8 RGB as H.264; the same frames always give the same file.

    Each frame is coded by itself with a constant quantiser: what codecs leave behind a moving object when they predict
    a frame from its neighbours would show the direction of its motion in a single frame.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=ENCODER)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


# ---------------------------------------------------------------- the data set


@dataclass
class MovingShapes(UCF101):
    """The generated data set; `prepare` makes it in a folder of its own for each choice of these settings.

    data_seed: seed of everything in it
    size:      width and height, pixels, even
    frames:    per video, at least 93, so that all times of the `order` family fit in; without `appearance` and `order`
               at least 20; with `shift` an even number
    fps:       frames per second
    families:  of classes, in the order of their labels
    clips:     videos per class in each of the 25 groups, by family

    In the `shift` family the group decides when a shape jumps: late in g01 to g07, which split 1 tests, early in all
    others. A set with this family therefore has split 1 only, and validation, on groups of the training list, tells
    nothing of late jumps. A clip should be the whole video: data.frames=20 sampling.frames=20.
    """

    LAYOUT: ClassVar[str] = """\
data/moving_shapes/                      data.root; made by the first run
    seed0-64px-96f-<hash>/               one folder for each choice of settings
        MotionLeft/
            v_MotionLeft_g01_c01.mp4
            ...
        classInd.txt
        trainlist01.txt  testlist01.txt  and the same for splits 02 and 03"""

    MAY_BE_SHOWN: ClassVar[bool] = True
    FAMILIES: ClassVar[dict[str, tuple[str, ...]]] = {family: tuple(classes) for family, classes in CLASSES.items()}

    root: str = "data/moving_shapes"
    mirror: bool = False
    flow: FlowConfig = field(default_factory=lambda: FlowConfig(bound=4.0))
    data_seed: int = 0
    size: int = 64
    frames: int = 96
    fps: int = 25
    families: list[str] = field(default_factory=lambda: ["appearance", "motion", "order"])
    clips: dict[str, int] = field(
        default_factory=lambda: {"appearance": 6, "motion": 6, "order": 8, "camouflage": 6, "shift": 30}
    )

    def folder(self) -> Path:
        """The set's own folder in the root; its name holds a hash of all that decides what is in the videos."""
        clips = {family: self.clips.get(family) for family in self.families}
        settings = [GENERATOR, self.data_seed, self.size, self.frames, self.fps, clips]
        short = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:6]
        return Path(self.root) / f"seed{self.data_seed}-{self.size}px-{self.frames}f-{short}"

    def read(self) -> VideoLists:
        """UCF101's lists, but a group is a background, which all classes share: it is held out for all or for none.

        Held out for one class only, a background seen with the other classes in training would speak against it.
        """
        lists = super().read()
        lists.train, lists.test = (
            [replace(video, group=video.group.split()[-1]) for video in videos] for videos in (lists.train, lists.test)
        )
        if "order" in lists.families:
            lists.chance["order"] = 0.5  # a shape tells each pair of classes; only the order of motions tells the class
        return lists

    def prepare(self, workers: int) -> None:
        """Make the set if it is not there, with `workers` processes, whose number changes nothing in it.

        It takes its name when it is complete, so that an interrupted one is never used. Raises DataError.
        """
        folder = self.folder()
        if folder.is_dir():
            return
        self._check()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            made = Path(scratch) / folder.name
            self._make(made, workers)
            try:
                os.replace(made, folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster with the same set
                    raise

    def outline(self, root: Path) -> tuple[Dataset, float] | None:
        """Where the set is not made yet: the same below `root`, with one video of each class under all of its names."""
        if self.folder().is_dir():
            return None
        self._check()
        stand_in = replace(self, root=str(root))
        folder = stand_in.folder()
        classes = self._write_lists(folder)
        seconds = []
        for family, name in classes:
            started = time.monotonic()
            self._write_clip(folder, family, name, 1, 1)
            seconds.append(time.monotonic() - started)
            first, *others = (
                folder / video_path(name, group, clip)
                for group, clip in product(GROUPS, range(1, self.clips[family] + 1))
            )
            for other in others:
                os.link(first, other)
        return stand_in, median(seconds)

    def _check(self) -> None:
        unknown = [family for family in self.families if family not in CLASSES]
        if unknown or len(set(self.families)) != len(self.families) or not self.families:
            raise DataError(f"data.families={list(self.families)}: expected some of {', '.join(CLASSES)}, each once")
        for family in self.families:
            if not 1 <= self.clips.get(family, 0) <= 99:
                raise DataError(f"data.clips.{family}={self.clips.get(family)}: expected 1 to 99 videos per group")
        if self.size < 32 or self.size % 2:
            raise DataError(f"data.size={self.size}: expected an even number of pixels, at least 32")
        least, family = max((MIN_FRAMES[family], family) for family in self.families)
        if self.frames < least:
            raise DataError(f"data.frames={self.frames}: expected at least {least}, which the {family} family needs")
        if "shift" in self.families and self.frames % 2:
            raise DataError(f"data.frames={self.frames}: the shift family needs two equal halves; set an even number")
        if self.data_seed < 0 or self.fps < 1:
            raise DataError(f"data.data_seed={self.data_seed}, data.fps={self.fps}: expected at least 0 and 1")

    def _write_lists(self, folder: Path) -> list[tuple[str, str]]:
        """Write the lists and a folder for each class; the classes, each with its family."""
        classes = [(family, name) for family in self.families for name in CLASSES[family]]
        for _, name in classes:
            (folder / name).mkdir(parents=True)
        splits = [1] if "shift" in self.families else list(TEST_GROUPS)
        write_lists(folder, {name: self.clips[family] for family, name in classes}, splits)
        return classes

    def _make(self, folder: Path, workers: int) -> None:
        classes = self._write_lists(folder)
        tasks = [(family, name, group) for group in GROUPS for family, name in classes]
        total = len(GROUPS) * sum(self.clips[family] for family, _ in classes)
        print(f"generating {total} videos in {self.folder()}", flush=True)
        with tqdm(total=total, desc="generating videos", unit="video", disable=None) as bar:
            if workers <= 1:
                for task in tasks:
                    bar.update(self._write_clips(folder, task))
                return
            with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
                for written in pool.map(partial(self._write_clips, folder), tasks):
                    bar.update(written)

    def _write_clips(self, folder: Path, task: tuple[str, str, int]) -> int:
        family, name, group = task
        for clip in range(1, self.clips[family] + 1):
            self._write_clip(folder, family, name, group, clip)
        return self.clips[family]

    def _write_clip(self, folder: Path, family: str, name: str, group: int, clip: int) -> None:
        scene = make_scene(self.data_seed, family, name, group, clip, self.size, self.frames)
        write_video(folder / video_path(name, group, clip), render(scene), self.fps)


def video_path(name: str, group: int, clip: int) -> str:
    """Path of a video in the set, as UCF101 names them."""
    return f"{name}/v_{name}_g{group:02d}_c{clip:02d}.mp4"


def write_lists(folder: Path, clips: dict[str, int], splits: Iterable[int]) -> None:
    """Write UCF101's list files of some splits for classes with so many `clips` per group."""
    ids = {name: number for number, name in enumerate(clips, start=1)}
    (folder / "classInd.txt").write_text("".join(f"{number} {name}\n" for name, number in ids.items()))
    for split in splits:
        lists: dict[str, list[str]] = {"train": [], "test": []}
        for name, group in product(clips, GROUPS):
            paths = [video_path(name, group, clip) for clip in range(1, clips[name] + 1)]
            if group in TEST_GROUPS[split]:
                lists["test"] += paths
            else:
                lists["train"] += [f"{path} {ids[name]}" for path in paths]
        for part, lines in lists.items():
            (folder / f"{part}list{split:02d}.txt").write_text("".join(f"{line}\n" for line in lines))
