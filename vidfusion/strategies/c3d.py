"""C3D: 3x3x3 convolutions throughout, time pooled as late as space (Tran et al. 2015, section 3.3 and figure 3).

    conv1a P conv2a P conv3a conv3b P conv4a conv4b P conv5a conv5b P fc6 fc7 -> scores   (first pool 1x2x2, then 2x2x2)

The first layer already sees motion over 3 frames, and the view widens to the whole clip of 16.

Deviations: weights start as PyTorch's defaults draw them. `tiny` is narrow, with BatchNorm everywhere and a
global average head; `small` is half as wide on 64-pixel crops.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vidfusion.backbones import feature_shape, head
from vidfusion.classifier import ClipShape, StrategyConfig, TrainingConfig, VideoClassifier


@dataclass(frozen=True)
class C3DNet:
    """Widths of the convolutions of each of the five stages and of the fully connected layers (none: global average
    pooling), and the input they are meant for. `batch_norm` after every convolution. Pixels: (value - mean) / std."""

    stages: tuple[tuple[int, ...], ...]
    fc: tuple[int, ...]
    resize: tuple[int, int]
    crop: int
    batch_norm: bool = False
    dropout: float = 0.5
    mean: float = 117.0  # one constant in the place of Sports-1M's mean volume, which cannot be distributed
    std: float = 1.0


C3D_NETS = {
    "published": C3DNet(((64,), (128,), (256, 256), (512, 512), (512, 512)), (4096, 4096), (128, 171), 112),
    "small": C3DNet(((32,), (64,), (128, 128), (256, 256), (256, 256)), (1024, 1024), (72, 96), 64, std=58.0),
    "tiny": C3DNet(((8,), (16,), (32, 32), (48, 48), (48, 48)), (), (36, 36), 32, batch_norm=True, dropout=0, std=58.0),
}


class C3D(VideoClassifier):
    """The homogeneous 3-D network; see the file's docstring."""

    nets = C3D_NETS
    order_matters = True

    def __init__(self, config: StrategyConfig, clip: ClipShape, num_classes: int, training: TrainingConfig) -> None:
        super().__init__(config, clip, num_classes, training)
        if clip.frames < 8:
            raise ValueError(f"c3d needs sampling.frames >= 8, got {clip.frames}: four poolings halve the clip")
        net = self.net
        layers: list[nn.Module] = []
        channels = 3
        for stage, widths in enumerate(net.stages):
            for width in widths:
                layers.append(nn.Conv3d(channels, width, 3, padding=1, bias=not net.batch_norm))
                layers += [nn.BatchNorm3d(width)] if net.batch_norm else []
                layers.append(nn.ReLU(inplace=True))
                channels = width
            extent = 1 if stage == 0 else 2  # time is not pooled at first, to keep early motion
            # Caffe's pooling rounds up: pool5 makes 4x4 of 7x7.
            layers.append(nn.MaxPool3d((extent, 2, 2), ceil_mode=True))
        self.trunk = nn.Sequential(*layers)
        shape = feature_shape(self.trunk, 3, clip.frames, clip.crop)
        self.head = head(shape, net.fc, self.dropout_rate, num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        return self.head(self.trunk(rgb))
