"""Which frames of a video make up a clip, and where clips begin. Integer arithmetic only, no I/O.

Everything that the papers say about clips is a value of `ClipSpec`. `clip_indices` turns it into frame numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Optional, Union

import numpy as np

from datamodules.errors import DataError


@dataclass
class ClipSpec:
    """What one clip is, and how many of them come from a video (config node `sampling`).

    frames:        RGB frames per clip, T (0: none)
    flow_frames:   optical flow fields per clip, L (0: none); field i is the motion from frame i to frame i + 1
    flow_direction: `forward` from the clip's first frame, or `both`: L / 2 fields forward from the clip's middle frame
                   and L / 2 backward from it, each from a frame to the one before (Simonyan & Zisserman 2014, section
                   3.1); the RGB frames then begin at the middle frame
    stride:        video frames from one frame of the clip to the next
    fps:           frames per second of the clip; replaces `stride` and uses the video's own rate
    span:          `fixed`: as stride or fps say; `video`: the frames are spread evenly over the whole video
    train_clips:   clips drawn from each training video in each epoch, at random places
    balanced:      the class of each training clip is drawn uniformly (Simonyan & Zisserman 2014, section 5); an epoch
                   has as many clips as without it, and a video comes again only after all others of its class
    train_labels:  target of a video with several labels: `all` of them in equal shares, or `one`, drawn anew for each
                   clip (Karpathy et al. 2014 do not say); accuracy counts any of them as right
    test_clips:    clips per test video, or `all`: one every `test_step` frames from the first frame on
    test_step:     video frames between the starts of two clips when `test_clips` is `all`
    test_sampling: `even`: clip i of N is centred on (i + 1/2) / N of the video's length and moved inside if necessary,
                   so the clips of all strategies share their centres; or `random` (seeded)
    test_views:    crops of each test clip: `center`; `flip` adds its mirror image; `3crop` along the longer side;
                   `4crop` centre and one random crop, each mirrored (Karpathy et al. 2014 pass a clip 4 times);
                   `10crop` corners and centre, each mirrored. Nothing is mirrored where data.mirror is false.
    test_time:     how test clips are played: `forward`, `reversed`, `shuffled` in an order seeded by the video's path,
                   or `frozen`, the middle frame throughout, without motion
    short:         a video shorter than its clip is repeated (`loop`), holds its last frame (`hold`), or is an `error`
    resize:        height and width of the stored frames, in pixels (unset: the network's own)
    crop:          side of the square that the network sees, in pixels (unset: the network's own)
    crop_scales:   training crops have a side of `crop` times one of these, at a corner or the centre, and are resized
                   to `crop` (none: `crop` itself, anywhere)
    colour:        change of a training clip's colours, the same for all its frames: `jitter` of brightness, contrast
                   and saturation; `pca`: light of another strength and colour (Krizhevsky et al. 2012, section 4.1)
    """

    frames: int = 1
    flow_frames: int = 0
    flow_direction: Literal["forward", "both"] = "forward"
    stride: int = 1
    fps: Optional[float] = None  # noqa: UP045 - OmegaConf resolves these at run time on Python 3.10 too
    span: Literal["fixed", "video"] = "fixed"
    train_clips: int = 1
    balanced: bool = False
    train_labels: Literal["all", "one"] = "all"
    test_clips: Union[int, str] = 10  # noqa: UP007
    test_step: int = 8
    test_sampling: Literal["even", "random"] = "even"
    test_views: Literal["center", "flip", "3crop", "4crop", "10crop"] = "center"
    test_time: Literal["forward", "reversed", "shuffled", "frozen"] = "forward"
    short: Literal["loop", "hold", "error"] = "loop"
    resize: Optional[list[int]] = None  # noqa: UP045
    crop: Optional[int] = None  # noqa: UP045
    crop_scales: list[float] = field(default_factory=list)
    colour: Literal["none", "jitter", "pca"] = "none"


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames of a video whose rate varies: `times` (n,) are the seconds at which each is shown, from 0 on."""

    times: np.ndarray


Rate = float | Timeline  # frames per second, 0 where the video does not say; or the frames' own times


def nearest_to(times: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Numbers of the frames nearest to some `seconds` (N,), given the frames' `times` (n,); of two, the later one."""
    return np.searchsorted((times[1:] + times[:-1]) / 2, seconds, side="right")


def nearest_frames(times: np.ndarray, fps: float) -> np.ndarray:
    """Numbers of the frames nearest to the times 0, 1 / fps, 2 / fps ... of a video, given its frames' `times` (n,)."""
    return nearest_to(times, np.arange(int(times[-1] * fps + 0.5) + 1) / fps)


class Clips(NamedTuple):
    """N clips of one video.

    rgb:      (N, T) frame numbers
    flow:     (N, L) numbers of forward flow fields; (N, L / 2) if flow goes in both directions
    backward: (N, 0) numbers of backward flow fields; (N, L / 2) if flow goes in both directions
    padded:   (N,) whether the clip reaches beyond the end of the video
    center:   (N,) the middle of the clip, in frames; where clips have a rate and the video's varies, in clip frames
    seconds:  (N,) the same in seconds, or in frames if the video does not say its rate

    If a video is stored in pieces, the numbers count its stored frames and fields, and a clip is padded if it reaches
    beyond the end of its piece.
    """

    rgb: np.ndarray
    flow: np.ndarray
    backward: np.ndarray
    padded: np.ndarray
    center: np.ndarray
    seconds: np.ndarray


def check(spec: ClipSpec) -> None:
    """Raise DataError if a spec describes no clip."""
    for name, least in (("frames", 0), ("flow_frames", 0), ("stride", 1), ("train_clips", 1), ("test_step", 1)):
        if getattr(spec, name) < least:
            raise DataError(f"sampling.{name}={getattr(spec, name)}: expected {least} or more")
    if spec.frames + spec.flow_frames == 0:
        raise DataError("sampling.frames and sampling.flow_frames are both 0: a clip needs frames or flow")
    _check_direction(spec)
    if spec.fps is not None and not 0 < spec.fps < float("inf"):
        raise DataError(f"sampling.fps={spec.fps}: expected a number of frames per second above 0")
    if spec.test_clips != "all" and not (isinstance(spec.test_clips, int) and spec.test_clips > 0):
        raise DataError(f"sampling.test_clips={spec.test_clips}: expected a number from 1 on, or `all`")
    _check_crops(spec)


def _check_direction(spec: ClipSpec) -> None:
    if spec.flow_direction == "forward":
        return
    if spec.flow_frames < 2 or spec.flow_frames % 2:
        raise DataError(
            f"sampling.flow_frames={spec.flow_frames}: with sampling.flow_direction=both half of them go back; "
            "expected an even number from 2 on"
        )
    if spec.span == "video":
        raise DataError(
            "sampling.span=video starts at the first frame, from where no flow goes back; "
            "set sampling.span=fixed or sampling.flow_direction=forward"
        )


def _check_crops(spec: ClipSpec) -> None:
    if spec.resize is None or len(spec.resize) != 2 or spec.crop is None:
        raise DataError(f"sampling.resize={spec.resize}, sampling.crop={spec.crop}: expected [height, width], side")
    if not 0 < spec.crop <= min(spec.resize):
        raise DataError(f"sampling.crop={spec.crop}: expected 1 to {min(spec.resize)}, the stored frame's smaller side")
    for scale in spec.crop_scales:
        if not (0 < scale < float("inf") and 1 <= scaled_side(spec.crop, scale) <= min(spec.resize)):
            raise DataError(
                f"sampling.crop_scales={list(spec.crop_scales)}: {scale} times sampling.crop={spec.crop} is no side of "
                f"1 to {min(spec.resize)} pixels, the stored frame's smaller side"
            )


def scaled_side(crop: int, scale: float) -> int:
    """Side of the training crop at one of `ClipSpec.crop_scales`, in pixels, before it is resized."""
    return int(crop * scale + 0.5)


def _offsets(spec: ClipSpec, num_frames: int, fps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(offsets of the frames (T,), of the forward and of the backward flow fields, number of frames that it spans).

    Offsets count from the clip's first frame.
    """
    num_backward = spec.flow_frames // 2 if spec.flow_direction == "both" else 0
    num_forward = spec.flow_frames - num_backward
    places = np.arange(max(spec.frames, num_forward))
    if spec.span == "video":
        # The first frame of each of T equal parts, in integers. The last frame has no flow field.
        places = places * (num_frames - (spec.flow_frames > 0)) // len(places)
    elif spec.fps is None:
        places = places * spec.stride
    elif fps > 0:
        places = np.floor(places * (fps / spec.fps) + 0.5).astype(np.int64)
    else:
        raise DataError(
            f"sampling.fps={spec.fps:g}: the video does not say its frame rate; set sampling.stride, re-encode the "
            "video, or take it off the list"
        )
    rgb, flow = places[: spec.frames], places[:num_forward]
    span = max(int(rgb[-1]) + 1 if rgb.size else 0, int(flow[-1]) + 2 if flow.size else 0)
    # Backward field i leads from frame i + 1 to frame i, so the one that starts at the middle frame has a lower number.
    backward = -1 - places[:num_backward]
    before = -int(backward[-1]) if num_backward else 0
    return before + rgb, before + flow, before + backward, before + span


def _steps(spec: ClipSpec, num_frames: int, rate: Rate) -> tuple[int, float, np.ndarray | None]:
    """(number of places where a clip can begin or end, their rate, the frame at each place).

    They are the video's frames. But where clips have a rate and that of the video varies, they are steps of equal time.
    """
    if not isinstance(rate, Timeline):
        return num_frames, rate, None
    if spec.fps is None or spec.span == "video":
        return num_frames, 0.0, None
    shown = nearest_frames(rate.times, spec.fps)
    return len(shown), spec.fps, shown


def clip_span(spec: ClipSpec, num_frames: int, rate: Rate) -> int:
    """Number of video frames from the first to the last one of a clip, both counted; or of steps, see `_steps`."""
    num_frames, fps, _ = _steps(spec, num_frames, rate)
    return _offsets(spec, num_frames, fps)[-1]


# If a video is stored in pieces, `piece` is the number of frames of each, and `num_frames` that of all of them. A clip
# then lies in one piece, as it otherwise lies in the whole video.


def train_starts(
    spec: ClipSpec, num_frames: int, rate: Rate, rng: np.random.Generator, piece: int | None = None
) -> np.ndarray:
    """The first frame of one random training clip, (1,): uniform over all places where the clip fits."""
    num_frames, fps, _ = _steps(spec, num_frames, rate)
    return _random_starts(spec, num_frames, fps, rng, piece, 1)


def test_starts(
    spec: ClipSpec, num_frames: int, rate: Rate, rng: np.random.Generator, piece: int | None = None
) -> np.ndarray:
    """The first frames of a video's test clips, (N,). Only `test_sampling=random` uses `rng`.

    If there are pieces, `all` takes clips from every piece. `even` takes the middles of N evenly spaced pieces. With
    fewer pieces than clips, it spaces the clips of each piece evenly in it.
    """
    num_frames, fps, _ = _steps(spec, num_frames, rate)
    length = piece or num_frames
    span, num_pieces = clip_span(spec, length, fps), num_frames // length
    room = max(length - span, 0)
    if spec.test_clips == "all":
        return (length * np.arange(num_pieces)[:, None] + np.arange(0, room + 1, spec.test_step)).ravel()
    count = int(spec.test_clips)
    if spec.test_sampling == "random":
        return np.sort(_random_starts(spec, num_frames, fps, rng, piece, count))
    chosen = (2 * np.arange(count) + 1) * num_pieces // (2 * count)
    others = np.bincount(chosen)[chosen]  # number of clips in the same piece
    number = np.arange(count) - np.searchsorted(chosen, chosen)  # which of them it is
    # The clip's middle, start + (span - 1) / 2, comes as near as whole frames allow to the middle of the i-th of N
    # equal parts, (2i + 1) n / 2N - 1/2.
    starts = ((2 * number + 1) * length + others * (1 - span)) // (2 * others)
    return length * chosen + np.clip(starts, 0, room)


def _random_starts(
    spec: ClipSpec, num_frames: int, fps: float, rng: np.random.Generator, piece: int | None, count: int
) -> np.ndarray:
    length = piece or num_frames
    places = max(length - clip_span(spec, length, fps), 0) + 1
    chosen, starts = np.divmod(rng.integers(0, num_frames // length * places, size=count), places)
    return length * chosen + starts


test_starts.__test__ = False  # the name is not a test's


def clip_indices(spec: ClipSpec, num_frames: int, rate: Rate, starts: np.ndarray, piece: int | None = None) -> Clips:
    """The clips that begin at the frames `starts` (N,) of a video with `num_frames` >= 1 frames.

    A clip that reaches beyond the end goes on at the video's start or holds its last frame, as `spec.short` says. Flow
    does the same over the fields: no field leads from the last frame to the first. Raises DataError if `short` is
    `error`, or if `spec.fps` needs a rate that the video does not say (`rate` 0).

    Of a video whose rate varies, clips with a rate of their own show the frame nearest to each of their times.
    """
    assert num_frames >= 1
    num_frames, fps, shown = _steps(spec, num_frames, rate)
    length = piece or num_frames
    *offsets, span = _offsets(spec, length, fps)
    fields = max(length - 1, 1)
    chosen = np.clip(starts // length, 0, num_frames // length - 1)[:, None]
    rgb, flow, backward = (starts[:, None] - length * chosen + places for places in offsets)
    padded = starts - length * chosen[:, 0] + span > length
    center = starts + (span - 1) / 2
    if spec.short == "error" and padded.any():
        found = f"the video has {length}" if piece is None else f"a piece of the video that is stored has {length}"
        raise DataError(
            f"sampling.short=error: a clip spans {span} frames, {found}; "
            "choose sampling.short=loop or hold, or a shorter clip"
        )
    if spec.short == "hold":
        rgb = np.minimum(rgb, length - 1)
        flow, backward = np.minimum(flow, fields - 1), np.minimum(backward, fields - 1)
    else:
        rgb, flow, backward = rgb % length, flow % fields, backward % fields
    rgb, flow, backward = length * chosen + rgb, fields * chosen + flow, fields * chosen + backward
    if shown is not None:
        after = shown[np.minimum(backward + 1, num_frames - 1)]  # the frame from which a backward field leads
        last_field = max(len(rate.times) - 2, 0)
        rgb, flow, backward = shown[rgb], np.minimum(shown[flow], last_field), np.clip(after - 1, 0, last_field)
    return Clips(rgb, flow, backward, padded, center, _seconds(rate, fps, center))


def _seconds(rate: Rate, fps: float, center: np.ndarray) -> np.ndarray:
    if isinstance(rate, Timeline) and not fps:
        return np.interp(center, np.arange(len(rate.times)), rate.times)
    return center / (fps or 1)
