"""Records -> `table.md`, `table.csv`, `table.html` and `table.tex`: a pure function of the records of runs and of
comparisons, and of `published.yaml`.

Runs are compared only within a section: same data set and classes, same test protocol, recipe and size. A row is the
mean over seeds of runs that differ in nothing else; what is not alike (code, clip, splits, ...) gets a row of its own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev

import yaml

from experiments.comparisons import comparison_id, holm, read_comparisons
from experiments.render import (
    DIFFERENCE,
    HEAD,
    SEVERAL_SEEDS,
    SPLITS,
    Section,
    summary,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
)
from experiments.running import write_atomically

FORMAT = 1
ROOT = Path(__file__).resolve().parents[1]
README_START = "<!-- table: written by `python experiments/run.py --table results=results/reference` -->"
README_END = "<!-- end of the table -->"
ORDER = (
    *("single_frame", "single_frame_multires", "single_frame_fovea", "single_frame_context"),
    *("early_fusion", "late_fusion", "slow_fusion", "cnn_average", "c3d"),
    *("two_stream_spatial", "two_stream_temporal", "two_stream", "two_stream_svm"),
    *("two_stream_multi_task_spatial", "two_stream_multi_task_temporal"),
    *("two_stream_multi_task", "two_stream_multi_task_svm", "cnn_lstm"),
)
# What a section's rows are compared with: the first of these that is one of them, whatever the results are.
BASELINES = ("single_frame", "lecture_late", "two_stream")
COMPARED = ("difference", "low", "high", "p", "p_holm", "clusters", "method")  # of a comparison, in the CSV
LEVEL = 0.05  # of the mark
DASH = "—"
RENDERERS = {"table.md": to_markdown, "table.csv": to_csv, "table.html": to_html, "table.tex": to_latex}


@dataclass(frozen=True)
class Row:
    """Runs that differ in seed and split only: pairs of a record and its row of that name."""

    name: str
    runs: list[tuple[dict, dict]]

    @cached_property
    def splits(self) -> set[str]:
        """The splits that every seed of this row was run on."""
        return {str(record["split"]) for record, _ in self.runs}

    @cached_property
    def data(self) -> set[tuple[str, str]]:
        """These splits, each with the fingerprint of its data."""
        return {(str(record["split"]), record["data"]["fingerprint"]) for record, _ in self.runs}

    @cached_property
    def num_seeds(self) -> int:
        """How many seeds the row is the mean of."""
        return len({record["seed"] for record, _ in self.runs})

    @property
    def tested_again(self) -> bool:
        """Whether these are the networks of another row, tested with other settings; such rows are not compared."""
        return self.runs[0][0].get("kind") == "test"

    @property
    def code(self) -> str:
        """Hash of the code that made all runs of the row."""
        return self.runs[0][0]["code"]["hash"]

    def common(self, key: str) -> str:
        """The setting `key`, which all runs of the row share; for `id` that of the first run."""
        return str(self.runs[0][0][key])

    def statistic(self, key: str) -> tuple[float | None, float | None]:
        """Mean over seeds (each the mean over its splits) and sample standard deviation, None where undefined."""
        means = self._means(key, "seed")
        if means is None:
            return None, None
        return mean(means), stdev(means) if len(means) > 1 else None

    def split_deviation(self, key: str) -> float | None:
        """Sample standard deviation over splits (each the mean over its seeds), None where undefined."""
        means = self._means(key, "split")
        return None if means is None or len(means) < 2 else stdev(means)

    @cached_property
    def numbers(self) -> list[dict[str, float | None]]:
        """All numbers of each run."""
        return [_numbers(record, row) for record, row in self.runs]

    def _means(self, key: str, over: str) -> list[float] | None:
        """The mean of a number for each seed or split; None where a run has no such number."""
        values = defaultdict(list)
        for (record, _), numbers in zip(self.runs, self.numbers, strict=True):
            values[record[over]].append(numbers.get(key))
        if any(value is None for own in values.values() for value in own):
            return None
        return [mean(own) for own in values.values()]


def read_records(results: Path) -> list[dict]:
    """All records of `results/runs/*/record.json`, sorted by id. Raises ValueError for a file that is not one."""
    records = []
    for path in sorted((results / "runs").glob("*/record.json")):
        remedy = f"delete {path.parent} and run that point again"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as JSON ({error}): {remedy}") from error
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        if found != FORMAT:
            raise ValueError(f"{path} has record format {found!r}, this code reads format {FORMAT}: {remedy}")
        records.append(record)
    return sorted(records, key=lambda record: record["id"])


def read_published() -> list[dict]:
    """The literature's numbers in percent, each with data set, split, protocol and pretraining."""
    return yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))["entries"]


