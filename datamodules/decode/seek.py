"""Single frames of a video from its middle on, where that is proven to be exact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from datamodules.decode.info import Packets, VideoInfo
from datamodules.decode.opening import decode_error, opened
from datamodules.decode.pictures import PictureMaker
from datamodules.errors import DecodeError


@dataclass(frozen=True)
class FrameIndex:
    """Where the frames of a video lie that can be sought exactly, see `frame_index`.

    times:  (N,) of the frames in order, in the stream's unit
    starts: (K,) numbers of the frames that a decode can begin with, in order, the first one 0
    """

    info: VideoInfo
    times: np.ndarray
    starts: np.ndarray


def frame_index(path: Path) -> FrameIndex | None:
    """What a video's packets say of its frames, without decoding one. None if the file cannot be sought exactly.

    That is every file but H.264 in MP4 or Matroska with one packet per frame, each with a time of its own. In H.264,
    nothing after an instantaneous decoder refresh (IDR) refers to a frame before it (ITU-T H.264, clause 3). A decode
    from there on gives what a sequential one does. Key frames of other kinds do not promise that. Damage inside a
    packet is not seen: a frame that it costs keeps its number.
    """
    pts, starts, latest = [], [], -math.inf
    try:
        with opened(path) as (container, stream):
            size_bytes = _nal_size_bytes(stream.codec_context)
            if not {"mp4", "matroska"} & set(container.format.name.split(",")) or not size_bytes:
                return None
            packets = Packets(container, stream)
            for packet in packets:
                if packet.size:
                    if packet.pts is None or packet.is_corrupt or packet.is_discard:
                        return None
                    if packet.is_keyframe and packet.pts > latest and _is_refresh(bytes(packet), size_bytes):
                        starts.append(packet.pts)
                    pts.append(packet.pts)
                    latest = max(latest, packet.pts)
            ordered = np.unique(np.array(pts, np.int64))
            if not starts or len(ordered) < len(pts) or ordered[0] != starts[0]:
                return None
            return FrameIndex(packets.info(ordered.tolist()), ordered, np.searchsorted(ordered, starts))
    except DecodeError:
        return None


def _nal_size_bytes(codec: av.VideoCodecContext) -> int:
    """Bytes that say the length of each unit in a packet of H.264; 0 for anything else (ISO/IEC 14496-15, 5.3.3.1)."""
    extra = codec.extradata or b""
    return (extra[4] & 3) + 1 if codec.name == "h264" and len(extra) > 4 and extra[0] == 1 else 0


def _is_refresh(packet: bytes, size_bytes: int) -> bool:
    """Whether a packet of H.264 holds an IDR picture: its first slice says (ITU-T H.264, table 7-1)."""
    place = 0
    while place + size_bytes < len(packet):
        kind = packet[place + size_bytes] & 31
        if 1 <= kind <= 5:
            return kind == 5
        place += size_bytes + int.from_bytes(packet[place : place + size_bytes], "big")
    return False


def seek_frames(path: Path, index: FrameIndex, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the frames with these numbers, sorted and each once, with their numbers, as `pick_frames` does.

    What lies between is not decoded. Raises DecodeError if the decoder does not give the frames that `index` tells of,
    or marks one as damaged; `pick_frames` then says what there is.
    """
    groups = np.searchsorted(index.starts, numbers, side="right") - 1
    to_picture = PictureMaker()
    with opened(path) as (container, stream):
        for group in np.unique(groups).tolist():
            wanted, number = numbers[groups == group].tolist(), int(index.starts[group])
            begin, remaining = int(index.times[number]), set(wanted)
            container.seek(begin, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts < begin:
                    continue
                size = (frame.height, frame.width)
                if frame.pts != index.times[number] or size != (index.info.height, index.info.width):
                    break
                if frame.is_corrupt:
                    break
                if number in remaining:
                    remaining.remove(number)
                    yield number, to_picture(frame)
                if not remaining:
                    break
                number += 1
            if remaining:
                raise decode_error(path, f"frame {number} is not where its packets say")
