"""The report on a data set in lines, and why it is not sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from datamodules.datasets.base import Dataset
from datamodules.doctor.examine import Finding
from datamodules.doctor.survey import Survey
from datamodules.doctor.words import number_of, range_of
from datamodules.videos import VideoLists

SHOWN = 5  # videos that the report names of each kind; the CSV names all
FEW = 10  # training videos of a class below which the report names it


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
        reasons.append(number_of(len(survey.problems), "problem") + " of the lists")
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
            _line(
                "copies", f"{number_of(more, 'video')} with the very content of another: {_first(map(_pair, copies))}"
            )
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
        lines.append(_line("", f"{range_of(per_class.values())} {side} videos per class"))
        few = [lists.classes[label] for label, count in per_class.items() if count < (FEW if side == "training" else 1)]
        if few:
            name = f"fewer than {FEW} training videos" if side == "training" else "no test video"
            lines.append(_line("", f"{number_of(len(few), 'class', 'classes')} with {name}: {_first(few)}"))
    across = [copy for copy in copies if train & set(copy) and test & set(copy)]
    if across:
        count = sum(path in test for copy in across for path in copy)
        pairs = ([min(train & set(copy)), min(test & set(copy))] for copy in across)
        lines.append(
            _line("", f"{number_of(count, 'test video')} with a copy in training: {_first(map(_pair, pairs))}")
        )
        reasons.append(f"{number_of(count, 'test video')} of split {number} with a copy in training")
    train_groups, test_groups = ({video.group for video in videos} for videos in (lists.train, lists.test))
    shared = sorted(train_groups & test_groups)
    lines.append(_line("", f"{len(shared)} of {len(test_groups)} test groups recur in training"))
    if shared:
        lines.append(_line("", f"such as {_first(shared)}"))
        reasons.append(f"{number_of(len(shared), 'test group')} of split {number} in training too")
    return lines, reasons


def _copies(findings: Mapping[str, Finding]) -> list[list[str]]:
    """Paths of the same content, two or more each."""
    same: dict[str, list[str]] = {}
    for path, finding in sorted(findings.items()):
        if finding.sha256 and finding.size:
            same.setdefault(finding.sha256, []).append(path)
    return [paths for paths in same.values() if len(paths) > 1]


def _first(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _pair(paths: Sequence[str]) -> str:
    return f"{paths[0]} = {paths[1]}"


def _line(name: str, text: str) -> str:
    return f"{name:14}{text}"
