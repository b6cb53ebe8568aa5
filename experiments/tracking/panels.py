"""What a dashboard in W&B shows of a sweep, as panels. Every key in them is one that a run or a sweep's report logs.

wandb-workspaces is imported inside the functions: it is an extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

STEP = "trainer/global_step"
COLUMNS = (
    *("config:strategy.value", "config:dataset.value", "config:seed.value"),
    *("summary:test/clip_hit1", "summary:test/video_hit1", "summary:test/video_hit5"),
    *("summary:model/parameters", "summary:model/macs_per_clip", "summary:speed/train_seconds"),
)
MOST_LINES = 10  # W&B's own number of runs in a chart


@dataclass(frozen=True)
class Shown:
    """What a dashboard is about.

    name:     of the dashboard
    groups:   the groups of W&B's runs that it shows; none: all runs of the project
    families: of the data set's classes
    tables:   keys of the tables that the sweep's report logs
    pictures: whether runs log pictures and tables; private ones do not
    runs:     how many it shows
    """

    name: str
    groups: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    pictures: bool = True
    runs: int = 1


class Part(NamedTuple):
    """A section of the workspace and of the report, with a sentence for the report."""

    name: str
    says: str
    panels: list


def parts(shown: Shown) -> list[Part]:
    """All sections, in order."""
    import wandb_workspaces.reports.v2 as wr

    def table(key: str) -> wr.WeavePanelSummaryTable:
        return wr.WeavePanelSummaryTable(table_name=key, layout=wr.Layout(w=24, h=9))

    def pictures(title: str, *keys: str) -> wr.MediaBrowser:
        return wr.MediaBrowser(title=title, media_keys=list(keys), num_columns=2, layout=wr.Layout(w=24, h=9))

    tables = [table(key) for key in shown.tables] if shown.pictures else []
    found = [
        Part(
            "Comparison", "The table that the sweep's report logs, and which settings differ.", [*tables, _comparer()]
        ),
        Part(
            "Hits by strategy",
            "Hit@k on the test videos: the mean over seeds and splits, with the standard deviation.",
            [
                _bars("Video Hit@1", "test/video_hit1"),
                _bars("Video Hit@5", "test/video_hit5"),
                _bars("Clip Hit@1", "test/clip_hit1"),
                *(_bars(f"Hit@1 within {name}", f"test/family/{name}_within_hit1") for name in shown.families),
            ],
        ),
        Part("Accuracy against cost", "Video Hit@1 of each run against what its network costs.", _costs()),
        Part(
            "Curves by strategy",
            "Means over an epoch. Curves of validation are there where data.validation holds videos out.",
            [
                _curve("Training loss", "train/loss"),
                _curve("Training Clip Hit@1", "train/clip_hit1"),
                _curve("Validation Video Hit@1", "val/video_hit1"),
                _curve("Validation Clip Hit@1", "val/clip_hit1"),
            ],
        ),
        Part(
            "Speed",
            "What a run took, and the share of an epoch that it waited for clips.",
            [
                _bars("Training (s)", "speed/train_seconds"),
                _bars("Test clips per second", "speed/test_clips_per_second"),
                _bars("Memory (MB)", "speed/memory_mb"),
                _curve("Waiting for clips", "speed/waiting_share"),
            ],
        ),
    ]
    if shown.pictures:
        confusion = [
            pictures("Rows: true class", "confusion/matrix"),
            table("confusion/pairs"),
            table("per_class/table"),
        ]
        found += [
            Part("Confusion", "Which classes are taken for which, and Hit@1 of each class.", confusion),
            Part(
                "Film strips",
                "Test videos with their answers over time. The wrong ones are those with the surest wrong answers.",
                [pictures("Right", "samples/right"), pictures("Wrong", "samples/wrong")],
            ),
        ]
    return found


def workspace(entity: str, project: str, shown: Shown) -> ws.Workspace:
    """The workspace of a sweep. Nothing is sent, and nobody is asked."""
    import wandb_workspaces.workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name=shown.name,
        sections=[ws.Section(name=part.name, panels=part.panels, is_open=True) for part in parts(shown)],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=max(MOST_LINES, shown.runs)),
        runset_settings=ws.RunsetSettings(
            filters=_in_groups(shown),
            order=[ws.Ordering(ws.Summary("test/video_hit1"), ascending=False)],
            pinned_columns=list(COLUMNS),
        ),
    )


def report(entity: str, project: str, shown: Shown) -> wr.Report:
    """The same panels as a page with sentences. Saving it asks W&B for the project."""
    import wandb_workspaces.reports.v2 as wr

    blocks = []
    for part in parts(shown):
        runset = wr.Runset(entity, project, name=shown.name, filters=_in_groups(shown))
        blocks += [wr.H2(part.name), wr.P(part.says), wr.PanelGrid(runsets=[runset], panels=part.panels)]
    return wr.Report(project, entity, title=shown.name, blocks=blocks, width="fluid")


def _in_groups(shown: Shown) -> str | ws.And:
    import wandb_workspaces.workspaces as ws

    return ws.And(ws.Metric("Group").isin(list(shown.groups))) if shown.groups else ""


def _bars(title: str, key: str) -> wr.BarPlot:
    """A number of the summary, by strategy."""
    import wandb_workspaces.reports.v2 as wr

    by = {"groupby": wr.Config("strategy"), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    return wr.BarPlot(title=title, metrics=[key], **by)


def _curve(title: str, key: str) -> wr.LinePlot:
    """A number along the training, by strategy."""
    import wandb_workspaces.reports.v2 as wr

    by = {"groupby": wr.Config("strategy"), "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
    return wr.LinePlot(title=title, x=STEP, y=[key], **by)


def _costs() -> list[wr.ScatterPlot]:
    """Accuracy against each cost of the summary, on a logarithmic axis."""
    import wandb_workspaces.reports.v2 as wr

    hits = wr.SummaryMetric("test/video_hit1")
    return [
        wr.ScatterPlot(title=f"Video Hit@1 against {words}", x=wr.SummaryMetric(f"model/{cost}"), y=hits, log_x=True)
        for cost, words in (
            ("macs_per_clip", "multiply-adds per clip"),
            ("macs_training", "multiply-adds of the training"),
            ("parameters", "parameters"),
        )
    ]


def _comparer() -> wr.RunComparer:
    import wandb_workspaces.reports.v2 as wr

    return wr.RunComparer(diff_only="split", layout=wr.Layout(w=24, h=9))
