"""A small data set in which every pixel tells its video, its frame and its place: a clip proves what it shows."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from datamodules.clips import ClipSpec
from datamodules.datamodule import VideoDataModule
from datamodules.datasets.folder import Folder
from datamodules.transforms import Window
from tests.factories import write_manifest, write_video

HEIGHT, WIDTH, CROP = 36, 64, 32
EARLY = ClipSpec(frames=4, test_clips=3, resize=[HEIGHT, WIDTH], crop=CROP)
FLOW = replace(EARLY, frames=1, flow_frames=5)

# path: label, group, split, frames; a broken file has no frames. All are decoded into one shard of one store.
VIDEOS = {
    "train/a0.avi": ("jump", "a", "train", 20),
    "train/a1.avi": ("jump", "a", "train", 22),
    "train/b0.avi": ("jump", "b", "train", 24),
    "train/b1.avi": ("jump", "b", "train", 26),
    "train/c0.avi": ("walk", "c", "train", 28),
    "train/c1.avi": ("walk", "c", "train", 30),
    "train/d0.avi": ("walk", "d", "train", 32),
    "train/d1.avi": ("walk", "d", "train", 34),
    "train/broken.avi": ("walk", "d", "train", 0),
    "test/e0.avi": ("jump", "e", "test", 20),
    "test/e1.avi": ("walk", "e", "test", 40),
    "test/broken.avi": ("walk", "f", "test", 0),
    "test/f0.avi": ("jump", "f", "test", 3),
    "test/f1.avi": ("walk", "f", "test", 36),
}
NAMES = list(VIDEOS)
FRAMES = {path: frames for path, (_, _, _, frames) in VIDEOS.items()}
TRAIN = [path for path in NAMES if path.startswith("train/") and FRAMES[path]]
TEST = [path for path in NAMES if path.startswith("test/") and FRAMES[path]]
BROKEN = "test/broken.avi"


def picture(video: int, frame: int) -> np.ndarray:
    """A frame: red tells its number, green the row and blue the column; the rest of these tells the video."""
    red = np.full((HEIGHT, WIDTH), 6 * frame)
    green = np.broadcast_to(7 * np.arange(HEIGHT)[:, None] + video // 3, (HEIGHT, WIDTH))
    blue = np.broadcast_to(3 * np.arange(WIDTH) + video % 3, (HEIGHT, WIDTH))
    return np.stack([red, green, blue], -1).astype(np.uint8)


class Seen(NamedTuple):
    path: str
    frames: list[int]
    window: Window


def seen(view: torch.Tensor) -> Seen:
    """What a view (T, crop, crop, 3) shows, after checking its every pixel."""
    red, green, blue = view.numpy().astype(int).transpose(3, 0, 1, 2)
    video = green[0, 0, 0] % 7 * 3 + blue[0, 0, 0] % 3
    window = Window(green[0, 0, 0] // 7, blue[0, 0].min() // 3, bool(blue[0, 0, 0] > blue[0, 0, -1]))
    frames = (red[:, 0, 0] // 6).tolist()
    step = -1 if window.mirrored else 1
    for shown, frame in zip(view.numpy(), frames, strict=True):
        cut = picture(video, frame)[window.top : window.top + CROP, window.left : window.left + CROP][:, ::step]
        assert np.array_equal(shown, cut)
    return Seen(NAMES[video], frames, window)


def cut_out(fields, means, window):
    """What a window of flow fields (L, H, W, 2) should be in a batch, with the fields' means (L, 2)."""
    cut = fields[:, window.top : window.top + CROP, window.left : window.left + CROP].astype(int)
    x, y = cut[..., 0], cut[..., 1]
    if window.mirrored:
        x, y = 256 - x[:, :, ::-1], y[:, :, ::-1]
    return np.stack([x, y], -1), (means * [-1 if window.mirrored else 1, 1]).astype(np.float32)


def write(root: Path) -> None:
    """Write the videos without loss, and their manifest."""
    for number, path in enumerate(NAMES):
        if FRAMES[path]:
            write_video(root / path, np.stack([picture(number, frame) for frame in range(FRAMES[path])]), codec="ffv1")
        else:
            (root / path).write_text("no video")
    write_manifest(root, *(",".join([path, *facts[:3]]) for path, facts in VIDEOS.items()))


@dataclass
class Chosen(Folder):
    """The manifest's videos in lists that a test changes. The files, and so the store, stay the same."""

    train: list[str] | None = None
    test: list[str] | None = None
    labels: dict[str, tuple[int, ...]] | None = None
    clips_per_video: int = 0
    clip_seconds: float = 0.16  # 5 frames

    def read(self):
        split = super().read()
        relabel = self.labels or {}
        split.train, split.test = (
            [replace(v, labels=relabel.get(v.path, v.labels)) for v in videos if keep is None or v.path in keep]
            for videos, keep in ((split.train, self.train), (split.test, self.test))
        )
        return split


def make(root, spec=EARLY, *, batch_size=3, test_batch_size=5, workers=0, seed=0, process=(0, 1), **settings):
    """A data module before `setup`."""
    settings = {"stores": str(root.parent / "stores"), "train": TRAIN, "test": TEST} | settings
    sizes = {"batch_size": batch_size, "test_batch_size": test_batch_size}
    data = VideoDataModule(Chosen(root=str(root), **settings), spec, workers=workers, seed=seed, **sizes)
    if process != (0, 1):
        data.trainer = SimpleNamespace(global_rank=process[0], world_size=process[1], global_step=0)
    return data


def opened(root, spec=EARLY, **settings):
    """A data module after `setup`; its store is there."""
    data = make(root, spec, **settings)
    data.setup()
    return data


def built(root, folder, spec=EARLY, **settings):
    """A data module after `setup`, with a store of its own in `folder`."""
    data = make(root, spec, stores=str(folder), **settings)
    data.prepare_data()
    data.setup()
    return data


def epoch(loader, number=0):
    """The batches of one epoch, asked for as Lightning does."""
    loader.sampler.set_epoch(number)
    return list(loader)


def equal(some, others):
    """Whether two lists of batches are the same."""
    return len(some) == len(others) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(some, others, strict=True)
    )


def views(batches, name="rgb"):
    """One entry of each view of some batches."""
    return [view for batch in batches for view in batch[name]]


def shown(batches) -> list[Seen]:
    """What each view of some batches shows."""
    return [seen(view) for view in views(batches)]


def shown_paths(batches) -> Counter:
    """How many views of each video there are."""
    return Counter(clip.path for clip in shown(batches))
