"""Beyond Short Snippets, pooling: the maximum over the frames' features (Ng et al. 2015, section 3.2 and figure 2).

    conv       frames -> convolutions -> max over time -> FC -> FC -> scores
    late       frames -> convolutions -> FC -> FC -> max over time -> scores
    slow       frames -> convolutions -> max over 10 frames, every 5 -> FC (shared) -> max over time -> FC -> scores
    local      frames -> convolutions -> max over 10 frames, every 5 -> FC (shared) -> all side by side -> scores
    time_conv  frames -> convolutions -> 256 kernels 3x3 over 10 frames, every 5 -> max over time -> FC -> FC -> scores

Published, `conv`:
    trunk        googlenet          1024x1x7x7      sees 1
    amax         max pool 120x1x1   50176           sees 120
    fc1.0        linear             4096            sees 120
    fc2.0        linear             4096            sees 120
    classifier   linear             101             sees 120

A maximum forgets the order of the frames: only `local` and `time_conv` can tell a video from its reversal.

Deviations: the frame CNN is torchvision's GoogLeNet, as in `snippets_lstm`; `small` and `tiny` have the frame CNNs of
`single_frame` and `cnn_lstm`.
"""

from __future__ import annotations

from torch import Tensor, nn

from vidfusion.classifier import VideoClassifier
from vidfusion.nets.blocks import Classifier, feature_shape, frame_cnn
from vidfusion.nets.frame_net import FrameNet
from vidfusion.settings import ClipShape

WINDOW, STEP = 10, 5  # frames
TIME_KERNELS = 256


class SnippetsPool(VideoClassifier):
    """Feature pooling over a long clip; see the file's docstring."""

    least_frames = 2

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """Convolutions, two fully connected layers and a classifier, around the poolings that `forward` does."""
        pooling, dropout = self.config.pooling, net.dropout
        self.order_matters = pooling in ("local", "time_conv", "slow")
        if self.order_matters and clip.frames < WINDOW:
            raise ValueError(
                f"snippets_pool needs sampling.frames >= {WINDOW} with model.pooling={pooling}, got {clip.frames}"
            )
        if len(net.fc) != 2:
            raise ValueError(
                "model.head=gap: snippets_pool has two fully connected layers, between which it pools; leave it out"
            )
        first, second = net.fc
        windows = (clip.frames - WINDOW) // STEP + 1
        self.trunk = frame_cnn(net)
        channels, _, height, width = feature_shape(self.trunk, (3, 1, clip.crop, clip.crop))
        self.time_conv = nn.Identity()
        if pooling == "time_conv":
            kernels = nn.Conv3d(channels, TIME_KERNELS, (WINDOW, 3, 3), (STEP, 1, 1), padding=(0, 1, 1))
            self.time_conv = nn.Sequential(kernels, nn.ReLU(inplace=True))
            channels = TIME_KERNELS
        self.fc1 = _connected(channels * height * width, first, dropout)
        self.fc2 = nn.Identity() if pooling == "local" else _connected(first, second, dropout)
        self.classifier = Classifier(first * windows if pooling == "local" else second, num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, C)."""
        maps = self.time_conv(self.trunk(rgb))  # (N, C', T', H', W')
        features = maps.transpose(1, 2).flatten(2)  # (N, T', F), each frame's or window's maps
        pooling = self.config.pooling
        if pooling in ("conv", "time_conv"):
            return self.classifier(self.fc2(self.fc1(features.amax(1))))
        if pooling == "late":
            return self.classifier(self.fc2(self.fc1(features)).amax(1))
        local = self.fc1(features.unfold(1, WINDOW, STEP).amax(-1))  # (N, windows, first)
        if pooling == "local":
            return self.classifier(local.flatten(1))
        return self.classifier(self.fc2(local.amax(1)))


def _connected(features: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(inplace=True), nn.Dropout(dropout))
