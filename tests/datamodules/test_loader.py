"""Processes that load clips: they end with their parent, and say in one line why they give no batch."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from pathlib import Path

import av
import numpy as np
import pytest
from torch.utils.data import Dataset

from datamodules import loader
from datamodules.errors import DataError
from datamodules.loader import Loader
from tests.datamodules.numbered import EARLY, opened

PROGRAM = """
    import sys
    import time
    from pathlib import Path
    from tests.datamodules.numbered import opened
    if __name__ == "__main__":
        loader = opened(Path(sys.argv[1]), workers=2).train_dataloader()
        batches = iter(loader)
        next(batches)
        print(*(worker.pid for worker in loader._iterator._workers), flush=True)
        time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_loading_processes_end_with_a_killed_parent(root, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, str(program), str(root)], env=environment, stdout=subprocess.PIPE, text=True
    )
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2 and all(map(is_alive, workers))
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 2  # torch's own watch looks every 5 seconds
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))


class Collecting(Dataset):
    """An item before which all garbage is collected."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        gc.collect()
        return index


def test_a_loading_process_leaves_its_parents_frames_alone():
    """PyAV converts a frame of this size in threads; a copy of it in a forked process waits for these for ever."""
    gc.disable()  # the frame must still be there when the process is forked
    frame = av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8))
    holder = [frame, frame.reformat(320, 240, "yuv420p").to_ndarray(format="rgb24")]
    holder.append(holder)  # what only the collector frees
    del frame, holder
    try:
        batches = iter(Loader(Collecting(), num_workers=1, timeout=15, multiprocessing_context="fork"))
        assert next(batches).tolist() == [0]
    finally:
        gc.enable()


class Stuck(Dataset):
    """An item that does not come, or whose process dies."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 2

    def __getitem__(self, _: int) -> int:
        if self.how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raises":
            raise ValueError("a reason of its own")
        time.sleep(60)


@pytest.mark.parametrize(
    ("how", "message"),
    [("hangs", r"trainer\.workers=1: a loading process gave no batch for 1 s; /dev/shm has .* free; set trainer"),
     ("dies", r"trainer\.workers=1: a loading process ended by itself; /dev/shm has .* free; set trainer\.workers=0")],
)  # fmt: skip
def test_a_batch_that_does_not_come_is_an_error_of_one_line(how, message):
    with pytest.raises(DataError, match=message) as error:
        next(iter(Loader(Stuck(how), num_workers=1, timeout=1 if how == "hangs" else 30)))
    assert "\n" not in str(error.value)


def test_an_error_in_a_loading_process_stays_what_it_is():
    with pytest.raises(ValueError, match="a reason of its own") as error:
        next(iter(Loader(Stuck("raises"), num_workers=1, timeout=30)))
    assert not isinstance(error.value, DataError)


def test_batches_that_do_not_fit_into_shared_memory_are_refused_before_training(root, monkeypatch):
    usage = namedtuple("usage", "free")
    needed = 2 * 2 * (3 + 5) * 4 * 3 * 32 * 32  # processes, batches each, training and test clips, frames, pixels
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda _: usage(needed - 1))
    opened(root, EARLY), opened(root, EARLY, workers=1)
    with pytest.raises(
        DataError, match=r"trainer\.workers=2: .* need 0 MB of shared memory, and /dev/shm has 0 MB free"
    ):
        opened(root, EARLY, workers=2)
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda _: usage(needed))
    opened(root, EARLY, workers=2)
