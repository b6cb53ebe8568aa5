"""Train and test one network or a sweep of them, use what is trained, fuse scores, remake the tables.

python experiments/run.py --sweep fusion [key=value ...]     every point of experiments/sweeps/fusion.yaml
python experiments/run.py --sweep fusion --plan              what that takes: time, memory, disk
python experiments/run.py --sweep fusion --status            where each of its points stands
python experiments/run.py strategy=c3d [key=value ...]       one run
python experiments/run.py --test CHECKPOINT [key=value ...]  test a trained network again, or in another way
python experiments/run.py --sweep fusion --time reversed     test a sweep's networks with their clips played otherwise
python experiments/run.py --predict CHECKPOINT VIDEO ...     a trained network's answers to any videos
python experiments/run.py --look CHECKPOINT VIDEO ...        films of where a trained network looks in any videos
python experiments/run.py --ensemble two_stream_svm          fuse the scores of finished runs
python experiments/run.py --table [results=DIR]              only the tables, from the records that are there
python experiments/run.py --sync [results=DIR]               upload the offline runs of results/wandb to W&B
python experiments/run.py --sweep fusion --dashboard         save a workspace and a report of it in W&B
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.launch.server import point_server
from experiments.launch.signals import Stopped, end_with_rank_0, stop_on_signals
from experiments.records.world import check_world

if TYPE_CHECKING:
    from experiments.settings.schema import RunConfig

# Other imports are inside the functions, so that a command waits only for what it uses.


@dataclass
class Output:
    """The one setting of --table and --sync."""

    results: str = "results"


def main(arguments: list[str]) -> int:
    """Do what the command line says. Returns 0, or 1 after one line on standard error."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        _check(options)
        return _do(options)
    except Stopped as stopped:
        again = f"; the same command{' without --force' * options.force} goes on with what is not finished"
        print(f"stopped by {stopped}{again * _trains(options)}", file=sys.stderr)
        return stopped.exit_code
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


# -- options -----------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--sweep", metavar="NAME", help="run every point of experiments/sweeps/NAME.yaml")
    what.add_argument("--test", metavar="CHECKPOINT", help="test a trained network again, or in another way")
    what.add_argument("--predict", metavar="CHECKPOINT", help="a trained network's answers to the videos that follow")
    what.add_argument(
        "--look", metavar="CHECKPOINT", help="films of where a trained network looks in the videos that follow"
    )
    what.add_argument("--ensemble", metavar="NAME", help="fuse the scores of finished runs into a row NAME")
    what.add_argument("--table", action="store_true", help="only make the tables again")
    what.add_argument("--sync", action="store_true", help="only upload the offline runs to W&B")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--plan", action="store_true", help="only estimate time, memory and disk, from short runs")
    only.add_argument("--status", action="store_true", help="only print where each point stands")
    only.add_argument("--dry-run", action="store_true", help="only print the commands, or the dashboard")
    parser.add_argument("--dashboard", action="store_true", help="only save a workspace and a report in W&B")
    parser.add_argument(
        "--only", action="append", default=[], metavar="key=value", help="only the points of a sweep with this value"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="run N points of a sweep side by side")
    parser.add_argument("--launcher", choices=["processes", "ray"], default="processes", help="what runs a sweep")
    parser.add_argument(
        "--time", metavar="WORD[,WORD]", help="play test clips reversed, shuffled or frozen: of a checkpoint or a sweep"
    )
    parser.add_argument("--force", action="store_true", help="run what is finished again")
    parser.add_argument("--other-data", action="store_true", help="test also on data that the network may know")
    parser.add_argument("--json", action="store_true", help="print predictions as one JSON document")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings, such as training.steps=500")
    return parser


def _trains(options: argparse.Namespace) -> bool:
    """Whether the command is about runs, and not about what they have left."""
    return not (options.test or options.predict or options.look or options.table or options.sync)


