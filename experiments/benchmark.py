"""What the suite costs on this machine: seconds, memory, and how much of the machine's arithmetic is used.

python experiments/benchmark.py networks [key=value ...]     training steps of every published network
python experiments/benchmark.py frames [key=value ...]       clips from frame stores and from video files
python experiments/benchmark.py training [key=value ...]     a run's training beside a bare loop, and waiting for clips
python experiments/benchmark.py gpu [key=value ...]          C3D and two-stream on a GPU: `networks`, then `training`

networks: every preset of configs/strategy with recipe=published, each in a process of its own, on random clips.
    strategy=c3d,slow_fusion    only these
    batch=4                     clips per step (default: 1 on a CPU; on a GPU the recipe's, halved until they fit)
    repeats=5                   timed steps, after two that are not timed; the medians are shown
    results=DIR                 benchmark/networks.json and .md are written there (default: results)
    trainer.precision=32-true,bf16-mixed trainer.channels_last=false,true trainer.compile=false,true
                                measure every combination (default: those of a run)
    any other setting of a run's model, sampling or trainer, such as model.size=small or trainer.threads=2

frames: clips of 16 frames, 112x112 pixels of 128x171, per second and core from raw and JPEG frame stores and from the
files; then the loader alone, and the memory of a loading process.
    dataset=folder data.root=DIR    these videos (default: generated ones of 320x240 pixels, H.264)
    batch=16                    clips per batch
    repeats=5                   of each measurement, everything in turn; the medians are shown
    clips=50000                 clips that one process loads while its memory is watched
    parts=sources,loader,memory     only these
    results=DIR                 benchmark/frames.json and .md are written there (default: results)
    any other setting of a run's data or sampling, such as data.stores=DIR (default: a temporary folder)

training: seconds of a step of a run's training, of a bare loop over the same batches, and waiting for clips.
    strategy=c3d,two_stream     these networks
    batch=4                     clips per step (default: 4; on a GPU 32)
    steps=20 repeats=3          timed steps of each training, and trainings of each kind, in turn
    sources="raw store,JPEG store,exact decoding"    where the clips come from
    dataset=folder data.root=DIR    these videos (default: generated ones of 320x240 pixels, H.264)
    results=DIR                 benchmark/training.json and .md are written there (default: results)
    any other setting of a run (default: recipe=published; without a GPU model.size=small)

gpu: takes the words of `training`. It needs a GPU. TV-L1 flow is measured too: benchmark/gpu.json and .md.

What imports cost at the start of a run: python -X importtime experiments/run.py strategy=single_frame training.steps=1
"""

from __future__ import annotations

import argparse
import sys

from experiments.launch.signals import Stopped, stop_on_signals


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns 0, or 1 after one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="benchmark.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("networks", "training steps of every published network"),
        ("frames", "clips per second"),
        ("training", "a run's training beside a bare loop, and its waiting for clips"),
        ("gpu", "C3D and two-stream on a GPU"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("settings", nargs="*", metavar="key=value", help="see benchmark.py --help")
    options = parser.parse_args(arguments)
    from experiments.benchmarks.clips import measure_frames
    from experiments.benchmarks.gpu import measure_gpu
    from experiments.benchmarks.networks import measure_networks
    from experiments.benchmarks.training import measure_training

    measure = {"networks": measure_networks, "frames": measure_frames, "training": measure_training, "gpu": measure_gpu}
    try:
        return measure[options.command](options.settings)
    except Stopped as stopped:
        print(f"stopped by {stopped}; what was measured so far is written", file=sys.stderr)
        return stopped.exit_code
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    stop_on_signals()
    sys.exit(main(sys.argv[1:]))
