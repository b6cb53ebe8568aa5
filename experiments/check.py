"""The data doctor: is a data set whole, is it what its lists say, and is it fit to be trained and tested on?

python experiments/check.py dataset=hmdb51 [key=value ...]     check every listed video
python experiments/check.py dataset=hmdb51 --summary           and print the data set's table: classes, lengths, sizes

Every listed video is decoded to its end, in child processes, so that one that crashes or hangs its decoder costs no
more than itself. What is found goes into <data.stores>/<name>-check.csv, a row per video. Training and tests keep away
from the files that crashed or hung; delete a row to have its file checked again. A check that was stopped goes on where
it was, and one that is finished only looks at what is new. Exit code: 0 sound, 1 not sound, 2 wrong usage, or it could
not be checked.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import signal
import stat
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

from datamodules.decode import DecodeError, VideoInfo, iter_frames, probe, seeks_exactly
from datamodules.folder import is_video
from datamodules.lists import DataError, Dataset, VideoLists, check_file, content_hash, is_unchanged, search
from datamodules.processes import die_with_parent

# What needs torch is imported inside the functions: the child processes import this file too.

SEEKS = 5  # frames of each video for which random access is tried
SHOWN = 5  # videos that the report names of each kind; the CSV names all
FEW = 10  # training videos of a class below which the report names it
SIGN_OF_LIFE = 0.2  # seconds between two of them
FINAL = "final"  # a child's word that its last finding stands

# What the data sets' authors publish, for the summary. HMDB51's split files list fewer clips than its page counts.
PUBLISHED = {
    "ucf101": {
        "by": "Soomro et al. 2012",
        "Actions": "101",
        "Clips": "13,320",
        "Groups per action": "25",
        "Clips per group": "4-7",
        "Mean clip length": "7.21 s",
        "Min clip length": "1.06 s",
        "Max clip length": "71.04 s",
        "Total duration": "1600 min",
        "Frame rate": "25 fps",
        "Resolution": "320x240",
        "Audio": "yes (51 actions)",
    },
    "hmdb51": {
        "by": "Kuehne et al. 2011",
        "Actions": "51",
        "Clips": "6,849 (6,766 in the lists)",
        "Clips per action": "101 or more",
    },
}


@dataclass(frozen=True)
class Finding:
    """What one file is. Counts and texts are 0 and empty where they are not known.

    status:        ok; truncated (fewer frames decode than its header promises); undecodable; hang or crash (of the
                   decoder); changed (while it was read); missing; outside (of the root)
    message:       what is wrong with it, or remarkable
    frames, header_frames, fps, width, height, corrupt: see `VideoInfo`
    seekable:      `yes` if decord's random access returned the frames of the sequential decode, else `no`
    audio:         `yes` or `no`
    seconds:       length at `fps`
    size, modified: bytes, and nanoseconds since 1970, of the file that was checked
    """

    status: str = ""
    message: str = ""
    frames: int = 0
    header_frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    corrupt: int = 0
    seekable: str = ""
    audio: str = ""
    seconds: float = 0.0
    size: int = 0
    modified: int = 0
    sha256: str = ""

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Finding:
        """A row of the CSV. Raises KeyError or ValueError if it is none."""
        return cls(**{column.name: type(column.default)(texts[column.name]) for column in fields(cls)})


# One file. This part runs in a child process.


def examine(file: Path, alive: Callable[[], object] = lambda: None) -> Iterator[Finding]:
    """Decode a file to its end. Yields what is known after each step, because the next may crash or hang.

    A finding without a status is not decided yet; the last one is whole. `alive` is called after every frame.
    """
    try:
        before = file.stat()
        if not stat.S_ISREG(before.st_mode):
            yield Finding("undecodable", "it is not a regular file")
            return
        known = Finding(size=before.st_size, modified=before.st_mtime_ns)
        yield known
        known = replace(known, sha256=content_hash(file, alive))
        yield known
        for finding in _decoded(file, known, alive):
            yield finding
        after = file.stat()
    except FileNotFoundError:
        yield Finding("missing", "no such file")
        return
    except OSError as error:
        yield Finding("undecodable", error.strerror or str(error))
        return
    if (before.st_size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
        yield replace(finding, status="changed", message="it changed while it was read; check it again")


def _decoded(file: Path, finding: Finding, alive: Callable[[], object]) -> Iterator[Finding]:
    kept: dict[int, np.ndarray] = {}
    try:
        info = probe(file, alive)
        finding = replace(
            finding,
            frames=info.frames,
            header_frames=info.header_frames,
            fps=info.fps,
            width=info.width,
            height=info.height,
            corrupt=info.corrupt,
            audio="yes" if info.audio else "no",
            seconds=round(info.frames / info.fps, 3) if info.fps else 0.0,
        )
        draw = np.random.default_rng(int(finding.sha256[:16], 16))
        chosen = draw.choice(info.frames, min(SEEKS, info.frames), replace=False).tolist()
        for index, frame in enumerate(iter_frames(file, info)):
            alive()
            if index in chosen:
                kept[index] = frame
    except DecodeError as error:
        # The message starts with the whole path, which is the row's and may move.
        yield replace(finding, status="undecodable", message=str(error).removeprefix(f"{file}: "))
        return
    status = "truncated" if info.truncated else "ok"
    finding = replace(finding, status=status, message="; ".join(_remarks(info)), seekable="no")
    yield finding
    if seeks_exactly(file, {index: kept[index] for index in chosen}):
        yield replace(finding, seekable="yes")


def _remarks(info: VideoInfo) -> Iterator[str]:
    """What is odd about a video that decodes."""
    if info.header_frames not in (0, info.frames):
        yield f"{info.frames} frames decode of {info.header_frames} that its header promises"
    if info.corrupt:
        yield f"{info.corrupt} of {info.frames} frames are damaged"
    if info.frames == 1:
        yield "it has a single frame"
    if info.quarter_turns:
        yield f"its metadata ask for a rotation by {90 * info.quarter_turns} degrees, which is applied"


def _serve(pipe: Connection, examiner: Callable[..., Iterator[Finding]]) -> None:
    """Examine the files that come through the pipe, one at a time, and send back what is found and signs of life."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # or a stopped check would blame the files
        signal.signal(ignored, signal.SIG_IGN)
    die_with_parent()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what decoders say of damaged files would spoil the progress line
    last = 0.0

    def alive() -> None:
        nonlocal last
        if time.monotonic() - last > SIGN_OF_LIFE:
            last = time.monotonic()
            pipe.send(None)

    alive()
    while True:
        file, finding = pipe.recv(), Finding()
        try:
            for finding in examiner(file, alive):
                pipe.send(finding)
        except Exception as error:  # it would stop whoever else reads this file
            pipe.send(replace(finding, status="crash", message=f"{type(error).__name__}: {error}"))
        pipe.send(FINAL)


