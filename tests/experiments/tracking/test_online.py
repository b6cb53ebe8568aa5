"""Runs, uploads and reports against a server of our own; no account and no network is touched."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.records.files import read_records
from experiments.settings.compose import compose
from experiments.tables.table import tables
from experiments.tracking.dashboard import plain, what_to_show
from experiments.tracking.panels import workspace
from experiments.training.build import make_data
from tests.experiments.tracking.wandb_server import ENTITY, Server
from tests.factories import folder_of_videos, quiet_environment, small_run

ROOT = Path(__file__).parents[3]
KEY = "0123456789abcdef" * 2 + "01234567"  # the form of a key, not one
pytestmark = pytest.mark.slow
SECRET = "hunter2-of-another-service"

# Several runs in one process, since starting one takes longer than the run.
PROGRAM = """
import os, sys
from pathlib import Path
from experiments.run import main
from experiments.records.files import read_records
from experiments.settings.schema import WandbConfig
from experiments.tables.table import tables
from experiments.tracking.sweep_report import log_report
from experiments.training.callbacks import Progress
from tests.factories import folder_of_videos, quiet_environment, small_run

folder = Path(sys.argv[1])
settings, results = small_run(folder), folder / "results"
step_ends = Progress.on_train_batch_end

def at_step(number):
    def stop(self, trainer, *rest):
        step_ends(self, trainer, *rest)
        if trainer.global_step == number:
            raise RuntimeError("stopped on purpose")
    Progress.on_train_batch_end = stop

def run(*words):
    try:
        print("exit code", main([*settings, *words]), flush=True)
    except RuntimeError as error:
        print(error, flush=True)
    Progress.on_train_batch_end = step_ends

run("strategy=single_frame", "data.validation=0.3", "training.steps=13")
at_step(20)
run("strategy=slow_fusion", "training.steps=26", "wandb.mode=offline")
run("strategy=slow_fusion", "training.steps=26", "wandb.mode=offline")
for _ in range(2):
    log_report(WandbConfig(), "toy", tables(read_records(results)[0], []), results)
os.environ["WANDB_FINISH_TIMEOUT"] = "4"
run("strategy=c3d")
"""
TELEMETRY = b"/sdk/otel/"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the data of small runs."""
    folder = tmp_path_factory.mktemp("online")
    make_data(compose(["strategy=single_frame", *small_run(folder)])).prepare_data()
    return folder


def environment(folder, server):
    """No account, setting or log of the user is seen."""
    wandb = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "WANDB_FINISH_TIMEOUT": "20", "WANDB_DIR": str(folder)}
    wandb["WANDB_X_GRAPHQL_RETRY_MAX"] = "1"  # or W&B would wait half a minute for the server that dies
    variables = quiet_environment(folder) | wandb | {"PYTHONPATH": str(ROOT), "MY_SERVICE_TOKEN": SECRET}
    del variables["WANDB_MODE"]
    return variables


def call(words, variables):
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stdout + done.stderr
    return done


def clean(server):
    """Nothing was asked that the server does not know, and no secret came but the key where it belongs."""
    assert server.unknown == []
    assert server.keys == {f"api:{KEY}"}
    for secret in (KEY, SECRET):
        assert not [sent for sent in server.received if secret.encode() in sent]


@pytest.fixture(scope="module")
def ran(place):
    """The runs of PROGRAM: the server that saw them, and what they printed."""
    server = Server().start()
    server.dies_in = "c3d"
    (place / "program.py").write_text(PROGRAM)  # a file, or W&B would find no path to tell and no code to save
    done = call([place / "program.py", place], environment(place / "home", server))
    yield server.start(), done.stdout + done.stderr
    server.stop()


def run_of(server, beginning):
    (name,) = [name for name in server.runs if name.startswith(beginning)]
    return server.runs[name]


def record_of(folder, strategy):
    (path,) = (folder / "results" / "runs").glob(f"{strategy}-*/record.json")
    return json.loads(path.read_text())


def same_metrics(run, record):
    """What W&B's summary says is what the record says of its last row."""
    for name, value in record["rows"][-1]["metrics"].items():
        assert run.summary.get(name) == (None if value is None else pytest.approx(value)), name


