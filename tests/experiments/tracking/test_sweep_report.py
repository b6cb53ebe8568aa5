"""A sweep's tables in W&B, read back from the log of an offline run."""

import json
import re

from experiments.settings.schema import WandbConfig
from experiments.tables.render import Section
from experiments.tracking.sweep_report import log_report
from tests.experiments.tracking.wandb_log import read_runs


def section(title, **hits):
    """A section as `table.tables` makes them."""
    columns = ["Strategy", "Video Hit@1"]
    rows = [[name, "—" if hit is None else f"{100 * hit:.1f}"] for name, hit in hits.items()]
    others = {"motion/video_hit1": 0.25, "seconds/train": 9.0, "command": "at /home"}
    csv = [{"strategy": name, "test/video_hit1": hit, **others} for name, hit in hits.items()]
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
    shares = {"chance/test/video_hit1": 0.125, "c3d/test/video_hit1": 0.75, "c3d/motion/video_hit1": 0.25}
    assert back.summary.items() >= shares.items()
    assert not {"svm/test/video_hit1", "c3d/seconds/train"} & set(back.summary)
    staged = [path.read_text() for path in (tmp_path / "wandb/artifacts/staging").iterdir()]
    (table,) = [text for text in staged if text.startswith("dataset,splits,recipe")]
    assert "c3d,0.75,0.25,9.0" in table and "/home" not in table


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
        "section 1/c3d/test/video_hit1": 0.75,
        "section 2/c3d/test/video_hit1": 0.5,
        "section 3/c3d/test/video_hit1": 0.25,
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
