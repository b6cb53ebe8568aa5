"""A video file -> its frames and how many there truly are.

Frame i means the i-th frame of a sequential decode. decord's random access returns wrong frames on files with packed
B-frames (most of HMDB51, part of UCF101), and its length may count one frame too many there. So the count comes from
PyAV decoding every frame, and the pictures from decord reading from the first frame on, never seeking. Pictures are
upright: a rotation that the file's metadata ask for, as phones write it, is applied.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from datamodules.lists import DataError

try:
    import decord
except ImportError:  # decord has wheels for x86-64 only; PyAV gives the same frames at about twice the time
    decord = None
else:
    decord.logging.set_level(decord.logging.QUIET)


class DecodeError(DataError):
    """A video that does not decode from its first to its last frame; one line: the file, what was found, the remedy."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    frames:        number of frames that decode, at least 1
    header_frames: number of frames that the header promises; Matroska's (mkv, webm) gives a length, and this is how
                   many would fill that; 0 where it does not say
    fps:           frames per second, 0 where the file does not say
    height, width: of an upright frame, in pixels
    corrupt:       how many of the frames the decoder marks as damaged: it made up a part of their content
    quarter_turns: how often a frame as it is stored is turned by 90 degrees anticlockwise to be upright, 0 to 3
    audio:         whether there is sound
    """

    frames: int
    header_frames: int
    fps: float
    height: int
    width: int
    corrupt: int = 0
    quarter_turns: int = 0
    audio: bool = False

    @property
    def truncated(self) -> bool:
        """See `is_truncated`."""
        return is_truncated(self.frames, self.header_frames)


def is_truncated(frames: int, header_frames: int) -> bool:
    """Whether clearly fewer frames decode than the header promises, as after a broken download.

    Clearly: by more than 2 frames and more than 5 %. The headers of healthy HMDB51 clips count one too many.
    """
    return header_frames - frames > max(2, 0.05 * header_frames)


def probe(path: Path, each_frame: Callable[[], object] = lambda: None) -> VideoInfo:
    """Count the frames of a video by decoding it once, without converting any picture. Raises DecodeError.

    `each_frame` is called after every one of them, for whoever watches over a decoder that may hang.
    """
    frames = corrupt = 0
    first, start, end = None, math.inf, -math.inf
    try:
        with av.open(_source(path)) as container:
            stream = _video_stream(container, path)
            for frame in container.decode(stream):
                first = first or frame
                if (frame.width, frame.height) != (first.width, first.height):
                    # decord would go on in the first size without a word.
                    raise _decode_error(path, _other_size(frames, (frame.width, frame.height), first))
                frames += 1
                corrupt += frame.is_corrupt
                if frame.time is not None:
                    start, end = min(start, frame.time), max(end, frame.time)
                each_frame()
            header_frames, fps = _header_frames(container, stream, frames, end - start), _rate(stream)
            audio = bool(container.streams.audio)
    except av.FFmpegError as error:
        raise _decode_error(path, f"{_reason(error)} after {frames} frames" if frames else _reason(error)) from error
    if first is None:
        raise _decode_error(path, "its video stream holds no frame")
    turns = _quarter_turns(first)
    height, width = (first.height, first.width) if turns % 2 == 0 else (first.width, first.height)
    return VideoInfo(frames, header_frames, fps, height, width, corrupt, turns, audio)


def _rate(stream: av.VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 0)


def _header_frames(container: av.container.InputContainer, stream: av.VideoStream, frames: int, seconds: float) -> int:
    """The frames that a header promises, given those found and the seconds from the first of them to the last."""
    by_length = "matroska" in container.format.name  # MPEG streams have no header: FFmpeg guesses their length
    fps = _rate(stream)
    if stream.frames or not by_length or not fps or seconds < 0:
        return stream.frames
    return round(frames * (container.duration or 0) / av.time_base / (seconds + 1 / fps))


def header(path: Path) -> VideoInfo:
    """What a video's header alone says, which may be wrong, with 0 frames where it does not. Raises DecodeError."""
    try:
        with av.open(_source(path)) as container:
            stream = _video_stream(container, path)
            fps, seconds = stream.average_rate or 0, (container.duration or 0) / av.time_base
            frames = stream.frames or round(seconds * fps)
            return VideoInfo(frames, stream.frames, float(fps), stream.codec_context.height, stream.codec_context.width)
    except av.FFmpegError as error:
        raise _decode_error(path, _reason(error)) from error


