"""A generated data set laid out like UCF101, in which it is known by construction what each class asks of a network.

Every video shows one shape moving over a textured ground, seen by a slightly swaying camera. Families of classes:

- `appearance`: the shape is the class and its motion is random. One frame is enough.
- `motion`: one shape; its direction of travel or turn is the class. Every frame is equally likely in every class, and
  opposite classes are each other's time reversal, so at least two frames in their order are needed.
- `fine`: one shape on a small circle; the way round and its speed are the class. After 15 frames it is where it was, so
  two frames so far apart tell nothing: the motion must be seen from frame to frame.
- `order`: what comes first is the class, and the shape tells only which pair of classes it is. The windows of up to 16
  consecutive frames of a video are, as a bag, equally likely in both classes of a pair: even a network that sees each
  motion perfectly stays at 1/2 unless it knows which came earlier.
- `camouflage` (on request): `motion`, with a shape cut from the ground's own texture, which only its motion gives away.
- `shift` (on request): a shape is there for two frames and jumps left or right between them, in the first half of a
  training video and in the second half of a test video. The frames of a video are, as a bag, equally likely in both
  classes. A network that knows a motion only at the times of the training videos stays at 1/2 in the test.

Frames are a torus: what leaves on one side enters on the other, so no position tells of the past. Pixel values here are
those of a 64-pixel frame and scale with `size`. x points right, y down, positive angles turn clockwise.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import ClassVar

from datamodules.datasets.scenes import CLASSES, MIN_FRAMES, TEST_GROUPS, make_scene
from datamodules.datasets.ucf101 import UCF101
from datamodules.errors import DataError
from datamodules.flow import FlowConfig
from datamodules.processes import in_processes
from datamodules.progress import Progress
from datamodules.videos import Split

GENERATOR = 1  # raise when the same settings give other videos
GROUPS = range(1, 26)


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

    In the `shift` family a shape jumps late in the groups g01 to g07, which split 1 tests, and early in all others. A
    set with this family therefore has split 1 only, and its validation tells nothing about late jumps. A clip should
    be the whole video: data.frames=20 sampling.frames=20.
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
    families: list[str] = field(default_factory=lambda: ["appearance", "motion", "fine", "order"])
    clips: dict[str, int] = field(
        default_factory=lambda: {
            "appearance": 4,
            "motion": 4,
            "fine": 4,
            "order": 6,
            "camouflage": 6,
            "shift": 30,
        }
    )

    def folder(self) -> Path:
        """The set's own folder in the root; its name holds a hash of all that decides what is in the videos."""
        clips = {family: self.clips.get(family) for family in self.families}
        settings = [GENERATOR, self.data_seed, self.size, self.frames, self.fps, clips]
        short = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:6]
        return Path(self.root) / f"seed{self.data_seed}-{self.size}px-{self.frames}f-{short}"

    def read(self) -> Split:
        """UCF101's lists, with the background as the group. All classes share it, so it is held out for all or none.

        A background held out for one class only would speak against this class.
        """
        split = super().read()
        split.train, split.test = (
            [replace(video, group=video.group.split()[-1]) for video in videos] for videos in (split.train, split.test)
        )
        if "order" in split.families:
            split.chance["order"] = 0.5  # the shape tells the pair of classes, the order of motions the class
        return split

    def prepare(self, workers: int) -> None:
        """Make the set in `workers` processes if it is not there. Their number changes nothing. Raises DataError.

        The folder gets its name when it is complete, so an interrupted set is never used.
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

    def _make(self, folder: Path, workers: int) -> None:
        """Write the lists and all videos."""
        classes = [(family, name) for family in self.families for name in CLASSES[family]]
        for _, name in classes:
            (folder / name).mkdir(parents=True)
        splits = [1] if "shift" in self.families else list(TEST_GROUPS)
        write_lists(folder, {name: self.clips[family] for family, name in classes}, splits)
        tasks = [(family, name, group) for group in GROUPS for family, name in classes]
        total = len(GROUPS) * sum(self.clips[family] for family, _ in classes)
        print(f"generating {total} videos in {self.folder()}", flush=True)
        write = partial(self._write_videos, folder)
        written = map(write, tasks) if workers <= 1 else (count for _, count in in_processes(write, tasks, workers))
        with Progress(total, "generating videos") as bar:
            for count in written:
                bar.update(count)

    def _write_videos(self, folder: Path, task: tuple[str, str, int]) -> int:
        """Write the videos of one class in one group; returns their number."""
        from datamodules.datasets.rendering import render, write_video  # here: commands that only read need no codecs

        family, name, group = task
        clips = range(1, self.clips[family] + 1)
        for clip in clips:
            scene = make_scene(self.data_seed, family, name, group, clip, self.size, self.frames)
            write_video(folder / video_path(name, group, clip), render(scene), self.fps)
        return len(clips)


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
