"""HMDB51 (Kuehne et al., ICCV 2011): 51 actions from films and the web, three official splits of 70 and 30 per class.

The lists name 6,766 clips; each split trains on 3,570, tests on 1,530 and leaves the others unused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from datamodules.datasets.base import Dataset
from datamodules.datasets.official_lists import find_lists, read_lines
from datamodules.errors import DataError
from datamodules.videos import Listing, Split, Video

UNUSED, TRAIN, TEST = 0, 1, 2
LINE = re.compile(r"(?P<name>.+?)\s+(?P<flag>[012])")

# <source>_<class>_<visible body>_<camera motion>_<people>_<viewpoint>_<quality>_<number>; a source may hold anything.
NAME = re.compile(r"(?P<source>.+)_[fhlu]_(nm|cm)_np\d+_(ba|fr|le|ri)_(goo|med|bad)_\d+\.\w+")

# The five types of classes, as the data set's page lists them.
FIVE_TYPES = {
    family: tuple(names.split())
    for family, names in {
        "facial actions": "smile laugh chew talk",
        "facial actions with objects": "smoke eat drink",
        "body movements": """
            cartwheel clap climb climb_stairs dive fall_floor flic_flac handstand jump pullup pushup run sit situp
            somersault stand turn walk wave""",
        "body movements with objects": """
            brush_hair catch draw_sword dribble golf hit kick_ball pick pour push ride_bike ride_horse shoot_ball
            shoot_bow shoot_gun swing_baseball sword_exercise throw""",
        "body movements with humans": "fencing hug kick kiss punch shake_hands sword",
    }.items()
}


@dataclass
class HMDB51(Dataset):
    """HMDB51 as its authors publish it; clips of one group (class and source) are cut from the same film or video.

    lists: folder of the official lists; by default the root, or the `testTrainMulti_7030_splits` or `splits` in it
    """

    LAYOUT: ClassVar[str] = """\
data/hmdb51/                             data.root
    brush_hair/                          one folder per class, as the .rar in hmdb51_org.rar unpack
        April_09_brush_hair_u_nm_np1_ba_goo_0.avi
        ...
    testTrainMulti_7030_splits/          the official lists, as their .rar unpacks; elsewhere: data.lists
        brush_hair_test_split1.txt       and so on: 51 classes x 3 splits"""

    root: str = "data/hmdb51"
    lists: str | None = None

    def listing(self) -> Listing:
        """Parse every split that the lists' folder holds. Raises DataError."""
        pattern = "*_test_split[0-9].txt"
        folder = find_lists(self.folder(), self.LAYOUT, self.lists, pattern, ["testTrainMulti_7030_splits", "splits"])
        names = [path.stem.rpartition("_test_split") for path in folder.glob(pattern)]
        classes = sorted({name for name, _, _ in names})
        splits = {}
        unused = []
        for number in sorted({int(number) for _, _, number in names}):
            videos: dict[int, list[Video]] = {UNUSED: [], TRAIN: [], TEST: []}
            for label, name in enumerate(classes):
                for where, line in read_lines(folder / f"{name}_test_split{number}.txt"):
                    flag, video = read_video(where, line, name, label)
                    videos[flag].append(video)
            splits[number] = videos[TRAIN], videos[TEST]
            unused += [video.path for video in videos[UNUSED]]
        return Listing(classes, splits, unused, FIVE_TYPES)

    def remarks(self, split: Split) -> list[str]:
        """How far the official split separates sources. Within a class it does; across classes films recur."""
        groups = [{video.group for video in videos} for videos in (split.train, split.test)]
        own_class = len(groups[0] & groups[1])
        train, test = ({group.partition("/")[2] for group in side} for side in groups)
        return [
            f"{len(train & test)} of {len(test)} test sources (name prefixes) recur in training; "
            f"{own_class} of {len(groups[1])} do so within their class"
        ]

    def cluster(self, video: Video) -> str:
        """The source over all classes: its clips of another class show the same people and places."""
        return video.group.partition("/")[2]


def read_video(where: str, line: str, name: str, label: int) -> tuple[int, Video]:
    """(flag, video) from a line `<file> <flag>` of the list of class `name`."""
    match = LINE.fullmatch(line)
    parts = match and NAME.fullmatch(match["name"])
    if not parts:
        raise DataError(f"{where}: found {line!r}, expected '<source>_{name}_<f|h|l|u>_..._<number>.avi <0|1|2>'")
    source = parts["source"].removesuffix(f"_{name}")
    return int(match["flag"]), Video(f"{name}/{match['name']}", (label,), f"{name}/{source}")
