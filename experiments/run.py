"""Train and test one network or a sweep of them, fuse their scores, remake the tables: the one entry of the suite.

python experiments/run.py --sweep fusion [key=value ...]     every point of experiments/sweeps/fusion.yaml
python experiments/run.py strategy=c3d [key=value ...]       one run
python experiments/run.py --ensemble two_stream_svm          fuse the scores of finished runs; see ensembles.py
python experiments/run.py --table [results=DIR]              only the tables, from the records that are there
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# Imports are inside the functions, so that a command pays only for what it uses.


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns 0, or 1 after one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", metavar="NAME", help="run every point of experiments/sweeps/NAME.yaml")
    parser.add_argument("--ensemble", metavar="NAME", help="fuse the scores of finished runs into a row NAME")
    parser.add_argument("--table", action="store_true", help="only regenerate the tables")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    parser.add_argument("--force", action="store_true", help="run also what is finished")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings, such as training.steps=500")
    options = parser.parse_args(arguments)
    try:
        if options.table:
            return _table(options.settings)
        if options.sweep:
            from experiments.sweep import run_sweep

            return run_sweep(options.sweep, options.settings, dry_run=options.dry_run, force=options.force)
        if options.ensemble:
            from experiments.ensembles import run_ensemble

            return run_ensemble(options.ensemble, options.settings, dry_run=options.dry_run, force=options.force)
        return _run(options.settings, options.dry_run, options.force)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
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
    sys.exit(main(sys.argv[1:]))