def test_everything_of_a_run_arrives(place, ran):
    server, printed = ran
    run, record = run_of(server, "single_frame"), record_of(place, "single_frame")
    assert "exit code 0\n" in printed and f"W&B: {server.url}/{ENTITY}/vidfusion/runs/{record['id']}\n" in printed
    told = ("project", "groupName", "jobType", "displayName", "tags")
    tags = ["single_frame", "moving_shapes", "quick"]
    assert [run.fields[name] for name in told] == ["vidfusion", "single_frame", "train", record["id"], tags]
    assert run.exit_code == 0 and run.config["training"] == record["config"]["training"]
    curves = [row for row in run.history if "train/loss" in row]
    assert len(curves) == 2 and all({"train/clip_hit1", "trainer/global_step", "epoch"} <= set(row) for row in curves)
    validated = [row["val/video_hit1"] for row in run.history if "val/video_hit1" in row]
    assert len(validated) == 3  # each epoch, and the network tested
    assert run.summary["best/val_video_hit1"] == pytest.approx(max(validated[:2]))
    same_metrics(run, record)

    last = run.history[-1] | run.summary
    per_class = json.loads(run.files[last["per_class/table"]["path"]])
    assert [row[0] for row in per_class["data"]] == record["data"]["classes"]
    assert run.files[last["confusion/matrix"]["path"]].startswith(b"\x89PNG")
    samples = [content for name, content in run.files.items() if name.startswith("media/images/samples/")]
    assert samples and all(content.startswith(b"\x89PNG") for content in samples)
    tables = {name: file for files in run.artifacts.values() for name, file in files.items() if name != "manifest"}
    assert set(tables) == {"per_class/table.table.json", "confusion/pairs.table.json"}
    assert not [name for name in run.files if name.startswith("code") or name.endswith(".patch")]


def test_a_private_run_sends_numbers_and_settings_only(ran, tmp_path):
    """The folder's name is part of the run's id. A public run sends the rest, or this test could not fail."""
    root = folder_of_videos(tmp_path / "patients_of_ward_7")
    words = [f"data.root={root}", f"data.stores={tmp_path}/stores", f"results={tmp_path}/results", "training.steps=2"]
    server = Server().start()
    words = ["strategy=late_fusion", "dataset=folder", *words, "wandb.private=true"]
    done = call(["experiments/run.py", *words], environment(tmp_path, server))
    server.stop()
    assert done.returncode == 0, done.stderr
    run = run_of(server, "late_fusion")
    assert run.exit_code == 0 and run.artifacts == {} and set(run.files) == {"config.yaml", "wandb-summary.json"}
    same_metrics(run, record_of(tmp_path, "late_fusion"))
    for private in (root.name, str(tmp_path), "training.steps=2"):
        assert not any(private.encode() in sent for sent in server.received), private
    hidden = [os.uname().nodename, sys.executable, "torchvision==", ", loss "]
    for private in (TELEMETRY, *map(str.encode, hidden)):
        assert any(private in sent for sent in ran[0].received), private
        assert not any(private in sent for sent in server.received), private
    clean(server)


def test_a_server_that_dies_costs_lines_and_nothing_else(place, ran):
    server, printed = ran
    assert record_of(place, "c3d")["rows"]
    assert printed.rstrip().endswith("exit code 0") and printed.count("upload unfinished") == 1
    (folder,) = (place / "results/wandb").glob("run-*-c3d-*")
    assert f"complete it with: wandb sync --include-online {folder}\n" in printed
    assert printed.count("W&B: the summary or tables of c3d-") == 1
    assert run_of(server, "c3d").exit_code is None


def test_a_sweeps_report_arrives_once(place, ran):
    server, _ = ran
    run = run_of(server, "toy")
    assert (run.exit_code, run.fields["jobType"], run.fields["groupName"]) == (0, "report", "toy")
    before = [record for record in read_records(place / "results")[0] if record.strategy != "c3d"]
    first, second = tables(before, [])  # with validation and without: not the same training videos
    for section in (first, second):
        name = section.title
        shown = json.loads(run.files[run.summary[f"{name}/table"]["path"]])
        assert shown["columns"] == section.columns and shown["data"] == section.rows
        for row in section.csv:
            assert run.summary[f"{name}/{row['strategy']}/test/video_hit1"] == pytest.approx(row["test/video_hit1"])
    (table,) = [files["table.csv"].decode() for files in run.artifacts.values() if "table.csv" in files]
    assert len(table.splitlines()) == 1 + len(first.csv) + len(second.csv) and str(place) not in table
    assert len([row for row in run.history if f"{first.title}/table" in row]) == 1  # the second time replaces it


