"""Offline runs are read back from the log that `wandb sync` would send; no account and no network is touched."""

import json
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import wandb
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError
from wandb.proto.wandb_internal_pb2 import Record
from wandb.sdk.lib import wbauth
from wandb.sdk.lib.service.service_token import WandbServiceConnectionError

from experiments.records.record import Family, RunRow, Videos
from experiments.settings.schema import WandbConfig
from experiments.tables.render import Section
from experiments.tracking.charts import confusion_matrix, log_record
from experiments.tracking.mirror import resolve_mode, tracked_run
from experiments.tracking.sweep_report import log_report
from tests.factories import record_of

KEY = "0123456789abcdef" * 2 + "01234567"  # the form of a key, not one
CLASSES = ["walk", "run", "jump"]
BLOCK = 32768


def read_records(path: Path) -> list[Record]:
    """Parse a .wandb file: a 7-byte header, then a leveldb log (32 KiB blocks of chunks with 7-byte headers).

    A torn tail is left out: W&B's background process may still be writing when `finish` returns.
    """
    data, offset, pending, records = path.read_bytes(), 7, b"", []
    while offset + 7 <= len(data):
        left = BLOCK - offset % BLOCK
        if left < 7:
            offset += left
            continue
        length, kind = struct.unpack_from("<HB", data, offset + 4)
        if offset + 7 + length > len(data):
            break
        pending += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a whole record, or the last chunk of one
            records.append(Record.FromString(pending))
            pending = b""
    return records


def finished_records(path: Path) -> list[Record]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        records = read_records(path)
        if any(record.HasField("exit") for record in records):
            return records
        time.sleep(0.01)
    pytest.fail(f"{path} never got its exit record")


