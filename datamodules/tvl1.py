"""TV-L1 optical flow of many pairs of frames at once, in PyTorch: on a GPU if there is one.

The method is Zach, Pock & Bischof's ("A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007). The
algorithm is that of Sánchez, Meinhardt-Llopis & Facciolo ("TV-L1 Optical Flow Estimation", IPOL 2013). Pyramid,
settings and median filter are those of OpenCV's DualTVL1OpticalFlow. On average, fields differ from OpenCV's by
hundredths of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.errors import DataError

TAU, LAMBDA, THETA = 0.25, 0.15, 0.3  # time step; weight of the data term; how tightly the two fields are tied
SCALES, SCALE_STEP, SMALLEST = 5, 0.8, 16  # of the pyramid; pixels below which it has no further one
WARPS, OUTER, INNER = 5, 10, 30  # warps at each scale; of each, median filters; of each, steps
EPSILON = 0.01  # pixels: a pair is done once a step changes its field less than that, in the root mean square
MEDIAN = 5  # pixels
PIXELS_AT_ONCE = 2**21  # of the frames in a batch: each takes some hundred bytes of a GPU's memory
FINENESS = 1024  # of a pixel: looked up in finer steps, still pixels at the border would stray outside by rounding


def at_once(pixels: int) -> int:
    """How many frames of so many pixels are best given together: a batch helps a GPU only."""
    return max(1, PIXELS_AT_ONCE // pixels) if torch.cuda.is_available() else 1


def tvl1_fields(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """The field from the first to the second frame of each pair, uint8 (H, W) grey -> float32 (H, W, 2), in pixels.

    A batch for which a GPU has no memory is halved. Raises DataError if a single pair does not fit.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        before, after = (torch.from_numpy(np.stack(frames)).to(device) for frames in zip(*pairs, strict=True))
        return list(tvl1(before, after).permute(0, 2, 3, 1).contiguous().cpu().numpy())
    except torch.OutOfMemoryError:
        if len(pairs) == 1:
            raise DataError(
                "data.flow.method=tvl1_torch: the GPU has no memory for a pair of frames; build the frame store with "
                "fewer processes, or while nothing else runs on the GPU"
            ) from None
    half = len(pairs) // 2
    return tvl1_fields(pairs[:half]) + tvl1_fields(pairs[half:])


@torch.no_grad()
def tvl1(before: Tensor, after: Tensor) -> Tensor:
    """Where the pixels of frames move: (N, H, W) grey of 0 to 255, twice -> (N, 2, H, W), x then y, in pixels."""
    pyramid = [(before.float()[:, None], after.float()[:, None])]
    while len(pyramid) < SCALES:
        smaller = [_shrunk(image) for image in pyramid[-1]]
        if min(smaller[0].shape[-2:]) < SMALLEST:
            break
        pyramid.append(smaller)
    flow = torch.zeros_like(pyramid[-1][0]).repeat(1, 2, 1, 1)
    for scale, (first, second) in reversed(list(enumerate(pyramid))):
        flow = _at_one_scale(first, second, flow)
        if scale:
            size = pyramid[scale - 1][0].shape[-2:]
            flow = F.interpolate(flow, size, mode="bilinear") / SCALE_STEP
    return flow


def _shrunk(image: Tensor) -> Tensor:
    """The next scale. Its pixels lie 1 / SCALE_STEP apart, whatever its size is rounded to."""
    height, width = (round(side * SCALE_STEP) for side in image.shape[-2:])
    y, x = (
        ((torch.arange(size, device=image.device, dtype=image.dtype) + 0.5) / SCALE_STEP - 0.5).clamp(0, side - 1)
        for size, side in zip((height, width), image.shape[-2:], strict=True)
    )
    places = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])
    return _looked_up(image, places.expand(len(image), -1, -1, -1), "bilinear")


