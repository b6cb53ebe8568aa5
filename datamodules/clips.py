"""Which frames of a video make up its clips. Integer arithmetic only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from datamodules.clip_spec import ClipSpec, snippet
from datamodules.errors import DataError


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


def _offsets(spec: ClipSpec, num_frames: int, fps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(offsets of the frames (T,), of the forward and of the backward flow fields, number of frames that it spans).

    Offsets count from the clip's first frame.
    """
    num_backward = spec.flow_frames // 2 if spec.flow_direction == "both" else 0
    num_forward = spec.flow_frames - num_backward
    places = np.arange(max(spec.frames, num_forward))
    if spec.fps is None:
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
    if spec.fps is None:
        return num_frames, 0.0, None
    shown = nearest_frames(rate.times, spec.fps)
    return len(shown), spec.fps, shown


def clip_span(spec: ClipSpec, num_frames: int, rate: Rate) -> int:
    """Number of frames from the first to the last one of a clip, or of its snippets; or of steps, see `_steps`."""
    num_frames, fps, _ = _steps(spec, num_frames, rate)
    return _offsets(snippet(spec)[1], num_frames, fps)[-1]


# If a video is stored in pieces, `piece` is the number of frames of each, and `num_frames` that of all of them. A clip
# or snippet then lies in one piece, as it otherwise lies in the whole video.


def train_starts(
    spec: ClipSpec, num_frames: int, rate: Rate, rng: np.random.Generator, piece: int | None = None
) -> np.ndarray:
    """The first frames of the snippets of one random training clip, (1, K).

    Each is uniform over all places of its segment, that is over 1 / K of the places where a snippet fits.
    """
    num_frames, fps, _ = _steps(spec, num_frames, rate)
    return _random_starts(spec, num_frames, fps, rng, piece, 1)


def test_starts(
    spec: ClipSpec, num_frames: int, rate: Rate, rng: np.random.Generator, piece: int | None = None
) -> np.ndarray:
    """The first frames of the snippets of a video's test clips, (N, K). Only `test_sampling=random` uses `rng`.

    If there are pieces, `all` takes clips from every piece. `even` takes the middles of N * K evenly spaced pieces.
    With fewer pieces than that, it spaces the snippets of each piece evenly in it.
    """
    num_frames, fps, _ = _steps(spec, num_frames, rate)
    length = piece or num_frames
    span, num_pieces = clip_span(spec, length, fps), num_frames // length
    room = max(length - span, 0)
    if spec.test_clips == "all":
        return (length * np.arange(num_pieces)[:, None] + np.arange(0, room + 1, spec.test_step)).reshape(-1, 1)
    clips, snippets = int(spec.test_clips), snippet(spec)[0]
    if spec.test_sampling == "random":
        return np.sort(_random_starts(spec, num_frames, fps, rng, piece, clips), axis=0)
    count = clips * snippets
    chosen = (2 * np.arange(count) + 1) * num_pieces // (2 * count)
    others = np.bincount(chosen)[chosen]  # number of snippets in the same piece
    number = np.arange(count) - np.searchsorted(chosen, chosen)  # which of them it is
    # The snippet's middle, start + (span - 1) / 2, comes as near as whole frames allow to the middle of the i-th of
    # N * K equal parts, (2i + 1) n / 2NK - 1/2.
    starts = ((2 * number + 1) * length + others * (1 - span)) // (2 * others)
    return (length * chosen + np.clip(starts, 0, room)).reshape(snippets, clips).T


def _random_starts(
    spec: ClipSpec, num_frames: int, fps: float, rng: np.random.Generator, piece: int | None, count: int
) -> np.ndarray:
    length, snippets = piece or num_frames, snippet(spec)[0]
    places = max(length - clip_span(spec, length, fps), 0) + 1
    ends = np.arange(snippets + 1) * (num_frames // length * places) // snippets
    chosen, starts = np.divmod(rng.integers(ends[:-1], np.maximum(ends[1:], ends[:-1] + 1), (count, snippets)), places)
    return length * chosen + starts


test_starts.__test__ = False  # the name is not a test's


def clip_indices(spec: ClipSpec, num_frames: int, rate: Rate, starts: np.ndarray, piece: int | None = None) -> Clips:
    """The clips whose snippets begin at the frames `starts` (N, K), or (N,), of a video of `num_frames` >= 1 frames."""
    part, starts = snippet(spec)[1], starts.reshape(len(starts), -1)
    found = _snippet_indices(part, num_frames, rate, starts.ravel(), piece)
    rgb, flow, backward = (indices.reshape(len(starts), -1) for indices in found[:3])
    padded, center, seconds = (values.reshape(starts.shape) for values in found[3:])
    return Clips(rgb, flow, backward, padded.any(1), center.mean(1), seconds.mean(1))


def _snippet_indices(
    spec: ClipSpec, num_frames: int, rate: Rate, starts: np.ndarray, piece: int | None = None
) -> Clips:
    """The snippets that begin at the frames `starts` (M,).

    A snippet that reaches beyond the end goes on at the video's start or holds its last frame, as `spec.short` says.
    Flow does the same over the fields: no field leads from the last frame to the first. Raises DataError if `short` is
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
