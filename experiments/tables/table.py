"""Records -> sections of the table: a pure function of the records of runs and of comparisons, and of `published.yaml`.

Runs are compared only within a section: same data set and classes, same test protocol, recipe and size. A row is the
mean over seeds of runs that differ in nothing else. What is not alike (code, clip, splits, ...) gets a row of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import chain

from experiments.records.record import Record, digest
from experiments.tables.baselines import contests, given_words
from experiments.tables.chance import guess
from experiments.tables.claims import claim_sections
from experiments.tables.comparisons import Comparison
from experiments.tables.differences import Differences, differences_of
from experiments.tables.published import cited, literature_section
from experiments.tables.render import HEAD, Section
from experiments.tables.rows import Row, given_to, make_rows, mixed_versions, section_groups
from experiments.tables.wording import (
    DASH,
    SPLITS,
    WITHIN,
    count_text,
    counted_within,
    percent_text,
    section_facts,
    splits_text,
)

COST_COLUMNS = {
    "Parameters": "parameters",
    "Multiply-adds per clip": "macs_per_clip",
    "Multiply-adds of training": "macs_training",
    "Frames per video": "frames_per_video",
    "Flow (s)": "seconds/flow",
    "Training (s)": "seconds/train",
}
EMPTY = (
    "The folder runs/ holds no record. To make one: python experiments/run.py strategy=single_frame "
    "dataset=moving_shapes"
)


def tables(
    records: list[Record], published: list[dict], comparisons: Mapping[str, Comparison] | None = None
) -> list[Section]:
    """Sections of our runs, the lecture's claims judged by them, and the literature's numbers: those on Sports-1M
    always, those on other data sets if one of our sections has them.

    `comparisons` are those of `read_comparisons`.
    """
    by_id = {record.id: record for record in records}
    groups = section_groups(records)
    titles = _titles(groups, by_id)
    sections = [
        _section(title, group, by_id, published, comparisons or {}) for title, group in zip(titles, groups, strict=True)
    ]
    if not sections:
        sections.append(Section("No finished run yet", [EMPTY], [], []))
    sections += claim_sections(records, comparisons or {})
    shown = {"sports1m"} | {record.dataset for record in records}
    datasets = sorted(shown & {entry["dataset"] for entry in published})
    return sections + [literature_section(name, [e for e in published if e["dataset"] == name]) for name in datasets]


def _titles(groups: list[list[Record]], by_id: Mapping[str, Record]) -> list[str]:
    """A heading for each section; where two would be the same, with what sets them apart."""
    titles = []
    for records in groups:
        first, splits = records[0], {str(record.split) for record in records}
        titles.append(f"{first.dataset}, {splits_text(splits)}, recipe {first.recipe}, size {first.size}")
    apart = (
        lambda records: f"{records[0].num_classes} classes",
        lambda records: ", ".join(word for word in given_to(records[0], by_id, "data.") if word not in everywhere),
        lambda records: f"test {records[0].protocol.text}",
        lambda records: f"data {records[0].data.fingerprint}",
        lambda records: f"classes {digest([records[0].data.classes, records[0].data.families])}",
    )
    full = []
    everywhere = set.intersection(*({*given_to(records[0], by_id, "data.")} for records in groups)) if groups else set()
    for title, records in zip(titles, groups, strict=True):
        alike = [group for group, of in zip(groups, titles, strict=True) if of == title]
        marks = [tell(records) for tell in apart if len({tell(group) for group in alike}) > 1]
        full.append(", ".join([title, *filter(None, marks)]))
    return full


def _section(
    title: str,
    records: list[Record],
    by_id: Mapping[str, Record],
    published: list[dict],
    comparisons: Mapping[str, Comparison],
) -> Section:
    first, rows = records[0], make_rows(records)
    labels, splits = _labels(rows, by_id), {str(record.split) for record in records}
    label_of = {id(row): label for row, label in zip(rows, labels, strict=True)}
    differences = differences_of(label_of, contests(rows, by_id), comparisons)
    metrics, footnotes = _metric_columns(records), []
    columns = _columns(metrics, len(splits) > 1, differences)
    if theirs := [entry for entry in published if entry["dataset"] == first.dataset]:
        columns["Published Video Hit@1 [protocol]"] = lambda row, _: _published(row, theirs, footnotes)

    chance = _chance(records, list(metrics.values()))
    guessing = ["chance", "", *map(percent_text, chance.values())]
    cells = [guessing + [DASH] * (len(columns) - len(guessing))]
    cells += [[cell(row, label) for cell in columns.values()] for row, label in zip(rows, labels, strict=True)]

    place = (first.dataset, ",".join(sorted(splits)), first.recipe, first.size, first.num_classes, first.protocol.text)
    lines = {"chance": chance}
    lines |= {label: _csv_row(row) | differences.csv(label) for row, label in zip(rows, labels, strict=True)}

    shared = sorted(set.intersection(*(set(given_words(row, by_id)) for row in rows)))
    facts = section_facts(records)
    if shared:
        facts = [*facts, f"Set for all rows, by the command or by the file of the sweep: {', '.join(shared)}."]
    facts += [differences.fact()] if differences else []
    notes = [f"[{number}] {note}" for number, note in enumerate(footnotes, start=1)]
    for row, label in zip(rows, labels, strict=True):  # what an ensemble was fused from
        texts = dict.fromkeys(record.ensemble.text for record in row.records if record.ensemble)
        notes += [f"{label}: {text}" for text in texts]
    csv = [dict(zip(HEAD, (*place, label), strict=True)) | line for label, line in lines.items()]
    return Section(title, facts, list(columns), cells, notes, csv, dict(zip(labels, rows, strict=True)))


def _metric_columns(records: list[Record]) -> dict[str, str]:
    """The titles of columns in percent, and the name of the number that each shows."""
    columns = {"Clip Hit@1": "test/clip_hit1", "Video Hit@1": "test/video_hit1", "Video Hit@5": "test/video_hit5"}
    if any(record.videos.undecodable for record in records):
        columns |= {f"Video Hit@{k}, scored only": f"test/scored_video_hit{k}" for k in (1, 5)}
    columns["Class accuracy"] = "test/class_accuracy"
    within = counted_within(records)
    title, key = (WITHIN, "within_hit1") if within else ("Video Hit@1,", "video_hit1")
    columns |= {f"{title} {family}": f"{family}/{key}" for family in records[0].families}
    return columns | {"Training Clip Hit@1": "train/clip_hit1"}


def _columns(
    metrics: dict[str, str], several_splits: bool, differences: Differences
) -> dict[str, Callable[[Row, str], str]]:
    """By title of a column, what it shows of a row and its label."""

    def clip(row: Row, _: str) -> str:
        frames, _sd = row.statistic("frames_per_clip")
        return f"{row.first.clip}, {count_text(frames)} frame{'s' * (frames != 1)}"

    columns: dict[str, Callable[[Row, str], str]] = {"Strategy": lambda _, label: label, "Clip": clip}
    for title, key in metrics.items():
        columns[title] = lambda row, _, key=key: percent_text(*row.statistic(key))
    if several_splits:
        columns[SPLITS] = lambda row, _: percent_text(row.split_deviation("test/video_hit1"))
    columns["Seeds"] = lambda row, _: str(row.num_seeds)
    if differences:
        columns[differences.title] = lambda _, label: differences.text(label)
    for title, key in COST_COLUMNS.items():
        columns[title] = lambda row, _, key=key: count_text(row.statistic(key)[0])
    return columns


def _published(row: Row, entries: list[dict], footnotes: list[str]) -> str:
    """The literature's numbers for a row, each with the number of its footnote."""
    same = [entry for entry in entries if entry["system"] == row.name and row.first.clip == "native"]
    return ", ".join(cited(entry, footnotes) for entry in same) or DASH