class ReadBack:
    """What one run's log says."""

    def __init__(self, folder: Path) -> None:
        (self.path,) = folder.glob("run-*.wandb")
        self.summary, self.history, self.config, self.kinds = {}, [], {}, set()
        for record in finished_records(self.path):
            kind = record.WhichOneof("record_type")
            self.kinds.add(kind)
            if kind == "run":
                self.run = record.run
                self.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "summary":
                for item in record.summary.update:
                    self.summary[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
            elif kind == "history":
                self.history.append(
                    {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                )
            elif kind == "exit":
                self.exit_code = record.exit.exit_code


def read_runs(folder: Path) -> list[ReadBack]:
    return [ReadBack(path) for path in sorted((folder / "wandb").glob("offline-run-*"))]


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home" / name))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens: a mistake cannot reach an account
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb.setup(wandb.Settings(silent=True, mode="online", base_url="http://127.0.0.1:9"))
    yield
    wandb.finish()
    wbauth.unauthenticate_session()


def track(folder, run_id="early_fusion-toy-s0-abc123", resume=False, tags=("toy", "early_fusion"), **settings):
    return tracked_run(
        WandbConfig(**{"mode": "offline", **settings}),
        run_id=run_id,
        group="fusion-toy",
        config={"strategy": "early_fusion", "seed": 3, "clip": {"frames": 10}},
        tags=list(tags),
        folder=folder,
        resume=resume,
    )


def row(name, clip_hit1):
    return RunRow(
        name=name,
        metrics={"test/clip_hit1": clip_hit1, "test/video_hit1": 0.5, "test/video_hit5": None},
        families={"motion": Family(252, 0.9, None)},
        parameters=1234,
        macs_per_clip=5678,
        macs_training=25000,
        frames_per_clip=10,
        clips_per_video=1.5,
        frames_per_video=15.0,
    )


def finished(*rows):
    seconds = {"train": 12.5, "test": 1.5}
    return record_of(id="the-record", rows=rows, seconds=seconds, videos=Videos(6, 6, 0, 0, 0), memory_mb=700)


SCORES = np.vstack([np.eye(3)[[0, 0, 1, 0]], np.full((1, 3), np.nan)])  # the last video cannot be decoded
TARGETS = np.eye(3, dtype=bool)[[0, 0, 1, 1, 0]]


def test_offline_run_reads_back_as_the_record_says(tmp_path, capsys):
    with track(tmp_path) as logger:
        logger.log_metrics({"train/loss": 0.75}, step=7)
        log_record(logger, finished(row("early_fusion", 0.4)), CLASSES, SCORES, TARGETS, best={"val/video_hit1": 0.625})
    (back,) = read_runs(tmp_path)
    assert (back.run.run_id, back.run.display_name) == ("early_fusion-toy-s0-abc123",) * 2
    assert (back.run.run_group, back.run.job_type, back.run.project) == ("fusion-toy", "train", "vidfusion")
    assert set(back.run.tags) == {"toy", "early_fusion"}
    assert {key: back.config[key] for key in ("strategy", "seed", "clip")} == {
        "strategy": "early_fusion",
        "seed": 3,
        "clip": {"frames": 10},
    }
    ours = ("test/", "best/", "model/", "speed/", "record")
    assert {key: value for key, value in back.summary.items() if key.startswith(ours)} == {
        "test/clip_hit1": 0.4,
        "test/video_hit1": 0.5,
        "test/family/motion_video_hit1": 0.9,
        "best/val_video_hit1": 0.625,
        "model/parameters": 1234,
        "model/macs_per_clip": 5678,
        "model/macs_training": 25000,
        "model/frames_per_video": 15,
        "speed/train_seconds": 12.5,
        "speed/test_seconds": 1.5,
        "speed/train_macs_per_second": 2000,
        "speed/test_clips_per_second": 6,
        "speed/memory_mb": 700,
        "record": "the-record",
    }
    assert back.exit_code == 0
    assert back.history[0]["train/loss"] == 0.75 and back.history[0]["trainer/global_step"] == 7

    media = back.history[-2] | back.history[-1]

    def table(key):
        return json.loads((back.path.parent / "files" / media[f"{key}.path"]).read_text())["data"]

    assert table("per_class/table") == [["walk", 3, pytest.approx(2 / 3)], ["run", 2, 0.5], ["jump", 0, None]]
    assert table("confusion/pairs") == [["run", "walk", 1]]
    assert (back.path.parent / "files" / media["confusion/matrix.path"]).exists()
    assert f"wandb sync {back.path.parent}" in capsys.readouterr().out
    assert len(list((tmp_path / "wandb" / "artifacts" / "staging").iterdir())) > 0  # not in HOME


def test_rows_before_the_last_carry_their_names(tmp_path):
    with track(tmp_path) as logger:
        log_record(logger, finished(row("spatial", 0.1), row("temporal", 0.2), row("fused", 0.3)))
    (back,) = read_runs(tmp_path)
    keys = ("spatial/test/clip_hit1", "temporal/test/clip_hit1", "test/clip_hit1")
    assert [back.summary[key] for key in keys] == [0.1, 0.2, 0.3]
    assert back.summary["spatial/model/parameters"] == 1234
    assert not any("table" in key for key in back.summary)


def test_a_failing_body_fails_the_run_and_the_next_run_is_its_own(tmp_path):
    with pytest.raises(RuntimeError, match="diverged"), track(tmp_path, run_id="a-first"):
        raise RuntimeError("diverged")
    assert wandb.run is None
    with track(tmp_path, run_id="b-second") as logger:
        logger.log_metrics({"train/loss": 1.0}, step=0)
    runs = {back.run.run_id: back for back in read_runs(tmp_path)}
    assert {name: back.exit_code for name, back in runs.items()} == {"a-first": 1, "b-second": 0}
    assert [len(runs[name].history) for name in ("a-first", "b-second")] == [0, 1]


def test_a_run_left_open_is_not_joined(tmp_path):
    with track(tmp_path), pytest.raises(AssertionError, match="still open"), track(tmp_path, run_id="other"):
        pass


def test_private_keeps_the_machine_and_the_media_to_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", "secret-argument"])
    with track(tmp_path, private=True) as logger:
        print("a printed line")
        log_record(logger, finished(row("early_fusion", 0.4)), CLASSES, SCORES, TARGETS)
    (back,) = read_runs(tmp_path)
    assert back.summary["test/clip_hit1"] == 0.4 and not any(".path" in key for item in back.history for key in item)
    assert not back.kinds & {"environment", "output_raw", "output", "stats", "artifact", "files"}, back.kinds
    assert back.run.host == "private" and not back.run.HasField("git")
    assert not list((back.path.parent / "files").glob("*"))
    sent = back.path.read_bytes()
    for private in ("secret-argument", "a printed line", str(Path.cwd()), "test_tracking"):
        assert private.encode() not in sent, private


def test_the_privacy_test_would_see_what_a_public_run_sends(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", "secret-argument"])
    with track(tmp_path):
        print("a printed line")
    (back,) = read_runs(tmp_path)
    assert {"environment", "output_raw"} <= back.kinds
    assert back.run.host == os.uname().nodename
    assert b"secret-argument" in back.path.read_bytes()


def test_no_key_is_written_and_a_bad_one_leaves_the_run_offline(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with track(tmp_path):
        pass
    monkeypatch.setenv("WANDB_API_KEY", "too-short")
    with track(tmp_path, run_id="refused", mode="auto"):
        pass
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "cannot start online" in line and "WANDB_API_KEY invalid" in line]
    assert "wandb sync" in lines[-1]
    assert {back.run.run_id: back.exit_code for back in read_runs(tmp_path)}["refused"] == 0
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert KEY.encode() not in path.read_bytes() and b"too-short" not in path.read_bytes(), path


def test_online_without_credentials_explains_and_continues_offline(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked the user"))
    with track(tmp_path, mode="online"):
        pass
    assert "no credentials found" in capsys.readouterr().out
    assert len(read_runs(tmp_path)) == 1


def test_online_as_asked_for_wins_over_the_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "too-short")
    wandb.teardown()  # W&B reads its environment once per process
    with track(tmp_path, mode="online"):
        pass
    assert "WANDB_API_KEY invalid" in capsys.readouterr().out  # it tried


def test_an_unreachable_server_leaves_the_run_offline(tmp_path, monkeypatch, capsys):
    start = wandb.init

    def unreachable(**arguments):
        if arguments["mode"] == "online":
            raise wandb.errors.CommError("no route\nto host")
        return start(**arguments)

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb, "init", unreachable)
    with track(tmp_path, mode="auto"):
        pass
    assert "cannot start online (no route to host)" in capsys.readouterr().out
    assert len(read_runs(tmp_path)) == 1


def test_under_an_agent_the_run_id_is_the_agents(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    with track(tmp_path, run_id="mine") as logger:
        assert logger.experiment.id != "mine" and logger.experiment.name == "mine"
        assert logger.experiment.settings.resume is None


def test_names_that_wandb_does_not_take_are_made_fit(tmp_path):
    with track(tmp_path, run_id="c3d-my:data;,#?/'s-s0-1", tags=["long" * 20]):
        pass
    (back,) = read_runs(tmp_path)
    assert (back.run.run_id, back.run.display_name) == ("c3d-my-data------s-s0-1", "c3d-my:data;,#?/'s-s0-1")
    assert list(back.run.tags) == ["long" * 16]


@pytest.mark.parametrize("broken", ["service", "setting"])
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_what_cannot_start_offline_either_goes_on_without(tmp_path, monkeypatch, capsys, broken, mode):
    def fails(*_, **__):
        raise WandbServiceConnectionError("no service\nhere")

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    if broken == "service":
        monkeypatch.setattr(wandb, "setup", fails)
    else:
        monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "soon")
    with track(tmp_path, mode=mode) as logger:
        assert logger is None
    *first, last = capsys.readouterr().out.splitlines()
    assert len(first) == (mode == "online") and all("this run continues offline" in line for line in first)
    reason = {"service": "no service here", "setting": ".*soon.*"}[broken]
    assert re.fullmatch(rf"W&B: cannot start \({reason}\); this run goes on without it", last)
    monkeypatch.undo()


@pytest.mark.parametrize("uploaded", [False, True])
def test_a_run_done_again_replaces_what_waits_of_it_and_a_resumed_one_does_not(tmp_path, uploaded):
    def part(name, run_id):
        folder = tmp_path / "wandb" / f"offline-run-{name}-{run_id}"
        folder.mkdir(parents=True)
        (folder / f"run-{run_id}.wandb").write_bytes(b"a beginning")
        return folder

    own, other = part("20200101_000000", "mine"), part("20200101_000001", "not-mine")
    if uploaded:
        (own / "run-mine.wandb.synced").touch()
    with track(tmp_path, "mine", resume=True):
        pass
    assert own.exists() and len(list((tmp_path / "wandb").glob("offline-run-*-mine"))) == 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_RANK", "1")  # of the same run, which the first process has begun
        with track(tmp_path, "mine"):
            pass
    assert own.exists()
    with track(tmp_path, "mine") as logger:
        assert logger.experiment.settings.resume is None
    assert own.exists() == uploaded and other.exists()
    assert len(list((tmp_path / "wandb").glob("offline-run-*-mine"))) == 2 + uploaded


def test_an_upload_that_does_not_finish_is_said(tmp_path, monkeypatch, capsys):
    finish = wandb.finish

    def late(exit_code=None):
        finish(exit_code=exit_code)
        raise TimeoutError

    monkeypatch.setattr(wandb, "finish", late)
    with track(tmp_path):
        pass
    assert "upload unfinished" in capsys.readouterr().out
    monkeypatch.undo()


def test_what_wandb_cannot_do_costs_one_line(tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise ValueError("an answer\nthat nobody expected")

    monkeypatch.setattr(wandb, "Table", broken)
    with track(tmp_path) as logger:
        log_record(logger, finished(row("early_fusion", 0.4)), CLASSES, SCORES, TARGETS)
        monkeypatch.setattr(wandb, "finish", broken)
    monkeypatch.undo()
    reason = "(an answer that nobody expected); the results here are whole"
    assert capsys.readouterr().out.splitlines() == [
        f"W&B: the summary or tables of the-record failed {reason}",
        f"W&B: the end of a run failed {reason}",
    ]


def section(title, **hits):
    """A section as `table.tables` makes them."""
    columns = ["Strategy", "Video Hit@1"]
    rows = [[name, "—" if hit is None else f"{100 * hit:.1f}"] for name, hit in hits.items()]
    csv = [
        {
            "strategy": name,
            "test/video_hit1": hit,
            "motion/video_hit1": 0.25,
            "seconds/train": 9.0,
            "command": "at /home",
        }
        for name, hit in hits.items()
    ]
    return Section(title, ["A fact."], columns, rows, csv=csv)


LITERATURE = Section("The literature", [], ["System"], [["C3D"]])


def test_a_report_reads_back_as_the_table_says(tmp_path):
    shown = section("toy", chance=0.125, c3d=0.75, svm=None)
    log_report(WandbConfig("offline"), "fusion", [shown, LITERATURE], tmp_path)
    (back,) = read_runs(tmp_path)
    assert (back.run.run_group, back.run.job_type) == ("fusion", "report")
    assert re.fullmatch("fusion-report-[0-9a-f]{8}", back.run.run_id)
    assert back.exit_code == 0

    def table(key):
        (row,) = [row for row in back.history if f"{key}.path" in row]
        return json.loads((back.path.parent / "files" / row[f"{key}.path"]).read_text())

    assert table("report/table")["columns"] == shown.columns and table("report/table")["data"] == shown.rows
    assert table("report/video_hit1_table")["data"] == [["chance", 0.125], ["c3d", 0.75]]
    shares = {key: value for key, value in back.summary.items() if key.endswith("video_hit1")}
    assert (
        shares.items()
        >= {
            "chance/test/video_hit1": 0.125,
            "c3d/test/video_hit1": 0.75,
            "c3d/motion/video_hit1": 0.25,
        }.items()
    )
    assert "svm/test/video_hit1" not in shares and "c3d/seconds/train" not in back.summary
    (staged,) = [
        path
        for path in (tmp_path / "wandb/artifacts/staging").iterdir()
        if path.read_text().startswith("dataset,splits,recipe")
    ]
    assert "c3d,0.75,0.25,9.0" in staged.read_text() and "/home" not in staged.read_text()


def test_a_report_is_replaced_by_the_same_sweeps_in_its_folder_only(tmp_path):
    for folder in ("here", "here", "there"):
        log_report(WandbConfig("offline", private=True), "fusion", [section("toy", c3d=0.75)], tmp_path / folder)
    (here,), (there,) = (read_runs(tmp_path / folder) for folder in ("here", "there"))
    assert here.run.run_id != there.run.run_id


def test_a_report_of_several_sections_keeps_them_apart(tmp_path):
    sections = [section("toy", c3d=0.75), section("toy", c3d=0.5), section("ucf101", c3d=0.25)]
    log_report(WandbConfig("offline", private=True), "fusion", sections, tmp_path)
    (back,) = read_runs(tmp_path)
    shares = {key: value for key, value in back.summary.items() if key.endswith("c3d/test/video_hit1")}
    assert shares == {
        "toy/c3d/test/video_hit1": 0.75,
        "toy (2)/c3d/test/video_hit1": 0.5,
        "ucf101/c3d/test/video_hit1": 0.25,
    }
    assert back.history == [] and not back.kinds & {"artifact", "files"}  # a private one


def test_there_is_no_report_where_there_is_nothing_to_show_or_it_fails(tmp_path, monkeypatch, capsys):
    shown = section("toy", c3d=0.75)
    log_report(WandbConfig("offline"), "fusion", [LITERATURE], tmp_path)
    log_report(WandbConfig("disabled"), "fusion", [shown], tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_SWEEP_ID", "sweep1")
        log_report(WandbConfig("offline"), "fusion", [shown], tmp_path)
    assert not (tmp_path / "wandb").exists()
    monkeypatch.setenv("WANDB_MODE", "of")
    log_report(WandbConfig(), "fusion", [shown], tmp_path)
    assert capsys.readouterr().out.startswith("W&B: the report of fusion failed (WANDB_MODE is 'of'; expected")


@pytest.mark.parametrize(
    ("found", "expected"),
    [("online", "online"), ("offline", "offline"), ("disabled", "disabled"), ("dryrun", "offline"), ("run", "online")],
)
def test_auto_follows_wandb_mode(monkeypatch, found, expected):
    monkeypatch.setenv("WANDB_MODE", found)
    assert resolve_mode("auto") == expected
    assert resolve_mode("offline") == "offline"  # the command line wins


def test_auto_names_a_wrong_wandb_mode(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "of")
    with pytest.raises(ValueError, match="WANDB_MODE is 'of'; expected online, offline or disabled"):
        resolve_mode("auto")


def test_auto_is_online_exactly_with_credentials(tmp_path, monkeypatch):
    assert resolve_mode("auto") == "offline"
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_API_KEY", KEY)
        assert resolve_mode("auto") == "online"
    wbauth.unauthenticate_session()

    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    netrc.write_text(f"machine elsewhere.org login user password {KEY}\n")
    assert resolve_mode("auto") == "offline"
    netrc.write_text(f"machine 127.0.0.1:9 login user password {KEY}\n")
    assert resolve_mode("auto") == "online"
    wbauth.unauthenticate_session()
    netrc.unlink()

    token = tmp_path / "token"
    token.write_text("a.b.c")
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", str(token))
    assert resolve_mode("auto") == "online"


def test_auto_respects_wandb_offline_in_the_settings_file(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    wandb.setup(wandb.Settings(mode="offline"))
    assert resolve_mode("auto") == "offline"


def test_disabled_never_imports_wandb(tmp_path):
    program = """
import sys
import time
from pathlib import Path
from experiments.tracking import WandbConfig, log_record, tracked_run
with tracked_run(WandbConfig("disabled"), run_id="r", group="g", config={}, tags=[], folder=Path("made")) as logger:
    assert logger is None
    log_record(logger, {})
assert not {"wandb", "lightning", "torch"} & set(sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=tmp_path)
    assert not (tmp_path / "made").exists()


def test_confusion_of_several_labels():
    targets = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    scores = np.eye(3)[[0, 2, 2]]  # right as class 0; wrong for both its labels; right
    assert confusion_matrix(scores, targets).tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 1]]
    scores[2] = np.nan  # cannot be decoded: not predicted as the first class
    assert confusion_matrix(scores, targets).tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_settings_are_a_structured_config():
    settings = OmegaConf.structured(WandbConfig)
    assert OmegaConf.to_object(OmegaConf.merge(settings, {"mode": "offline"})) == WandbConfig(mode="offline")
    with pytest.raises(ValidationError):
        settings.mode = "on"
