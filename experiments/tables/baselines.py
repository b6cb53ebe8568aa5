"""Which rows of a section are compared, and with which other row. Results play no part in it.

Two rows are compared where only the strategy differs: same words given by hand, same clip, same code, and tests on the
same videos. Rows of one sweep form a contest of their own, so that no later run can move what it found: neither its
baseline nor the number of comparisons that Holm's correction counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.records.record import Record
from experiments.tables.comparisons import Pair
from experiments.tables.rows import Row, given_to, make_rows, members_of, section_groups

# The first of these that a sweep has is its baseline.
BASELINES = ("single_frame", "lecture_late", "two_stream")


@dataclass(frozen=True)
class Contest:
    """Rows that are compared with one baseline, in table order."""

    baseline: Row
    rows: list[Row]


def given_words(row: Row, records: Mapping[str, Record]) -> tuple[str, ...]:
    """The words given by hand to a row's runs, sorted."""
    return tuple(sorted({word for record in row.records for word in given_to(record, records)}))


def contests(rows: list[Row], records: Mapping[str, Record]) -> list[Contest]:
    """The contests of a section, given all `records` by id.

    A sweep without a baseline of its own, such as a single run, is compared with that of another sweep on equal terms.
    A test with other settings is no further system, and is in no contest.
    """
    sweeps: dict[tuple, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.first.kind != "test":
            sweeps[equal_terms(row, records)][str(row.first.sweep)].append(row)
    found = []
    for of_sweep in sweeps.values():
        own = {sweep: _baseline(of) for sweep, of in of_sweep.items()}
        others = [baseline for _, baseline in sorted(own.items()) if baseline is not None]
        for sweep, of in of_sweep.items():
            baseline = own[sweep] or min(others, key=lambda row: BASELINES.index(row.name), default=None)
            compared = [row for row in of if row is not baseline]
            if baseline is not None and compared:
                found.append(Contest(baseline, compared))
    return found


def equal_terms(row: Row, records: Mapping[str, Record]) -> tuple:
    """All that rows share that are compared."""
    codes = {str(run.code.shared) for own in row.records for run in members_of(own, records)}
    data = {(str(record.split), record.data.fingerprint) for record in row.records}
    return given_words(row, records), str(row.first.clip), tuple(sorted(codes)), tuple(sorted(data))


def _baseline(rows: list[Row]) -> Row | None:
    return next((row for name in BASELINES for row in rows if row.name == name), None)


def pairs(records: list[Record]) -> list[Pair]:
    """Every row that is compared, and its baseline."""
    by_id = {record.id: record for record in records}
    return [
        Pair(row, contest.baseline)
        for group in section_groups(records)
        for contest in contests(make_rows(group), by_id)
        for row in contest.rows
    ]