def _looked_up(image: Tensor, places: Tensor, mode: str) -> Tensor:
    """Values of (N, C, H, W) at `places` (N, 2, h, w), x then y in pixels; 0 outside."""
    height, width = image.shape[-2:]
    scale = places.new_tensor([2 / (width - 1), 2 / (height - 1)]).view(2, 1, 1)
    return F.grid_sample(image, (places * scale - 1).permute(0, 2, 3, 1), mode, "zeros", align_corners=True)


def _at_one_scale(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    height, width = first.shape[-2:]
    rows, columns = (torch.arange(size, device=flow.device, dtype=flow.dtype) for size in (height, width))
    here = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1])
    duals = flow.new_zeros(len(flow), 2, 2, height, width)  # of each component: along x and along y
    described = torch.cat([second, _central(second, -1), _central(second, -2)], 1)
    for _ in range(WARPS):
        places = ((here + flow) * FINENESS).round() / FINENESS
        warped, slope_x, slope_y = _looked_up(described, places, "bicubic").split(1, 1)
        slope = torch.cat([slope_x, slope_y], 1)
        steepness = (slope**2).sum(1, keepdim=True)
        rest = warped - (slope * flow).sum(1, keepdim=True) - first  # the brightness that the flow must explain
        flow, duals = _solved(flow, duals, slope, steepness, rest)
    return flow


def _solved(flow: Tensor, duals: Tensor, slope: Tensor, steepness: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """The field for one linearised pair of frames. A pair that is done is left alone."""
    moving = torch.ones(len(flow), dtype=torch.bool, device=flow.device)
    for _ in range(OUTER):
        flow = torch.where(moving.view(-1, 1, 1, 1), _median(flow), flow)
        for _ in range(INNER):
            if not moving.any():  # a GPU is waited for here, so that a batch that is done takes no more steps
                return flow, duals
            stepped, steeper = _step(flow, duals, slope, steepness, rest)
            change = ((stepped - flow) ** 2).sum(1).mean((1, 2))
            flow = torch.where(moving.view(-1, 1, 1, 1), stepped, flow)
            duals = torch.where(moving.view(-1, 1, 1, 1, 1), steeper, duals)
            moving = moving & (change > EPSILON**2)
    return flow, duals


def _step(flow: Tensor, duals: Tensor, slope: Tensor, steepness: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    difference = rest + (slope * flow).sum(1, keepdim=True)
    most = LAMBDA * THETA
    exact = -difference / steepness.clamp_min(torch.finfo(flow.dtype).eps)
    data = flow + slope * torch.where(steepness > torch.finfo(flow.dtype).eps, exact.clamp(-most, most), 0.0)
    stepped = data + THETA * _divergence(duals)
    gradient = torch.stack([_forward(stepped, -1), _forward(stepped, -2)], 2)
    ratio = TAU / THETA
    return stepped, (duals + ratio * gradient) / (1 + ratio * gradient.norm(dim=2, keepdim=True))


def _divergence(duals: Tensor) -> Tensor:
    along_x, along_y = duals.unbind(2)
    return along_x - F.pad(along_x, (1, 0))[..., :-1] + along_y - F.pad(along_y, (0, 0, 1, 0))[..., :-1, :]


def _forward(values: Tensor, axis: int) -> Tensor:
    """The difference to the next value along an axis; 0 at its end."""
    return values.diff(dim=axis, append=values.narrow(axis, -1, 1))


def _central(values: Tensor, axis: int) -> Tensor:
    """Half the difference of both neighbours along an axis; beyond the border the nearest value counts."""
    padded = torch.cat([values.narrow(axis, 0, 1), values, values.narrow(axis, -1, 1)], axis)
    size = values.shape[axis]
    return (padded.narrow(axis, 2, size) - padded.narrow(axis, 0, size)) / 2


def _median(values: Tensor) -> Tensor:
    """The median of each pixel's 5 x 5 neighbours; beyond the border the nearest value counts."""
    half = MEDIAN // 2
    around = F.pad(values, (half, half, half, half), mode="replicate").unfold(2, MEDIAN, 1).unfold(3, MEDIAN, 1)
    return around.flatten(4).median(-1).values
