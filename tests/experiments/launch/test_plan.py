"""Plans of sweeps: the arithmetic by hand, and a small sweep that is planned end to end."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from datamodules.dataset_store import tracks
from datamodules.datasets.folder import Folder
from datamodules.store.building import build_shard, plan_store
from experiments.launch import plan as planning
from experiments.launch.plan import Measured, Store, kind_of, labels, makespan, plan, side_by_side, table, totals
from experiments.records.provenance import code_hash
from experiments.run import main
from experiments.settings.compose import compose
from experiments.training.build import make_model

SMALL = ["data.families=[motion]", "data.clips.motion=1", "data.size=32", "data.frames=20", "trainer.accelerator=cpu"]
FOUND = Measured(
    steps=100, epochs=20, views=30, validation_views=10, clips=40, step=0.5, epoch=0.2, view=0.1, save=1.0, others=3.0,
    checkpoint_bytes=1000, clip_bytes=8.0, other_bytes=100, memory=2 * 10**9,
)  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "jobs", "expected"),
    [
        ([3, 5, 2, 4], 1, 14),
        ([3, 5, 2, 4], 2, 9),  # 0-3 and 3-5 and 5-9 on one, 0-5 on the other
        ([3, 5, 2, 4], 3, 6),  # the last from 2 on
        ([3, 5, 2, 4], 9, 5),
        ([1, 1, 1, 6], 2, 7),  # in their order, though the longest first would take 6
        ([], 2, 0),
    ],
)
def test_points_start_in_their_order_as_soon_as_there_is_room(seconds, jobs, expected):
    assert makespan(seconds, jobs) == expected


def test_the_largest_points_may_run_side_by_side():
    assert side_by_side([5, 1, 7, 3], 2) == 12
    assert side_by_side([5, 1, 7, 3], 9) == 16


def test_what_a_point_takes():
    """Of 20 epochs every second one ends with a checkpoint, a validation and, at worst, the best checkpoint."""
    assert FOUND.training_seconds == pytest.approx(100 * 0.5 + 20 * 0.2 + 10 * 10 * 0.1 + (2 * 10 + 1) * 1.0)
    assert FOUND.test_seconds == pytest.approx((30 + 10) * 0.1)
    assert FOUND.seconds == pytest.approx(3 + 85 + 4)
    assert FOUND.bytes == 2 * 1000 + 40 * 8 + 100
    without = FOUND._replace(validation_views=0, epochs=7)
    assert without.training_seconds == pytest.approx(50 + 7 * 0.2 + 7 + 1)
    assert without.bytes == 1000 + 40 * 8 + 100


def test_steps_between_epochs_and_warm_up_count_apart():
    pace = planning._Pace(warm_up=2, steps=100)
    pace.firsts, pace.views = [True, False, False, True, False], [10, 10, 5]
    pace.training = SimpleNamespace(seconds=lambda: [9, 5, 9, 0.1, 1, 0.5, 2, 0.3, 1])  # step, wait, step ...
    pace.testing = SimpleNamespace(seconds=lambda: [4, 1, 1])
    step, epoch, view, paced = pace.seconds()
    assert step == pytest.approx(1 + (0.1 + 0.3) / 2)
    assert epoch == pytest.approx(0.5 - 0.2)
    assert view == pytest.approx(2 / 15)
    assert paced == pytest.approx(5 * step + epoch + 25 * view)


@pytest.mark.parametrize(
    ("words", "alike"),
    [
        ("seed=1", True), ("data.split=2", True), ("results=elsewhere", True), ("training.lr=0.1", True),
        ("training.steps=7", False), ("training.batch_size=8", False), ("trainer.workers=1", False),
        ("trainer.precision=bf16-mixed", False), ("data.size=32", False), ("strategy=c3d", False),
    ],
)  # fmt: skip
def test_points_that_cost_the_same_are_of_one_kind(words, alike):
    assert (kind_of(compose(["strategy=late_fusion", words])) == kind_of(compose(["strategy=late_fusion"]))) == alike


def test_kinds_are_called_by_what_tells_them_apart():
    runs = [
        compose(["strategy=c3d", "data.size=32", *words])
        for words in ([], ["clip=lecture", "seed=1"], ["training.steps=7", "training.lr=1"])
    ]
    assert labels(runs) == ["c3d native", "c3d lecture", "c3d native training.steps=7"]
    assert labels(runs[:1]) == ["c3d"]


def test_a_thousand_points_of_two_kinds_are_planned_with_two_probes(tmp_path, monkeypatch, capsys):
    first, second = (compose([f"strategy={name}", f"results={tmp_path}"]) for name in ("late_fusion", "single_frame"))
    runs = [replace(run, seed=seed) for run in (first, second) for seed in range(500)]
    probed = []

    def probe_all(runs, stores, jobs, scratch):
        probed.extend(runs)
        return [FOUND._replace(others=10 - 89), FOUND._replace(others=4 - 89)], 0.0

    monkeypatch.setattr(planning, "survey", lambda data, tracks, scratch: Store("shapes", "", ""))
    monkeypatch.setattr(planning, "probe_all", probe_all)
    assert plan("many", runs, 4) == 0
    shown = capsys.readouterr().out
    assert [run.strategy for run in probed] == ["late_fusion", "single_frame"]
    assert "0 of 1000 points of many are finished; 1000 to do, 4 side by side" in shown
    # 125 times four of 10 s, then 125 times four of 4 s.
    assert "Time: 0:29:10, of which 0:00:00 to import, 0:00:00 for videos and frame stores, 0:29:10" in shown


def test_totals_are_compared_with_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "available_memory", lambda: 3.9e9)
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda path: SimpleNamespace(free=6.5e9))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    data = Folder(root=f"{tmp_path}/videos", stores=f"{tmp_path}/stores", max_store=4)
    store = Store(
        "clips", "", "", ("a.mp4",), to_make=10, make_seconds=20.0, make_bytes=10**9, to_decode=10, seconds=60.0,
        bytes=3e9, whole=5e9,
    )  # fmt: skip
    run = compose(["strategy=c3d", f"results={tmp_path}/results"])
    found = FOUND._replace(checkpoint_bytes=4 * 10**8, gpu_memory=5 * 10**10, gpu_whole=8 * 10**10)
    lines = totals([(run, found), (run, found)], [(data, store)], jobs=2, starting=5.0)
    page = "\n".join(lines)
    assert "Videos of clips: 10 to be made, 0:00:20, 1.00 GB" in page
    assert "Frame store of clips: 10 videos to be decoded, 0:01:00, 3.00 GB" in page
    assert "Time: 0:02:57, of which 0:00:05 to import, 0:01:20 for videos and frame stores, 0:01:32" in page
    assert "Memory: 4.00 GB side by side, 3.90 GB are available" in page
    assert "GPU memory: 100.00 GB on a device, which has 80.00 GB" in page
    assert f"Disk of {tmp_path}: 5.60 GB, 6.50 GB are free" in page  # 1 + 3 + 4 checkpoints of 0.4
    warnings = [line for line in lines if line.startswith("WARNING: ")]
    assert len(warnings) == 4
    for said in ("takes 5.00 GB, data.max_store is 4", "into memory side by side", "of a device", "on the disk of"):
        assert any(said in line for line in warnings), said
    alone = totals([(run, FOUND._replace(memory=10**9))], [(data, replace(store, whole=3e9))], jobs=1, starting=5.0)
    assert not any("WARNING" in line for line in alone) and not any("GPU" in line for line in alone)


def test_a_probe_that_dies_says_how():
    def closed():
        raise EOFError

    why = planning._received(SimpleNamespace(exitcode=-9), SimpleNamespace(recv=closed), 1.0)
    assert why == "the probe's process ended with exit code -9, probably for want of memory"
    told = planning._received(None, SimpleNamespace(recv=lambda: (FOUND, 40.0)), 50.0)
    assert told == FOUND._replace(others=10.0)


def test_a_failed_kind_has_its_reason_in_its_row():
    lines = table([("c3d", 2, FOUND), ("cnn_lstm", 1, "no room | at all")])
    assert len({len(line) for line in lines}) == 1
    assert "no room" in lines[-1] and "0:01:32" in lines[-2]


@pytest.fixture
def words(tmp_path):
    """Settings of a tiny run on videos that are not made yet."""
    places = [f"data.root={tmp_path}/data", f"data.stores={tmp_path}/stores", f"results={tmp_path}/results"]
    return [*places, *SMALL, "training.steps=4", "training.batch_size=8", "wandb.mode=disabled"]


def rows(shown: str) -> dict[str, dict[str, str]]:
    """The table's cells by the point's name and the column's title."""
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1, "columns are not aligned"
    titles, _, *cells = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return {row[0].strip(): dict(zip(titles, row, strict=True)) for row in cells}


