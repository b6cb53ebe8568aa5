"""Train and test one network or a sweep of them, put them to use, fuse their scores, remake the tables: the one entry.

python experiments/run.py --sweep fusion [key=value ...]     every point of experiments/sweeps/fusion.yaml
python experiments/run.py --sweep fusion --plan              what that takes: time, memory, disk
python experiments/run.py --sweep fusion --status            where each of its points stands
python experiments/run.py strategy=c3d [key=value ...]       one run
python experiments/run.py --test CHECKPOINT [key=value ...]  test a trained network again, or otherwise
python experiments/run.py --predict CHECKPOINT VIDEO ...     its answers to any videos
python experiments/run.py --ensemble two_stream_svm          fuse the scores of finished runs; see ensembles.py
python experiments/run.py --table [results=DIR]              only the tables, from the records that are there
python experiments/run.py --sync [results=DIR]               upload the offline runs of results/wandb to W&B
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.launch.server import point_server
from experiments.launch.signals import Stopped, end_with_rank_0, stop_on_signals
from experiments.records.world import check_world

# Imports are inside the functions, so that a command pays only for what it uses.


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns 0, or 1 after one line on standard error."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        if options.table:
            return _table(_results("--table", options.settings))
        if options.sync:
            from experiments.tracking.sync import sync

            return sync(_results("--sync", options.settings))
        if options.ensemble:
            from experiments.launch.ensemble import run_ensemble

            return run_ensemble(options.ensemble, options.settings, dry_run=options.dry_run, force=options.force)
        if options.test or options.predict:
            check_world(1)
        if options.test:
            from experiments.trained.test import test

            return test(Path(options.test), options.settings, options.other_data)
        if options.predict:
            from experiments.trained.predict import predict

            return predict(Path(options.predict), options.settings, options.json)
        return _points(options)
    except Stopped as stopped:
        goes_on = (
            ""
            if options.test or options.predict or options.table or options.sync
            else (f"; the same command{' without --force' * options.force} goes on from the last checkpoint")
        )
        print(f"stopped by {stopped}{goes_on}", file=sys.stderr)
        return stopped.exit_code
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--sweep", metavar="NAME", help="run every point of experiments/sweeps/NAME.yaml")
    what.add_argument("--test", metavar="CHECKPOINT", help="test a trained network again, or otherwise")
    what.add_argument("--predict", metavar="CHECKPOINT", help="a trained network's answers to the videos that follow")
    what.add_argument("--ensemble", metavar="NAME", help="fuse the scores of finished runs into a row NAME")
    what.add_argument("--table", action="store_true", help="only regenerate the tables")
    what.add_argument("--sync", action="store_true", help="only upload the offline runs to W&B")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--plan", action="store_true", help="only predict time, memory and disk, from short probes")
    only.add_argument("--status", action="store_true", help="only print where each point stands")
    only.add_argument("--dry-run", action="store_true", help="only print the commands")
    parser.add_argument("--only", action="append", default=[], metavar="key=value", help="only such points of a sweep")
    parser.add_argument("--jobs", type=int, metavar="N", help="run N points of a sweep side by side")
    parser.add_argument("--launcher", choices=["processes", "ray"], default="processes", help="what runs a sweep")
    parser.add_argument("--force", action="store_true", help="run also what is finished")
    parser.add_argument("--other-data", action="store_true", help="test also on data that the network may know")
    parser.add_argument("--json", action="store_true", help="print predictions as one JSON document")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings, such as training.steps=500")
    return parser


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError for an option that would do nothing here."""
    runs = not (options.test or options.predict or options.table or options.sync)
    launch = runs and not (options.plan or options.status or options.dry_run)
    for name, given, meant in (
        ("--plan", options.plan, runs and not options.ensemble),
        ("--status", options.status, runs and not options.ensemble),
        ("--dry-run", options.dry_run, runs),
        ("--force", options.force, launch),
        ("--only", options.only, options.sweep),
        ("--jobs", options.jobs is not None, options.sweep and (launch or options.plan)),
        ("--launcher", options.launcher != "processes", options.sweep and launch),
        ("--other-data", options.other_data, options.test),
        ("--json", options.json, options.predict),
    ):
        if given and not meant:
            raise ValueError(f"{name} does nothing here; see run.py --help")
    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"--jobs {options.jobs}: expected 1 or more")


def _results(option: str, settings: list[str]) -> Path:
    """The folder of an option that takes no other setting."""
    folder = "results"
    for setting in settings:
        key, _, folder = setting.partition("=")
        if key != "results" or not folder:
            raise ValueError(f"{option} {setting}: expected nothing but results=FOLDER")
    return Path(folder)


def _table(results: Path) -> int:
    from experiments.tables.update import update_tables

    for path in update_tables(results):
        print(f"wrote {path}")
    return 0


def _points(options: argparse.Namespace) -> int:
    """What there is to do about the points of a sweep, or about one run."""
    if options.sweep and not (options.plan or options.status or options.dry_run) and options.launcher == "processes":
        point_server()  # it imports while this process does
    from experiments.records.make import command
    from experiments.settings.compose import compose

    if options.sweep:
        from experiments.launch.grid import read_points

        runs = read_points(options.sweep, options.settings, options.only)
    else:
        runs = [compose(options.settings)]
    name = options.sweep or runs[0].id
    if options.dry_run:
        print("\n".join(map(command, runs)))
        return 0
    if options.status:
        from experiments.launch.status import show_status

        return show_status(name, runs)
    if options.plan:
        from experiments.launch.plan import plan
        from experiments.launch.processes import usual_jobs

        return plan(name, runs, options.jobs or usual_jobs(runs))
    if options.sweep:
        from experiments.launch.on_ray import points_on_ray
        from experiments.launch.point import points_in_processes
        from experiments.launch.sweep import run_all

        launcher = points_on_ray if options.launcher == "ray" else points_in_processes
        return 1 if run_all(name, runs, options.force, options.jobs, launcher) else 0
    from experiments.training.train import run_point

    return _table(Path(runs[0].results)) if run_point(runs[0], options.force) else 0


if __name__ == "__main__":
    stop_on_signals()
    end_with_rank_0()
    sys.exit(main(sys.argv[1:]))
