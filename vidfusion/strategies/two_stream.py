"""Two-stream: one network on a frame, one on a stack of optical flow (Simonyan & Zisserman 2014, figure 1).

    frame                 -> spatial CNN-M-2048  -> probabilities \\
                                                                   mean
    L flow fields, 2L ch. -> temporal CNN-M-2048 -> probabilities /

Published:
    spatial.0     conv 1x7x7 /1x2x2   96x1x109x109   pool 1x3x3: 96x1x54x54    sees 1
    spatial.4     conv 1x5x5 /1x2x2   256x1x26x26    pool 1x3x3: 256x1x13x13   sees 1
    spatial.8     conv 1x3x3          512x1x13x13                              sees 1
    spatial.10    conv 1x3x3          512x1x13x13                              sees 1
    spatial.12    conv 1x3x3          512x1x13x13    pool 1x3x3: 512x1x6x6     sees 1
    spatial.16    linear              4096                                     sees 1
    spatial.19    linear              2048                                     sees 1
    spatial.22    linear              101                                      sees 1
    temporal.0    conv 1x7x7 /1x2x2   96x1x109x109   pool 1x3x3: 96x1x54x54    sees 11
    temporal.4    conv 1x5x5 /1x2x2   256x1x26x26    pool 1x3x3: 256x1x13x13   sees 11
    temporal.7    conv 1x3x3          512x1x13x13                              sees 11
    temporal.9    conv 1x3x3          512x1x13x13                              sees 11
    temporal.11   conv 1x3x3          512x1x13x13    pool 1x3x3: 512x1x6x6     sees 11
    temporal.15   linear              4096                                     sees 11
    temporal.18   linear              2048                                     sees 11
    temporal.21   linear              101                                      sees 11

Motion is an input: the temporal stream sees displacements, each field less its own mean vector (camera motion). Each
stream is trained on its own loss; nothing couples them (but a limit on the joint gradient, `training.clip_norm`), so
one run gives the numbers of two.

Deviations: flow is OpenCV's DIS, not Brox's; trajectories are followed within the crop and held at its edge.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vidfusion.classifier import VideoClassifier
from vidfusion.nets.blocks import image_network
from vidfusion.nets.cnn_m import TwoStreamConfig
from vidfusion.nets.frame_net import FrameNet
from vidfusion.optimisation import freeze_all_but_last
from vidfusion.settings import ClipShape


class TwoStream(VideoClassifier):
    """The spatial and the temporal network; see the file's docstring."""

    order_matters = True
    streams: ClassVar[dict[str, str]] = {"spatial": "rgb", "temporal": "flow"}

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """One network on 3 channels and one on 2L; the temporal one lacks the second normalisation (section 5)."""
        _check(self.config, clip)
        spatial, temporal, channels = net, net, 2 * clip.flow_frames
        if self.config.spatial_dropout is not None:
            spatial = dataclasses.replace(net, dropout=self.config.spatial_dropout)
        if not net.backbone:
            conv1, conv2, *others = net.convs
            temporal = dataclasses.replace(net, convs=(conv1, dataclasses.replace(conv2, norm=False), *others))
        self.input_channels = (3, channels)
        self.spatial = image_network(spatial, (3, 1, clip.crop, clip.crop), num_classes)
        self.temporal = image_network(temporal, (channels, 1, clip.crop, clip.crop), num_classes)

    def forward(self, rgb: Tensor, flow: Tensor) -> dict[str, Tensor]:
        """(N, 3, 1, H, W) and (N, 2, L, H, W) -> logits (N, C) of each stream."""
        return {"spatial": self.spatial(rgb), "temporal": self.temporal(self._stack(flow))}

    @staticmethod
    def _stack(flow: Tensor) -> Tensor:
        return flow.transpose(1, 2).flatten(1, 2).unsqueeze(2)  # (N, 2L, 1, H, W), channels x1 y1 x2 y2 ...

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Normalised frames, and flow as it is stacked, less each whole field's mean displacement."""
        inputs = super().inputs(batch)
        if self.config.stacking == "trajectory":
            inputs["flow"] = trajectory_stack(inputs["flow"])
        if self.config.mean_subtraction:
            inputs["flow"] = inputs["flow"] - batch["flow_mean"].mT[..., None, None]
        return inputs | {"flow": inputs["flow"] * self.net.flow_scale}

    def freeze(self) -> None:
        """Leave of the spatial stream only the last layer to be trained, where that is asked for."""
        super().freeze()
        if self.config.spatial_training == "last_layer":
            freeze_all_but_last(self.spatial, 1)


def _check(config: TwoStreamConfig, clip: ClipShape) -> None:
    if clip.frames != 1 or clip.flow_frames < 1:
        raise ValueError(
            "two_stream needs sampling.frames=1 and sampling.flow_frames >= 1, got "
            f"{clip.frames} and {clip.flow_frames}"
        )
    if config.stacking == "trajectory" and not clip.flow_follows:
        raise ValueError(
            "model.stacking=trajectory: a path leads from one flow field to the next, but these do not follow each "
            "other; expected sampling.flow_direction=forward, stride=1, fps=null and span=fixed"
        )
    if config.spatial_training == "last_layer" and not (config.weights or config.pretrained):
        raise ValueError(
            "model.spatial_training=last_layer: the layers below would stay as they were drawn; give trained ones "
            "with model.weights=, or with model.backbone= and model.pretrained="
        )


def trajectory_stack(flow: Tensor) -> Tensor:
    """Displacements along each pixel's path instead of at its place: (N, 2, L, H, W) -> the same, in pixels.

    Point p_1 is the pixel; p_k = p_{k-1} + d_{k-1}(p_{k-1}), and entry k is d_k(p_k), between pixels bilinear
    (Simonyan & Zisserman 2014, equation 2). Paths that leave the window go on from its edge.
    """
    height, width = flow.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    points = torch.stack([columns, rows], -1).to(flow)  # (H, W, 2), x then y
    largest = points.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    along = []
    for field in flow.unbind(2):
        grid = (2 * points / largest - 1).expand(len(flow), height, width, 2)
        along.append(F.grid_sample(field, grid, padding_mode="border", align_corners=True))
        points = points + along[-1].permute(0, 2, 3, 1)
    return torch.stack(along, 2)