def write_tables(results: Path, records: list[dict] | None = None) -> list[Path]:
    """Regenerates the tables (`RENDERERS`) in `results` from its records; returns their paths.

    The tables of `results/reference` are also those of the README. `records` are those of `results` where they have
    been read before.
    """
    records = read_records(results) if records is None else records
    sections = tables(records, read_published(), read_comparisons(results))
    results.mkdir(parents=True, exist_ok=True)
    texts = {results / name: render(sections) for name, render in RENDERERS.items()}
    for path, text in texts.items():
        write_atomically(path, text)
    if results.resolve() == ROOT / "results" / "reference":
        readme = ROOT / "README.md"
        write_atomically(readme, fill_readme(readme.read_text(encoding="utf-8"), sections))
        return [*texts, readme]
    return list(texts)


def fill_readme(readme: str, sections: list[Section]) -> str:
    """The text of a README with the summary of the first section between its two markers."""
    before, start, rest = readme.partition(README_START)
    _, end, after = rest.partition(README_END)
    assert start and end, f"the README lacks {README_START} or {README_END}"
    return f"{before}{start}\n{summary(sections[0])}\n{end}{after}"


def tables(records: list[dict], published: list[dict], comparisons: Mapping[str, dict] | None = None) -> list[Section]:
    """Sections of our runs, then the literature's: Sports-1M always, other data sets if one of our sections has them.

    `comparisons` are those of `read_comparisons`.
    """
    sections = [_section(group, published, comparisons or {}) for group in _groups(records)]
    if not sections:
        example = "python experiments/run.py strategy=single_frame dataset=moving_shapes"
        sections.append(
            Section("No finished run yet", [f"The folder runs/ holds no record. To make one: {example}"], [], [])
        )
    shown = {"sports1m"} | {record["dataset"] for record in records}
    datasets = sorted(shown & {entry["dataset"] for entry in published})
    return sections + [_literature(name, [e for e in published if e["dataset"] == name]) for name in datasets]


def pairs(records: list[dict]) -> list[tuple[Row, Row]]:
    """Every row that can be compared with the baseline of its section, and that baseline."""
    found = []
    for group in _groups(records):
        rows = _rows(group)
        baseline = _baseline(rows)
        found += [(row, baseline) for row in rows if baseline is not None and _comparable(row, baseline)]
    return found


def _baseline(rows: list[Row]) -> Row | None:
    """The row that the others of a section are compared with: of several of its name the plainest, whatever came out.

    Plain is its own clip, no pretraining, few settings given by hand. Of equally plain ones it is the most complete.
    """

    def plainest(row: Row) -> tuple:
        given = row.runs[0][0].get("given", [])
        own = row.common("clip") == "native", row.common("pretrained") == "none"
        return *own, -len(given), len(row.splits), row.num_seeds

    for name in BASELINES:
        named = [row for row in rows if row.name == name and not row.tested_again]
        if named:
            return max(named, key=plainest)
    return None


def _comparable(row: Row, baseline: Row) -> bool:
    """Whether a row of the baseline's section is compared with it. A test with other settings is no further system: it
    would only raise the number of comparisons."""
    return row is not baseline and row.data == baseline.data and not row.tested_again


def _groups(records: list[dict]) -> list[list[dict]]:
    """The records of each section, which never mixes two versions of the data of one split.

    Runs on folds of the training list serve ensembles and are no rows.
    """
    alike = defaultdict(list)
    for record in records:
        if record.get("kind") not in ("fold", "transfer"):
            shared = ("dataset", "num_classes", "recipe", "size", "protocol", "families")
            key = [*(record[name] for name in shared), record["data"]["classes"]]
            alike[json.dumps(key, sort_keys=True)].append(record)
    groups = []
    for _, group in sorted(alike.items()):
        versions = defaultdict(set)
        for record in group:
            versions[record["split"]].add(record["data"]["fingerprint"])
        if all(len(fingerprints) == 1 for fingerprints in versions.values()):
            groups.append(group)
        else:
            for fingerprint in sorted(set.union(*versions.values())):
                groups.append([record for record in group if record["data"]["fingerprint"] == fingerprint])
    return groups


