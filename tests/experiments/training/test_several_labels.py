"""Videos of several labels, from Sports-1M's lists to the table."""

import json

import numpy as np
import pytest

from datamodules.datasets.rendering import write_video
from experiments.run import main


def colours(labels):
    """A picture with a stripe for each label."""
    image = np.full((48, 48, 3), 128)
    for stripe, label in zip(np.array_split(np.arange(48), len(labels)), labels, strict=True):
        image[:, stripe] = [255 * (label & 1), 255 * (label >> 1 & 1), 255 * (label >> 2 & 1)]
    return image


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::lightning")
def test_several_labels_from_the_list_to_the_table(tmp_path, capsys):
    """Made-up videos of the colours of their labels, trained and tested."""
    rng = np.random.default_rng(0)
    sets = {f"{'-_ab'[number % 4]}{number:010d}": rng.choice(6, 1 + number % 2, replace=False) for number in range(30)}
    text = {name: ",".join(map(str, labels)) for name, labels in sets.items()}
    train, test = dict(list(text.items())[:20]), dict(list(text.items())[20:])
    root = tmp_path / "sports1m"
    lists = root / "sports-1m-dataset" / "original"
    lists.mkdir(parents=True)
    (lists.parent / "labels.txt").write_text("boomerang\nboxing\nbowls\nkendo\nunicycle\nbmx\n")
    for name, part in (("train", train), ("test", test)):
        lines = (f"https://www.youtube.com/watch?v={video} {labels}\n" for video, labels in part.items())
        (lists / f"{name}_partition.txt").write_text("".join(lines))
    for name, labels in list(sets.items())[1:]:  # one is gone
        write_video(root / f"{name}.mp4", np.repeat(colours(labels)[None], 30, 0).astype(np.uint8), 25)
    broken = list(sets)[20]
    (root / f"{broken}.mp4").write_bytes(b"no video")
    words = [
        "strategy=single_frame", "dataset=sports1m", f"data.root={root}", f"data.stores={tmp_path}/stores",
        f"results={tmp_path}/results", "wandb.mode=disabled", "training.steps=40", "training.batch_size=8",
        "sampling.test_clips=2", "sampling.train_labels=one", "data.clips_per_video=2", "data.clip_seconds=0.2",
    ]  # fmt: skip
    assert main(words) == 0, capsys.readouterr()
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    record = json.loads((folder / "record.json").read_text())
    assert record["data"]["notes"][:2] == [
        "19 of 20 listed train videos are there",
        "10 of 10 listed test videos are there",
    ]
    assert (record["videos"]["expected"], record["videos"]["undecodable"], record["num_classes"]) == (10, 1, 6)
    with np.load(folder / "scores.npz") as saved:
        for row, number in enumerate(saved["video"]):
            assert np.flatnonzero(saved["target"][row]).tolist() == sorted(list(sets.values())[20 + number])
    metrics = record["rows"][0]["metrics"]
    assert metrics["test/video_hit1"] >= 0.5, "the colours can be told"
    table = (tmp_path / "results" / "table.md").read_text()
    assert "## sports1m, split 1" in table and "10 expected, 9 scored, 1 undecodable" in table
    assert f"{100 * metrics['test/video_hit1']:.1f} |" in table
    assert len((tmp_path / "stores" / "sports1m-original-1.csv").read_text().splitlines()) == 7
    (track,) = (tmp_path / "stores").glob("sports1m-*/rgb-*")
    assert track.name.endswith("-2x0.2s-seed0")
    index = np.load(track / "index.npy")
    assert {tuple(row) for row in index[["decoded", "piece", "rows"]].tolist()} == {(30, 6, 12), (0, 0, 0)}
