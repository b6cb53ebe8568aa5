"""Beyond Short Snippets, recurrent: five stacked LSTMs read a frame per second (Ng et al. 2015, section 3.3).

    frame t -> GoogLeNet -> LSTM 1(t) -> ... -> LSTM 5(t) -> scores(t);   step t's loss and answer count t / T

Published:
    reader.trunk        googlenet            1024x1x7x7      sees 1
    reader.fc6.0        average pool 1x7x7   1024x30         sees 1
    reader.lstm         lstm                 512x30          sees 30
    reader.classifier   linear               101x30          sees 30

Motion shows as in `cnn_lstm`, between frames a second apart. The four ways to answer are `model.answer`.

Deviations: GoogLeNet is torchvision's, on 224-pixel crops instead of 220; it has BatchNorm. `small` and `tiny` have the
frame CNN of `cnn_lstm` and fewer, narrower LSTMs.
"""

from __future__ import annotations

from torch import Tensor

from vidfusion.nets.frame_net import FrameNet
from vidfusion.settings import ClipShape
from vidfusion.strategies.cnn_lstm import FrameLSTM, OverTime

LSTMS = {"published": (512, 5), "small": (256, 3), "tiny": (64, 2)}  # cells, layers


class SnippetsLSTM(OverTime):
    """Stacked LSTMs on a frame CNN; see the file's docstring."""

    least_frames = 2
    order_matters = True

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """A frame CNN, LSTMs one above the other, and a classifier at every step."""
        hidden, layers = LSTMS[self.config.size]
        self.reader = FrameLSTM(net, clip.crop, self.config.hidden or hidden, self.config.layers or layers, num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, T, C), one for each step."""
        return self.reader(rgb)