def expected_frames(path: Path) -> int:
    """How many frames a video should have by its header alone, which may be wrong; 0 where it cannot be read."""
    try:
        return header(path).frames
    except DecodeError:
        return 0


def iter_frames(path: Path, info: VideoInfo | None = None) -> Iterator[np.ndarray]:
    """Yield the frames of a video in order, uint8 (H, W, 3) in RGB; exactly `info.frames` of them, or DecodeError.

    `info` is what `probe` says of this file; a caller that has it saves the second count. Memory does not grow with the
    number of frames, but decord's own thread may run some hundred of them ahead of a slow reader.
    """
    info = info or probe(path)
    count = 0
    for count, frame in zip(range(1, info.frames + 1), _decode(path), strict=False):
        if frame.shape != (info.height, info.width, 3):
            raise _decode_error(path, _other_size(count - 1, frame.shape[1::-1], info))
        yield frame
    if count < info.frames:
        raise _decode_error(path, f"PyAV counts {info.frames} frames, the decoder gives {count}")


@dataclass(frozen=True)
class FrameIndex:
    """Where the frames of a video lie that can be decoded from its middle on, see `frame_index`.

    times:  (N,) of the frames in order, in the stream's unit
    starts: (K,) numbers of the frames that a decode can begin with, in order, the first one 0
    """

    info: VideoInfo
    times: np.ndarray
    starts: np.ndarray


def frame_index(path: Path) -> FrameIndex | None:
    """What a video holds by its packets, none of which is decoded; None where only a decode of all frames can say.

    That is so for all but H.264 in MP4 or Matroska with one packet per frame, each with a time of its own, and for a
    file whose packets are cut short. In H.264, nothing after an instantaneous decoder refresh (IDR) refers to a frame
    before it (ITU-T H.264, clause 3), so a decode from there on gives what a sequential one does. Key frames of other
    kinds do not promise that. Damage inside a packet is not seen: a frame that it costs keeps its number.
    """
    times, starts, latest = [], [], -math.inf
    try:
        with av.open(_source(path)) as container:
            stream = _video_stream(container, path)
            size_bytes = _nal_size_bytes(stream.codec_context)
            if not {"mp4", "matroska"} & set(container.format.name.split(",")) or not size_bytes:
                return None
            for packet in container.demux(stream):
                if packet.size:
                    if packet.pts is None or packet.is_corrupt or packet.is_discard:
                        return None
                    if packet.is_keyframe and packet.pts > latest and _is_refresh(bytes(packet), size_bytes):
                        starts.append(packet.pts)
                    times.append(packet.pts)
                    latest = max(latest, packet.pts)
            seconds = float((max(times, default=0) - min(times, default=0)) * stream.time_base)
            header_frames, audio = _header_frames(container, stream, len(times), seconds), bool(container.streams.audio)
            codec, fps = stream.codec_context, _rate(stream)
    except (av.FFmpegError, DecodeError):
        return None
    ordered = np.unique(np.array(times, np.int64))
    if not starts or len(ordered) < len(times) or ordered[0] != starts[0]:
        return None
    info = VideoInfo(len(times), header_frames, fps, codec.height, codec.width, audio=audio)
    return FrameIndex(info, ordered, np.searchsorted(ordered, starts))


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
    """Yield the frames of a video with these numbers, sorted and each once, with their numbers.

    They are those of `iter_frames`, without a decode of what lies between. Raises DecodeError where the decoder does
    not give the frames that `index` tells of, or doubts them; `iter_frames` then says what there is.
    """
    groups = np.searchsorted(index.starts, numbers, side="right") - 1
    try:
        with av.open(_source(path)) as container:
            stream = _video_stream(container, path)
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
                    if frame.is_corrupt or frame.interlaced_frame:  # decord treats the colours of interlaced ones apart
                        break
                    if number in remaining:
                        remaining.remove(number)
                        yield number, _picture(frame)
                    if not remaining:
                        break
                    number += 1
                if remaining:
                    raise _decode_error(path, f"frame {number} is not where its packets say")
    except av.FFmpegError as error:
        raise _decode_error(path, _reason(error)) from error