def _numbers(record: dict, row: dict) -> dict[str, float | None]:
    """All numbers of one row of one run, flat: metrics as fractions, `<family>/video_hit1`, cost, `seconds/*`."""
    families = {f"{family}/{key}": value for family, of in row["families"].items() for key, value in of.items()}
    cost = ("parameters", "macs_per_clip", "macs_training", "frames_per_clip", "frames_per_video")
    seconds = {f"seconds/{key}": value for key, value in record["seconds"].items()}
    return row["metrics"] | families | {key: row[key] for key in cost} | seconds | {"memory_mb": record["memory_mb"]}


def _rows(records: list[dict]) -> list[Row]:
    """Rows in table order. Runs that cannot be told to differ in seed and split alone stay apart."""
    alike = defaultdict(list)
    for record in records:
        for row in record["rows"]:
            settings = tuple(record[key] for key in ("strategy", "clip", "pretrained", "selection", "settings"))
            network = tuple(row[key] for key in ("parameters", "macs_per_clip", "frames_per_clip"))
            alike[row["name"], settings, network, record["code"]["hash"]].append((record, row))
    rows = []
    for (name, *_), runs in alike.items():
        splits_of = defaultdict(list)
        for record, _ in runs:
            splits_of[record["seed"]].append(str(record["split"]))
        if any(len(splits) > len(set(splits)) for splits in splits_of.values()):  # one point, two unlike runs
            rows += [Row(name, [run]) for run in runs]
            continue
        same_splits = defaultdict(list)
        for run in runs:
            same_splits[frozenset(splits_of[run[0]["seed"]])].append(run)
        rows += [Row(name, runs) for runs in same_splits.values()]
    place = {name: index for index, name in enumerate(ORDER)}

    def order(row: Row) -> tuple:
        return place.get(row.name, len(ORDER)), row.name, row.common("clip") != "native", row.common("id")

    return sorted(rows, key=order)


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
        marks += [f"{_splits(row.splits)} only"] if row.splits != splits else []
        labels.append(f"{row.name} ({', '.join(marks)})" if marks else row.name)
    return [
        label if labels.count(label) == 1 else f"{label} (run {row.common('id')})"
        for label, row in zip(labels, rows, strict=True)
    ]


def _section(records: list[dict], published: list[dict], comparisons: Mapping[str, dict]) -> Section:
    first, rows = records[0], _rows(records)
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
    cells = [["chance", "", *map(_percent, chance.values())]]
    cells[0] += [DASH] * (len(columns) - len(cells[0]))
    numbers = [dict(zip(HEAD, (*place, "chance"), strict=True)) | chance]
    notes: list[str] = []
    fused: list[str] = []
    for row, label in zip(rows, labels, strict=True):
        frames, _ = row.statistic("frames_per_clip")
        line = [label, f"{row.common('clip')}, {_count(frames)} frame{'s' * (frames != 1)}"]
        line += [_percent(*row.statistic(key)) for key in percent.values()]
        line += [_percent(row.split_deviation("test/video_hit1"))] if len(splits) > 1 else []
        line += [str(row.num_seeds)]
        line += [_difference(differences.get(label))] if differences else []
        line += [_count(row.statistic(key)[0]) for key in cost.values()]
        if theirs:
            same = [entry for entry in theirs if entry["system"] == row.name and row.common("clip") == "native"]
            line.append(", ".join(_cited(entry, notes) for entry in same) or DASH)
        cells.append(line)
        texts = dict.fromkeys(record["ensemble"]["text"] for record, _ in row.runs if "ensemble" in record)
        fused += [f"{label}: {text}" for text in texts]
        numbers.append(dict(zip(HEAD, (*place, label), strict=True)) | _csv_row(row))
        if label in differences:
            numbers[-1] |= {"baseline": baseline} | {key: differences[label][key] for key in COMPARED}

    title = f"{first['dataset']}, {_splits(splits)}, recipe {first['recipe']}, size {first['size']}"
    notes = [f"[{number}] {note}" for number, note in enumerate(notes, start=1)] + fused
    facts = _facts(records) + ([_difference_fact(baseline, differences, missing)] if differences else [])
    return Section(title, facts, columns, cells, notes, numbers)


