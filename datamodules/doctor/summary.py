"""The data set in numbers, beside those that its authors published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tabulate import tabulate

from datamodules.doctor.examine import Finding
from datamodules.doctor.survey import Survey
from datamodules.text import number_of, range_of

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
        "Clips per action": range_of(per_class.values()),
        "Groups per action": range_of(groups_per_class.values()),
        "Clips per group": range_of(per_group.values()),
        "Mean clip length": f"{total / len(lengths):.2f} s" if lengths else "-",
        "Min clip length": f"{min(lengths):.2f} s" if lengths else "-",
        "Max clip length": f"{max(lengths):.2f} s" if lengths else "-",
        "Total duration": f"{total / 60:.0f} min" if total >= 6000 else f"{total / 60:.2f} min",
        "Frame rate": _shares(f"{finding.fps:.4g} fps" for finding in videos if finding.fps),
        "Resolution": _shares(f"{finding.width}x{finding.height}" for finding in videos),
        "Audio": f"yes ({number_of(len(with_audio), 'action')})" if with_audio else "no",
    }
    published = PUBLISHED.get(dataset, {})
    rows = [("", "ours"), *ours.items()]
    if published:
        theirs = [f"published ({published['by']})", *(published.get(name, "-") for name in ours)]
        rows = [(*row, cell) for row, cell in zip(rows, theirs, strict=True)]
    return [line.rstrip() for line in tabulate(rows, tablefmt="plain", disable_numparse=True).splitlines()]


def _shares(values: Iterable[str]) -> str:
    """The most frequent values, with their shares if there are several."""
    counts = Counter(values)
    if len(counts) < 2:
        return next(iter(counts), "-")
    shown = [f"{value} ({count / counts.total():.1%})" for value, count in counts.most_common(3)]
    return ", ".join(shown) + (f", {len(counts) - 3} others" if len(counts) > 3 else "")
