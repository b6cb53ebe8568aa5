"""The data doctor: is a data set whole, is it what its lists say, and is it fit to be trained and tested on?

python experiments/check.py dataset=hmdb51 [key=value ...]     check every listed video
python experiments/check.py dataset=hmdb51 --summary           and print the data set's table: classes, lengths, sizes

Every listed video is decoded to its end, in child processes, so that one that crashes or hangs its decoder costs no
more than itself. What is found goes into <data.stores>/<name>-check.csv, a row per video. Training and tests keep away
from the files that crashed or hung; delete a row to have its file checked again. A check that was stopped goes on where
it was, and one that is finished only looks at what is new. Exit code: 0 sound, 1 not sound, 2 wrong usage, or it could
not be checked.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datamodules.doctor.check import check
from datamodules.doctor.report import report
from datamodules.doctor.summary import summary
from datamodules.doctor.words import printable
from datamodules.errors import DataError
from datamodules.known_bad import check_file


def main(arguments: list[str]) -> int:
    """Do what the command line says; the last line says whether the data set is sound, and so does the exit code."""
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
    from datamodules.processes import available_cores
    from experiments.settings.compose import compose

    try:
        run = compose(["strategy=single_frame", *options.settings])  # any: only what it says of the data counts
    except ValueError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    data = run.data
    try:
        survey, findings = check(data, options.workers or available_cores(), options.patience)
    except DataError as error:
        message = str(error).removesuffix(data.LAYOUT)  # the tree that it should be, which has lines
        print(f"not sound: {printable(message.rstrip())}{chr(10) + data.LAYOUT if message != str(error) else ''}")
        return 1
    except OSError as error:
        print(f"error: {printable(str(error))}; what was checked so far is kept", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    lines, reasons = report(data, survey, findings)
    if options.summary:
        lines = [*summary(run.dataset, survey, findings), "", *lines]
    for line in lines:
        print(printable(line))
    print(printable(f"every video: {check_file(data.folder(), Path(data.stores))}"))
    if reasons:
        print(f"not sound: {', '.join(reasons)}")
        return 1
    whole = sum(finding.status == "ok" for finding in findings.values())
    print(f"sound: {whole:,} of {len(findings):,} videos are whole")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
