"""Film strips: what a network sees of a video and what it answers along it, drawn with Pillow alone."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datamodules.decode.frames import pick_frames
from datamodules.decode.info import probe
from datamodules.store.tracks import Track

FRAME_HEIGHT = 96  # pixels, as all lengths here
BAND_HEIGHT = 120  # of probabilities 0 to 1
STRIP_WIDTHS = 600, 1320  # between these, as many clips as there are side by side
MARGIN, GAP = 14, 2
NUM_CLASSES = 5  # that have a band of their own
TEXT, LARGE = 15, 20
# Okabe & Ito's colours, which people with any kind of colour blindness tell apart; each band has a number as well.
COLOURS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233))
OTHERS, GREY, INK = (205, 205, 205), (110, 110, 110), (20, 20, 20)
VERDICTS = {True: ("RIGHT", (0, 114, 178)), False: ("WRONG", (213, 94, 0))}
# For letters that Pillow's own font lacks, the first of these that is installed and has them.
FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "arial.ttf", "msyh.ttc")

Font = ImageFont.FreeTypeFont


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """A frame, uint8 (H, W, 3), as high as a film strip shows it, and as wide as its shape asks, within limits."""
    height, width = frame.shape[:2]
    width = min(max(round(FRAME_HEIGHT * width / height), FRAME_HEIGHT // 3), 3 * FRAME_HEIGHT)
    return np.asarray(Image.fromarray(frame).resize((width, FRAME_HEIGHT), Image.Resampling.LANCZOS))


def middle_frames(root: Path, path: str, track: Track, centers: Sequence[float]) -> np.ndarray:
    """Thumbnails of a video's frames at its clips' `centers` (N,), uint8 (N, h, w, 3), from the file `root`/`path`.

    `centers` are as batches have them: seconds of the stored frames, which `track` says, or numbers of frames where the
    file does not say its rate. Raises DecodeError.
    """
    info = probe(root / path)
    wanted = track.frames_at(path, info, np.asarray(centers, np.float64)).tolist()
    found = {number: thumbnail(frame) for number, frame in pick_frames(root / path, info, wanted)}
    return np.stack([found[number] for number in wanted])


def film_strip(
    frames: np.ndarray,
    times: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
    truth: Sequence[int] | None = None,
    title: str = "",
) -> Image.Image:
    """Draw the answer to a video: its class, frames along the video, and beneath them the probabilities over time.

    `frames` (N, H, W, 3) uint8 are the N clips' middle ones, `times` (N,) their seconds, in order, `scores` (N, C) the
    clips' probabilities of `classes` (C,). The answer is the class with the highest mean over the clips. With `truth`,
    the indices of the video's classes, it is told whether that is right. Frames stand near their times, which marks
    point to, of many as many as fit. Clips at one time, as of a video that is shorter than its clips, are shown as
    one.
    """
    assert len(frames) == len(times) == len(scores) > 0 and scores.shape[1] == len(classes)
    mean = np.asarray(scores, np.float64).mean(0)
    answer = int(mean.argmax())
    times, first, clip = np.unique(np.asarray(times, np.float64), return_index=True, return_inverse=True)
    counts = np.bincount(clip)
    scores = np.stack([np.bincount(clip, column) / counts for column in np.asarray(scores, np.float64).T], axis=1)
    pictures = [Image.fromarray(thumbnail(frames[index])) for index in first]

    narrowest, widest = STRIP_WIDTHS
    width = min(max(len(times) * (pictures[0].width + GAP), narrowest), widest)
    axis = int(_font("100 %", TEXT)[0].getlength("100 %")) + 6
    left, right = MARGIN + axis, MARGIN + axis + width
    shown = _shown_classes(mean, truth)
    head = MARGIN + (TEXT + 8 if title else 0)
    strip = head + LARGE + 16
    top = strip + FRAME_HEIGHT + 16
    ticks = top + BAND_HEIGHT + 6
    legend = ticks + TEXT + 18
    others = len(classes) - len(shown)
    height = legend + (len(shown) + (others > 0)) * (TEXT + 9) + MARGIN - 4
    image = Image.new("RGB", (right + MARGIN, height), "white")
    draw = ImageDraw.Draw(image)

    if title:
        _write(draw, (MARGIN, MARGIN), title, TEXT, GREY, right - MARGIN)
    _write_answer(draw, (MARGIN, head), right, f"{mean[answer]:.1%}", classes, answer, truth)

    edges = _edges(times)
    places = left + (edges - edges[0]) / (edges[-1] - edges[0]) * width
    middles = left + (times - edges[0]) / (edges[-1] - edges[0]) * width
    frame_width = pictures[0].width
    chosen = _spread(middles - left, width, frame_width)
    for index, begin in zip(chosen, _side_by_side(middles[chosen], left, right, frame_width), strict=True):
        picture, middle, bottom = pictures[index], middles[index], strip + FRAME_HEIGHT
        image.paste(picture, (begin, strip))
        draw.rectangle((begin, strip, begin + frame_width - 1, bottom - 1), outline=GREY)
        draw.line((begin + frame_width / 2, bottom, middle, top - 7), fill=GREY)
        draw.polygon([(middle - 4, top - 8), (middle + 4, top - 8), (middle, top - 2)], fill=GREY)

    for share in (0, 0.5, 1):
        line = top + BAND_HEIGHT * (1 - share)
        _write(draw, (left - 6, line), f"{share:.0%}".replace("%", " %"), TEXT - 2, GREY, axis, anchor="rm")
        draw.line((left - 4, line, left, line), fill=GREY)
    for begin, end, own in zip(places[:-1], places[1:], scores, strict=True):
        _draw_bands(draw, begin, end, top, [own[index] for index in shown])
    draw.rectangle((left, top, right, top + BAND_HEIGHT), outline=GREY)
    _write_times(draw, edges, left, width, ticks)

    line = TEXT + 9
    for number, index in enumerate(shown):
        marks = ", ".join(["answer"] * (index == answer) + ["true"] * (truth is not None and index in truth))
        place = legend + number * line
        _write_entry(
            draw, left, place, COLOURS[number], str(number + 1), mean[index], classes[index], marks, right - left
        )
    if others > 0:
        rest = f"{others} other class{'es' * (others > 1)}"
        share = max(0.0, 1 - sum(mean[index] for index in shown))
        _write_entry(draw, left, legend + len(shown) * line, OTHERS, "", share, rest, "", right - left)
    return image


def _shown_classes(mean: np.ndarray, truth: Sequence[int] | None) -> list[int]:
    """The classes with bands of their own, best first: the best ones, and a true one in the place of the last."""
    best = np.argsort(-mean, kind="stable")[:NUM_CLASSES].tolist()
    if truth is not None and not set(truth) & set(best):
        best[-1] = max(truth, key=lambda index: mean[index])
    return best


def _edges(times: np.ndarray) -> np.ndarray:
    """Where each clip's part of the time axis begins, and the end of the last one's, (N + 1,): halfway between two."""
    if len(times) == 1:
        return np.array([max(0.0, times[0] - 0.5), times[0] + 0.5])
    halves = (times[1:] + times[:-1]) / 2
    return np.concatenate([[max(0.0, 2 * times[0] - halves[0])], halves, [2 * times[-1] - halves[-1]]])


def _spread(places: np.ndarray, width: int, frame_width: int) -> list[int]:
    """Which clips' frames are shown: all, or of equal parts of the strip, as many as fit, each one's most central."""
    count = width // (frame_width + GAP)
    if len(places) <= count:
        return list(range(len(places)))
    part = width / count
    central: dict[int, int] = {}
    for index, place in enumerate(places):
        number = min(int(place / part), count - 1)
        if number not in central or abs(place / part - number - 0.5) < abs(
            places[central[number]] / part - number - 0.5
        ):
            central[number] = index
    return list(central.values())


def _side_by_side(middles: np.ndarray, left: int, right: int, frame_width: int) -> list[int]:
    """Where frames begin that shall stand at `middles`, moved as far as it takes for them not to overlap."""
    begins = [round(middle - frame_width / 2) for middle in middles]
    for number in range(len(begins)):
        begins[number] = max(begins[number], begins[number - 1] + frame_width + GAP if number else left)
    for number in reversed(range(len(begins))):
        most = begins[number + 1] - GAP if number < len(begins) - 1 else right
        begins[number] = min(begins[number], most - frame_width)
    return begins


def _draw_bands(draw: ImageDraw.ImageDraw, begin: float, end: float, top: int, shares: list[float]) -> None:
    """One clip's probabilities, stacked from the bottom up, the answer's first."""
    bottom = top + BAND_HEIGHT
    draw.rectangle((begin, top, end, bottom), fill=OTHERS)
    level = 0.0
    for number, share in enumerate(shares):
        low, high = bottom - level * BAND_HEIGHT, bottom - (level + share) * BAND_HEIGHT
        level += share
        if low - high < 0.5:
            continue
        draw.rectangle((begin, high, end, low), fill=COLOURS[number])
        if low - high >= TEXT + 2 and end - begin >= TEXT:
            middle = ((begin + end) / 2, (low + high) / 2)
            _write(draw, middle, str(number + 1), TEXT - 2, _on(COLOURS[number]), TEXT, anchor="mm")


def _on(colour: tuple[int, int, int]) -> tuple[int, int, int] | str:
    """Black or white, whichever is read better on a colour."""
    red, green, blue = colour
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else "white"


def _write_times(draw: ImageDraw.ImageDraw, edges: np.ndarray, left: int, width: int, place: int) -> None:
    """Round seconds along the axis, about one every 100 pixels."""
    length = edges[-1] - edges[0]
    about = length / (width / 100)
    power = 10.0 ** np.floor(np.log10(about))
    step = next(power * round_one for round_one in (1, 2, 5, 10) if power * round_one >= about * 0.999)
    for number in range(int(np.ceil(edges[0] / step - 1e-6)), int(np.floor(edges[-1] / step + 1e-6)) + 1):
        across = left + (number * step - edges[0]) / length * width
        draw.line((across, place - 6, across, place - 2), fill=GREY)
        text = f"{number * step:.10g} s"
        half = _font(text, TEXT - 2)[0].getlength(text) / 2
        _write(draw, (min(across, left + width - half), place), text, TEXT - 2, GREY, 100, anchor="ma")


def _write_answer(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    right: int,
    share: str,
    classes: Sequence[str],
    answer: int,
    truth: Sequence[int] | None,
) -> None:
    """The answer's name; then right or wrong as a coloured word, and if wrong what is true."""
    across, down = place
    room = right - across
    if truth is not None:
        word, colour = VERDICTS[answer in truth]
        font, _ = _font(word, TEXT)
        length = int(font.getlength(word)) + 16
        draw.rounded_rectangle((across, down - 1, across + length, down + LARGE + 4), 5, fill=colour)
        draw.text((across + length / 2, down + LARGE / 2 + 1), word, fill="white", font=font, anchor="mm")
        across += length + 10
        room -= length + 10
    wrong = truth is not None and answer not in truth
    answered = f"{classes[answer]}  {share.replace('%', ' %')}"
    end = _write(draw, (across, down), answered, LARGE, INK, room * 0.6 if wrong else room)
    if wrong:
        true = f"true: {', '.join(classes[index] for index in truth)}"
        _write(draw, (end + 16, down), true, LARGE, GREY, right - end - 16)