def _differences(
    rows: list[Row], labels: list[str], comparisons: Mapping[str, dict]
) -> tuple[str, dict[str, dict], list[str]]:
    """The label of the baseline; by label, what came of comparing a row with it, with p after Holm's correction; and
    the labels of the rows that have not been compared with it."""
    baseline = _baseline(rows)
    if baseline is None:
        return "", {}, []
    ids = {
        label: comparison_id(row, baseline)
        for row, label in zip(rows, labels, strict=True)
        if _comparable(row, baseline)
    }
    found = {label: comparisons[name] for label, name in ids.items() if name in comparisons}
    judged = [label for label, of in found.items() if of["p"] is not None]
    corrected = dict(zip(judged, holm([found[label]["p"] for label in judged]), strict=True))
    differences = {label: of | {"p_holm": corrected.get(label)} for label, of in found.items()}
    return labels[rows.index(baseline)], differences, [label for label in ids if label not in found]


def _difference(compared: dict | None) -> str:
    """`+2.3 [0.4, 4.1] *` in percentage points: the difference, its interval and the mark of a small p."""
    if compared is None:
        return DASH
    points = [None if compared[key] is None else round(100 * compared[key], 1) + 0.0 for key in COMPARED[:3]]
    if points[1] is None:
        return f"{points[0]:+.1f}"
    return f"{points[0]:+.1f} [{points[1]:.1f}, {points[2]:.1f}]" + " *" * (compared["p_holm"] < LEVEL)


def _difference_fact(baseline: str, differences: dict[str, dict], missing: list[str]) -> str:
    """How the rows were compared, of what that speaks, and which rows were not."""
    number = sum(of["p"] is not None for of in differences.values())
    text = f"{DIFFERENCE} {baseline}, the baseline fixed beforehand: of Video Hit@1, in percentage points"
    if number:
        text += f" [95 % interval]; * marks p < 0.05 by Holm's correction for {number} comparison{'s' * (number > 1)}"
    sentences = [text]
    alike = defaultdict(list)
    for label, of in differences.items():
        alike[_how(of, number)].append(label)
    for how, labels in alike.items():
        sentences.append(how[0].upper() + how[1:] if len(alike) == 1 else f"{', '.join(labels)}: {how}")
    sentences += [f"Not compared, for lack of comparable scores: {', '.join(missing)}"] if missing else []
    return f"{'. '.join(sentences)}."


def _how(compared: dict, number: int) -> str:
    """How a row was compared as one of `number`, and of what that speaks."""
    method, clusters, draws = (compared[key] for key in ("method", "clusters", "draws"))
    seeds, of_baseline = (compared["seeds"][key] for key in ("row", "baseline"))
    groups = f"{clusters:,} groups of test videos"
    networks = f"which speaks of the trained networks (seeds: {seeds}, of the baseline {of_baseline}) only"
    if method == "too few groups":
        return f"{groups} are too few groups for an interval or a mark"
    if method == "exact sign-flip":
        how, least = f"{method} over {groups}, {draws:,} patterns, {networks}", 2 / draws
    else:
        how, least = f"{method} of {groups}, {draws:,} replicates", 2 / (draws + 1)
        if seeds == 1 or of_baseline == 1:
            how += f", {networks}"
        elif compared["paired"]:
            how += f", and of the seeds, in pairs ({seeds}), since both rows hold the same trained networks"
        else:
            how += f", and of the seeds of each row ({seeds}, of the baseline {of_baseline})"
    if least * number >= LEVEL:
        how += f", and marks nothing, since no p can be below {least:.2g} before the correction"
    return how


def _chance(records: list[dict], keys: list[str]) -> dict[str, float | None]:
    """What guessing scores: k / classes, and in a family 1 / its classes unless the record's `chance` names it."""
    classes, families = records[0]["num_classes"], records[0]["families"]
    named = next((record["chance"] for record in records if "chance" in record), {})
    chance: dict[str, float | None] = dict.fromkeys(keys, 1 / classes)
    chance |= {key: 5 / classes if classes > 5 else None for key in keys if key.endswith("hit5")}
    return chance | {f"{family}/video_hit1": named.get(family, 1 / count) for family, count in families.items()}


