"""What W&B shows of a sweep: its tables, as a run of their own."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.records.record import digest
from experiments.settings.schema import WandbConfig
from experiments.tables.render import Section, to_csv
from experiments.tracking.mirror import is_private, only_a_mirror, tracked_run


def log_report(settings: WandbConfig, sweep: str, sections: list[Section], folder: Path) -> None:
    """Show a sweep's tables as one W&B run of job type `report` in the sweep's group.

    The run's id holds a hash of this machine and folder. A repeated sweep therefore replaces its report, and the same
    sweep elsewhere has its own. Each section of our runs is a table, and a bar chart of its rows. All of them are the
    artifact `table.csv`. The summary holds each row's shares (`c3d/test/video_hit1`), after the section's title if
    there are several. A private report has the summary only.

    Under a W&B agent, which knows one point of the sweep, there is no report.
    """
    ours = [section for section in sections if section.csv]
    if not ours or "WANDB_SWEEP_ID" in os.environ:
        return
    place = digest([platform.node(), str(folder.resolve())])
    with (
        only_a_mirror(f"the report of {sweep}"),
        tracked_run(
            settings,
            run_id=f"{sweep}-report-{place}",
            group=sweep,
            config={"sweep": sweep},
            tags=[sweep, "report"],
            folder=folder,
            job_type="report",
        ) as logger,
    ):
        if logger is None:
            return
        run = logger.experiment
        for name, section in _named(ours, settings.private):
            run.summary.update(_shares(section, f"{name}/" if name else ""))
            if not is_private(run):
                run.log(_charts(section, name or "report"))
        if not is_private(run):
            run.log_artifact(_table_file(sweep, ours))


def own_sections(sections: list[Section], run_ids: Collection[str]) -> list[Section]:
    """The sections of tables that have rows of some runs."""
    shown = [(section, "".join(f",{row.get('runs')}," for row in section.csv)) for section in sections]
    return [section for section, ids in shown if any(f",{run_id}," in ids for run_id in run_ids)]


def table_keys(sections: list[Section]) -> list[str]:
    """The keys under which a report that is not private logs the tables of some sections; of none, a single one's."""
    return [f"{name or 'report'}/table" for name, _ in _named(sections, private=False)] or ["report/table"]


def _named(sections: list[Section], private: bool) -> list[tuple[str, Section]]:
    """Sections with their titles, of what W&B takes in a name. A single section has the empty name.

    Private ones are only numbered: a title may hold the name of the data set's folder.
    """
    if len(sections) == 1:
        return [("", sections[0])]
    return [
        (f"section {number}" if private else re.sub(r"[^\w .,=-]", " ", section.title), section)
        for number, section in enumerate(sections, start=1)
    ]


def _shares(section: Section, prefix: str) -> dict[str, float]:
    """Metrics of every row, and of its families of classes."""
    return {
        f"{prefix}{row['strategy']}/{key}": value
        for row in section.csv
        for key, value in row.items()
        if isinstance(value, int | float) and "/" in key and key.split("/")[0] not in ("seconds", "videos")
    }


def _charts(section: Section, name: str) -> dict[str, Any]:
    import wandb

    shown = [[row["strategy"], row["test/video_hit1"]] for row in section.csv if row.get("test/video_hit1") is not None]
    bars = wandb.Table(columns=["row", "video_hit1"], data=shown)
    return {
        f"{name}/table": wandb.Table(columns=section.columns, data=section.rows),
        f"{name}/video_hit1": wandb.plot.bar(bars, "row", "video_hit1", title=f"Video Hit@1, {section.title}"),
    }


def _table_file(sweep: str, sections: list[Section]) -> Any:
    import wandb

    artifact = wandb.Artifact(f"{sweep}-table", type="table")
    without_paths = [  # the command holds those of this machine
        replace(section, csv=[{key: value for key, value in row.items() if key != "command"} for row in section.csv])
        for section in sections
    ]
    with artifact.new_file("table.csv") as file:
        file.write(to_csv(without_paths))
    return artifact
