"""Which offline runs are uploaded, without uploading any."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.tracking.mirror import wandb_id
from experiments.tracking.sync import sync


def offline_part(results, time, run_id):
    folder = results / "wandb" / f"offline-run-{time}-{run_id}"
    folder.mkdir(parents=True)
    (folder / f"run-{run_id}.wandb").write_bytes(b"a beginning")
    return folder


@pytest.mark.parametrize("private", [False, True])
def test_what_is_still_being_made_waits(private, tmp_path, monkeypatch, capsys):
    offline_part(tmp_path, "20200101_000000", wandb_id("a:b", private))
    (tmp_path / "runs" / "a:b").mkdir(parents=True)  # W&B takes no such letters in an id
    seen = []
    monkeypatch.setattr("experiments.tracking.sync.holder", lambda folder: seen.append(folder) or "process 1")
    assert sync(tmp_path) == 1
    assert seen == [tmp_path / "runs" / "a:b"]
    said = capsys.readouterr()
    assert "still being made by process 1" in said.out and "no offline run" not in said.out
    assert said.err == "1 still being made: the same command uploads them later\n"


def test_later_parts_of_a_run_wait_for_an_earlier_one(tmp_path, monkeypatch, capsys):
    parts = [
        offline_part(tmp_path, f"20200101_00000{number}", run_id)
        for number, run_id in enumerate(["torn", "whole", "torn", "whole"])
    ]
    sent = []

    def upload(command, **_):
        folder = Path(command[-1])
        sent.append(folder)
        for log in folder.glob("run-whole.wandb"):
            (folder / f"{log.name}.synced").touch()
        return SimpleNamespace(stderr="")

    monkeypatch.setattr("experiments.tracking.sync.sign_in", lambda: None)
    monkeypatch.setattr("experiments.tracking.sync.subprocess.run", upload)
    monkeypatch.setenv("WANDB_X_GRAPHQL_RETRY_MAX", "1")
    assert sync(tmp_path) == 1
    assert sent == [parts[0], parts[1], parts[3]]
    said = capsys.readouterr()
    assert f"{parts[2].name}: waits for its earlier part\n" in said.out
    assert said.err == f"2 of 4 did not go:\n  {parts[0]}\n  {parts[2]}\n"
    sent.clear()
    assert sync(tmp_path) == 1
    assert sent == [parts[0]] and capsys.readouterr().out.count(": uploaded before\n") == 2


def test_a_folder_without_runs_of_wandb_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"results=.*typo: there is no folder .*typo/wandb"):
        sync(tmp_path / "typo")


def test_an_upload_needs_credentials(tmp_path, monkeypatch, capsys):
    part = offline_part(tmp_path, "20200101_000000", "waiting")
    monkeypatch.setenv("WANDB_X_GRAPHQL_RETRY_MAX", "1")
    with pytest.raises(ValueError, match=r"^W&B: no credentials found, `wandb login` stores them; nothing was sent$"):
        sync(tmp_path)
    assert capsys.readouterr().out == "" and not list(part.glob("*.synced"))
