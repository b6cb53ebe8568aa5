"""The frame CNN of Karpathy et al. 2014."""

from __future__ import annotations

from vidfusion.nets.frame_net import ALEXNET, LRN, Conv, FrameNet

# Karpathy et al. 2014, section 3: the 170x170 net. Padding is not printed; valid conv1 and ceil pools give the 7x7x256
# that the paper quotes. LRN with beta 0.5. Its dropout and initial weights are not printed either; AlexNet's are used.
KARPATHY = {
    "published": FrameNet(
        convs=(
            Conv(96, 11, 3, norm=True, pool=(2, 2)),
            Conv(256, 5, 1, 2, norm=True, pool=(2, 2)),
            Conv(384, 3, 1, 1),
            Conv(384, 3, 1, 1),
            Conv(256, 3, 1, 1, pool=(2, 2)),
        ),
        fc=(4096, 4096),
        norm=LRN(beta=0.5),
        resize=(200, 200),
        crop=170,
        init=ALEXNET,
    ),
    "small": FrameNet(
        convs=(
            Conv(48, 7, 2, 3, norm=True, pool=(2, 2)),
            Conv(96, 5, 1, 2, norm=True, pool=(2, 2)),
            Conv(128, 3, 1, 1),
            Conv(128, 3, 1, 1),
            Conv(128, 3, 1, 1, pool=(2, 2)),
        ),
        fc=(512, 512),
        norm=LRN(beta=0.5),
        resize=(128, 128),
        crop=112,
        std=58.0,
    ),
    "tiny": FrameNet(
        convs=(
            Conv(16, 5, 1, 2, pool=(2, 2)),
            Conv(32, 3, 1, 1, pool=(2, 2)),
            Conv(48, 3, 1, 1),
            Conv(48, 3, 1, 1),
            Conv(48, 3, 1, 1),
        ),
        fc=(),
        norm="batch",
        resize=(36, 36),
        crop=32,
        dropout=0.0,
        std=58.0,
    ),
}
