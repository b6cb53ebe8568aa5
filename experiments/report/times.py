"""Does a network use time? What is left of its hits when the frames of its test clips are played otherwise."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from experiments.records.record import Record
from experiments.tables.rows import Row

KEY = "sampling.test_time"
TIMES = {"reversed": "reversed", "shuffled": "shuffled", "frozen": "all the same"}


@dataclass(frozen=True)
class TimeLine:
    """A row: Video Hit@1 in percent as played, and by time of `TIMES`; None where a run was not tested so."""

    label: str
    forward: float
    others: dict[str, float | None]


def is_of_time(record: Record) -> bool:
    """Whether it is the record of a test whose clips were played otherwise, and which changed nothing else."""
    return record.test is not None and list(record.test.changed) == [KEY] and record.test.changed[KEY] in TIMES


def times(rows: Mapping[str, Row], records: Sequence[Record]) -> list[TimeLine]:
    """The rows all of whose runs were tested with clips played otherwise in one way or more."""
    tested = {}
    for record in records:
        if record.kind == "test" and is_of_time(record):
            network = (record.test.run, record.selection, *record.test.made_of)
            hits = {row.name: row.metrics.get("test/video_hit1") for row in record.rows}
            tested[network, record.test.changed[KEY]] = hits
    lines = []
    for label, row in rows.items():
        forward, _ = row.statistic("test/video_hit1")
        others: dict[str, float | None] = {}
        for time in TIMES:
            networks = [((run.id, run.selection, *run.made_of), own.name) for run, own in row.runs]
            hits = [tested.get((network, time), {}).get(name) for network, name in networks]
            others[time] = None if None in hits else 100 * mean(hits)
        if forward is not None and any(value is not None for value in others.values()):
            lines.append(TimeLine(label, 100 * forward, others))
    return lines


def command(rows: Mapping[str, Row], results: str) -> str:
    """The command that makes the tests of these rows' runs: of their sweep, or of the first one's network."""
    first = next(iter(rows.values())).first
    words = ["--sweep", first.sweep] if first.sweep else ["--test", f"{results}/runs/{first.id}/last.ckpt"]
    words += ["--time", ",".join(TIMES)]
    if first.sweep:
        alike = [record for row in rows.values() for record in row.records if record.sweep == first.sweep]
        words += [word for word in first.given or [] if not word.startswith("seed=")]
        for key, values in (("data.split", {str(of.split) for of in alike}), ("seed", {str(of.seed) for of in alike})):
            words += [f"{key}={','.join(sorted(values))}"] if len(values) > 1 else []
        words += [] if results == "results" else [f"results={results}"]
    return shlex.join(["python", "experiments/run.py", *words])