def _starts(options: argparse.Namespace) -> bool:
    """Whether the command about runs starts them."""
    return not (options.plan or options.status or options.dry_run or options.dashboard)


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError for an option that would do nothing here."""
    starts = _trains(options) and _starts(options)
    trains = starts and options.time is None
    if options.time is not None and options.sweep and not starts:
        raise ValueError("--time tests networks; leave out --plan, --status, --dry-run and --dashboard")
    for name, given, meant in (
        ("--plan", options.plan, _trains(options) and not options.ensemble),
        ("--status", options.status, _trains(options) and not options.ensemble),
        ("--dry-run", options.dry_run, _trains(options)),
        ("--time", options.time is not None, options.test or (options.sweep and starts)),
        ("--dashboard", options.dashboard, _trains(options) and not options.ensemble),
        ("--dashboard", options.dashboard, not (options.plan or options.status)),
        ("--force", options.force, trains),
        ("--only", options.only, options.sweep),
        ("--jobs", options.jobs is not None, options.sweep and (starts or options.plan)),
        ("--launcher", options.launcher != "processes", options.sweep and trains),
        ("--other-data", options.other_data, options.test),
        ("--json", options.json, options.predict),
    ):
        if given and not meant:
            raise ValueError(f"{name} does nothing here; see run.py --help")
    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"--jobs {options.jobs}: expected 1 or more")


# -- commands ----------------------------------------------------------------------------------------------------------


def _do(options: argparse.Namespace) -> int:
    from experiments.settings.words import read_words

    if options.table:
        results = read_words(Output(), options.settings).results
        if not Path(results).is_dir():
            raise ValueError(f"results={results}: no such folder; give the one that runs/ lies in")
        return _update_tables(results)
    if options.sync:
        from experiments.tracking.sync import sync

        return sync(Path(read_words(Output(), options.settings).results))
    if options.ensemble:
        from experiments.launch.ensemble import run_ensemble

        return run_ensemble(options.ensemble, options.settings, dry_run=options.dry_run, force=options.force)
    if options.test or options.predict or options.look:
        check_world(1)
    if options.time is not None:
        return _do_times(options)
    if options.test:
        from experiments.trained.test import test

        return test(Path(options.test), options.settings, options.other_data)
    if options.predict:
        from experiments.trained.predict import predict

        return predict(Path(options.predict), options.settings, options.json)
    if options.look:
        from experiments.trained.look import look

        return look(Path(options.look), options.settings)
    return _do_runs(options)


def _do_times(options: argparse.Namespace) -> int:
    """Test a checkpoint, or those of a sweep, with clips played otherwise."""
    from experiments.launch.grid import read_points
    from experiments.trained.times import sweep_times, test_times, times_of

    times = times_of(options.time, options.settings)
    if options.test:
        return test_times(Path(options.test), times, options.settings, options.other_data)
    point_server()  # it imports while this process does
    runs = read_points(options.sweep, options.settings, options.only)
    return sweep_times(options.sweep, runs, times, options.jobs)


def _do_runs(options: argparse.Namespace) -> int:
    """Run the points of a sweep or one run, or print what there is to say about them."""
    starts = _starts(options)
    if options.sweep and starts and options.launcher == "processes":
        point_server()  # it imports while this process does
    from experiments.launch.grid import read_points
    from experiments.settings.compose import compose

    sweep, settings = options.sweep, options.settings
    all_groups = options.dashboard and not sweep and not any(word.startswith("strategy=") for word in settings)
    if all_groups:
        settings = ["strategy=single_frame", *settings]  # any: only what it says of W&B and of places is used
    runs = read_points(sweep, settings, options.only) if sweep else [compose(settings)]
    if options.dashboard:
        from experiments.tracking.dashboard import show_dashboard

        name = "all runs" if all_groups else sweep or runs[0].sweep or runs[0].strategy
        return show_dashboard(name, runs, all_groups, options.dry_run)
    if not starts:
        return _show(options, sweep or runs[0].id, runs)
    if sweep:
        from experiments.launch.on_ray import points_on_ray
        from experiments.launch.point import points_in_processes
        from experiments.launch.sweep import run_all

        launcher = points_on_ray if options.launcher == "ray" else points_in_processes
        swept = run_all(sweep, runs, options.force, options.jobs, launcher)
        return 0 if swept.tables_complete and not swept.unfinished else 1
    from experiments.training.train import run_point

    return _update_tables(runs[0].results) if run_point(runs[0], options.force) else 0


def _show(options: argparse.Namespace, name: str, runs: list[RunConfig]) -> int:
    """Print the commands of runs, where they stand, or what they will take."""
    if options.dry_run:
        from experiments.records.command import command

        print("\n".join(map(command, runs)))
        return 0
    if options.status:
        from experiments.launch.status import show_status

        return show_status(name, runs)
    from experiments.launch.plan import plan
    from experiments.launch.processes import usual_jobs

    return plan(name, runs, options.jobs or usual_jobs(runs))


def _update_tables(results: str) -> int:
    from experiments.report.update import update

    return update(Path(results)).show()


if __name__ == "__main__":
    stop_on_signals()
    end_with_rank_0()
    sys.exit(main(sys.argv[1:]))
