"""What a frame store holds of each video: which frames, at which size, in which encoding."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from datamodules.clips import nearest_frames, nearest_to
from datamodules.errors import DataError
from datamodules.flow import FlowConfig
from datamodules.videos import encoded_path

if TYPE_CHECKING:
    from datamodules.decode.info import VideoInfo


@dataclass(frozen=True)
class Sample:
    """A part of each video: at most `clips` pieces of `seconds` each, which `seed` and the video's path choose.

    Karpathy et al. (2014, section 4.1) take at most 100 half-second clips of each video. A piece lasts `seconds` from
    its first frame to its last one, to the nearest frame. Half a second at 30 frames per second is 16 frames, of which
    late fusion sees the first and the last (section 3). So a clip of `seconds` fits into a piece at any frame rate if
    `sampling.fps` is set. Pieces do not overlap; all ways of placing them are equally likely. A video too short for so
    many has as many as fit, and one shorter than a piece is a single piece.
    """

    clips: int
    seconds: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clips < 1 or not 0 < self.seconds < float("inf"):
            raise DataError(
                f"data.clips_per_video={self.clips}, data.clip_seconds={self.seconds}: expected 1 clip or more of "
                "above 0 s, or data.clips_per_video=0 for whole videos"
            )

    def pieces(self, path: str, num_frames: int, fps: float) -> tuple[np.ndarray, int]:
        """First frames of a video's pieces, in order, and the frames in each, all equally many."""
        length = min(int(self.seconds * fps + 0.5) + 1, num_frames)
        count = min(self.clips, num_frames // length)
        # Pieces are drawn as if each were one frame; then they are given their length back. They are drawn from a hash,
        # because NumPy's generators may change from version to version.
        places = num_frames - count * (length - 1)
        draws = hashlib.shake_256(f"{self.seed} ".encode() + encoded_path(path)).digest(8 * places)
        starts = np.sort(np.argsort(np.frombuffer(draws, "<u8"), kind="stable")[:count])
        return starts + (length - 1) * np.arange(count), length


@dataclass(frozen=True)
class Track:
    """One kind of array in a store: RGB frames, or with `flow` the optical flow between them, forward or backward.

    Row i of flow leads from frame i to frame i + 1, row i of backward flow from frame i + 1 to frame i.

    encoding, quality: rows are stored `raw`, or as `jpeg` of this quality, 1 to 100
    fps:    of the stored frames: stored frame i is the video's nearest to the time i / fps (None: the video's own)
    sample: which part of each video is stored (None: all of it)
    """

    height: int
    width: int
    flow: FlowConfig | None = None
    backward: bool = False
    encoding: str = "raw"
    quality: int = 95
    fps: float | None = None
    sample: Sample | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise DataError(f"data.quality={self.quality}: expected a JPEG quality of 1 to 100")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise DataError(f"data.store_fps={self.fps}: expected a number of frames per second above 0")

    @property
    def kind(self) -> str:
        """`rgb`, `flow` or `backward_flow`."""
        if self.flow is None:
            return "rgb"
        return "backward_flow" if self.backward else "flow"

    @property
    def name(self) -> str:
        """Its folder: everything that changes its content."""
        parts = [self.kind, f"{self.height}x{self.width}"]
        if self.flow is not None:
            preset = [self.flow.preset] if self.flow.method == "dis" else []
            parts += [self.flow.method, *preset, f"b{self.flow.bound:g}"]
        if self.encoding == "jpeg":
            parts.append(f"jpeg{self.quality}")
        if self.fps is not None:
            parts.append(f"{self.fps:.9g}fps")
        if self.sample is not None:
            parts.append(f"{self.sample.clips}x{self.sample.seconds:.9g}s-seed{self.sample.seed}")
        return "-".join(parts)

    @property
    def row(self) -> tuple[int, int, int]:
        """The shape of one row as it is read: a frame or a field."""
        return self.height, self.width, 3 if self.flow is None else 2

    def keeps(self, height: int, width: int) -> bool:
        """Whether frames of this size are stored as they are, if their shard has no others, and enlarged when read.

        They are where that takes at most half of the space: RGB up to half of the track's area, flow up to an eighth.
        Fields kept so are float32, because 8 bits of them would not enlarge to the same values. OpenCV enlarges, here
        as when a store is built: to the same bits, if it is the same version.
        """
        within = height <= self.height and width <= self.width
        return self.encoding == "raw" and within and 2 * self._kept_bytes(height, width) <= math.prod(self.row)

    def row_bytes(self, height: int, width: int) -> int:
        """Bytes of a raw row of a video of this size, if its shard has one size only."""
        return self._kept_bytes(height, width) if self.keeps(height, width) else math.prod(self.row)

    def _kept_bytes(self, height: int, width: int) -> int:
        return height * width * self.row[2] * (1 if self.flow is None else 4)

    @property
    def pictures(self) -> int:
        """JPEG files per row: one in colour, or one in grey for each component of a field."""
        return 1 if self.flow is None else 2

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How the names of a shard's files end: first the rows, last what says that the shard is whole."""
        rows = (".jpegs", ".offsets.npy") if self.encoding == "jpeg" else (".npy",)
        means = (".means.npy",) if self.flow is not None else ()
        return (*rows, *means, ".json")

    @property
    def settings(self) -> dict:
        """What a record says of it."""
        said: dict = {"height": self.height, "width": self.width}
        if self.flow is not None:
            said["flow"] = asdict(self.flow)
        if self.encoding == "jpeg":
            said |= {"encoding": "jpeg", "quality": self.quality}
        if self.fps is not None:
            said["fps"] = self.fps
        if self.sample is not None:
            said["sample"] = asdict(self.sample)
        return said

    def rate(self, info: VideoInfo) -> float | None:
        """Frames per second at which a video is stored; None for its own frames, each once.

        Pieces of a video whose rate varies are stored at its average rate, so that all are equally long.
        """
        return info.fps if self.fps is None and self.sample is not None and info.times is not None else self.fps

    def frames_of(self, path: str, info: VideoInfo) -> tuple[np.ndarray, int]:
        """Which frames of a video are stored, in order, one perhaps several times; and how many make one piece.

        Raises DataError if that takes a frame rate and the video does not say its own.
        """
        if (self.fps is not None or self.sample is not None) and not info.fps:
            raise DataError(
                f"{path}: does not say its frame rate, which this frame store needs to choose frames; re-encode it, "
                "or set data.store_fps=null and store whole videos (data.clips_per_video=0)"
            )
        rate, frames = self.rate(info), np.arange(info.frames)
        if rate is not None and info.times is not None:
            frames = nearest_frames(info.times, rate)
        elif rate is not None:
            step = info.fps / rate
            frames = np.floor(np.arange(int(info.frames / step) + 2) * step + 0.5).astype(np.int64)
            frames = frames[frames < info.frames]
        if self.sample is None:
            return frames, len(frames)
        starts, length = self.sample.pieces(path, len(frames), rate or info.fps)
        return frames[(starts[:, None] + np.arange(length)).ravel()], length

    def frames_at(self, path: str, info: VideoInfo, seconds: np.ndarray) -> np.ndarray:
        """Numbers of the video's frames that are stored nearest to some `seconds` (N,) of the stored frames.

        Where the video does not say its frame rate, `seconds` are numbers of stored frames.
        """
        stored, _ = self.frames_of(path, info)
        rate = self.rate(info)
        if rate is None and info.times is not None:
            return nearest_to(info.times, seconds)
        places = np.rint(seconds * (rate or info.fps or 1)).astype(np.int64)
        return stored[np.clip(places, 0, len(stored) - 1)]
