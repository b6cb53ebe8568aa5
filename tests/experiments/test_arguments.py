"""The arguments of run.py: every wrong one gets one line, and nothing is computed or written."""

import shlex

import pytest

from experiments.run import main


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--sweep fuson", "--sweep fuson: no such sweep. Did you mean fusion?"),
        ("--sweep fusion --dry-run seed=0,one", "seed=one: expected a whole number"),
        ("strategy", "'strategy': expected key=value"),
        ("", "strategy= is missing. Known: "),
        ("strategy=c3d --dry-run training.steps=many", "training.steps=many: expected a whole number"),
        ("--table strategy=c3d", "strategy: no such setting. Known: results"),
        ("--table results=", "results=: expected a file or folder"),
        ("--sync results", "'results': expected key=value"),
        ("--test x.ckpt --status", "--status does nothing here"),
        ("--ensemble x --plan", "--plan does nothing here"),
        ("--table --dry-run", "--dry-run does nothing here"),
        ("--sweep fusion --plan --force", "--force does nothing here"),
        ("strategy=c3d --only seed=1", "--only does nothing here"),
        ("strategy=c3d --jobs 2", "--jobs does nothing here"),
        ("strategy=c3d --launcher ray", "--launcher does nothing here"),
        ("strategy=c3d --other-data", "--other-data does nothing here"),
        ("strategy=c3d --json", "--json does nothing here"),
        ("--look x.ckpt a.mp4 --json", "--json does nothing here"),
        ("--look x.ckpt a.mp4 --force", "--force does nothing here"),
        ("strategy=c3d --time frozen", "--time does nothing here"),
        ("--sweep fusion --plan --time frozen", "--time tests networks; leave out --plan"),
        ("--table results=nowhere", "results=nowhere: no such folder"),
        ("--sweep fusion --time frozen --force", "--force does nothing here"),
        ("--sweep fusion --time frozen,revers", "--time frozen,revers: 'revers' is no time. Did you mean reversed?"),
        ("--test x.ckpt --time ''", "--time : '' is no time. Known: reversed, shuffled, frozen"),
        ("--test x.ckpt --time frozen sampling.test_time=reversed", "--time sets sampling.test_time; give one"),
        ("--table --dashboard", "--dashboard does nothing here"),
        ("--sweep fusion --status --dashboard", "--dashboard does nothing here"),
        ("--sweep fusion --jobs 0", "--jobs 0: expected 1 or more"),
        ("strategy=c3d 'data.root=${oc.env:HOME}'", "data.root=${oc.env:HOME}: expected the value itself"),
    ],
)
def test_a_wrong_argument_gets_one_line(line, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_settings_may_stand_on_both_sides_of_an_option(capsys):
    assert main(shlex.split("strategy=c3d --dry-run training.steps=5 'results=my results #1'")) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert shlex.split(line)[6:] == ["results=my results #1", "training.steps=5"]
