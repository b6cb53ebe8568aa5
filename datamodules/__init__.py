"""Clips of videos, frame by frame exact: `datamodules.video.VideoDataModule` over the data sets below."""

from datamodules.folder import Folder
from datamodules.hmdb51 import HMDB51
from datamodules.lists import Dataset
from datamodules.moving_shapes import MovingShapes
from datamodules.sports1m import Sports1M
from datamodules.ucf101 import UCF101

DATASETS: dict[str, type[Dataset]] = {
    "moving_shapes": MovingShapes,
    "ucf101": UCF101,
    "hmdb51": HMDB51,
    "sports1m": Sports1M,
    "folder": Folder,
}
