"""What a clip is: everything that the papers say about clips is a value of `ClipSpec`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Optional, Union

from datamodules.errors import DataError

MOST = 1_000_000  # of frames, clips and the like; more is a slip of the keyboard


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
    span:          `fixed`: frames follow one another as stride or fps say; `segments`: the video is cut into equal
                   segments, and a clip has a snippet of each: from a random place in training, from the middle in test
                   (Wang et al. 2016, section 3.1)
    snippets:      segments of a clip; each snippet has 1 / snippets of its RGB frames and flow fields (0: one for each
                   RGB frame, or without these for each flow field)
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
    span: Literal["fixed", "segments"] = "fixed"
    snippets: int = 0
    train_clips: int = 1
    balanced: bool = False
    train_labels: Literal["all", "one"] = "all"
    test_clips: Union[int, str] = 10  # noqa: UP007 - as above
    test_step: int = 8
    test_sampling: Literal["even", "random"] = "even"
    test_views: Literal["center", "flip", "3crop", "4crop", "10crop"] = "center"
    test_time: Literal["forward", "reversed", "shuffled", "frozen"] = "forward"
    short: Literal["loop", "hold", "error"] = "loop"
    resize: Optional[list[int]] = None  # noqa: UP045
    crop: Optional[int] = None  # noqa: UP045
    crop_scales: list[float] = field(default_factory=list)
    colour: Literal["none", "jitter", "pca"] = "none"


def snippet(spec: ClipSpec) -> tuple[int, ClipSpec]:
    """(K, what each of the K snippets of a clip is); a clip of `span=fixed` is one snippet."""
    if spec.span == "fixed":
        return 1, spec
    count = spec.snippets or spec.frames or spec.flow_frames
    parts = {"frames": spec.frames // count, "flow_frames": spec.flow_frames // count}
    return count, replace(spec, **parts, span="fixed", snippets=0)


def check(spec: ClipSpec) -> None:
    """Raise DataError if a spec describes no clip."""
    for name, least in (("frames", 0), ("flow_frames", 0), ("stride", 1), ("train_clips", 1), ("test_step", 1)):
        if not least <= getattr(spec, name) <= MOST:
            raise DataError(f"sampling.{name}={getattr(spec, name)}: expected {least} to {MOST:,}")
    if spec.frames + spec.flow_frames == 0:
        raise DataError("sampling.frames and sampling.flow_frames are both 0: a clip needs frames or flow")
    _check_direction(spec)
    _check_snippets(spec)
    if spec.fps is not None and not 0.001 <= spec.fps <= 10_000:
        raise DataError(f"sampling.fps={spec.fps}: expected 0.001 to 10,000 frames per second")
    if spec.test_clips != "all" and not (isinstance(spec.test_clips, int) and 0 < spec.test_clips <= MOST):
        raise DataError(f"sampling.test_clips={spec.test_clips}: expected 1 to {MOST:,}, or `all`")
    _check_crops(spec)


def _check_direction(spec: ClipSpec) -> None:
    if spec.flow_direction == "forward":
        return
    if spec.flow_frames < 2 or spec.flow_frames % 2:
        raise DataError(
            f"sampling.flow_frames={spec.flow_frames}: with sampling.flow_direction=both half of them go back; "
            "expected an even number from 2 on"
        )


def _check_snippets(spec: ClipSpec) -> None:
    if spec.span == "fixed":
        if spec.snippets:
            raise DataError(f"sampling.snippets={spec.snippets}: a clip of sampling.span=fixed is one; leave it out")
        return
    count, _ = snippet(spec)
    if count < 1 or spec.frames % count or spec.flow_frames % count:
        raise DataError(
            f"sampling.snippets={count}, sampling.frames={spec.frames}, sampling.flow_frames={spec.flow_frames}: all "
            "snippets have equal numbers of frames and fields; expected a number that divides both"
        )
    if spec.flow_direction == "both":
        raise DataError("sampling.flow_direction=both: the middle of a clip of sampling.span=segments is no one place")
    if spec.test_clips == "all":
        raise DataError("sampling.test_clips=all: a clip of sampling.span=segments spans the video; expected a number")


def _check_crops(spec: ClipSpec) -> None:
    if spec.resize is None or len(spec.resize) != 2 or spec.crop is None:
        raise DataError(f"sampling.resize={spec.resize}, sampling.crop={spec.crop}: expected [height, width], side")
    if not 0 < spec.crop <= min(spec.resize):
        raise DataError(f"sampling.crop={spec.crop}: expected 1 to {min(spec.resize)}, the stored frame's smaller side")
    for scale in spec.crop_scales:
        if not (
            isinstance(scale, int | float)
            and 0 < scale < float("inf")
            and 1 <= scaled_side(spec.crop, scale) <= min(spec.resize)
        ):
            raise DataError(
                f"sampling.crop_scales={list(spec.crop_scales)}: {scale} times sampling.crop={spec.crop} is no side of "
                f"1 to {min(spec.resize)} pixels, the stored frame's smaller side"
            )


def scaled_side(crop: int, scale: float) -> int:
    """Side of the training crop at one of `ClipSpec.crop_scales`, in pixels, before it is resized."""
    return int(crop * scale + 0.5)