def seeks_exactly(path: Path, frames: Mapping[int, np.ndarray]) -> bool:
    """Whether decord's random access returns these frames of `iter_frames`, given by their index, in their order.

    False where decord is missing: no other decoder here seeks. It may hang or crash on a damaged file.
    """
    if decord is None:
        return False
    try:
        reader = decord.VideoReader(_source(path), ctx=decord.cpu(0), num_threads=1)
        return all(np.array_equal(reader[index].asnumpy(), frame) for index, frame in frames.items())
    except (decord.DECORDError, RuntimeError, IndexError):
        return False


def frames_at(path: Path, indices: Sequence[int]) -> np.ndarray:
    """Frames by decord's random access, uint8 (n, H, W, 3): on some files others than `iter_frames` gives.

    Only to be compared with: see `seeks_exactly`.
    """
    assert decord is not None, "no other decoder here seeks"
    return decord.VideoReader(_source(path), ctx=decord.cpu(0), num_threads=1).get_batch(list(indices)).asnumpy()


def _decode(path: Path) -> Iterator[np.ndarray]:
    """Frames from the first on, as many as the decoder gives. decord may append a copy of the last one."""
    if decord is None:
        yield from _decode_with_pyav(path)
        return
    try:
        reader = decord.VideoReader(_source(path), ctx=decord.cpu(0), num_threads=1)
    except (decord.DECORDError, RuntimeError):  # it takes no single pictures, nor streams without a container
        yield from _decode_with_pyav(path)
        return
    try:
        frame = reader.next().asnumpy()
        if frame.shape[2] != 3:  # decord 0.6.0 gives four channels for some small widths, such as 48
            yield from _decode_with_pyav(path)
            return
        while True:
            yield frame
            frame = reader.next().asnumpy()
    except StopIteration:
        return
    except (decord.DECORDError, RuntimeError) as error:
        raise _decode_error(path, f"decord failed: {_reason(error)}") from error


def _decode_with_pyav(path: Path) -> Iterator[np.ndarray]:
    try:
        with av.open(_source(path)) as container:
            for frame in container.decode(_video_stream(container, path)):
                yield _picture(frame)
    except av.FFmpegError as error:
        raise _decode_error(path, _reason(error)) from error


def _picture(frame: av.VideoFrame) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), _quarter_turns(frame)))


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def _source(path: Path) -> str:
    """What the decoders open: an absolute name, because they take `file:a.avi` for an address.

    Raises DecodeError for what they would wait for without end, such as a named pipe, and for names that they cannot
    be given.
    """
    if path.exists() and not path.is_file():
        raise _decode_error(path, "it is not a regular file")
    try:
        return str(path.absolute()).encode().decode()
    except UnicodeEncodeError:
        raise _decode_error(path, "its name is not UTF-8, rename it") from None


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The stream that both decoders choose, set to decode in one thread: whoever decodes many videos runs processes."""
    stream = container.streams.best("video")
    if stream is None:
        raise _decode_error(path, "it has no video stream")
    stream.codec_context.thread_count = 1
    return stream


def _other_size(index: int, size: tuple[int, int], first: VideoInfo | av.VideoFrame) -> str:
    return f"frame {index} is {size[0]}x{size[1]}, the first is {first.width}x{first.height}"


def _reason(error: Exception) -> str:
    """The first line of an error, without what decord puts around it: the place in its code, and the stack."""
    line = (getattr(error, "strerror", None) or str(error)).strip().splitlines()[0]
    return re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", line)


def _decode_error(path: Path, found: str) -> DecodeError:
    return DecodeError(f"{path}: cannot be decoded: {found}; fetch it again, re-encode it, or take it off the list")
