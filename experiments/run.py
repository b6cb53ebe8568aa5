"""Train and test one network or a sweep of them, fuse their scores, remake the tables: the one entry of the suite.

python experiments/run.py --sweep fusion [key=value ...]     every point of experiments/sweeps/fusion.yaml
python experiments/run.py --sweep fusion seed=0,1,2 --status where each of its points stands
python experiments/run.py strategy=c3d [key=value ...]       one run
python experiments/run.py --ensemble two_stream_svm          fuse the scores of finished runs; see ensembles.py
python experiments/run.py --table [results=DIR]              only the tables, from the records that are there
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.running import Stopped, point_server, stop_on_signals

# Imports are inside the functions, so that a command pays only for what it uses.


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns 0, or 1 after one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", metavar="NAME", help="run every point of experiments/sweeps/NAME.yaml")
    parser.add_argument("--ensemble", metavar="NAME", help="fuse the scores of finished runs into a row NAME")
    parser.add_argument("--table", action="store_true", help="only regenerate the tables")
    parser.add_argument("--status", action="store_true", help="only print where each point stands")
    parser.add_argument("--only", action="append", default=[], metavar="key=value", help="only such points")
    parser.add_argument("--jobs", type=int, metavar="N", help="run N points side by side")
    parser.add_argument("--launcher", choices=["processes", "ray"], default="processes", help="what runs the points")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    parser.add_argument("--force", action="store_true", help="run also what is finished")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings, such as training.steps=500")
    options = parser.parse_args(arguments)
    try:
        if options.table:
            return _table(options.settings)
        if options.sweep or options.status:
            return _sweep(options)
        if options.ensemble:
            from experiments.ensembles import run_ensemble

            return run_ensemble(options.ensemble, options.settings, dry_run=options.dry_run, force=options.force)
        return _run(options.settings, options.dry_run, options.force)
    except Stopped as stopped:
        print(f"stopped by {stopped}; the same command goes on from the last checkpoint", file=sys.stderr)
        return stopped.exit_code
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _table(settings: list[str]) -> int:
    from experiments.ensembles import update_tables

    folder = "results"
    for setting in settings:
        key, _, folder = setting.partition("=")
        if key != "results" or not folder:
            raise ValueError(f"--table {setting}: expected nothing but results=FOLDER")
    for path in update_tables(Path(folder)):
        print(f"wrote {path}")
    return 0


def _sweep(options: argparse.Namespace) -> int:
    if not (options.status or options.dry_run) and options.launcher == "processes":
        point_server()  # it imports while this process does
    from experiments.record import command
    from experiments.sweep import compose, in_processes, on_ray, read_points, run_all, show_status

    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"--jobs {options.jobs}: expected 1 or more")
    name = options.sweep or "this run"
    runs = read_points(options.sweep, options.settings, options.only) if options.sweep else [compose(options.settings)]
    if options.status:
        return show_status(name, runs)
    if options.dry_run:
        print("\n".join(map(command, runs)))
        return 0
    launcher = on_ray if options.launcher == "ray" else in_processes
    return 1 if run_all(name, runs, options.force, options.jobs, launcher) else 0


def _run(settings: list[str], dry_run: bool, force: bool) -> int:
    from experiments.config import compose
    from experiments.ensembles import update_tables
    from experiments.record import command

    run = compose(settings)
    if dry_run:
        print(command(run))
        return 0
    from experiments.training import run_point

    if run_point(run, force):
        for path in update_tables(Path(run.results)):
            print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    stop_on_signals()
    sys.exit(main(sys.argv[1:]))