def _labels(rows: list[Row], by_id: Mapping[str, Record]) -> list[str]:
    """Row names, each with what sets it apart from other rows of the section."""
    splits = set.union(*(row.splits for row in rows))
    given = [given_words(row, by_id) for row in rows]
    apart = sorted({word for words in given for word in words} - set.intersection(*map(set, given)))
    short = _short_words(apart)
    codes, selections = defaultdict(set), {row.first.selection for row in rows}
    for row in rows:
        codes[row.name].add(row.first.code.hash)
    labels = []
    for row, words in zip(rows, given, strict=True):
        first, marks = row.first, mixed_versions(row.records)
        marks += [f"clip={first.clip}"] if first.clip != "native" else []
        marks += [f"pretrained={first.pretrained}"] if first.pretrained != "none" else []
        marks += [first.selection] if len(selections) > 1 else []
        marks += [short[word] for word in words if word in short and not first.test]
        marks += [f"code {first.code.hash}"] if len(codes[row.name]) > 1 else []
        marks += [f"{name}={value}" for name, value in first.test.changed.items()] if first.test else []
        marks += [f"{splits_text(row.splits)} only"] if row.splits != splits else []
        labels.append(f"{row.name} ({', '.join(marks)})" if marks else row.name)
    # What else can differ is what presets held when the runs were made, or runs that were copied.
    return [
        label if labels.count(label) == 1 else f"{label}, {labels[:place].count(label) + 1} of {labels.count(label)}"
        for place, label in enumerate(labels)
    ]


def _short_words(words: list[str]) -> dict[str, str]:
    """`training.lr=0.1` as `lr=0.1`, unless another setting has the same last name."""
    names = {word: word.partition("=")[0] for word in words}
    last = {word: name.rpartition(".")[2] for word, name in names.items()}
    alike = {tail: {names[word] for word in words if last[word] == tail} for tail in last.values()}
    return {word: word.replace(names[word], last[word], 1) if len(alike[last[word]]) == 1 else word for word in words}


def _chance(records: list[Record], keys: list[str]) -> dict[str, float | None]:
    """What guessing scores: k / classes; in a family 1 / its classes, unless the record's `chance` names it."""
    classes, families = records[0].num_classes, records[0].families
    chance: dict[str, float | None] = dict.fromkeys(keys, 1 / classes)
    chance |= {key: 5 / classes if classes > 5 else None for key in keys if key.endswith("hit5")}
    for family in families:
        chance |= {f"{family}/{key}": guess(records[0], family) for key in ("video_hit1", "within_hit1")}
    return {key: chance[key] for key in keys}


def _csv_row(row: Row) -> dict[str, object]:
    """All numbers of a row, unrounded, and what made them."""
    first, records = row.first, row.records
    line: dict[str, object] = {"clip": first.clip, "pretrained": first.pretrained, "selection": first.selection}
    line |= {"row_splits": ",".join(sorted(row.splits)), "seeds": row.num_seeds, "code": first.code.hash}
    line["data"] = ",".join(sorted({record.data.fingerprint for record in records}))
    line["device"] = ",".join(sorted({record.device for record in records}))
    line["runs"] = ",".join(record.id for record in records)
    videos = [record.videos.plain() for record in records]
    line |= {f"videos/{key}": ",".join(str(of.get(key, 0)) for of in videos) for key in dict.fromkeys(chain(*videos))}
    for key in row.numbers[0]:
        line[key], deviation = row.statistic(key)
        if "/" in key and not key.endswith("/videos"):
            spreads = {f"{key}_sd": deviation, f"{key}_split_sd": row.split_deviation(key)}
            line |= {name: value for name, value in spreads.items() if value is not None}
    return line | {"command": first.command}