# Many files.


class _Child:
    """A process that examines one file at a time."""

    def __init__(self, examiner: Callable[..., Iterator[Finding]]) -> None:
        context = multiprocessing.get_context("spawn")  # a forked copy of a process that runs threads may hang
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, examiner), daemon=True)
        self.process.start()
        theirs.close()
        self.path: str | None = None  # of what it works on
        self.finding = Finding()  # so far
        self.heard: float | None = None  # when; None: it is still starting

    def give(self, path: str, file: Path) -> None:
        self.path, self.finding = path, Finding()
        if self.heard is not None:
            self.heard = time.monotonic()
        self.pipe.send(file)

    def listen(self, patience: float) -> Finding | None:
        """The finding that stands, if it is there; a crashed or hanging child is then stopped."""
        try:
            while self.pipe.poll():
                word = self.pipe.recv()
                self.heard = time.monotonic()
                if word == FINAL:
                    return self.finding
                self.finding = word or self.finding
        except (EOFError, OSError):
            self.process.join()
            if self.heard is None:
                raise OSError(
                    f"a process to decode in cannot start: it ended with code {self.process.exitcode}"
                ) from None
            return self._broken("crash", f"the decoder crashed ({_death(self.process.exitcode)})")
        if self.heard is not None and time.monotonic() - self.heard > patience:
            return self._broken("hang", f"the decoder gave no frame for {patience:g} s")
        return None

    def _broken(self, status: str, message: str) -> Finding:
        self.stop()
        if not self.finding.status:
            return replace(self.finding, status=status, message=message)
        # It was decoded whole; what crashed or hung was the trial of random access, which nothing else needs.
        message = "; ".join(filter(None, [self.finding.message, f"at random access {message}"]))
        return replace(self.finding, message=message)

    def stop(self) -> None:
        self.process.kill()
        self.process.join(5)  # not for ever: a process that waits for a dead disk cannot be killed
        self.pipe.close()


