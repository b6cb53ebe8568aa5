"""A sweep's dashboard in W&B, as code: a workspace and a report of what the runs have logged."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.records.files import read_records
from experiments.settings.schema import RunConfig
from experiments.tables.table import tables
from experiments.tracking.mirror import one_line, resolve_mode, sign_in
from experiments.tracking.panels import Shown, report, workspace
from experiments.tracking.sweep_report import own_sections, table_keys


def show_dashboard(name: str, runs: Sequence[RunConfig], all_groups: bool, dry_run: bool) -> int:
    """Save a dashboard of some runs in W&B and print its addresses, or print its workspace as JSON; returns 0.

    With `all_groups` it shows every run of the project. A dry run needs no account and no network. Each call makes a
    new workspace and a new report, and leaves older ones as they are.

    Raises ValueError, in one line, where wandb-workspaces or an account is missing, where W&B is switched off, and
    where it refuses.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise ValueError("--dashboard needs wandb-workspaces: pip install 'vidfusion[dashboard]'")
    settings, shown = runs[0].wandb, what_to_show(name, runs, all_groups)
    if dry_run:
        print(json.dumps(plain(workspace(settings.entity or "", settings.project, shown)), indent=1))
        return 0
    if settings.private:
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # before W&B's background process starts, which reads it
    mode = resolve_mode(settings.mode)
    if mode != "online":
        raise ValueError(
            f"W&B is {mode} here, and --dashboard saves online: `wandb login` stores an account, wandb.mode=online "
            "goes over WANDB_MODE, and --dry-run only prints"
        )
    sign_in()
    import wandb

    try:
        entity = settings.entity or wandb.Api().default_entity
        # The report first: only that asks whether the project is there.
        for view in (report(entity, settings.project, shown), workspace(entity, settings.project, shown)):
            view.save()
            print(f"{type(view).__name__.lower()}: {view.url}", flush=True)
    except Exception as error:  # W&B's own are not all of one kind
        raise ValueError(f"W&B: the dashboard was not saved ({one_line(error)})") from None
    return 0


def what_to_show(name: str, runs: Sequence[RunConfig], all_groups: bool) -> Shown:
    """What a dashboard of some runs holds; the tables are those that the records in their results give.

    Raises ValueError for the name of a sweep that no filter can hold.
    """
    groups = [] if all_groups else [name, *(run.sweep or run.strategy for run in runs)]
    if unfit := [group for group in groups if re.search(r"[\"'\\=<>]", group)]:
        raise ValueError(
            f"sweep={unfit[0]}: a filter of wandb-workspaces takes no quotes, \\, =, < or >; rename the sweep"
        )
    families = dict.fromkeys(family for run in runs for family in getattr(run.data, "families", ()))
    records, _ = read_records(Path(runs[0].results))
    own = own_sections(tables(records, []), [run.id for run in runs])
    return Shown(
        name=f"vidfusion {name}",
        groups=tuple(dict.fromkeys(groups)),
        families=tuple(families),
        tables=tuple(table_keys(own)),
        pictures=not runs[0].wandb.private,
        runs=len(runs),
    )


def plain(view: Any) -> dict[str, Any]:
    """A workspace's content as the server gets it."""
    return json.loads(view._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
