"""The command that builds frame stores ahead of the runs."""

from pathlib import Path

import pytest

from datamodules.store import building
from experiments import prepare
from experiments.launch.stores import needed
from experiments.prepare import main
from experiments.settings.compose import compose
from experiments.training.build import make_data
from tests.factories import scrolling, write_video


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> tuple[Path, list[str]]:
    """Five short videos of two classes, one of which is broken, and the words that name them."""
    folder = tmp_path_factory.mktemp("prepare")
    for number, name in enumerate(("train/a/1", "train/b/2", "train/b/3", "test/a/4", "test/b/5")):
        write_video(folder / "videos" / f"{name}.avi", scrolling(12 + number, 40, 48, seed=number))
    (folder / "videos/train/b/3.avi").write_text("no video")
    return folder, ["dataset=folder", f"data.root={folder}/videos", f"data.stores={folder}/stores"]


def test_runs_find_the_store_that_was_prepared(place, capsys, monkeypatch):
    """However large it is: `data.max_store` is for runs."""
    folder, words = place
    words = [*words, "data.encoding=jpeg", "data.max_store=0.0000001", "data.undecodable=skip"]
    assert main([*words, "strategy=c3d,two_stream", "strategy=late_fusion", "--jobs", "2", "--verify"]) == 0
    said = capsys.readouterr()
    assert "5 videos to decode, about 0.00 GB" in said.out
    assert "5 videos, 1 cannot be decoded, 0 are cut short\n  train/b/3.avi: cannot be decoded" in said.out
    assert "2 shards compared with their checksums, 0 files differ" in said.out and "100%" in said.err

    monkeypatch.setattr(building, "_build", lambda *_: pytest.fail("decoded again"))
    for strategy in ("c3d", "two_stream"):
        data = make_data(compose([*words, f"strategy={strategy}"]))
        data.prepare_data()
        data.setup()
        assert len(data.train_clips.videos) == 2
    with pytest.raises(ValueError, match=r"data\.max_store is 1e-07; build it by `python experiments/prep"):
        make_data(compose([*words, "strategy=c3d", "sampling.resize=[40,40]"])).prepare_data()

    array = next((folder / "stores").glob("*/rgb-36x36-jpeg95/00000.jpegs"))
    spoilt = bytearray(array.read_bytes())
    spoilt[100] ^= 1
    array.write_bytes(spoilt)
    assert main([*words, "strategy=c3d", "--verify"]) == 1
    assert f"error: 1 files differ from their checksums, {array}; delete them" in capsys.readouterr().err


def test_every_strategy_size_and_data_set_is_prepared_for(place):
    """Without a strategy, those of the sweep of all."""
    (data, tracks), *others = needed(prepare._runs(None, place[1]))
    assert data.folder() == place[0] / "videos" and not others
    assert [track.name for track in tracks] == ["rgb-36x36", "flow-36x36-dis-medium-b20"]
    runs = prepare._runs(None, ["strategy=two_stream_multi_task,c3d", "dataset=ucf101", "recipe=published"])
    found = {str(data.folder()): [track.name for track in tracks] for data, tracks in needed(runs)}
    both = ["rgb-256x340", "flow-256x340-dis-medium-b20"]
    assert found == {"data/ucf101": [*both, "rgb-128x171"], "data/hmdb51": both}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["strategy=c3d,late_fushion"], "strategy=late_fushion: no such preset. Did you mean late_fusion"),
        (["--sweep", "fusion", "strategy=c3d"], "--sweep fusion and strategy=c3d both say for which runs; give one"),
        (["--jobs", "0"], "--jobs 0: expected 1 or more"),
        (["data.root=/nowhere"], "data.root=/nowhere: no such folder"),
    ],
)
def test_bad_input_ends_with_one_message_and_code_1(place, words, message, capsys):
    rest = [word for word in place[1] if word.split("=")[0] not in str(words)]
    assert main([*words, *rest]) == 1
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err
