"""W&B runs in all modes. Offline runs are read back from their logs; no account and no network is touched."""

import os
import re
import sys
from pathlib import Path

import pytest
import wandb
from wandb.sdk.lib import wbauth
from wandb.sdk.lib.service.service_token import WandbServiceConnectionError

from experiments.settings.schema import WandbConfig
from experiments.tracking import charts, mirror
from experiments.tracking.mirror import resolve_mode, tracked_run, wandb_id
from tests.experiments.tracking.wandb_log import read_runs
from tests.factories import record_of

KEY = "0123456789abcdef" * 2 + "01234567"  # the form of a key, not one


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


def test_a_run_reads_back_as_it_was_started(tmp_path, capsys):
    with track(tmp_path) as logger:
        logger.log_metrics({"train/loss": 0.75}, step=7)
    (back,) = read_runs(tmp_path)
    assert (back.run.run_id, back.run.display_name) == ("early_fusion-toy-s0-abc123",) * 2
    assert (back.run.run_group, back.run.job_type, back.run.project) == ("fusion-toy", "train", "vidfusion")
    assert set(back.run.tags) == {"toy", "early_fusion"} and back.exit_code == 0
    assert back.config.items() >= {"strategy": "early_fusion", "seed": 3, "clip": {"frames": 10}}.items()
    assert back.history[0]["train/loss"] == 0.75 and back.history[0]["trainer/global_step"] == 7
    assert f"wandb sync {back.path.parent}" in capsys.readouterr().out


def test_a_failing_body_fails_its_own_run_only(tmp_path):
    with pytest.raises(RuntimeError, match="diverged"), track(tmp_path, run_id="first"):
        raise RuntimeError("diverged")
    with track(tmp_path, run_id="second"):
        pass
    assert {back.run.run_id: back.exit_code for back in read_runs(tmp_path)} == {"first": 1, "second": 0}


@pytest.mark.parametrize("private", [True, False])
def test_private_keeps_the_machine_and_the_media_to_itself(tmp_path, monkeypatch, private):
    """A public run sends them, or this test could not fail."""
    monkeypatch.setattr(sys, "argv", ["run.py", "secret-argument"])
    with track(tmp_path, private=private) as logger:
        # Printed lines are not looked for: W&B sees what is written to the `sys.stdout` of its import, not pytest's.
        assert (logger.experiment.settings.console == "off") == private
        logger.log_metrics({"test/clip_hit1": 0.4})
    (back,) = read_runs(tmp_path)
    assert back.history[0]["test/clip_hit1"] == 0.4
    assert ("environment" in back.kinds) != private
    assert back.run.host == ("private" if private else os.uname().nodename)
    assert (b"secret-argument" in back.path.read_bytes()) != private
    if private:
        assert not back.kinds & {"output_raw", "output", "stats", "artifact", "files"} and not back.run.HasField("git")
        assert not any(hidden.encode() in back.path.read_bytes() for hidden in (str(Path.cwd()), "test_mirror"))
        assert not list((back.path.parent / "files").glob("*"))


