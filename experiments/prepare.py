"""Build the frame stores that runs need, before they run. A killed build goes on where it was; several share the work.

python experiments/prepare.py dataset=ucf101                                 for --sweep fusion
python experiments/prepare.py dataset=ucf101 strategy=c3d,two_stream data.encoding=jpeg
python experiments/prepare.py --sweep two_stream dataset=hmdb51 --verify
python experiments/prepare.py dataset=sports1m strategy=c3d --launcher ray   on the machines of a Ray cluster

The words are those of experiments/run.py. `data.max_store` does not count here, the free disk does.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING

from experiments.launch.stores import needed

if TYPE_CHECKING:
    from datamodules.datasets.base import Dataset
    from datamodules.processes import Launcher
    from datamodules.store.tracks import Track
    from experiments.settings.schema import RunConfig


def main(arguments: list[str]) -> int:
    """Build the stores; returns 0, or 1 after one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="prepare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", metavar="NAME", help="for every point of experiments/sweeps/NAME.yaml")
    parser.add_argument("--jobs", type=int, metavar="N", help="decode in N processes (default: one per core)")
    parser.add_argument("--launcher", choices=["processes", "ray"], default="processes", help="what starts them")
    parser.add_argument("--verify", action="store_true", help="compare every shard with its checksums")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="as of run.py; strategy= may name several")
    options = parser.parse_args(arguments)
    try:
        from datamodules.processes import available_cores, in_processes, on_ray

        if options.jobs is not None and options.jobs < 1:
            raise ValueError(f"--jobs {options.jobs}: expected 1 or more")
        launcher = on_ray if options.launcher == "ray" else in_processes
        runs = _runs(options.sweep, options.settings)
        damaged = [
            file
            for data, tracks in needed(runs)
            for file in _prepare(data, tracks, options.jobs or available_cores(), launcher, options.verify)
        ]
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with the next shard", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if damaged:
        found = f"{len(damaged)} files differ from their checksums, {' '.join(damaged)}"
        print(f"error: {found}; delete them, and the same command makes their shards again", file=sys.stderr)
    return 1 if damaged else 0


def _runs(sweep: str | None, settings: list[str]) -> list[RunConfig]:
    from experiments.launch.grid import read_points
    from experiments.settings.compose import compose

    chosen = [word.removeprefix("strategy=") for word in settings if word.startswith("strategy=")]
    others = [word for word in settings if not word.startswith("strategy=")]
    strategies = [name for names in chosen for name in names.split(",")]
    if strategies and sweep:
        raise ValueError(f"--sweep {sweep} and strategy={','.join(strategies)} both say for which runs; give one")
    if strategies:
        return [compose([f"strategy={name}", *others]) for name in strategies]
    return read_points(sweep or "fusion", others)


def _prepare(data: Dataset, tracks: list[Track], jobs: int, launcher: Launcher, verify: bool) -> list[str]:
    """Build what is missing of one data set's store and print what it holds; returns files with wrong checksums."""
    from datamodules.dataset_store import prepare_tracks
    from datamodules.store.jobs import shard_jobs, verify_shard
    from datamodules.store.reading import open_store

    split = data.read()
    folder, num_videos = prepare_tracks(data, tracks, jobs, max_store=math.inf, lists=split, launcher=launcher)
    for track in tracks:
        size = sum(file.stat().st_size for file in (folder / track.name).iterdir())
        print(f"{folder / track.name}: {size / 1e9:.2f} GB")
    stored = list(open_store(folder, tracks[:1]).videos.values())
    errors = [video.error for video in stored if video.error]
    cut, damaged_videos = sum(video.truncated for video in stored), sum(video.damaged for video in stored)
    print(
        f"{folder}: {num_videos} videos, {len(errors)} cannot be decoded, {cut} are cut short"
        + f", {damaged_videos} are damaged in most frames" * (damaged_videos > 0)
    )
    for error in errors[:10]:
        print(f"  {error}")
    damaged: list[str] = []
    if verify:
        work = shard_jobs(data.folder(), folder, split.files, tracks, {})
        for _, differ in launcher(verify_shard, work, jobs):
            damaged += differ
        print(f"{folder}: {len(work) * len(tracks)} shards compared with their checksums, {len(damaged)} files differ")
    return damaged


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
