from pathlib import Path

import pytest

from tests.factories import write_clip


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """20 clips of 1 to 20 frames, more than one shard; one of which is no video."""
    root = tmp_path_factory.mktemp("clips")
    (root / "a").mkdir()
    for number in range(20):
        write_clip(root / "a" / f"{number:02d}.avi", number + 1, size=(32, 40), seed=number)
    (root / "a" / "07.avi").write_text("no video")
    return root
