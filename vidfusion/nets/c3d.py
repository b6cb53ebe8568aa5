"""C3D's networks (Tran et al. 2015), and their settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from vidfusion.nets.choice import Net, StrategyConfig, choose_net
from vidfusion.nets.frame_net import Init, PerChannel

RELEASED = Init(fc=0.005, conv_bias=(0.0, 1.0), fc_bias=1.0)  # Caffe release: biases of 1 but in the first layer


@dataclass(frozen=True)
class C3DNet:
    """Widths of the convolutions of each of the five stages and of the fully connected layers (none: global average
    pooling), and the input they are meant for. `norm=batch`: BatchNorm after every convolution. Pixels enter as
    (value - mean) / std."""

    stages: tuple[tuple[int, ...], ...]
    fc: tuple[int, ...]
    resize: tuple[int, int]
    crop: int
    norm: Literal["none", "batch"] = "none"
    dropout: float = 0.5
    mean: PerChannel = 117.0  # one constant in the place of Sports-1M's mean volume, which cannot be distributed
    std: PerChannel = 1.0
    init: Init | None = None


NETS = {
    "published": C3DNet(
        ((64,), (128,), (256, 256), (512, 512), (512, 512)), (4096, 4096), (128, 171), 112, init=RELEASED
    ),
    "small": C3DNet(((32,), (64,), (128, 128), (256, 256), (256, 256)), (1024, 1024), (72, 96), 64, std=58.0),
    "tiny": C3DNet(((8,), (16,), (32, 32), (48, 48), (48, 48)), (), (36, 36), 32, "batch", dropout=0, std=58.0),
}
SEARCH_NETS = {
    "published": dataclasses.replace(
        NETS["published"], stages=((64,), (128,), (256,), (256,), (256,)), fc=(2048, 2048)
    ),
    "small": dataclasses.replace(NETS["small"], stages=((32,), (64,), (128,), (128,), (128,)), fc=(512, 512)),
    "tiny": dataclasses.replace(NETS["tiny"], stages=((8,), (16,), (32,), (32,), (32,))),
}


@dataclass
class C3DConfig(StrategyConfig):
    """layout:          `c3d` with eight convolutions, or `search` with five
    temporal_depths: frames that the kernels of each of the five stages span, odd
    pool5:           how the last pooling treats an odd edge: `ceil` as the Caffe release (7 -> 4, windows {0,1} ...
                     {6}), `floor` (7 -> 3), or `padded` as the PyTorch ports (7 -> 4, windows {0} {1,2} ...)
    """

    layout: Literal["c3d", "search"] = "c3d"
    temporal_depths: list[int] = field(default_factory=lambda: [3, 3, 3, 3, 3])
    pool5: Literal["ceil", "floor", "padded"] = "ceil"

    nets: ClassVar[dict[str, C3DNet]] = NETS

    def network(self) -> Net:
        """The table of the layout and size."""
        depths = self.temporal_depths
        if len(depths) != 5 or any(not isinstance(depth, int) or depth < 1 or depth % 2 == 0 for depth in depths):
            raise ValueError(f"model.temporal_depths={depths}: expected five odd numbers, one for each stage")
        if self.backbone and (self.layout, self.pool5, depths) != ("c3d", "ceil", [3] * 5):
            raise ValueError(
                f"model.layout={self.layout}, model.pool5={self.pool5}, model.temporal_depths={depths}: they "
                f"belong to C3D's own network, leave them out with model.backbone={self.backbone}"
            )
        return choose_net(SEARCH_NETS if self.layout == "search" else self.nets, self)
