"""A dashboard as code: what it sends, and what is said where it cannot. `test_online.py` saves one."""

import json
import socket
from pathlib import Path

import pytest

from experiments.run import main
from experiments.settings.compose import compose
from experiments.tracking.dashboard import what_to_show
from experiments.tracking.panels import parts
from tests.factories import record_of, save_record

SAVED = Path(__file__).with_name("dashboard.jsonl")  # after a wanted change: the lines that the test below compares


def lines_of(view: dict) -> list[str]:
    """The view without its panels, then each section without its panels and each of these, but for their random ids."""
    sections = view["section"]["panelBankConfig"].pop("sections")
    lines = [view]
    for section in sections:
        panels = section.pop("panels")
        lines += [section, *({name: part for name, part in panel.items() if name != "__id__"} for panel in panels)]
    return [json.dumps(line) for line in lines]


def test_a_dry_run_prints_the_workspace_without_key_or_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = [f"results={tmp_path}/results", "wandb.entity=someone", "data.families=[motion,fine]"]
    assert main(["--sweep", "fusion", "--dashboard", "--dry-run", *words]) == 0
    lines = lines_of(json.loads(capsys.readouterr().out))
    assert lines == SAVED.read_text().splitlines()
    assert not (tmp_path / "results").exists()


def test_the_tables_are_those_of_the_runs_own_sections(tmp_path):
    runs = [compose(["strategy=c3d", f"results={tmp_path}", "sweep=mine"])]
    assert what_to_show("mine", runs, False).tables == ("report/table",)  # before there are records
    for name, run_id, data in (("c3d", runs[0].id, "here"), ("other", "other-1", "there")):
        save_record(tmp_path, record_of(name, id=run_id, dataset=data))
    assert what_to_show("mine", runs, False).tables == ("report/table",)  # one section has the run
    runs.append(compose(["strategy=slow_fusion", f"results={tmp_path}"]))
    save_record(tmp_path, record_of("slow_fusion", id=runs[1].id, dataset="ucf101"))
    shown = what_to_show("mine", runs, False)
    assert [key.split(" ")[0] for key in shown.tables] == ["here,", "ucf101,"]
    assert shown.groups == ("mine", "slow_fusion") and what_to_show("mine", runs, True).groups == ()


def test_a_private_dashboard_has_no_panels_of_what_private_runs_leave_out():
    runs = [compose(["strategy=c3d", "wandb.private=true"])]
    names = [part.name for part in parts(what_to_show("mine", runs, False))]
    assert "Curves by strategy" in names and not {"Confusion", "Film strips"} & set(names)


@pytest.mark.parametrize(
    ("mode", "words", "said"),
    [
        ("offline", [], "W&B is offline here"),
        ("", [], "W&B is offline here"),  # nobody is logged in
        ("", ["wandb.mode=disabled"], "W&B is disabled here"),
        ("offline", ["wandb.mode=online"], "no credentials found"),
        ("", ["strategy=c3d", "sweep=it's"], "sweep=it's: "),
    ],
)
def test_why_nothing_is_saved_is_one_line(mode, words, said, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", mode) if mode else None
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    assert main(["--dashboard", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--dashboard", "--dry-run"]) == 1
    assert capsys.readouterr().err == (
        "error: --dashboard needs wandb-workspaces: pip install 'vidfusion[dashboard]'\n"
    )
