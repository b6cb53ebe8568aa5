"""From which point on a file counts as broken."""

from __future__ import annotations


def is_truncated(frames: int, header_frames: int) -> bool:
    """Whether clearly fewer frames decode than the header promises, as after a broken download.

    Clearly: by more than 2 frames and more than 5 %. The headers of healthy HMDB51 clips count one too many.
    """
    return header_frames - frames > max(2, 0.05 * header_frames)


def is_damaged(frames: int, corrupt: int) -> bool:
    """Whether half of the frames or more are damaged: the decoder made up a part of their content."""
    return corrupt >= 0.5 * frames
