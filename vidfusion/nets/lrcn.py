"""The frame CNN of LRCN (Donahue et al. 2015)."""

from __future__ import annotations

from vidfusion.nets.frame_net import CAFFENET, LRN, Conv, FrameNet

# The CaffeNet / Zeiler-Fergus hybrid of LRCN (Donahue et al. 2015), up to fc6.
LRCN_HYBRID = FrameNet(
    convs=(
        Conv(96, 7, 2, norm=True, pool=(3, 2)),
        Conv(384, 5, 2, groups=2, norm=True, pool=(3, 2)),
        Conv(512, 3, 1, 1),
        Conv(512, 3, 1, 1, groups=2),
        Conv(384, 3, 1, 1, groups=2, pool=(3, 2)),
    ),
    fc=(4096,),
    norm=LRN(alpha=1e-4, k=1.0, after_pool=True),
    resize=(240, 320),
    crop=227,
    dropout=0.9,
    flow_scale=16.0,
    init=CAFFENET,
)
