"""C3D: 3x3x3 convolutions throughout, time pooled as late as space (Tran et al. 2015, section 3.3 and figure 3).

    conv1a P conv2a P conv3a conv3b P conv4a conv4b P conv5a conv5b P fc6 fc7 -> scores   (first pool 1x2x2, then 2x2x2)

Published:
    trunk.0    conv 3x3x3   64x16x112x112   pool 1x2x2: 64x16x56x56   sees 3
    trunk.3    conv 3x3x3   128x16x56x56    pool 2x2x2: 128x8x28x28   sees 6
    trunk.6    conv 3x3x3   256x8x28x28                               sees 10
    trunk.8    conv 3x3x3   256x8x28x28     pool 2x2x2: 256x4x14x14   sees 16
    trunk.11   conv 3x3x3   512x4x14x14                               sees 16
    trunk.13   conv 3x3x3   512x4x14x14     pool 2x2x2: 512x2x7x7     sees 16
    trunk.16   conv 3x3x3   512x2x7x7                                 sees 16
    trunk.18   conv 3x3x3   512x2x7x7       pool 2x2x2: 512x1x4x4     sees 16
    head.1     linear       4096                                      sees 16
    head.4     linear       4096                                      sees 16
    head.7     linear       101                                       sees 16

The first layer already sees motion over 3 frames, and the view widens to the whole clip of 16.

`model.layout=search` is the smaller network of section 3.2, one convolution per stage, on which the paper compares
temporal depths: all of 1, 3, 5 or 7, increasing 3 3 5 5 7, decreasing 7 5 5 3 3.

Deviations: weights start as PyTorch's defaults draw them, unless `training.init=paper`. `tiny` is narrow, with
BatchNorm everywhere and a global average head; `small` is half as wide on 64-pixel crops. With `model.backbone` the
network is that backbone with its 3x3 kernels inflated to 3x3x3.
"""

from __future__ import annotations

from torch import Tensor, nn

from vidfusion.classifier import VideoClassifier
from vidfusion.nets.blocks import classifier_head, frame_cnn
from vidfusion.nets.c3d import C3DConfig, C3DNet
from vidfusion.nets.choice import Net
from vidfusion.settings import ClipShape


class C3D(VideoClassifier):
    """The homogeneous 3-D network; see the file's docstring."""

    least_frames = 8  # four poolings halve the clip
    order_matters = True

    def build(self, net: Net, clip: ClipShape, num_classes: int) -> None:
        """Convolutions 3x3x3 with padding 1, and fully connected layers."""
        inflated = self.config.backbone
        self.trunk = frame_cnn(net, inflate=True) if inflated else convolutions(net, self.config)
        self.head = classifier_head(self.trunk, net, (3, clip.frames, clip.crop, clip.crop), num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        maps = self.trunk(rgb)  # (N, 3, 16, 112, 112) -> (N, 512, 1, 4, 4)
        return self.head(maps)


def convolutions(net: C3DNet, config: C3DConfig) -> nn.Sequential:
    """Five stages of convolutions, each with a pooling after it."""
    layers: list[nn.Module] = []
    channels = 3
    for stage, (widths, depth) in enumerate(zip(net.stages, config.temporal_depths, strict=True)):
        for width in widths:
            kernel, padding = (depth, 3, 3), (depth // 2, 1, 1)
            layers.append(nn.Conv3d(channels, width, kernel, padding=padding, bias=net.norm != "batch"))
            layers += [nn.BatchNorm3d(width)] if net.norm == "batch" else []
            layers.append(nn.ReLU(inplace=True))
            channels = width
        extent = 1 if stage == 0 else 2  # time is not pooled at first, to keep early motion
        layers.append(nn.MaxPool3d((extent, 2, 2), ceil_mode=True))  # Caffe's pooling rounds up: 7x7 becomes 4x4
    if config.pool5 != "ceil":
        layers[-1] = nn.MaxPool3d(2, padding=(0, 1, 1) if config.pool5 == "padded" else 0)
    return nn.Sequential(*layers)
