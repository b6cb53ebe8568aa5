"""`run.py --test`: the same numbers again, or a row of its own."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from experiments.run import main
from experiments.tables.comparisons import digest
from experiments.trained.load import load_trained
from experiments.trained.test import _apart, test
from tests.experiments.trained.small_runs import folder_of, make_videos, new_record, record_of
from tests.factories import touch


def test_a_repeated_test_gives_the_records_numbers_and_scores(runs, apart, capsys):
    assert main(["--test", str(apart["early_fusion"]), "trainer.workers=0"]) == 0
    said = capsys.readouterr().out
    assert "every number equals the record's" in said and "bit for bit" in said
    (row,) = record_of(folder_of(runs["early_fusion"]))["rows"]
    assert f"{row['name']}: clip_hit1 {row['metrics']['test/clip_hit1']:.1%}, " in said
    assert len(list(apart["early_fusion"].parents[1].iterdir())) == 2, "nothing is written"


def test_a_repeated_test_says_what_is_not_as_it_was(apart, capsys):
    folder = apart["two_stream"].parent
    record = record_of(folder)
    record["rows"][1]["metrics"]["test/clip_hit1"] = 0.75
    record["code"]["hash"] = "other"
    (folder / "record.json").write_text(json.dumps(record))
    with np.load(folder / "scores.npz") as saved:
        fields = dict(saved)
    fields["scores"] = fields["scores"] + np.float32(0.25) * (np.arange(len(fields["scores"])) == 3)[:, None, None]
    np.savez(folder / "scores.npz", **fields)
    test(apart["two_stream"], [])
    said = capsys.readouterr().out
    assert "1 numbers differ" in said and "two_stream_temporal clip_hit1" in said and "there 0.75" in said
    assert "was made by other code" in said and re.search(r"scores differ from them by up to 0\.25", said)
    (folder / "record.json").unlink()
    test(apart["two_stream"], [])
    assert "nothing to compare with" in capsys.readouterr().out


def test_a_changed_test_has_a_record_and_a_row_of_its_own(apart, capsys):
    path = apart["two_stream"]
    results, own = path.parents[2], (path.parent / "record.json").read_bytes()
    before = set((results / "runs").iterdir())
    assert main(["--test", str(path), "sampling.test_clips=3"]) == 0
    folder, record = new_record(results, before)
    assert record["id"] == folder.name and re.fullmatch(r"two_stream-videos-s0-test-[0-9a-f]{8}", folder.name)
    assert (record["kind"], record["test"]["run"]) == ("test", path.parent.name)
    assert (record["test"]["checkpoint"], record["test"]["changed"]) == ("last.ckpt", {"sampling.test_clips": 3})
    assert record["command"] == f"python experiments/run.py --test {path} sampling.test_clips=3"
    assert (path.parent / "record.json").read_bytes() == own
    with np.load(folder / "scores.npz") as saved:
        scores, video, target = saved["scores"], saved["video"], saved["target"]
    assert np.bincount(video).tolist() == [3] * len(set(video))
    for index, row in enumerate(record["rows"]):
        assert row["metrics"]["test/clip_hit1"] == pytest.approx(
            np.mean(scores[:, index].argmax(1) == target.argmax(1))
        )
    table = (results / "table.md").read_text()
    assert re.search(r"\| two_stream \([^|]*sampling\.test_clips=3\) ", table)
    assert table.count("## videos, split 1") == 1, "one section: the protocol is the same"
    test(path, ["sampling.test_views=3crop"])
    assert (results / "table.md").read_text().count("## videos, split 1") == 2, (
        "another protocol has a section of its own"
    )


def test_a_network_of_other_code_is_not_taken_for_a_seed_of_this_ones(apart):
    path = apart["early_fusion"]
    results = path.parents[2]
    before = set((results / "runs").iterdir())
    content = torch.load(path, weights_only=True)
    content["vidfusion"]["provenance"]["made_of"][0] = "other"
    torch.save(content, path)
    test(path, ["sampling.test_clips=3"])
    own = record_of(path.parent)["code"]["hash"]
    assert new_record(results, before)[1]["code"]["hash"] == digest([own, "other"])


def test_a_score_that_only_one_side_has_is_a_difference(tmp_path):
    path = tmp_path / "scores.npz"
    before = np.array([[0.5, 0.5], [np.nan, np.nan]], np.float32)
    np.savez(path, scores=before)
    for now, expected in (([0.5, np.nan], 0.0), ([0.25, np.nan], 0.25), ([0.5, 0.5], np.inf), ([np.nan] * 2, np.inf)):
        scores = torch.tensor(now).repeat_interleave(2).reshape(2, 2)
        assert _apart(path, SimpleNamespace(scores=scores)) == expected
    assert _apart(path, SimpleNamespace(scores=torch.zeros(3, 2))) is None
    assert _apart(tmp_path / "none.npz", SimpleNamespace(scores=scores)) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("sampling.frames=5", "belongs to the training"),
        ("recipe=modern", "belongs to the training"),
        ("sampling.test_clip=3", "Did you mean sampling.test_clips"),
        ("data.split=2", "--other-data"),
    ],
)
def test_what_is_not_of_the_test_is_refused_by_name(checkpoint, change, expected):
    with pytest.raises(ValueError, match=rf"^{re.escape(change.partition('=')[0])}.*{expected}"):
        load_trained(checkpoint, [change])


def test_a_place_that_a_checkpoint_names_is_not_made(checkpoint, tmp_path, capsys):
    content = torch.load(checkpoint, weights_only=True)
    config = content["vidfusion"]["provenance"]["config"]
    config["overrides"] = [word for word in config["overrides"] if not word.startswith("data.root=")]
    config["overrides"].append(f"data.root={tmp_path}/theirs")
    torch.save(content, tmp_path / "last.ckpt")
    assert main(["--test", str(tmp_path / "last.ckpt"), f"results={tmp_path}/results"]) == 1
    said = capsys.readouterr().err
    assert said == f"error: data.root={tmp_path}/theirs: the checkpoint names it and it is not there; give data.root=\n"
    assert not (tmp_path / "theirs").exists()


def test_other_data_are_refused_or_asked_for_and_then_in_no_table(apart, tmp_path, capsys):
    path = apart["early_fusion"]
    results = path.parents[2]
    before = set((results / "runs").iterdir())
    make_videos(tmp_path / "more", seed=1)
    words = ["--test", str(path), f"data.root={tmp_path}/more", f"data.stores={tmp_path}/stores"]
    assert main(words) == 1
    assert "are not those that early_fusion-videos-s0-" in capsys.readouterr().err
    assert main([*words, "--other-data"]) == 0
    assert "the tables leave it out" in capsys.readouterr().out
    folder, record = new_record(results, before)
    assert (record["kind"], record["dataset"], record["test"]["run"]) == ("transfer", "more", path.parent.name)
    assert record["command"].endswith("stores --other-data")
    with np.load(folder / "scores.npz") as saved:
        right = np.mean(saved["scores"][:, 0].argmax(1) == saved["target"].argmax(1))
    assert record["rows"][0]["metrics"]["test/clip_hit1"] == pytest.approx(right)
    main(["--table", f"results={results}"])
    assert (
        folder.name not in (results / "table.csv").read_text()
        and path.parent.name in (results / "table.csv").read_text()
    )


def test_other_classes_are_refused_with_their_names(checkpoint, tmp_path, capsys):
    touch(tmp_path / "more", *(f"{split}/{name}/a.mp4" for split in ("train", "test") for name in ("läuft", "new")))
    words = [f"data.root={tmp_path}/more", f"data.stores={tmp_path}/stores", "--other-data"]
    assert main(["--test", str(checkpoint), *words]) == 1
    expected = (
        "2 classes, the network has 3: 2 of the network's are not there, first other; 1 are unknown to it, first new"
    )
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "stores").exists(), "nothing is decoded first"
