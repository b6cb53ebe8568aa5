"""What --status shows of a folder, whatever lies in it."""

import subprocess
import sys

import pytest
import torch

from datamodules.stored_data import StoredData
from experiments.launch.status import error_of, made_from, states_of
from experiments.records.provenance import code_hash
from experiments.run import main
from experiments.settings.compose import compose
from experiments.training.folder import unfinished

TRACEBACK = """\
Traceback (most recent call last):
  File "a.py", line 1, in f
    g()
KeyError: 'first'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "a.py", line 3, in g
    raise DataError(...)
    ^^^^^^
"""


@pytest.fixture
def run(tmp_path):
    words = [f"results={tmp_path}/results", f"data.root={tmp_path}/data", "training.steps=26"]
    run = compose(["strategy=single_frame", *words])
    run.folder.mkdir(parents=True)
    return run


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (TRACEBACK.encode() + b"datamodules.errors.DataError: data.root=x: no such folder; expected\nx/\n  *.mp4\n",
         "data.root=x: no such folder; expected"),
        (b"ended by SIGKILL", "ended by SIGKILL"),
        (b"ValueError: \xff\xfe is no name\n", "\ufffd\ufffd is no name"),
        (b"RuntimeError: " + b"x" * 10**7, "RuntimeError: " + "x" * 486),
        (b"", "the error says nothing"),
    ],
)  # fmt: skip
def test_a_failure_says_its_first_line(run, content, said):
    (run.folder / "error.txt").write_bytes(content)
    assert error_of(run.folder) == said and states_of([run])[0] == ("failed", said)


@pytest.mark.parametrize("content", [b'{"code": 1, "data": {}}', b"\xff\xfe", b"[" * 100_000])
def test_a_record_that_cannot_be_read_does_not_break_the_status(run, content, capsys):
    (run.folder / "record.json").write_bytes(content)
    (run.folder / "error.txt").mkdir()
    (run.folder.parent / ".ipynb_checkpoints").mkdir()
    (run.folder.parent / "notes.txt").write_text("foreign")
    assert main(["--status", "strategy=single_frame", *run.overrides]) == 0
    assert capsys.readouterr().out.startswith(("stale", "to do"))


def test_the_status_says_how_far_a_run_is(run):
    saved = {"vidfusion": {"provenance": {"made_of": ["code", "data"], "steps": 26}}, "global_step": 13}
    unfinished(run.folder).mkdir()
    torch.save(saved, unfinished(run.folder) / "last.ckpt")
    assert states_of([run])[0].name == "stale", "of other code"
    saved["vidfusion"]["provenance"]["made_of"] = [code_hash(run), "data"]
    torch.save(saved, unfinished(run.folder) / "last.ckpt")
    assert states_of([run])[0].detail.startswith("after step 13 of 26")


@pytest.mark.parametrize("found", [[(True, "a"), (False, "b")], [(True, "a"), None]], ids=str)
def test_a_run_on_two_data_sets_is_compared_only_where_both_stores_are_built(found, monkeypatch):
    run = compose(["strategy=two_stream_multi_task", "dataset=ucf101", "model.second_data.root=there"])
    answers = iter(found)
    monkeypatch.setattr(StoredData, "find", lambda self: next(answers))
    assert made_from(run, {})[1:] == (None, None if None in found else "a")


@pytest.mark.parametrize("words", [["--dry-run"], ["--status"], ["--status", "stratgy=c3d"]], ids=" ".join)
def test_it_is_said_without_waiting_for_pytorch(words, tmp_path):
    settings = [f"{name}={tmp_path}" for name in ("data.root", "data.stores", "results")]
    code = f"""
import sys
from experiments.run import main
main({[*words, "--sweep", "fusion", *settings]})
print({{"torch", "lightning", "torchvision", "torchmetrics", "wandb"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout
