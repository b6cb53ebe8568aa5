"""Temporal segment network: one network scores a snippet of each segment; their consensus is learnt (Wang et al. 2016).

    segments 1 ... K of the video -> a snippet of each
    frame of snippet k      -> spatial CNN  -> logits(k) -> mean over k -> probabilities, 0.4 \\
                                                                                            weighted mean
    flow stack of snippet k -> temporal CNN -> logits(k) -> mean over k -> probabilities, 0.6 /

Published:
    rgb.0    googlenet            1024x1x7x7      sees 1
    flow.0   googlenet            1024x1x7x7      sees 6
    rgb.1    average pool 1x7x7   1024x3          sees 1
    rgb.4    linear               101x3           sees 1
    mean     average pool 3x1x1   101             sees 3
    flow.1   average pool 1x7x7   1024x3          sees 6
    flow.4   linear               101x3           sees 6
    mean_2   average pool         101             sees 16

The loss is of the consensus, the mean of the snippets' logits (section 3.1): the network learns from the whole video at
the price of K snippets. The mean forgets in which order the snippets came; only a flow stack knows motion.

Deviations: the network is torchvision's GoogLeNet, which has BatchNorm, where the paper has BN-Inception; all of its
norms are trained; warped flow is left out; flow is OpenCV's DIS.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from vidfusion.classifier import VideoClassifier
from vidfusion.nets.blocks import image_network
from vidfusion.nets.frame_net import FrameNet
from vidfusion.settings import ClipShape


class TSN(VideoClassifier):
    """The spatial and the temporal network, each on all snippets; see the file's docstring."""

    order_matters = True
    streams: ClassVar[dict[str, str]] = {"rgb": "rgb", "flow": "flow"}

    def build(self, net: FrameNet, clip: ClipShape, num_classes: int) -> None:
        """One network on the colours of a frame and one on a stack of flow."""
        if clip.frames != clip.snippets or not clip.flow_frames:
            raise ValueError(
                "tsn needs one frame and some flow fields of each snippet: expected sampling.span=segments, "
                f"sampling.snippets=sampling.frames and sampling.flow_frames a multiple of it, got {clip.snippets}, "
                f"{clip.frames} and {clip.flow_frames}"
            )
        self.snippets, channels = clip.snippets, 2 * clip.flow_frames // clip.snippets
        self.input_channels = (3, channels)
        self.rgb = image_network(net, (3, 1, clip.crop, clip.crop), num_classes)
        self.flow = image_network(net, (channels, 1, clip.crop, clip.crop), num_classes)
        self.stream_weights = 1 - self.config.flow_weight, self.config.flow_weight

    def forward(self, rgb: Tensor, flow: Tensor) -> dict[str, Tensor]:
        """(N, 3, K, H, W) and (N, 2, K * L, H, W) -> logits (N, C) of each stream."""
        frames = rgb.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (N*K, 3, 1, H, W)
        stacks = flow.transpose(1, 2).unflatten(1, (self.snippets, -1)).flatten(2, 3)  # (N, K, 2L, H, W)
        stacks = stacks.flatten(0, 1).unsqueeze(2)  # (N*K, 2L, 1, H, W)
        return {"rgb": self._consensus(self.rgb(frames)), "flow": self._consensus(self.flow(stacks))}

    def _consensus(self, logits: Tensor) -> Tensor:
        return logits.unflatten(0, (-1, self.snippets)).mean(1)  # (N*K, C) -> (N, C)

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Normalised frames, and flow less each whole field's mean displacement."""
        inputs = super().inputs(batch)
        inputs["flow"] = self.net.flow_scale * (inputs["flow"] - batch["flow_mean"].mT[..., None, None])
        return inputs