def test_a_bad_key_leaves_the_run_offline_and_no_key_is_written(tmp_path, monkeypatch, capsys):
    """It is tried although WANDB_MODE says offline: the command line wins."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with track(tmp_path):
        pass
    monkeypatch.setenv("WANDB_API_KEY", "too-short")
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()  # W&B reads its environment once per process
    with track(tmp_path, run_id="refused", mode="online"):
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


def test_under_an_agent_the_run_id_is_the_agents(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    with track(tmp_path, run_id="mine") as logger:
        assert logger.experiment.id != "mine" and logger.experiment.name == "mine"
        assert logger.experiment.settings.resume is None


def test_names_that_wandb_does_not_take_are_made_fit(tmp_path):
    name = r"c3d-my:data;,#?/'%\s-s0-1"
    with track(tmp_path, run_id=name, tags=["long" * 20]):
        pass
    (back,) = read_runs(tmp_path)
    assert re.fullmatch("c3d-my-data--------s-s0-1-[0-9a-f]{8}", back.run.run_id) and back.run.display_name == name
    assert list(back.run.tags) == ["long" * 16]
    assert wandb_id("a:b") != wandb_id("a;b") and len(wandb_id("x" * 300)) < 128
    assert wandb_id("c3d-ucf101-s0-1") == "c3d-ucf101-s0-1"


def test_how_to_upload_is_said_once_for_a_sweep(tmp_path, capsys):
    folder = tmp_path / "my results"
    for number, job_type in enumerate(("train", "train", "report")):
        names = {"run_id": f"run-{number}", "group": "fusion", "job_type": job_type}
        with tracked_run(WandbConfig("offline"), config={"sweep": "fusion"}, tags=[], folder=folder, **names):
            pass
    assert capsys.readouterr().out == (
        f"W&B: offline runs; upload them with: python experiments/run.py --sync 'results={folder}'\n"
    )


def test_what_cannot_start_offline_either_goes_on_without(tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise WandbServiceConnectionError("no service\nhere")

    with monkeypatch.context() as patch:
        patch.setattr(wandb, "setup", fails)
        with track(tmp_path, mode="online") as logger:
            assert logger is None
    first, last = capsys.readouterr().out.splitlines()
    assert first == "W&B: cannot start online (no service here); this run continues offline"
    assert last == "W&B: cannot start (no service here); this run goes on without it"


def test_a_run_done_again_replaces_what_waits_of_it_and_a_resumed_one_does_not(tmp_path, monkeypatch):
    def part(time, run_id, uploaded=False):
        folder = tmp_path / "wandb" / f"offline-run-20200101_{time}-{run_id}"
        folder.mkdir(parents=True)
        (folder / f"run-{run_id}.wandb").write_bytes(b"a beginning")
        if uploaded:
            (folder / f"run-{run_id}.wandb.synced").touch()
        return folder

    waiting, sent, other = part("000000", "mine"), part("000001", "mine", True), part("000002", "not-mine")
    with track(tmp_path, "mine", resume=True):
        pass
    assert waiting.exists() and len(list((tmp_path / "wandb").glob("offline-run-*-mine"))) == 4
    with monkeypatch.context() as patch:
        patch.setenv("LOCAL_RANK", "1")  # of the same run, which the first process has begun
        with track(tmp_path, "mine"):
            pass
    assert waiting.exists()
    with track(tmp_path, "mine") as logger:
        assert logger.experiment.settings.resume is None
    assert not waiting.exists() and sent.exists() and other.exists()


@pytest.mark.parametrize(
    ("found", "expected"),
    [("online", "online"), ("offline", "offline"), ("disabled", "disabled"), ("dryrun", "offline"), ("run", "online")],
)
def test_auto_follows_wandb_mode(monkeypatch, found, expected):
    monkeypatch.setenv("WANDB_MODE", found)
    assert resolve_mode("auto") == expected
    assert resolve_mode("offline") == "offline"  # the command line wins


def test_auto_is_online_exactly_with_credentials(tmp_path, monkeypatch):
    assert resolve_mode("auto") == "offline"
    netrc, token = tmp_path / "netrc", tmp_path / "token"
    netrc.write_text(f"machine 127.0.0.1:9 login user password {KEY}\n")
    token.write_text("a.b.c")
    for name, value in (
        ("WANDB_API_KEY", KEY),
        ("WANDB_API_KEY", "too-short"),  # the attempt to use it says what is wrong
        ("NETRC", str(netrc)),
        ("WANDB_IDENTITY_TOKEN_FILE", str(token)),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert resolve_mode("auto") == "online", (name, value)
        wbauth.unauthenticate_session()
    netrc.write_text(f"machine elsewhere.org login user password {KEY}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert resolve_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    wandb.setup(wandb.Settings(mode="offline"))  # as `wandb offline` leaves it in a file
    assert resolve_mode("auto") == "offline"


def test_disabled_never_imports_wandb(tmp_path, monkeypatch):
    assert not hasattr(mirror, "wandb") and not hasattr(charts, "wandb")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "wandb", None)  # an import raises
        with track(tmp_path / "made", mode="disabled") as logger:
            assert logger is None
            charts.log_record(logger, record_of())
    assert not (tmp_path / "made").exists()