def _write_entry(
    draw: ImageDraw.ImageDraw,
    left: int,
    place: int,
    colour: tuple[int, int, int],
    number: str,
    share: float,
    name: str,
    marks: str,
    room: int,
) -> None:
    """One line of the legend: the band's colour and number, the mean probability, the class and what it is."""
    box = (left, place, left + TEXT + 5, place + TEXT + 3)
    draw.rectangle(box, fill=colour, outline=GREY)
    _write(draw, (left + (TEXT + 5) / 2, place + TEXT / 2 + 2), number, TEXT - 2, _on(colour), TEXT, anchor="mm")
    _write(draw, (left + 90, place), f"{share:.1%}".replace("%", " %"), TEXT, INK, 70, anchor="ra")
    marks = f"  ({marks})" if marks else ""
    space = room - 106 - _font(marks, TEXT)[0].getlength(marks)
    end = _write(draw, (left + 106, place), name, TEXT, INK, space)
    _write(draw, (end, place), marks, TEXT, GREY, room)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    colour: tuple[int, int, int] | str,
    room: float,
    anchor: str = "la",
) -> float:
    """Write one line, cut in its middle where it is longer than `room`; where it ends."""
    font, text = _font(text, size)
    if font.getlength(text) > room:
        kept = next((n for n in range(len(text) - 1, 0, -1) if font.getlength(_cut(text, n)) <= room), 0)
        text = _cut(text, kept)
    draw.text(place, text, fill=colour, font=font, anchor=anchor)
    return place[0] + font.getlength(text)


def _cut(text: str, kept: int) -> str:
    """`kept` letters of a text, of its beginning and its end."""
    tail = kept // 3
    return f"{text[: kept - tail]}…{text[len(text) - tail :]}"


@cache
def _own_font(size: int) -> Font:
    return ImageFont.load_default(size)


@lru_cache(maxsize=1000)
def _font(text: str, size: int) -> tuple[Font, str]:
    """A font that has every letter of a text; where none is installed, Pillow's own and the text in letters it has."""
    own = _own_font(size)
    missing = _missing(own, text)
    if not missing:
        return own, text
    for name in FONTS:
        try:
            font = ImageFont.truetype(name, size)
        except OSError:
            continue
        if not _missing(font, text):
            return font, text
    plain = {letter: unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() for letter in missing}
    coded = {letter: plain[letter] or letter.encode("ascii", "backslashreplace").decode() for letter in missing}
    return own, "".join(coded.get(letter, letter) for letter in text)


def _missing(font: Font, text: str) -> set[str]:
    """The letters of a text that a font draws as the box that stands for any unknown one."""
    unknown = bytes(font.getmask("\U0010ffff"))
    return {letter for letter in set(text) if bytes(font.getmask(letter)) == unknown}
