"""What a table says in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from experiments.records.record import Record
from experiments.tables.rows import mixed_versions

DASH = "—"
# How some facts and columns begin; a summary for a README keeps these beside the hits.
DIFFERENCE, SPLITS, SEVERAL_SEEDS, WITHIN = "Difference to", "Spread over splits", "With several seeds", "Hit@1 within"


def section_facts(records: list[Record]) -> list[str]:
    """What a reader must know before comparing the rows of a section."""
    first = records[0]
    families = ", ".join(f"{count} of {family}" for family, count in first.families.items())
    guess = "an even guess among all" + ", for a family among its own unless its data set says otherwise" * bool(
        families
    )
    if counted_within(records):
        guess += "; Hit@1 within a family is of its own videos and counts the best of its own classes"
    facts = [
        f"Test: {first.protocol.text}. Model tested: {_several(record.selection for record in records)}.",
        f"{first.num_classes} classes{': ' * bool(families)}{families}. Chance: {guess}.",
        *_video_facts(records),
    ]
    if len({record.seed for record in records}) > 1:
        facts.append(f"{SEVERAL_SEEDS}: mean ± sample standard deviation over seeds, splits averaged first.")
    if len({record.split for record in records}) > 1:
        facts.append(f"{SPLITS}: sample standard deviation of Video Hit@1 over splits, seeds averaged first.")
    commit, data = (_several(of) for of in zip(*((r.code.commit, r.data.fingerprint) for r in records), strict=True))
    device = _several(record.device for record in records)
    if mixed := mixed_versions(records):
        facts.append(f"Versions differ between runs: {', '.join(mixed)}.")
    return [*facts, f"Commit {commit}; data {data}; device {device}. Hits and accuracy in percent."]


def counted_within(records: list[Record]) -> bool:
    """Whether all rows have hits among the families' own classes, which old records lack."""
    families = [family for record in records for row in record.rows for family in row.families.values()]
    return all(family.within_hit1 is not None or not family.videos for family in families)


def _video_facts(records: list[Record]) -> list[str]:
    """How many test videos there were and were scored, and what the data lack."""
    facts, by_split = [], defaultdict(list)
    for record in records:
        by_split[str(record.split)].append(record.videos)
    for split, videos in sorted(by_split.items()):
        states = ("expected", "scored", "undecodable", "truncated")
        counts = ", ".join(f"{_span(getattr(of, state) for of in videos)} {state}" for state in states)
        padded = _span(of.padded_clips for of in videos)
        facts.append(f"Test videos of split {split}: {counts}; {padded} padded clips.")
        if damaged := max(of.damaged for of in videos):
            facts.append(f"Of the test videos of split {split}, {damaged} are damaged in half of their frames or more.")
        if drifting := max(of.drifting for of in videos):
            facts.append(
                f"Of the test videos of split {split}, {drifting} have a frame rate that varies: times by frame number "
                f"are off by up to {max(of.drift for of in videos):.2g} s."
            )
    notes = dict.fromkeys(note for record in records for note in record.data.notes)
    facts += [f"Of the data: {note}." for note in notes]  # such as how many listed videos are gone
    if any(record.videos.undecodable for record in records):
        facts.append("Undecodable test videos count as wrong; the columns 'scored only' leave them out.")
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