def _death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"code {code}"
    name = signal.Signals(-code).name
    return f"{name}, perhaps for want of memory" if name == "SIGKILL" else name


def examine_all(
    files: Mapping[str, Path],
    workers: int,
    patience: float,
    examiner: Callable[..., Iterator[Finding]] = examine,
) -> Iterator[tuple[str, Finding]]:
    """(path, finding) of every file, as they are finished, from so many child processes.

    A process that dies, or gives no sign of life for `patience` seconds, costs its file and is replaced. Raises OSError
    where no process can be started.
    """
    waiting = deque(files.items())
    team = [_Child(examiner) for _ in range(min(workers, len(files)))]
    try:
        while True:
            for place, child in enumerate(team):
                if child.path is None and waiting:
                    if not child.process.is_alive():
                        team[place] = child = _Child(examiner)
                    child.give(*waiting.popleft())
            busy = [child for child in team if child.path is not None]
            if not busy:
                return
            wait([child.pipe for child in busy], timeout=SIGN_OF_LIFE)
            for child in busy:
                if (finding := child.listen(patience)) is not None:
                    path, child.path = child.path, None
                    yield path, finding
    finally:
        for child in team:
            child.stop()


class _Progress:
    """One line that renews itself on a terminal; elsewhere a line every 10 seconds."""

    def __init__(self, known: Mapping[str, Finding], sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.done, self.total = len(known), len(known) + len(sizes)
        self.unsound = sum(finding.status != "ok" for finding in known.values())
        # Time goes with size, but an empty file takes some too.
        self.todo, self.ahead = (sum(sizes.values()) + 10**5 * len(sizes),) * 2
        self.started = self.printed = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def add(self, path: str, finding: Finding) -> None:
        self.done += 1
        self.ahead -= self.sizes[path] + 10**5
        self.unsound += finding.status != "ok"
        now = time.monotonic()
        if now - self.printed < (0.2 if self.terminal else 10) and self.done < self.total:
            return
        self.printed = now
        left = (now - self.started) * self.ahead / max(1, self.todo - self.ahead)
        line = (
            f"checked {self.done:,} of {self.total:,} videos ({self.done / self.total:.0%}), "
            f"{self.unsound:,} not sound, about {_duration(left)} left"
        )
        end = "\n" if not self.terminal or self.done == self.total else ""
        print(f"\r{line}\033[K" if self.terminal else line, end=end, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


# The lists.


@dataclass
class Entry:
    """Where the lists have one file: `sides` is `train` or `test` by the number of the split; empty if unused."""

    path: str
    labels: tuple[int, ...] = ()
    group: str = ""
    sides: dict[int, str] = field(default_factory=dict)


@dataclass
class Survey:
    """What the lists say, against what is on disk.

    absent:   the findings of the paths that are missing or lead out of the root
    extra:    videos on disk that no list has
    problems: of the lists themselves, one line each
    lists:    by the number of the split, with the paths on disk
    """

    classes: Sequence[str]
    entries: dict[str, Entry]
    absent: dict[str, Finding]
    extra: list[str]
    problems: list[str]
    lists: dict[int, VideoLists]

    def labels(self, entry: Entry) -> list[str]:
        """The names of an entry's classes."""
        known = range(len(self.classes))
        return [self.classes[label] if label in known else str(label) for label in entry.labels]


def survey_lists(data: Dataset) -> Survey:
    """Read all lists of a data set and look which of its files are there. Raises DataError if they cannot be read."""
    listing = data.listed()
    listed = {video.path for both in listing.splits.values() for videos in both for video in videos}
    located, missing, outside = search(data, listed | set(listing.unused))
    absent = {path: Finding("missing", "no such file") for path in missing}
    absent |= {path: Finding("outside", f"it leaves data.root={data.root}") for path in outside}
    entries = {path: Entry(path) for path in sorted({*located.values(), *absent})}
    problems, lists = [], {}
    last = len(listing.classes) - 1
    for number, both in sorted(listing.splits.items()):
        sides = dict(zip(("train", "test"), both, strict=True))
        sides = {side: [replace(v, path=located.get(v.path, v.path)) for v in videos] for side, videos in sides.items()}
        lists[number] = VideoLists(tuple(listing.classes), sides["train"], sides["test"], [])
        for side, videos in sides.items():
            where = f"split {number}: the {side} list has"
            if not videos:
                problems.append(f"{where} no video")
            again = sorted(path for path, times in Counter(video.path for video in videos).items() if times > 1)
            problems += _counted(f"{where} {{}} more than once", again)
            wrong = [v.path for v in videos if not v.labels or min(v.labels) < 0 or max(v.labels) > last]
            problems += _counted(f"{where} {{}} without a label of 0 to {last}", wrong)
            for video in videos:
                entry = entries[video.path]
                entry.labels, entry.group, entry.sides[number] = video.labels, video.group, side
        shared = sorted({v.path for v in sides["train"]} & {v.path for v in sides["test"]})
        problems += _counted(f"split {number}: both lists have {{}}", shared)
    on_disk = set(_videos_below(data.folder()))
    return Survey(listing.classes, entries, absent, sorted(on_disk - set(entries)), problems, lists)


def _counted(sentence: str, paths: Sequence[str]) -> list[str]:
    """The sentence about so many videos, if there are some, with the first of them."""
    return [f"{sentence.format(_number(len(paths), 'video'))}, first {paths[0]}"] if paths else []


def _videos_below(root: Path) -> Iterator[str]:
    """Every video in a folder, relative to it; linked folders too, once each, for links may lead in a circle."""
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        found = os.stat(folder)
        if (found.st_dev, found.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        yield from (Path(folder, name).relative_to(root).as_posix() for name in names if is_video(name))


# The check.

COLUMNS = ("path", "splits", "labels", "group", *(column.name for column in fields(Finding)))


def check(data: Dataset, workers: int, patience: float = 60.0) -> tuple[Survey, dict[str, Finding]]:
    """Survey the lists, examine every file that is not known yet, and write the CSV; findings are by path.

    Raises DataError where the lists cannot be read, OSError where the CSV cannot be written.
    """
    data.prepare(workers)
    survey = survey_lists(data)
    table = check_file(data)
    journal = table.with_suffix(".partial.jsonl")
    table.parent.mkdir(parents=True, exist_ok=True)
    earlier = _read_table(table) | _read_journal(journal)
    findings, todo = dict(survey.absent), {}
    for path in survey.entries.keys() - findings.keys():
        file = data.folder() / path
        if (known := _still_true(earlier.get(path), file)) is not None:
            findings[path] = known
        else:
            todo[path] = file
    todo = dict(sorted(todo.items()))
    progress = _Progress(findings, {path: _size(file) for path, file in todo.items()})
    # Every finding is kept at once, as a line of its own: whatever stops the check, no file is decoded twice.
    with journal.open("a", encoding="utf-8") as lines:
        lines.write("\n")  # a killed check may have left half a line
        for path, finding in examine_all(todo, workers, patience):
            lines.write(json.dumps({"path": path, **asdict(finding)}) + "\n")
            lines.flush()
            findings[path] = finding
            progress.add(path, finding)
    _write_table(table, survey, findings)
    journal.unlink(missing_ok=True)
    return survey, findings


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _still_true(finding: Finding | None, file: Path) -> Finding | None:
    """The finding, if its file was read whole, or broke the decoder, and has not changed since."""
    if finding is None or finding.status in ("changed", "missing", "outside"):
        return None
    if not finding.sha256 and finding.status not in ("hang", "crash"):
        return None
    if not is_unchanged(file, finding.size, finding.modified, finding.sha256):
        return None
    return replace(finding, modified=file.stat().st_mtime_ns)


def _read_table(path: Path) -> dict[str, Finding]:
    """Findings of an earlier check by path; none if its table is not there, or has other columns than today's."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return {row["path"]: Finding.from_texts(row) for row in csv.DictReader(file)}
    except (FileNotFoundError, KeyError, ValueError, TypeError, csv.Error):
        return {}


def _read_journal(path: Path) -> dict[str, Finding]:
    findings = {}
    try:
        lines = path.read_text("utf-8").split("\n")
    except (FileNotFoundError, ValueError):
        return {}
    for line in lines:
        try:
            row = json.loads(line)
            path = row.pop("path")
            findings[path] = Finding(**row)
        except (ValueError, TypeError, KeyError, AttributeError):  # half a line, or one of another version
            continue
    return findings


def _write_table(path: Path, survey: Survey, findings: Mapping[str, Finding]) -> None:
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for entry in survey.entries.values():
                lists = {
                    "path": entry.path,
                    "splits": " ".join(f"{number}:{side}" for number, side in entry.sides.items()) or "unused",
                    "labels": "; ".join(survey.labels(entry)),
                    "group": entry.group,
                }
                writer.writerow(lists | asdict(findings[entry.path]))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# The report.


def report(data: Dataset, survey: Survey, findings: Mapping[str, Finding]) -> tuple[list[str], list[str]]:
    """(the lines of the report; the reasons why the data set is not sound, none if it is)."""
    lines, reasons = [], []
    status = {path: finding.status for path, finding in findings.items()}
    found = len(findings) - len(survey.absent)
    lines.append(_line("files", f"{len(findings):,} listed, {found:,} found, {len(survey.absent):,} not"))
    if survey.extra:
        lines.append(_line("", f"{len(survey.extra):,} on disk that no list has: {_first(survey.extra)}"))
    for problem in survey.problems:
        lines.append(_line("lists", problem))
    if survey.problems:
        reasons.append(_number(len(survey.problems), "problem") + " of the lists")
    counts = Counter(status.values())
    lines.append(_line("videos", ", ".join(f"{count:,} {name}" for name, count in counts.most_common())))
    for name in sorted(counts.keys() - {"ok"}):
        bad = sorted(path for path in status if status[path] == name)
        lines += [_line(f"  {name}", f"{path}: {findings[path].message}") for path in bad[:SHOWN]]
        if len(bad) > SHOWN:
            lines.append(_line("", f"and {len(bad) - SHOWN:,} more, see the CSV"))
        # Training and test of some split need it; what is absent is missed even if no split uses it.
        used = sum(bool(survey.entries[path].sides) or path in survey.absent for path in bad)
        reasons += [f"{used:,} {name}"] if used else []
    remarked = sorted(path for path, finding in findings.items() if finding.status == "ok" and finding.message)
    lines += [_line("  ok, but", f"{path}: {findings[path].message}") for path in remarked[:SHOWN]]
    if len(remarked) > SHOWN:
        lines.append(_line("", f"and {len(remarked) - SHOWN:,} more, see the CSV"))
    decoded = [finding for finding in findings.values() if finding.seekable]
    exact = sum(finding.seekable == "yes" for finding in decoded)
    lines.append(_line("seeking", f"random access returns the right frames in {exact:,} of {len(decoded):,} videos"))
    copies = _copies(findings)
    if copies:
        more = sum(map(len, copies)) - len(copies)
        lines.append(
            _line("copies", f"{_number(more, 'video')} with the very content of another: {_first(map(_pair, copies))}")
        )
    for number, lists in survey.lists.items():
        more, why = _report_split(number, lists, copies)
        lines += [*more, *(_line("", remark) for remark in data.remarks(lists) if _line("", remark) not in more)]
        reasons += why
    return lines, reasons


def _report_split(number: int, lists: VideoLists, copies: list[list[str]]) -> tuple[list[str], list[str]]:
    train, test = ({video.path for video in videos} for videos in (lists.train, lists.test))
    lines = [_line(f"split {number}", f"{len(train):,} training and {len(test):,} test videos")]
    reasons = []
    for side, videos in (("training", lists.train), ("test", lists.test)):
        per_class = Counter(dict.fromkeys(range(len(lists.classes)), 0))
        for video in videos:
            per_class.update(label for label in video.labels if label in per_class)
        lines.append(_line("", f"{_range(per_class.values())} {side} videos per class"))
        few = [lists.classes[label] for label, count in per_class.items() if count < (FEW if side == "training" else 1)]
        if few:
            name = f"fewer than {FEW} training videos" if side == "training" else "no test video"
            lines.append(_line("", f"{_number(len(few), 'class', 'classes')} with {name}: {_first(few)}"))
    across = [copy for copy in copies if train & set(copy) and test & set(copy)]
    if across:
        count = sum(path in test for copy in across for path in copy)
        pairs = ([min(train & set(copy)), min(test & set(copy))] for copy in across)
        lines.append(_line("", f"{_number(count, 'test video')} with a copy in training: {_first(map(_pair, pairs))}"))
        reasons.append(f"{_number(count, 'test video')} of split {number} with a copy in training")
    train_groups, test_groups = ({video.group for video in videos} for videos in (lists.train, lists.test))
    shared = sorted(train_groups & test_groups)
    lines.append(_line("", f"{len(shared)} of {len(test_groups)} test groups recur in training"))
    if shared:
        lines.append(_line("", f"such as {_first(shared)}"))
        reasons.append(f"{_number(len(shared), 'test group')} of split {number} in training too")
    return lines, reasons


def _copies(findings: Mapping[str, Finding]) -> list[list[str]]:
    """Paths of the same content, two or more each."""
    same: dict[str, list[str]] = {}
    for path, finding in sorted(findings.items()):
        if finding.sha256 and finding.size:
            same.setdefault(finding.sha256, []).append(path)
    return [paths for paths in same.values() if len(paths) > 1]


def summary(dataset: str, survey: Survey, findings: Mapping[str, Finding]) -> list[str]:
    """The data set in numbers, as its authors' papers have them in a table, beside their own numbers if there are some.

    Lengths, rates and sizes are those of the videos that decode.
    """
    videos = [findings[path] for path in survey.entries if findings[path].frames]
    lengths = [finding.seconds for finding in videos if finding.seconds]
    per_class: Counter[str] = Counter()
    per_group: Counter[tuple[str, str]] = Counter()
    with_audio = set()
    for entry in survey.entries.values():
        for label in survey.labels(entry):
            per_class[label] += 1
            per_group[label, entry.group] += 1
            if findings[entry.path].audio == "yes":
                with_audio.add(label)
    groups_per_class = Counter(label for label, _ in per_group)
    total = sum(lengths)
    ours = {
        "Actions": f"{len(survey.classes):,}",
        "Clips": f"{len(survey.entries):,}" + (f" ({len(videos):,} decode)" if len(videos) < len(findings) else ""),
        "Clips per action": _range(per_class.values()),
        "Groups per action": _range(groups_per_class.values()),
        "Clips per group": _range(per_group.values()),
        "Mean clip length": f"{total / len(lengths):.2f} s" if lengths else "-",
        "Min clip length": f"{min(lengths):.2f} s" if lengths else "-",
        "Max clip length": f"{max(lengths):.2f} s" if lengths else "-",
        "Total duration": f"{total / 60:.0f} min" if total >= 6000 else f"{total / 60:.2f} min",
        "Frame rate": _shares(f"{finding.fps:.4g} fps" for finding in videos if finding.fps),
        "Resolution": _shares(f"{finding.width}x{finding.height}" for finding in videos),
        "Audio": f"yes ({_number(len(with_audio), 'action')})" if with_audio else "no",
    }
    published = PUBLISHED.get(dataset, {})
    rows = [("", "ours"), *ours.items()]
    if published:
        theirs = [f"published ({published['by']})", *(published.get(name, "-") for name in ours)]
        rows = [(*row, cell) for row, cell in zip(rows, theirs, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _shares(values: Iterable[str]) -> str:
    """The most frequent values, with their shares if there are several."""
    counts = Counter(values)
    if len(counts) < 2:
        return next(iter(counts), "-")
    shown = [f"{value} ({count / counts.total():.1%})" for value, count in counts.most_common(3)]
    return ", ".join(shown) + (f", {len(counts) - 3} others" if len(counts) > 3 else "")


def _range(counts: Iterable[int]) -> str:
    counts = list(counts) or [0]
    return f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,}-{max(counts):,}"


def _number(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def _first(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _pair(paths: Sequence[str]) -> str:
    return f"{paths[0]} = {paths[1]}"


def _line(name: str, text: str) -> str:
    return f"{name:14}{text}"


def printable(text: str) -> str:
    """The text with escape sequences in place of what a terminal would obey or could not show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def main(arguments: list[str]) -> int:
    """Do what the command line says; the last line says whether the data set is sound, and so does the exit code."""
    parser = argparse.ArgumentParser(
        prog="check.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--summary", action="store_true", help="print the data set's table as well")
    parser.add_argument("--workers", type=int, metavar="N", help="videos decoded at once (default: one per core)")
    parser.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS",
        help="give a file up when its decoder gives no frame for so long (default: 60)",
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings, such as data.root=PATH")
    options = parser.parse_intermixed_args(arguments)
    if (options.workers is not None and options.workers < 1) or not options.patience > 0:
        parser.error(f"--workers={options.workers} --patience={options.patience}: expected 1 or more, and more than 0")
    from datamodules.video import available_cores
    from experiments.config import compose

    try:
        run = compose(["strategy=single_frame", *options.settings])  # any: only what it says of the data counts
    except ValueError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    data = run.data
    try:
        survey, findings = check(data, options.workers or available_cores(), options.patience)
    except DataError as error:
        message = str(error).removesuffix(data.LAYOUT)  # the tree that it should be, which has lines
        print(f"not sound: {printable(message.rstrip())}{chr(10) + data.LAYOUT if message != str(error) else ''}")
        return 1
    except OSError as error:
        print(f"error: {printable(str(error))}; what was checked so far is kept", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    lines, reasons = report(data, survey, findings)
    if options.summary:
        lines = [*summary(run.dataset, survey, findings), "", *lines]
    for line in lines:
        print(printable(line))
    print(printable(f"every video: {check_file(data)}"))
    if reasons:
        print(f"not sound: {', '.join(reasons)}")
        return 1
    whole = sum(finding.status == "ok" for finding in findings.values())
    print(f"sound: {whole:,} of {len(findings):,} videos are whole")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
