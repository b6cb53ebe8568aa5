"""The unit of work of a build: one shard, and the claim on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from datamodules.store.shards import SHARD, damaged_files, read_shard
from datamodules.store.tracks import Track

try:
    import fcntl
except ImportError:  # not on Windows: there, builders of the same store repeat each other's work, unharmed
    fcntl = None

INDEX_CLAIM = 10**9  # in place of a shard's number


@dataclass(frozen=True)
class Job:
    """One shard and the tracks of it that are missing, or that are asked for. Paths are absolute."""

    root: Path
    folder: Path
    number: int
    files: tuple[str, ...]
    tracks: tuple[Track, ...]
    known_bad: Mapping[str, str] = field(default_factory=dict)

    @property
    def leftovers(self) -> str:
        """How the files of a builder are named that has not finished this shard."""
        return f"{self.number:05d}.*.tmp"

    def is_under_way(self) -> bool:
        """Whether a builder has begun the shard and not finished it."""
        return any(any((self.folder / track.name).glob(self.leftovers)) for track in self.tracks)


def shard_jobs(
    root: Path, folder: Path, files: Sequence[str], tracks: Sequence[Track], known_bad: Mapping[str, str]
) -> list[Job]:
    """A job for each shard of a store: all `tracks` of 16 of its files."""
    files, jobs = sorted(set(files)), []
    for number, start in enumerate(range(0, len(files), SHARD)):
        own = tuple(files[start : start + SHARD])
        bad = {path: known_bad[path] for path in own if path in known_bad}
        jobs.append(Job(root.absolute(), folder.absolute(), number, own, tuple(tracks), bad))
    return jobs


def missing_tracks(job: Job) -> Job:
    """The job with only those of its tracks that have no whole shard."""
    missing = [track for track in job.tracks if read_shard(job.folder, track, job.number) is None]
    return replace(job, tracks=tuple(missing))


def verify_shard(job: Job) -> list[str]:
    """The files of a shard that differ from their checksums."""
    return [str(file) for track in job.tracks for file in damaged_files(job.folder, track, job.number)]


@contextmanager
def claim(folder: Path, number: int, leftovers: str, wait: bool) -> Iterator[bool]:
    """Hold a shard of a store against other processes; says whether it is held, at once or, with `wait`, later.

    A claim is a lock on byte `number` of the store's lock file. The system frees it when the process dies. Files under
    names like `leftovers` are then a dead builder's, and are removed. Where the disk has no locks, every claim is
    given, and builders may do the same work twice.
    """
    with (folder / "lock").open("ab") as file:
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
                for temporary in folder.glob(f"*/{leftovers}"):
                    temporary.unlink(missing_ok=True)
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError:
            pass
        yield True
