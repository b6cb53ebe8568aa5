"""Records -> `table.md`, `table.csv`, `table.html` and `table.tex`: a pure function of the records of runs and of
comparisons, and of `published.yaml`.

Runs are compared only within a section: same data set and classes, same test protocol, recipe and size. A row is the
mean over seeds of runs that differ in nothing else; what is not alike (code, clip, splits, ...) gets a row of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from experiments.tables.comparisons import comparison_id
from experiments.tables.published import cited, literature_section
from experiments.tables.render import DIFFERENCE, HEAD, SPLITS, Section
from experiments.tables.rows import Row, baseline_of, is_comparable, make_rows, section_groups
from experiments.tables.significance import holm
from experiments.tables.wording import (
    COMPARED,
    DASH,
    count_text,
    difference_fact,
    difference_text,
    percent_text,
    section_facts,
    splits_text,
)


def tables(records: list[dict], published: list[dict], comparisons: Mapping[str, dict] | None = None) -> list[Section]:
    """Sections of our runs, then the literature's: Sports-1M always, other data sets if one of our sections has them.

    `comparisons` are those of `read_comparisons`.
    """
    sections = [_section(group, published, comparisons or {}) for group in section_groups(records)]
    if not sections:
        example = "python experiments/run.py strategy=single_frame dataset=moving_shapes"
        sections.append(
            Section("No finished run yet", [f"The folder runs/ holds no record. To make one: {example}"], [], [])
        )
    shown = {"sports1m"} | {record["dataset"] for record in records}
    datasets = sorted(shown & {entry["dataset"] for entry in published})
    return sections + [literature_section(name, [e for e in published if e["dataset"] == name]) for name in datasets]


def _labels(rows: list[Row]) -> list[str]:
    """Row names, each with what sets it apart from other rows of the section."""
    splits = set.union(*(row.splits for row in rows))
    codes, selections = defaultdict(set), {row.common("selection") for row in rows}
    for row in rows:
        codes[row.name].add(row.code)
    labels = []
    for row in rows:
        usual = {"clip": "native", "pretrained": "none"}
        marks = [f"{key}={row.common(key)}" for key, value in usual.items() if row.common(key) != value]
        marks += [row.common("selection")] if len(selections) > 1 else []
        marks += [f"code {row.code}"] if len(codes[row.name]) > 1 else []
        marks += [f"{name}={value}" for name, value in row.runs[0][0].get("test", {}).get("changed", {}).items()]
        marks += [f"{splits_text(row.splits)} only"] if row.splits != splits else []
        labels.append(f"{row.name} ({', '.join(marks)})" if marks else row.name)
    return [
        label if labels.count(label) == 1 else f"{label} (run {row.common('id')})"
        for label, row in zip(labels, rows, strict=True)
    ]


def _section(records: list[dict], published: list[dict], comparisons: Mapping[str, dict]) -> Section:
    first, rows = records[0], make_rows(records)
    labels = _labels(rows)
    baseline, differences, missing = _differences(rows, labels, comparisons)
    theirs = [entry for entry in published if entry["dataset"] == first["dataset"]]
    splits = {str(record["split"]) for record in records}
    place = (first["dataset"], ",".join(sorted(splits)), first["recipe"], first["size"], first["num_classes"])
    place = (*place, first["protocol"]["text"])

    percent = {"Clip Hit@1": "test/clip_hit1", "Video Hit@1": "test/video_hit1", "Video Hit@5": "test/video_hit5"}
    if any(record["videos"]["undecodable"] for record in records):
        percent |= {f"Video Hit@{k}, scored only": f"test/scored_video_hit{k}" for k in (1, 5)}
    percent |= {"Class accuracy": "test/class_accuracy"}
    percent |= {f"Video Hit@1, {family}": f"{family}/video_hit1" for family in first["families"]}
    percent |= {"Training Clip Hit@1": "train/clip_hit1"}
    cost = {"Parameters": "parameters", "Multiply-adds per clip": "macs_per_clip"}
    cost |= {"Multiply-adds of training": "macs_training", "Frames per video": "frames_per_video"}
    cost |= {"Flow (s)": "seconds/flow", "Training (s)": "seconds/train"}
    columns = ["Strategy", "Clip", *percent]
    columns += [SPLITS] if len(splits) > 1 else []
    columns += ["Seeds"]
    columns += [f"{DIFFERENCE} {baseline}"] if differences else []
    columns += [*cost]
    columns += ["Published Video Hit@1 [protocol]"] if theirs else []

    chance = _chance(records, list(percent.values()))
    cells = [["chance", "", *map(percent_text, chance.values())]]
    cells[0] += [DASH] * (len(columns) - len(cells[0]))
    numbers = [dict(zip(HEAD, (*place, "chance"), strict=True)) | chance]
    notes: list[str] = []
    fused: list[str] = []
    for row, label in zip(rows, labels, strict=True):
        frames, _ = row.statistic("frames_per_clip")
        line = [label, f"{row.common('clip')}, {count_text(frames)} frame{'s' * (frames != 1)}"]
        line += [percent_text(*row.statistic(key)) for key in percent.values()]
        line += [percent_text(row.split_deviation("test/video_hit1"))] if len(splits) > 1 else []
        line += [str(row.num_seeds)]
        line += [difference_text(differences.get(label))] if differences else []
        line += [count_text(row.statistic(key)[0]) for key in cost.values()]
        if theirs:
            same = [entry for entry in theirs if entry["system"] == row.name and row.common("clip") == "native"]
            line.append(", ".join(cited(entry, notes) for entry in same) or DASH)
        cells.append(line)
        texts = dict.fromkeys(record["ensemble"]["text"] for record, _ in row.runs if "ensemble" in record)
        fused += [f"{label}: {text}" for text in texts]
        numbers.append(dict(zip(HEAD, (*place, label), strict=True)) | _csv_row(row))
        if label in differences:
            numbers[-1] |= {"baseline": baseline} | {key: differences[label][key] for key in COMPARED}

    title = f"{first['dataset']}, {splits_text(splits)}, recipe {first['recipe']}, size {first['size']}"
    notes = [f"[{number}] {note}" for number, note in enumerate(notes, start=1)] + fused
    facts = section_facts(records) + ([difference_fact(baseline, differences, missing)] if differences else [])
    return Section(title, facts, columns, cells, notes, numbers)


def _differences(
    rows: list[Row], labels: list[str], comparisons: Mapping[str, dict]
) -> tuple[str, dict[str, dict], list[str]]:
    """The label of the baseline; by label, what came of comparing a row with it, with p after Holm's correction; and
    the labels of the rows that have not been compared with it."""
    baseline = baseline_of(rows)
    if baseline is None:
        return "", {}, []
    ids = {
        label: comparison_id(row, baseline)
        for row, label in zip(rows, labels, strict=True)
        if is_comparable(row, baseline)
    }
    found = {label: comparisons[name] for label, name in ids.items() if name in comparisons}
    judged = [label for label, of in found.items() if of["p"] is not None]
    corrected = dict(zip(judged, holm([found[label]["p"] for label in judged]), strict=True))
    differences = {label: of | {"p_holm": corrected.get(label)} for label, of in found.items()}
    return labels[rows.index(baseline)], differences, [label for label in ids if label not in found]


def _chance(records: list[dict], keys: list[str]) -> dict[str, float | None]:
    """What guessing scores: k / classes, and in a family 1 / its classes unless the record's `chance` names it."""
    classes, families = records[0]["num_classes"], records[0]["families"]
    named = next((record["chance"] for record in records if "chance" in record), {})
    chance: dict[str, float | None] = dict.fromkeys(keys, 1 / classes)
    chance |= {key: 5 / classes if classes > 5 else None for key in keys if key.endswith("hit5")}
    return chance | {f"{family}/video_hit1": named.get(family, 1 / count) for family, count in families.items()}


def _csv_row(row: Row) -> dict[str, object]:
    record, _ = row.runs[0]
    records = [record for record, _ in row.runs]
    line: dict[str, object] = {key: record[key] for key in ("clip", "pretrained", "selection")}
    line |= {"row_splits": ",".join(sorted(row.splits)), "seeds": row.num_seeds}
    line |= {"code": row.code, "data": ",".join(sorted({r["data"]["fingerprint"] for r in records}))}
    line |= {"device": ",".join(sorted({r["device"] for r in records})), "runs": ",".join(r["id"] for r in records)}
    line |= {f"videos/{key}": ",".join(str(r["videos"][key]) for r in records) for key in record["videos"]}
    for key in row.numbers[0]:
        line[key], deviation = row.statistic(key)
        if "/" in key and not key.endswith("/videos"):
            spreads = {f"{key}_sd": deviation, f"{key}_split_sd": row.split_deviation(key)}
            line |= {name: value for name, value in spreads.items() if value is not None}
    return line | {"command": record["command"]}
