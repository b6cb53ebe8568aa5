"""What the suite costs on this machine: seconds, memory, and how much of the machine's arithmetic is used.

python experiments/benchmark.py networks [key=value ...]     training steps of every published network
python experiments/benchmark.py frames [key=value ...]       clips from frame stores and from video files

networks: every preset of configs/strategy with recipe=published, each in a process of its own, on random clips. With
two data sets (two_stream_multi_task), on clips of the first.
    strategy=c3d,slow_fusion    only these
    batch=4                     clips per step (without: 1 on a CPU; on a GPU the recipe's, halved until they fit)
    repeats=5                   steps that are timed, after two that are not; medians are shown
    results=DIR                 where benchmark/networks.json and .md are written (without: results)
    trainer.precision=32-true,bf16-mixed trainer.channels_last=false,true trainer.compile=false,true
                                every combination is measured (without: on a GPU all of them, on a CPU a run's default)
    any other setting of a run's model, sampling or trainer, such as model.size=small or trainer.threads=2

frames: clips of 16 frames, 112x112 pixels of 128x171, per second and core from raw and JPEG frame stores and from the
files; then the loader alone, the memory of a loading process, and the start of a run.
    dataset=folder data.root=DIR    on these videos (without: on generated ones of 320x240 pixels, H.264)
    batch=16                    clips per batch
    repeats=5                   of each measurement, everything in turn; medians are shown
    clips=50000                 that one process loads while its memory is watched
    parts=sources,loader,memory,start   only these
    results=DIR                 where benchmark/frames.json and .md are written (without: results)
    any other setting of a run's data or sampling, such as data.stores=DIR (without: a temporary folder)
"""

from __future__ import annotations

import argparse
import sys

from experiments.benchmarks.networks import measure_frames, measure_networks


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns 0, or 1 after one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="benchmark.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    networks = commands.add_parser("networks", help="training steps of every published network")
    networks.add_argument("settings", nargs="*", metavar="key=value", help="see benchmark.py --help")
    networks.set_defaults(measure=measure_networks)
    frames = commands.add_parser("frames", help="clips from frame stores and from video files")
    frames.add_argument("settings", nargs="*", metavar="key=value", help="see benchmark.py --help")
    frames.set_defaults(measure=measure_frames)
    options = parser.parse_args(arguments)
    try:
        return options.measure(options.settings)
    except KeyboardInterrupt:
        print("interrupted; what was measured so far is written", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
