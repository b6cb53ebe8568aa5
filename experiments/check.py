"""The data doctor: is a data set complete, does it match its lists, and can it be trained and tested on?

python experiments/check.py dataset=hmdb51 [key=value ...]     check every listed video
python experiments/check.py dataset=hmdb51 --summary           and print the data set's table: classes, lengths, sizes

Every listed video is decoded to its end in a child process, so a file that crashes or hangs its decoder stops nothing
else. The findings go into <data.stores>/<name>-check.csv, one row per video. Training and tests do not open the files
that crashed or hung; delete the tables of this name to have all files checked again. A stopped check goes on where it
was. A finished one only looks at new files. Exit code: 0 sound, 1 not sound, 2 wrong usage or it could not be checked.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datamodules.datasets.base import Dataset
from datamodules.doctor.check import check
from datamodules.doctor.report import report
from datamodules.doctor.summary import summary
from datamodules.errors import DataError
from datamodules.known_bad import check_file
from datamodules.text import printable


def main(arguments: list[str]) -> int:
    """Check a data set and print the report; returns the exit code. The last line says whether the set is sound."""
    options = _parse(arguments)
    from datamodules.processes import available_cores
    from experiments.settings.compose import compose

    try:
        run = compose(["strategy=single_frame", *options.settings])  # any strategy: only the data count here
    except ValueError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    try:
        survey, findings = check(run.data, options.workers or available_cores(), options.patience)
    except DataError as error:
        return _not_sound(run.data, str(error))
    except OSError as error:
        print(f"error: {printable(str(error))}; what was checked so far is kept", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    lines, reasons = report(run.data, survey, findings)
    if options.summary:
        lines = [*summary(run.dataset, survey, findings), "", *lines]
    for line in lines:
        print(printable(line))
    print(printable(f"every video: {check_file(run.data.folder(), Path(run.data.stores), run.data.identity())}"))
    if reasons:
        print(f"not sound: {', '.join(reasons)}")
        return 1
    whole = sum(finding.status == "ok" for finding in findings.values())
    print(f"sound: {whole:,} of {len(findings):,} videos are whole")
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="check.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--summary", action="store_true", help="print the data set's table as well")
    parser.add_argument("--workers", type=int, metavar="N", help="videos decoded at once (default: one per core)")
    parser.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS",
        help="give a file up when its decoder gives no frame for so long (default: 60)",
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings, such as data.root=PATH")
    options = parser.parse_intermixed_args(arguments)
    if (options.workers is not None and options.workers < 1) or not options.patience > 0:
        parser.error(f"--workers={options.workers} --patience={options.patience}: expected 1 or more, and more than 0")
    return options


def _not_sound(data: Dataset, message: str) -> int:
    """Print why the lists cannot be read. Of the message only the expected tree may have several lines."""
    reason = message.removesuffix(data.LAYOUT)
    print(f"not sound: {printable(reason.rstrip())}" + ("" if reason == message else f"\n{data.LAYOUT}"))
    return 1


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