def test_a_small_sweep_is_planned_before_there_are_videos_and_after(tmp_path, words, capsys):
    single = [compose(["strategy=single_frame", f"seed={seed}", *words]) for seed in range(3)]
    too_short = compose(["strategy=slow_fusion", "sampling.frames=2", *words])
    finished = single[0].folder
    finished.mkdir(parents=True)
    record = {"code": {"hash": code_hash(single[0])}, "data": {"fingerprint": ""}}
    (finished / "record.json").write_text(json.dumps(record))

    assert plan("demo", [*single, too_short], 2) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("1 of 4 points of demo are finished; 3 to do, 2 side by side.")
    found = rows(shown)
    assert "slow_fusion needs sampling.frames >= 10, got 2" in found["slow_fusion sampling.frames=2"]["Failed"]
    row = found["single_frame"]
    assert row["Points"] == "2" and row["Steps"] == "4" and float(row["Seconds per step"]) > 0
    assert 200 < float(row["Memory MB"]) < 5000
    parameters = sum(p.numel() for p in make_model(single[0], list("abcdef")).parameters())
    adam = 3 * 4 * parameters  # the weights and their two moments
    assert adam / 1e6 - 0.05 < float(row["Disk MB"]) < adam / 1e6 + 0.3
    assert "150 to be made" in shown and "clips of 6 of them stood for all" in shown
    (size,) = re.findall(r"150 videos to be decoded, 0:\d\d:\d\d, (.*) GB", shown)
    assert float(size) == pytest.approx(150 * 20 * 36 * 36 * 3 / 1e9, abs=0.006)
    assert "Not counted, since they cannot run as they are: slow_fusion sampling.frames=2." in shown
    assert {path.name for path in tmp_path.iterdir()} == {"results"}, "a plan writes nothing"
    assert list((tmp_path / "results").rglob("*.json")) == [finished / "record.json"]

    data = single[0].data
    data.prepare(1)
    parts = data.folder(), data.read().files, Path(data.stores), data.folder().name, tracks(data, single[0].sampling)
    missing = plan_store(*parts)
    assert sum(len(job.files) for job in missing.jobs) == 150 and missing.missing == missing.whole
    for job in missing.jobs:
        (job.folder / job.tracks[0].name).mkdir(parents=True, exist_ok=True)
        build_shard(job)
    whole = plan_store(*parts)
    assert not whole.jobs and whole.missing == 0 and whole.whole == pytest.approx(missing.whole, rel=0.01)
    assert main(["--plan", "strategy=single_frame", "seed=3", *words]) == 0
    shown = capsys.readouterr().out
    assert "it is there; the probes loaded its clips" in shown
    again = rows(shown)["single_frame"]
    assert again["Steps"] == "4" and float(again["Disk MB"]) == pytest.approx(float(row["Disk MB"]), abs=0.1)


def test_data_that_are_not_there_fail_in_their_row_alone(tmp_path, words, monkeypatch, capsys):
    good = compose(["strategy=single_frame", *words])
    absent = compose(["strategy=single_frame", "dataset=ucf101", f"data.root={tmp_path}/nowhere", *words[1:3]])
    monkeypatch.setattr(planning, "_send_probe", None)  # nothing is probed
    assert plan("absent", [absent], 2) == 1
    assert f"data.root={tmp_path}/nowhere: no such folder" in rows(capsys.readouterr().out)["single_frame"]["Failed"]
    surveyed = planning.survey_all([absent], tmp_path / "scratch")
    assert [type(store) for _, store in surveyed.values()] == [str]
    assert kind_of(good) != kind_of(absent)