def keys_of(view):
    """The keys of what runs log that a workspace's panels, columns and order name."""
    keys, found = {"metrics", "mediaKeys", "xAxis", "yAxis", "val", "columnOrder"}, set()

    def walk(part):
        for name, value in part.items() if isinstance(part, dict) else enumerate(part):
            if name in keys:
                found.update([value] if isinstance(value, str) else value)
            elif isinstance(value, dict | list):
                walk(value)

    walk(view)
    return {key.removeprefix("summary:") for key in found if key not in ("_step", "run:displayName")}


def test_a_dashboards_panels_show_what_runs_log(place, ran):
    server, _ = ran
    own = small_run(place)
    settings = [["strategy=single_frame", *own, "data.validation=0.3", "training.steps=13"]]
    settings.append(["strategy=slow_fusion", *own, "training.steps=26"])
    shown = what_to_show("toy", [compose(words) for words in settings], all_groups=False)
    keys = keys_of(plain(workspace(ENTITY, "vidfusion", shown)))
    assert len(shown.tables) == 2 and {"test/family/motion_within_hit1", *shown.tables} <= keys
    run, report = run_of(server, "single_frame"), run_of(server, "toy")
    logged = set(run.summary) | {f"config:{name}.value" for name in run.config} | set(report.summary)
    assert keys <= logged, keys - logged
    drawn = set().union(*run.history)  # W&B makes panels of what is logged, and none of what only the summary has
    assert {"test/clip_hit1", "test/video_hit1", "test/video_hit5", "val/video_hit1", "train/loss"} <= drawn
    assert all("trainer/global_step" in row for row in run.history if "test/video_hit1" in row)
    assert {group for group in shown.groups if group != "toy"} == {run.fields["groupName"], "slow_fusion"}


def test_a_dashboard_is_saved_as_a_report_and_a_workspace(place, ran):
    server, _ = ran
    words = ["experiments/run.py", "--dashboard", "strategy=single_frame", *small_run(place)]
    done = call(words, environment(place / "home", server))
    assert done.returncode == 0, done.stderr
    home, (report, view) = f"{server.url}/{ENTITY}/vidfusion", server.views[-2:]
    assert re.fullmatch(
        rf"report: {home}/reports/vidfusion-single_frame--\w+\nworkspace: {home}\?nw=\w+\n", done.stdout
    )
    assert [view["type"], report["type"]] == ["project-view", "runs"]
    assert view["displayName"] == report["displayName"] == "vidfusion single_frame"
    titles = re.findall(r'"chartTitle":"([^"]+)"', view["spec"])
    assert len(titles) > 10 and re.findall(r'"chartTitle":"([^"]+)"', report["spec"]) == titles
    assert server.unknown == []


def test_offline_runs_are_uploaded_and_looked_at(place, ran):
    server, printed = ran
    wandb = place / "results/wandb"
    fragments = sorted(wandb.glob("offline-run-*"))
    assert len(fragments) == 2 and all(str(folder) in printed for folder in fragments)
    for name, content in (("dead", b"\0" * 7), ("torn", b"not a log of W&B")):
        folder = wandb / f"offline-run-20200101_000000-{name}"
        folder.mkdir()
        (folder / f"run-{name}.wandb").write_bytes(content)
    words = ["experiments/run.py", "--sync", f"results={place}/results"]
    variables = environment(place / "home", server)
    assert not [name for name in server.runs if name.startswith("slow_fusion")]
    requests = len(server.received)
    done = call(words, variables)
    assert not any(TELEMETRY in sent for sent in server.received[requests:])
    assert done.returncode == 1
    dead, torn, *uploaded = done.stdout.splitlines()
    assert "-dead: empty" in dead and "-torn: not uploaded (" in torn
    assert uploaded == [f"{folder.name}: uploaded" for folder in fragments]
    assert done.stderr == f"1 of 3 did not go:\n  {wandb}/offline-run-20200101_000000-torn\n"

    run, record = run_of(server, "slow_fusion"), record_of(place, "slow_fusion")
    assert run.exit_code == 0
    assert [row["epoch"] for row in run.history if "train/loss" in row] == [0, 1]
    assert [row["_step"] for row in run.history] == list(range(len(run.history)))
    assert len(run.artifacts) == 2 and run.files[run.summary["confusion/matrix"]["path"]]
    same_metrics(run, record)
    clean(server)
