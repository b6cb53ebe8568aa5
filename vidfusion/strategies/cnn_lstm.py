"""CNN + LSTM: an LSTM reads the frames' features in order and answers at every step (LRCN, Donahue et al. 2015).

    frame t      -> convolutions -> fc6 -> LSTM(t) -> scores(t), 1/3 \\
                                                                       weighted mean over streams and steps
    flow field t -> convolutions -> fc6 -> LSTM(t) -> scores(t), 2/3 /

Published:
    rgb.trunk.0       conv 1x7x7 /1x2x2   96x16x111x111   pool 1x3x3: 96x16x55x55    sees 1
    rgb.trunk.4       conv 1x5x5 /1x2x2   384x16x26x26    pool 1x3x3: 384x16x13x13   sees 1
    rgb.trunk.8       conv 1x3x3          512x16x13x13                               sees 1
    rgb.trunk.10      conv 1x3x3          512x16x13x13                               sees 1
    rgb.trunk.12      conv 1x3x3          384x16x13x13    pool 1x3x3: 384x16x6x6     sees 1
    rgb.fc6.1         linear              4096x16                                    sees 1
    rgb.lstm          lstm                256x16                                     sees 16
    rgb.classifier    linear              101x16                                     sees 16
    flow.trunk.0      conv 1x7x7 /1x2x2   96x16x111x111   pool 1x3x3: 96x16x55x55    sees 2
    flow.trunk.4      conv 1x5x5 /1x2x2   384x16x26x26    pool 1x3x3: 384x16x13x13   sees 2
    flow.trunk.8      conv 1x3x3          512x16x13x13                               sees 2
    flow.trunk.10     conv 1x3x3          512x16x13x13                               sees 2
    flow.trunk.12     conv 1x3x3          384x16x13x13    pool 1x3x3: 384x16x6x6     sees 2
    flow.fc6.1        linear              4096x16                                    sees 2
    flow.lstm         lstm                256x16                                     sees 17
    flow.classifier   linear              101x16                                     sees 17

An LSTM orders what the features below it can see: features of single frames show where things are, those of flow how
they move. Each stream is trained on its own loss, at every step; so one run gives the numbers of two, and of both.

Deviations: flow is OpenCV's DIS, not Brox's, and its network has the size of the other one (the paper's flow LSTM has
1024 cells). A field enters as x, y and length, times 16, as the paper draws it. Weights start as PyTorch's defaults
draw them, but the forget gates' bias is 1, unless `training.init=paper`. `tiny` and `small` have the single-frame
network's convolutions; those of `tiny` are half as wide, with a stride for the first pool, since a clip costs 16 frames
of them. BatchNorm in `tiny` sees all frames of a batch.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from vidfusion.classifier import VideoClassifier
from vidfusion.nets.blocks import Classifier, feature_shape, frame_cnn, fully_connected
from vidfusion.nets.frame_net import FrameNet
from vidfusion.settings import ClipShape


class OverTime(VideoClassifier):
    """What the networks share that answer at every step of time."""

    def step_gains(self, steps: int) -> Tensor | None:
        """1, or rising linearly to 1 over the clip (Ng et al. 2015, section 3.3)."""
        return _rising(steps) if self.config.gain == "linear" else None

    def over_time(self, scores: Tensor) -> Tensor:
        """The clip's probabilities from those of its steps, (N, T, C) -> (N, C), as `answer` says."""
        if self.config.answer == "last":
            return scores[:, -1]
        if self.config.answer == "max":
            largest = scores.amax(1)
            return largest / largest.sum(1, keepdim=True)
        if self.config.answer == "weighted":
            gains = _rising(scores.shape[1]).to(scores)
            return (scores * gains[:, None]).sum(1) / gains.sum()
        return scores.mean(1)


class CNNLSTM(OverTime):
    """A frame CNN under an LSTM, on frames and on flow; see the file's docstring."""

    streams: ClassVar[dict[str, str]] = {"rgb": "rgb", "flow": "flow"}
    least_frames = 2
    order_matters = True

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """Two networks alike: one reads colours, one reads flow as an image of three channels."""
        sizes = self.config.hidden or 256, self.config.layers or 1
        self.rgb = FrameLSTM(net, clip.crop, *sizes, num_classes)
        self.flow = FrameLSTM(net, clip.crop, *sizes, num_classes)
        self.stream_weights = 1 - self.config.flow_weight, self.config.flow_weight

    def forward(self, rgb: Tensor, flow: Tensor) -> dict[str, Tensor]:
        """(N, 3, T, H, W) and (N, 2, T, H, W) -> logits (N, T, C) of each stream."""
        length = flow.norm(dim=1, keepdim=True)
        image = torch.cat([flow, length], 1).mul(self.net.flow_scale).clamp(-128, 127)  # (N, 3, T, H, W)
        return {"rgb": self.rgb(rgb), "flow": self.flow(image)}


class FrameLSTM(nn.Module):
    """A frame CNN up to its first fully connected layer, LSTMs, and a classifier at every step."""

    def __init__(self, net: FrameNet, crop: int, hidden: int, layers: int, num_classes: int) -> None:
        super().__init__()
        self.trunk = frame_cnn(net)
        self.fc6, features = fully_connected(net, feature_shape(self.trunk, (3, 1, crop, crop)))
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True)
        for layer in range(layers):  # forget gates: remember at first
            nn.init.ones_(getattr(self.lstm, f"bias_ih_l{layer}")[hidden : 2 * hidden])
        self.dropout = nn.Dropout(min(net.dropout, 0.5))  # after the LSTM: 0.5 where fc6 has 0.9
        self.classifier = Classifier(hidden, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> logits (N, T, C), one for each step."""
        batch, _, frames = images.shape[:3]
        every_frame = images.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (N*T, 3, 1, H, W)
        features = self.fc6(self.trunk(every_frame)).view(batch, frames, -1)  # (N, T, F)
        states, _ = self.lstm(features)  # (N, T, hidden)
        return self.classifier(self.dropout(states))


def _rising(steps: int) -> Tensor:
    return torch.arange(1, steps + 1) / steps
