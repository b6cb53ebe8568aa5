"""The frame CNN of Simonyan & Zisserman 2014."""

from __future__ import annotations

from vidfusion.nets.frame_net import Conv, FrameNet, Init
from vidfusion.nets.karpathy import KARPATHY

# CNN-M-2048 (Chatfield et al. 2014), as in Simonyan & Zisserman 2014, figure 1. Flow enters as they store it in 8
# bits: 127 for a displacement of 20 pixels.
CNN_M_2048 = {
    "published": FrameNet(
        convs=(
            Conv(96, 7, 2, norm=True, pool=(3, 2)),
            Conv(256, 5, 2, 1, norm=True, pool=(3, 2)),
            Conv(512, 3, 1, 1),
            Conv(512, 3, 1, 1),
            Conv(512, 3, 1, 1, pool=(3, 2)),
        ),
        fc=(4096, 2048),
        resize=(256, 340),
        crop=224,
        dropout=0.9,
        flow_scale=127 / 20,
        init=Init(),
    ),
    "small": FrameNet(
        convs=(
            Conv(48, 7, 2, norm=True, pool=(3, 2)),
            Conv(128, 5, 2, 1, norm=True, pool=(3, 2)),
            Conv(256, 3, 1, 1),
            Conv(256, 3, 1, 1),
            Conv(256, 3, 1, 1, pool=(3, 2)),
        ),
        fc=(1024, 512),
        resize=(128, 128),
        crop=112,
        std=58.0,
    ),
    "tiny": KARPATHY["tiny"],
}
