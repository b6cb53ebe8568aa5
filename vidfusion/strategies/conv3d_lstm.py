"""3-D convolutions + LSTM: an LSTM reads what a 3-D network sees in short windows (Baccouche et al. 2011, figure 1).

    window s of a few frames -> 3-D convolutions -> fc -> LSTM(s) -> scores(s);   loss at every step, answers averaged

Published, windows of 9 frames:
    trunk.0      conv 5x7x7   7x30x48x48    pool 1x2x2: 7x30x24x24    sees 5
    trunk.3      conv 3x5x5   35x18x20x20   pool 1x2x2: 35x18x10x10   sees 7
    trunk.6      conv 3x3x3   5x6x8x8                                 sees 9
    fc.1         linear       50x6                                    sees 9
    lstm         lstm         50x6                                    sees 54
    classifier   linear       101x6                                   sees 54

The convolutions see how things move within a window, and the LSTM in which order the windows come: local motion below,
long-term structure above. Both are trained together, from scratch.

Deviations: the paper trains the convolutions first, with a classifier of their own, and the LSTM on their features. Its
windows are 34x54 pixels of grey around a person, its units tanh; here they are square crops in colour, and ReLU.
`small` and `tiny` have the frame CNN of `cnn_lstm`, whose first three convolutions reach over 3 frames with stride 2,
then 3 and 2 frames; `tiny` is wider, with global average pooling.
"""

from __future__ import annotations

from torch import Tensor, nn

from vidfusion.nets.blocks import Classifier, feature_shape, frame_cnn, fully_connected
from vidfusion.nets.frame_net import Extent, FrameNet
from vidfusion.settings import ClipShape
from vidfusion.strategies.cnn_lstm import OverTime

REACH: dict[str, tuple[Extent, ...]] = {"published": ((5, 1), (3, 1), (3, 1))}  # frames and stride of convolutions
WINDOW = 9  # frames, at least
CELLS = {"published": 50, "small": 256, "tiny": 128}


class Conv3DLSTM(OverTime):
    """3-D convolutions under an LSTM; see the file's docstring."""

    least_frames = WINDOW
    order_matters = True

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """3-D convolutions over a window's frames, and an LSTM over windows."""
        hidden = self.config.hidden or CELLS[self.config.size]
        self.window = clip.frames // clip.snippets if clip.snippets > 1 else WINDOW
        reach = REACH.get(self.config.size, ((3, 2), (3, 1), (2, 1)))
        if self.window < WINDOW or clip.frames % self.window:
            raise ValueError(
                f"conv3d_lstm reads windows of {WINDOW} frames: expected sampling.frames to be {WINDOW} times "
                f"sampling.snippets, or with sampling.span=fixed a multiple of {WINDOW}; got {clip.frames} frames in "
                f"{clip.snippets} snippets"
            )
        self.trunk = frame_cnn(net, time=reach)  # 9 -> 4 -> 2 -> 1 frames; published 9 -> 5 -> 3 -> 1
        self.fc, features = fully_connected(net, feature_shape(self.trunk, (3, self.window, clip.crop, clip.crop)))
        self.lstm = nn.LSTM(features, hidden, self.config.layers or 1, batch_first=True)
        self.classifier = Classifier(hidden, num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, S * W, H, W) -> logits (N, S, C), one for each of S windows."""
        windows = rgb.unflatten(2, (-1, self.window)).transpose(1, 2).flatten(0, 1)  # (N*S, 3, W, H, W)
        features = self.fc(self.trunk(windows)).unflatten(0, (len(rgb), -1))  # (N, S, F)
        states, _ = self.lstm(features)  # (N, S, hidden)
        return self.classifier(states)
