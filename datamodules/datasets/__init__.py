"""Data sets: each turns its official files into training and test videos."""

from datamodules.datasets.base import Dataset
from datamodules.datasets.folder import Folder
from datamodules.datasets.hmdb51 import HMDB51
from datamodules.datasets.moving_shapes import MovingShapes
from datamodules.datasets.sports1m import Sports1M
from datamodules.datasets.ucf101 import UCF101

DATASETS: dict[str, type[Dataset]] = {
    "moving_shapes": MovingShapes,
    "ucf101": UCF101,
    "hmdb51": HMDB51,
    "sports1m": Sports1M,
    "folder": Folder,
}
