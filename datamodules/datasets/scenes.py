"""The scenes of `moving_shapes`: what moves where, drawn from a seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

TEST_GROUPS = {1: range(1, 8), 2: range(8, 15), 3: range(15, 22)}  # per split, as in UCF101

# Times of the `order` family, in frames: its videos have two slots of LEG steps, the second LAG after the first, in
# which the shape may move. Rests before, between and after them are longer than 16 frames. The camera's period divides
# LAG, so that its state does not tell the slots apart.
LEG = (16, 20)
LAG = 40
REST = 17
ORDER_FRAMES = REST - 1 + LAG + LEG[1] + REST

# Per family; `appearance` shows motions of all kinds, and 20 frames are the clip of the lecture's toy networks.
MIN_FRAMES = {
    "appearance": ORDER_FRAMES,
    "motion": 20,
    "fine": 20,
    "order": ORDER_FRAMES,
    "camouflage": 20,
    "shift": 20,
}

# The orbits of the `fine` family: so many rounds in the 15 frames that lie between the two of late fusion (Karpathy et
# al. 2014, section 3.1), which therefore look alike.
ROUND = 15
ORBITS = {"Orbit": 1, "FastOrbit": 2}


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
    "OrbitCounterClockwise": "OrbitClockwise",
    "FastOrbitCounterClockwise": "FastOrbitClockwise",
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
    "fine": {f"Fine{o}{way}": ("Square", f"{o}{way}") for o in ORBITS for way in ("Clockwise", "CounterClockwise")},
    "order": {f"Order{m}": (shape, m) for m, shape in SEQUENCES.items()},
    "camouflage": {f"Camouflage{m}": ("Flag", m) for m in TURNS_AND_TRAVELS},
    "shift": {f"Shift{m}": ("Square", m) for m in ("JumpLeft", "JumpRight")},
}


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
    """Path (n, 2) in pixels and turn (n,) in radians, both from 0; presence (n,); how often it repeats along x and y.

    Two frames that are 15 apart still tell the direction of a travel or turn. In that time a shape turns by less than
    180 degrees and travels less than 32 pixels, which is half of what looks the same again. Of an orbit they tell
    nothing.
    """
    time, still, always = np.arange(frames), np.zeros(frames), np.ones(frames, bool)
    if motion == "Clockwise":
        return np.zeros((frames, 2)), np.deg2rad(rng.uniform(5, 11)) * time, always, (1, 1)
    if motion in DIRECTIONS:
        return np.outer(rng.uniform(1, 2) * time, DIRECTIONS[motion]), still, always, (1, 1)
    if motion.removesuffix("Clockwise") in ORBITS:
        angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi * ORBITS[motion.removesuffix("Clockwise")] / ROUND * time
        return rng.uniform(4, 6) * np.stack([np.cos(angle), np.sin(angle)], 1), still, always, (1, 1)
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
