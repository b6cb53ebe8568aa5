"""Plans of sweeps: the arithmetic by hand, and a small sweep that is planned end to end."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from datamodules.datasets.folder import Folder
from experiments.launch import plan
from experiments.launch.probe import Measured, Small
from experiments.run import main
from experiments.settings.compose import compose
from tests.factories import network, parameters

FOUND = Measured(
    start=3.0, step=0.5, video=0.1, steps=100, memory=2 * 10**9, gpu_memory=0, gpu_whole=0, checkpoint=1000,
    video_bytes=8.0,
)  # fmt: skip


SMALL = Small(Folder(), "stores", test=30, validation=0, seconds=0.0, missing=0.0, notes=[])


@pytest.mark.parametrize(
    ("validation", "training", "test", "disk"),
    [(0, 3 + 100 * 0.5, 30 * 0.1, 1000 + 30 * 8), (10, 3 + 100 * 0.5 + 10 * 10 * 0.1, 40 * 0.1, 2 * 1000 + 40 * 8)],
    ids=["no validation", "validated at ten checkpoints, the best one kept too"],
)
def test_a_point_takes_its_start_its_steps_and_its_videos(validation, training, test, disk):
    row = plan.scaled("c3d", 1, None, SMALL._replace(validation=validation), FOUND)
    assert (row.training, row.test, row.disk) == pytest.approx((training, test, disk))


@pytest.mark.parametrize(
    ("words", "alike"),
    [
        ("data.split=2", True), ("training.lr=0.1", True), ("training.steps=7", False), ("trainer.workers=1", False),
    ],
)  # fmt: skip
def test_points_that_cost_the_same_are_of_one_kind(words, alike):
    kinds = [plan.kind_of(compose(["strategy=late_fusion", *own])) for own in ([], [words])]
    assert (kinds[0] == kinds[1]) == alike


def test_a_thousand_points_of_two_kinds_are_planned_with_two_probes(tmp_path, monkeypatch, capsys):
    runs = [compose([f"strategy={name}", f"results={tmp_path}"]) for name in ("late_fusion", "single_frame")]
    probed = []

    def probe_all(runs, stores, jobs, scratch):
        probed.extend(runs)
        return [FOUND._replace(start=7 - 50), FOUND._replace(start=1 - 50)]

    monkeypatch.setattr(plan, "shrink", lambda *_: SMALL)
    monkeypatch.setattr(plan, "_probe_all", probe_all)
    assert plan.plan("many", [replace(run, seed=seed) for run in runs for seed in range(500)], 4) == 0
    shown = capsys.readouterr().out
    assert [run.strategy for run in probed] == ["late_fusion", "single_frame"]
    assert "0 of 1000 points of many are finished, 1000 to do" in shown
    # 500 points of 10 s and 500 of 4 s, four at a time.
    assert "Time: 0:29:10, of which 0:00:00 for videos and frame stores, 0:29:10 for the points, 4 side by" in shown


def test_totals_are_compared_with_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "available_memory", lambda: 3.9e9)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda path: SimpleNamespace(free=4.2e9))
    run = compose(["strategy=c3d", f"results={tmp_path}/results"])
    found = FOUND._replace(gpu_memory=5 * 10**10, gpu_whole=8 * 10**10)
    row = plan.Row("c3d", 2, run, training=50.0, test=10.0, disk=4e8, found=found)
    store = SMALL._replace(stores=f"{tmp_path}/stores", seconds=60.0, missing=3e9, notes=["a note"])
    page = "\n".join(plan.totals([row], [store], jobs=2))
    assert "a note\nTime: 0:02:00, of which 0:01:00 for videos and frame stores, 0:01:00 for the points" in page
    assert "Memory: 4.00 GB, 3.90 GB are free. WARNING: this does not fit; lower --jobs." in page
    assert "Memory of a GPU: 100.00 GB, 80.00 GB are free. WARNING" in page
    assert f"Disk of {tmp_path}: 3.80 GB, 3.20 GB are free. WARNING" in page
    alone = plan.totals([row._replace(points=1, found=FOUND)], [SMALL._replace(stores=str(tmp_path))], jobs=1)
    assert not any("WARNING" in line for line in alone) and not any("GPU" in line for line in alone)


@pytest.mark.slow
def test_a_small_sweep_is_planned_before_there_are_videos_and_after(tmp_path, capsys):
    places = [f"data.root={tmp_path}/data", f"data.stores={tmp_path}/stores", f"results={tmp_path}/results"]
    small_set = ["data.families=[motion]", "data.clips.motion=2", "data.size=32", "data.frames=20"]
    words = ["--plan", "--sweep", "fusion", "--jobs", "2", "--only", "strategy=single_frame,slow_fusion"]
    words += [*places, *small_set, "trainer.accelerator=cpu", "training.steps=40", "training.batch_size=8"]
    words += ["sampling.frames=9"]
    assert main(words) == 1
    shown = capsys.readouterr().out
    assert "0 of 2 points of fusion are finished, 2 to do." in shown
    assert "slow_fusion cannot run as it is, and is not counted: slow_fusion needs sampling.frames >= 10" in shown
    (line,) = (line for line in shown.splitlines() if line.startswith("| single_frame"))
    _, points, steps, step, _, _, memory, _, disk = (cell.strip() for cell in line.strip("|").split("|"))
    assert (points, steps) == ("1", "40") and float(step) > 0 and 200 < float(memory) < 5000
    adam = 3 * 4 * parameters(network("single_frame", classes=6))  # the weights and their two moments
    assert adam / 1e6 - 0.1 < float(disk) < adam / 1e6 + 0.3
    assert "300 to generate" in shown and "300 videos to decode, 0.02 GB" in shown
    assert list(tmp_path.iterdir()) == [], "a plan writes nothing"

    compose(["strategy=single_frame", *places, *small_set]).data.prepare(2)
    before = sorted(tmp_path.rglob("*"))
    assert main([word.replace("single_frame,slow_fusion", "slow_fusion") for word in words]) == 1
    shown = capsys.readouterr().out
    assert "to generate" not in shown and "videos to decode" in shown
    assert main(["--plan", *words[6:], "strategy=slow_fusion", "data.max_store=0.001"]) == 1
    assert "WARNING: this is more than data.max_store" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_data_that_are_not_there_fail_alone(tmp_path, capsys):
    words = ["strategy=single_frame", "dataset=ucf101", f"data.root={tmp_path}/nowhere", f"results={tmp_path}"]
    assert main(["--plan", *words]) == 1
    assert f"and is not counted: data.root={tmp_path}/nowhere: no such folder" in capsys.readouterr().out
