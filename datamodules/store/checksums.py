"""Comparing shards with their checksums."""

from __future__ import annotations

from datamodules.files import file_digest, replaced
from datamodules.store.jobs import Job


def check_sums(job: Job) -> list[str]:
    """Compare the files of a shard with their SHA-256, or write these where there are none; the files that differ.

    They lie beside the shard as `sha256sum` writes and checks them.
    """
    damaged = []
    for track in job.tracks:
        stem = job.folder / track.name / f"{job.number:05d}"
        found = {f"{stem.name}{suffix}": file_digest(stem.with_suffix(suffix)) for suffix in track.suffixes}
        sums = stem.with_suffix(".sha256")
        if sums.exists():
            known = dict(reversed(line.split("  ", 1)) for line in sums.read_text().splitlines())
            damaged += [str(stem.parent / name) for name, digest in found.items() if known.get(name) != digest]
        else:
            with replaced(sums) as file:
                file.write("".join(f"{digest}  {name}\n" for name, digest in found.items()).encode())
    return damaged
