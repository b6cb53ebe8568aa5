"""The report on a data set in lines, and the reasons why it is not sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from datamodules.datasets.base import Dataset
from datamodules.doctor.examine import Finding
from datamodules.doctor.survey import Survey
from datamodules.text import number_of, range_of
from datamodules.videos import Split

SHOWN = 5  # videos that the report names of each kind; the CSV names all
FEW = 10  # the report names a class with fewer training videos

Findings = Mapping[str, Finding]


def report(data: Dataset, survey: Survey, findings: Findings) -> tuple[list[str], list[str]]:
    """(the lines of the report; the reasons why the data set is not sound, none if it is)."""
    copies = _copies(findings)
    lines = [*_files(survey, findings), *_videos(findings)]
    if copies:
        more = number_of(sum(map(len, copies)) - len(copies), "video")
        lines.append(_line("copies", f"{more} with the very content of another: {_pairs(copies)}"))
    reasons = [number_of(len(survey.problems), "problem") + " of the lists"] if survey.problems else []
    # An absent video counts even if no split uses it.
    used = Counter(f.status for path, f in findings.items() if survey.entries[path].sides or path in survey.absent)
    reasons += [f"{used[status]:,} {status}" for status in sorted(used.keys() - {"ok"})]
    for number, split in survey.splits.items():
        own, unsound = _split(number, split, copies)
        remarks = [_line("", remark) for remark in [*split.notes, *data.remarks(split)]]
        lines += [*own, *(line for line in remarks if line not in own)]
        reasons += unsound
    return lines, reasons


def _files(survey: Survey, findings: Findings) -> Iterator[str]:
    found = len(findings) - len(survey.absent)
    yield _line("files", f"{len(findings):,} listed, {found:,} found, {len(survey.absent):,} not")
    if survey.extra:
        yield _line("", f"{len(survey.extra):,} on disk that no list has: {_first(survey.extra)}")
    yield from (_line("lists", problem) for problem in survey.problems)


def _videos(findings: Findings) -> Iterator[str]:
    """How many videos have each status, and some of those that are not ok or unusual."""
    counts = Counter(finding.status for finding in findings.values())
    yield _line("videos", ", ".join(f"{count:,} {name}" for name, count in counts.most_common()))
    for name in sorted(counts.keys() - {"ok"}):
        yield from _some(f"  {name}", {path: f for path, f in findings.items() if f.status == name})
    yield from _some("  ok, but", {path: f for path, f in findings.items() if f.status == "ok" and f.message})
    if drifts := [finding.drift for finding in findings.values() if finding.drift]:
        yield _line("rates", f"{number_of(len(drifts), 'video')} of a rate that varies, by up to {max(drifts):.2f} s")
    if damaged := [finding.corrupt for finding in findings.values() if finding.corrupt]:
        yield _line("damage", f"{number_of(len(damaged), 'video')} with {number_of(sum(damaged), 'damaged frame')}")
    decoded = [finding for finding in findings.values() if finding.seekable]
    exact = sum(finding.seekable == "yes" for finding in decoded)
    yield _line("seeking", f"random access returns the right frames in {exact:,} of {len(decoded):,} videos")


def _some(name: str, findings: Findings) -> Iterator[str]:
    for path in sorted(findings)[:SHOWN]:
        yield _line(name, f"{path}: {findings[path].message}")
    if len(findings) > SHOWN:
        yield _line("", f"and {len(findings) - SHOWN:,} more, see the CSV")


def _split(number: int, split: Split, copies: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """(the lines on one split, the reasons why it is not sound)."""
    train, test = ({video.path for video in videos} for videos in (split.train, split.test))
    lines = [_line(f"split {number}", f"{len(train):,} training and {len(test):,} test videos")]
    reasons = ["one class"] if len(split.classes) == 1 else []
    for side, videos, least, lack in (
        ("training", split.train, FEW, f"fewer than {FEW} training videos"),
        ("test", split.test, 1, "no test video"),
    ):
        counts = Counter(dict.fromkeys(range(len(split.classes)), 0))
        for video in videos:
            counts.update(label for label in video.labels if label in counts)
        lines.append(_line("", f"{range_of(counts.values())} {side} videos per class"))
        if few := [split.classes[label] for label, count in counts.items() if count < least]:
            lines.append(_line("", f"{number_of(len(few), 'class', 'classes')} with {lack}: {_first(few)}"))
    if across := [copy for copy in copies if train & set(copy) and test & set(copy)]:
        tested = number_of(sum(path in test for copy in across for path in copy), "test video")
        pairs = [[min(train & set(copy)), min(test & set(copy))] for copy in across]
        lines.append(_line("", f"{tested} with a copy in training: {_pairs(pairs)}"))
        reasons.append(f"{tested} of split {number} with a copy in training")
    trained, tested = ({video.group for video in videos} for videos in (split.train, split.test))
    shared = sorted(trained & tested)
    lines.append(_line("", f"{len(shared)} of {len(tested)} test groups recur in training"))
    if shared:
        lines.append(_line("", f"such as {_first(shared)}"))
        reasons.append(f"{number_of(len(shared), 'test group')} of split {number} in training too")
    return lines, reasons


def _copies(findings: Findings) -> list[list[str]]:
    """Paths of the same content, two or more each."""
    same: dict[str, list[str]] = {}
    for path, finding in sorted(findings.items()):
        if finding.sha256 and finding.size:
            same.setdefault(finding.sha256, []).append(path)
    return [paths for paths in same.values() if len(paths) > 1]


def _first(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _pairs(copies: Iterable[Sequence[str]]) -> str:
    return _first(f"{paths[0]} = {paths[1]}" for paths in copies)


def _line(name: str, text: str) -> str:
    return f"{name:14}{text}"
