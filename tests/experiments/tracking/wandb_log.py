"""The log of an offline W&B run, read back: what `wandb sync` would send."""

import json
import struct
import time
from pathlib import Path

import pytest
from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768


def read_records(path: Path) -> list[Record]:
    """Parse a .wandb file: a 7-byte header, then a leveldb log (32 KiB blocks of chunks with 7-byte headers).

    A torn tail is left out: W&B's background process may still be writing when `finish` returns.
    """
    data, offset, pending, records = path.read_bytes(), 7, b"", []
    while offset + 7 <= len(data):
        left = BLOCK - offset % BLOCK
        if left < 7:
            offset += left
            continue
        length, kind = struct.unpack_from("<HB", data, offset + 4)
        if offset + 7 + length > len(data):
            break
        pending += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a whole record, or the last chunk of one
            records.append(Record.FromString(pending))
            pending = b""
    return records


def finished_records(path: Path) -> list[Record]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        records = read_records(path)
        if any(record.HasField("exit") for record in records):
            return records
        time.sleep(0.01)
    pytest.fail(f"{path} never got its exit record")


class ReadBack:
    """What one run's log says."""

    def __init__(self, folder: Path) -> None:
        (self.path,) = folder.glob("run-*.wandb")
        self.summary, self.history, self.config, self.kinds = {}, [], {}, set()
        for record in finished_records(self.path):
            kind = record.WhichOneof("record_type")
            self.kinds.add(kind)
            if kind == "run":
                self.run = record.run
                self.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "summary":
                for item in record.summary.update:
                    self.summary[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
            elif kind == "history":
                self.history.append(
                    {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                )
            elif kind == "exit":
                self.exit_code = record.exit.exit_code


def read_runs(folder: Path) -> list[ReadBack]:
    return [ReadBack(path) for path in sorted((folder / "wandb").glob("offline-run-*"))]
