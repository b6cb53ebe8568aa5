"""Small clips, and a data set of four of them."""

from pathlib import Path

from datamodules.datasets.folder import Folder
from tests.factories import scrolling, write_manifest, write_video


def write_clip(path, frames=5, codec="mpeg4", size=(64, 96), seed=0, **more):
    write_video(path, scrolling(frames, *size, seed), codec=codec, **more)


SOUND = "a.avi,x,1,train b.avi,y,2,train c.avi,x,3,test d.avi,y,4,test"


def four_videos(root: Path, manifest: str = SOUND) -> Folder:
    """Four videos, a.avi to d.avi, and a manifest of any rows, with spaces between them."""
    for name in "abcd":
        write_clip(root / "videos" / f"{name}.avi", seed=ord(name))
    write_manifest(root / "videos", *manifest.split())
    return Folder(root=str(root / "videos"), stores=str(root / "stores"))
