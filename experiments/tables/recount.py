"""Records whose saved scores do not give the hits that they say are left out.

<results>/recounted.json   by id, what was recounted: a digest of the record, and size and time of its scores. These are
                           not read again.
"""

from __future__ import annotations

import json
from pathlib import Path

from datamodules.files import write_atomically
from experiments.records.files import read_records
from experiments.records.record import Record

REMEMBERED = "recounted.json"
TIE = 1e-6  # two scores nearer than this may change places by rounding


def sound_records(results: Path) -> tuple[list[Record], list[str]]:
    """The records of `read_records`, without those that their scores contradict, and a line for each left out."""
    records, problems = read_records(results)
    before, now, sound = _remembered(results), {}, []
    for record in records:
        path = results / "runs" / record.id / "scores.npz"
        try:
            state = path.stat()
            key = f"{record.file_digest} {state.st_size} {state.st_mtime_ns}"
            if before.get(record.id) != key:
                check_hits(path, record)
            now[record.id] = key
        except FileNotFoundError:  # as of committed records: there is nothing to recount
            pass
        except (OSError, ValueError) as error:
            problems.append(f"{error}; its rows are left out")
            continue
        sound.append(record)
    if any(before.get(run_id) != key for run_id, key in now.items()):
        write_atomically(results / REMEMBERED, json.dumps(now, indent=1))
    return sound, problems


def _remembered(results: Path) -> dict[str, str]:
    try:
        found = json.loads((results / REMEMBERED).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def check_hits(path: Path, record: Record) -> None:
    """Raise ValueError unless a run's scores are of as many videos, and give the Video Hit@1, that its record says."""
    from experiments.records.scores import read_scores  # here: it takes seconds to import
    from vidfusion.metrics import hits_at_k

    saved = read_scores(path)
    total, videos = len(saved.videos), saved.votes.videos()
    scored = total - int(videos.scores.isnan().flatten(1).any(1).sum())
    said = (record.videos.expected, record.videos.scored)
    if record.kind != "ensemble" and (total, scored) != said:
        raise ValueError(f"{path}: {total} videos, {scored} of them scored; the record says {said[0]} and {said[1]}")
    known = saved.votes.scores[~saved.votes.scores.isnan()]
    if record.kind != "ensemble" and known.numel() and not (known.min() >= -TIE and known.max() <= 1 + 1e-3):
        raise ValueError(f"{path}: scores from {known.min():g} to {known.max():g} are no probabilities")
    for row in record.rows:
        share, scores = row.metrics.get("test/video_hit1"), videos.scores[:, saved.place(row.name)]
        if share is None:  # with a single class there is nothing to guess
            continue
        best = scores.double().nan_to_num(0.0).topk(2, dim=1).values
        ties = int((best[:, 0] - best[:, 1] < TIE).sum())
        hits = int(hits_at_k(scores, videos.target, 1).sum())
        if abs(share * total - hits) > 0.5 + ties:
            raise ValueError(
                f"{path}: {row.name} has {hits} of {total} videos right, the record says {share * total:.0f}: run that "
                "point again"
            )
