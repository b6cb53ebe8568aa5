"""A folder of results with all that a page can show: two seeds of three networks, scores, curves, and tests of time."""

import copy

import numpy as np

from experiments.records.record import NetworkTest
from tests.factories import CLASSES, random_scores, record_of, save_record, save_run

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }}",
    "a\u202eb\x1b[31m",
    "&lt;",
    "_x_",
)
LABELS = np.arange(60) % len(CLASSES)
NAMES = ("single_frame", "slow_fusion", "c3d")


def write_curves(folder, version=0, epochs=5, start=0, header="epoch,step,train/clip_hit1,train/loss,val/video_hit1"):
    """A file of curves as a training writes it: a line an epoch, of 10 steps each."""
    path = folder / "curves" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{epoch},{10 * epoch + 9},{epoch / 10},{3 - epoch / 10},{epoch / 20}" for epoch in range(start, epochs)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def make_results(results, names=NAMES, seeds=2, classes=CLASSES, **changes):
    """Write it all; returns the records of the runs."""
    records = []
    for number, name in enumerate(names, start=1):
        for seed in range(seeds):
            record = record_of(name, seed=seed, classes=classes, id=f"run{number}-s{seed}", **changes)
            record.data.families = {"legs": list(classes[:3]), "arms": list(classes[3:])}
            for row in record.rows:
                row.macs_per_clip *= number
                row.parameters *= number
            save_run(results, record, random_scores(f"{name}{seed}", LABELS)[None], LABELS, groups=24)
            write_curves(results / "runs" / record.id)
            records.append(record)
    return records


def time_tests(results, records, hits=0.25, **changed):
    """Write tests of these runs' networks with clips played in each way, which have this Video Hit@1."""
    for record in records:
        for time in ("reversed", "shuffled", "frozen"):
            test = copy.deepcopy(record)
            test.kind, test.id, test.settings = "test", f"{record.id}-{time}", f"{record.settings}-test"
            setting = {"sampling.test_time": time} | changed
            test.test = NetworkTest(record.id, "last.ckpt", setting, made_of=record.made_of)
            test.protocol.text = f"played {time}"
            for row in test.rows:
                row.metrics["test/video_hit1"] = hits
            save_record(results, test)
