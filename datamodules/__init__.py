"""Clips of videos, frame by frame exact: `datamodules.datamodule` over the data sets of `datamodules.datasets`."""