def _facts(records: list[dict]) -> list[str]:
    """What a reader must know before comparing the rows of a section."""
    first = records[0]
    families = ", ".join(f"{count} of {family}" for family, count in first["families"].items())
    guess = "an even guess among all" + (
        ", for a family among its own unless its data set says otherwise" * bool(families)
    )
    facts = [
        f"Test: {first['protocol']['text']}. Model tested: {_several(r['selection'] for r in records)}.",
        f"{first['num_classes']} classes{': ' * bool(families)}{families}. Chance: {guess}.",
    ]
    by_split = defaultdict(list)
    for record in records:
        by_split[str(record["split"])].append(record["videos"])
    for split, videos in sorted(by_split.items()):
        states = ("expected", "scored", "undecodable", "truncated")
        counts = [f"{_span(v[state] for v in videos)} {state}" for state in states]
        padded = _span(v["padded_clips"] for v in videos)
        facts.append(f"Test videos of split {split}: {', '.join(counts)}; {padded} padded clips.")
    notes = [note for record in records for note in record["data"].get("notes", [])]
    facts += [f"Of the data: {note}." for note in dict.fromkeys(notes)]  # such as how many listed videos are gone
    if any(record["videos"]["undecodable"] for record in records):
        facts.append("Undecodable test videos count as wrong; the columns 'scored only' leave them out.")
    if len({record["seed"] for record in records}) > 1:
        facts.append(f"{SEVERAL_SEEDS}: mean ± sample standard deviation over seeds, splits averaged first.")
    if len(by_split) > 1:
        facts.append(f"{SPLITS}: sample standard deviation of Video Hit@1 over splits, seeds averaged first.")
    commit, data = _several(r["code"]["commit"] for r in records), _several(r["data"]["fingerprint"] for r in records)
    device = _several(record["device"] for record in records)
    facts.append(f"Commit {commit}; data {data}; device {device}. Hits and accuracy in percent.")
    return facts


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


def _literature(dataset: str, entries: list[dict]) -> Section:
    """The published numbers on one data set: theirs, under their protocols, not ours."""
    hits = {"clip_hit1": "Clip Hit@1", "video_hit1": "Video Hit@1", "video_hit5": "Video Hit@5"}
    rows = []
    for entry in entries:
        metrics = entry["metrics"]
        other = [f"{key} {value}" for key, value in metrics.items() if key not in hits]
        row = [entry["system"], *(str(metrics.get(key, DASH)) for key in hits), entry["split"], entry["pretraining"]]
        rows.append([*row, entry["protocol"], entry["paper"], "; ".join([entry["note"], *other]).strip("; ")])
    columns = ["System", *hits.values(), "Split", "Pretraining", "Protocol", "Paper", "Note"]
    facts = ["Percent, as printed by the papers. No run of this suite; each row has its own protocol and pretraining."]
    return Section(f"The literature's numbers on {dataset}", facts, columns, rows)


def _cited(entry: dict, notes: list[str]) -> str:
    """A published Video Hit@1 with the number of the note that says how it was measured; adds that note to `notes`."""
    split = {"1": "split 1", "mean of 3": "mean of 3 splits"}.get(entry["split"], entry["split"])
    terms = [split, entry["protocol"], f"pretraining: {entry['pretraining']}", entry["note"]]
    note = f"{entry['paper']}, {entry['system']}: {'; '.join(filter(None, terms))}"
    if note not in notes:
        notes.append(note)
    return f"{entry['metrics']['video_hit1']} [{notes.index(note) + 1}]"


def _percent(fraction: float | None, deviation: float | None = None) -> str:
    if fraction is None:
        return DASH
    return f"{100 * fraction:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _count(value: float | None) -> str:
    """A quantity in at most three digits and a unit from a million on: 512, 40.1, 123,456, 1.23 G."""
    if value is None:
        return DASH
    for exponent, unit in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M")):
        if value >= 0.9995 * 10**exponent:
            return f"{value / 10**exponent:.3g} {unit}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _span(values: Iterable[int]) -> str:
    ordered = sorted(values)
    return f"{ordered[0]}" if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"


def _several(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def _splits(splits: set[str]) -> str:
    return f"split{'s' * (len(splits) > 1)} {_several(splits)}"
