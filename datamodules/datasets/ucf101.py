"""UCF101 (Soomro et al. 2012, CRCV-TR-12-01): 13,320 clips of 101 actions, three official splits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from datamodules.datasets.base import Dataset
from datamodules.datasets.official_lists import find_lists, read_lines
from datamodules.errors import DataError
from datamodules.videos import Listing, Video

# The class comes from the folder: the files of HandstandPushups are named v_HandStandPushups_*.
LINE = re.compile(r"(?P<path>(?P<folder>[^/]+)/.*_(?P<group>g\d+)_c\d+\.\w+)(\s+(?P<id>\d+))?")

# The five types of classes, as the data set's page lists them.
FIVE_TYPES = {
    family: tuple(names.split())
    for family, names in {
        "human-object interaction": """
            ApplyEyeMakeup ApplyLipstick BlowDryHair BrushingTeeth CuttingInKitchen Hammering HulaHoop JugglingBalls
            JumpRope Knitting Mixing MoppingFloor Nunchucks PizzaTossing ShavingBeard SkateBoarding SoccerJuggling
            Typing WritingOnBoard YoYo""",
        "body motion only": """
            BabyCrawling BlowingCandles BodyWeightSquats HandstandPushups HandstandWalking JumpingJack Lunges
            PullUps PushUps RockClimbingIndoor RopeClimbing Swing TaiChi TrampolineJumping WalkingWithDog
            WallPushups""",
        "human-human interaction": "BandMarching Haircut HeadMassage MilitaryParade SalsaSpin",
        "playing musical instruments": """
            Drumming PlayingCello PlayingDaf PlayingDhol PlayingFlute PlayingGuitar PlayingPiano PlayingSitar
            PlayingTabla PlayingViolin""",
        "sports": """
            Archery BalanceBeam BaseballPitch Basketball BasketballDunk BenchPress Biking Billiards Bowling
            BoxingPunchingBag BoxingSpeedBag BreastStroke CleanAndJerk CliffDiving CricketBowling CricketShot Diving
            Fencing FieldHockeyPenalty FloorGymnastics FrisbeeCatch FrontCrawl GolfSwing HammerThrow HighJump
            HorseRace HorseRiding IceDancing JavelinThrow Kayaking LongJump ParallelBars PoleVault PommelHorse Punch
            Rafting Rowing Shotput Skiing Skijet SkyDiving SoccerPenalty StillRings SumoWrestling Surfing
            TableTennisShot TennisSwing ThrowDiscus UnevenBars VolleyballSpiking""",
    }.items()
}


@dataclass
class UCF101(Dataset):
    """UCF101 as its authors publish it; clips of one group (gNN of a class) share actor and background.

    lists: folder of the official lists; by default the root, or the `ucfTrainTestlist` in it
    """

    LAYOUT: ClassVar[str] = """\
data/ucf101/                             data.root
    ApplyEyeMakeup/                      one folder per class, as UCF101.rar unpacks
        v_ApplyEyeMakeup_g01_c01.avi
        ...
    ucfTrainTestlist/                    the official lists, as their zip unpacks; elsewhere: data.lists
        classInd.txt
        trainlist01.txt  testlist01.txt  and the same for splits 02 and 03"""

    FAMILIES: ClassVar[dict[str, tuple[str, ...]]] = FIVE_TYPES

    root: str = "data/ucf101"
    lists: str | None = None

    def listing(self) -> Listing:
        """Parse every split that the lists' folder holds. Raises DataError."""
        folder = find_lists(self.folder(), self.LAYOUT, self.lists, "trainlist*.txt", ["ucfTrainTestlist"])
        classes = read_classes(folder / "classInd.txt")
        splits = {}
        for train in sorted(folder.glob("trainlist*.txt")):
            number = train.stem.removeprefix("trainlist")
            if number.isdigit():
                test = folder / f"testlist{number}.txt"
                splits[int(number)] = read_videos(train, classes), read_videos(test, classes)
        return Listing(classes, splits, families=self.FAMILIES)


def read_classes(path: Path) -> list[str]:
    """Class names from `classInd.txt`, whose lines are `id name` with ids from 1."""
    classes = []
    for where, line in read_lines(path):
        number, *name = line.split()
        if number != str(len(classes) + 1) or len(name) != 1:
            raise DataError(f"{where}: found {line!r}, expected '{len(classes) + 1} <class>'")
        classes += name
    return classes


def read_videos(path: Path, classes: list[str]) -> list[Video]:
    """Videos from a list with lines `Class/v_Class_gXX_cYY.avi`, in training lists followed by the class id."""
    label_of = {name.lower(): label for label, name in enumerate(classes)}
    videos = []
    for where, line in read_lines(path):
        match = LINE.fullmatch(line)
        if match is None:
            raise DataError(f"{where}: found {line!r}, expected 'Class/v_Class_gXX_cYY.avi' and in training its id")
        label = label_of.get(match["folder"].lower())
        if label is None:
            raise DataError(f"{where}: {match['folder']!r} is none of the {len(classes)} classes of classInd.txt")
        if match["id"] is not None and int(match["id"]) != label + 1:
            raise DataError(f"{where}: class id {match['id']}, but classInd.txt gives {classes[label]} id {label + 1}")
        videos.append(Video(match["path"], (label,), f"{classes[label]} {match['group']}"))
    return videos
