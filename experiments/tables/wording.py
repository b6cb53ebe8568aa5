"""What a table says in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from experiments.tables.render import DIFFERENCE, SEVERAL_SEEDS, SPLITS

COMPARED = ("difference", "low", "high", "p", "p_holm", "clusters", "method")  # of a comparison, in the CSV
LEVEL = 0.05  # of the mark
DASH = "—"


def difference_text(compared: dict | None) -> str:
    """`+2.3 [0.4, 4.1] *` in percentage points: the difference, its interval and the mark of a small p."""
    if compared is None:
        return DASH
    points = [None if compared[key] is None else round(100 * compared[key], 1) + 0.0 for key in COMPARED[:3]]
    if points[1] is None:
        return f"{points[0]:+.1f}"
    return f"{points[0]:+.1f} [{points[1]:.1f}, {points[2]:.1f}]" + " *" * (compared["p_holm"] < LEVEL)


def difference_fact(baseline: str, differences: dict[str, dict], missing: list[str]) -> str:
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


def section_facts(records: list[dict]) -> list[str]:
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


def percent_text(fraction: float | None, deviation: float | None = None) -> str:
    """`12.3`, or `12.3 ± 0.4` with a deviation."""
    if fraction is None:
        return DASH
    return f"{100 * fraction:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def count_text(value: float | None) -> str:
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


def splits_text(splits: set[str]) -> str:
    """`split 1`, or `splits 1, 2`."""
    return f"split{'s' * (len(splits) > 1)} {_several(splits)}"
