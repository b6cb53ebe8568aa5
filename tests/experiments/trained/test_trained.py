"""Checkpoints of tiny trainings put to use: tested again and otherwise, refused, asked about files."""

import functools
import json
import os
import re
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.datasets.folder import Folder
from datamodules.text import printable
from experiments.run import main
from experiments.settings.compose import compose
from experiments.settings.schema import WandbConfig
from experiments.tables.comparisons import digest
from experiments.trained.load import load_trained
from experiments.trained.predict import _text, predict
from experiments.trained.test import _apart, test
from experiments.training.build import make_model
from experiments.training.train import run_point
from tests.factories import touch, write_clip

SMALL = [
    "wandb.mode=disabled", "data.validation=0.2",
    "training.steps=4", "training.batch_size=4", "training.warmup=2", "sampling.test_clips=2",
]  # fmt: skip
CLASSES = ["läuft", "other", "some"]


def make_videos(root, classes=CLASSES, seed=0):
    """A folder of noise, 4 videos to train and 2 to test of each class."""
    rng = np.random.default_rng(seed)
    for split, number in (("train", 4), ("test", 2)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                with av.open(str(root / split / name / f"{name}{index}.mp4"), "w") as container:
                    stream = container.add_stream("libx264", rate=10)
                    stream.width, stream.height, stream.pix_fmt = 48, 36, "yuv420p"
                    for _ in range(24):
                        picture = rng.integers(0, 256, (36, 48, 3), np.uint8)
                        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
                    container.mux(stream.encode())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs by strategy: one tests its best checkpoint, the other has streams."""
    folder = tmp_path_factory.mktemp("trained")
    make_videos(folder / "videos")
    places = ["dataset=folder", f"data.root={folder}/videos", f"data.stores={folder}/stores"]
    best, streams = ["strategy=early_fusion", "training.select=best"], ["strategy=two_stream", "sampling.flow_frames=2"]
    made = [compose([*words, *SMALL, *places, f"results={folder}/results"]) for words in (best, streams)]
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.training.train.log_film_strips", lambda *of: asked.append(of))
        for run in made:
            run_point(run)
    for run, (_, settings, data, votes) in zip(made, asked, strict=True):
        assert settings == run.wandb and len(votes.videos().video) == len(data.lists.test) == 6
    return {run.strategy: run for run in made}


def folder_of(run):
    return Path(run.results) / "runs" / run.id


def checkpoint_of(run):
    return folder_of(run) / ("best.ckpt" if run.training.select == "best" else "last.ckpt")


@pytest.fixture
def checkpoint(runs):
    return checkpoint_of(runs["early_fusion"])


def record_of(folder):
    return json.loads((folder / "record.json").read_text())


def new_record(results, before):
    new = set((results / "runs").iterdir()) - before
    (folder,) = (folder for folder in new if record_of(folder)["kind"] != "ensemble")
    return folder, record_of(folder)


@pytest.fixture
def apart(runs, tmp_path):
    """The results folder of the runs copied, so that what a test writes there is the test's own."""
    shutil.copytree(runs["early_fusion"].results, tmp_path / "results")
    return {name: tmp_path / checkpoint_of(run).relative_to(Path(run.results).parent) for name, run in runs.items()}


# -- loading -----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_gives_its_network_and_settings_without_its_data(runs, tmp_path, monkeypatch):
    def read(*_):
        raise AssertionError("asked for the data set's lists")

    monkeypatch.setattr(Folder, "read", read)
    for run in runs.values():
        path = tmp_path / f"{run.strategy}.ckpt"
        shutil.copy(checkpoint_of(run), path)
        monkeypatch.chdir(tmp_path)
        trained = load_trained(path)
        assert trained.run.identity() == run.identity() and trained.run.id == run.id and not trained.changed
        assert trained.classes == CLASSES
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.equal(tensor, state[name]) for name, tensor in trained.model.state_dict().items())
        assert not trained.model.training


def make_checkpoint(path, words):
    """What a training would save, of a network as it is drawn."""
    run = compose([*words, *SMALL])
    model = make_model(run, ["a", "b"], trained=True)
    provenance = {"id": "made-up", "classes": ["a", "b"], "pretrained": "of a file", "made_of": ["", ""]}
    provenance |= {"config": json.loads(json.dumps(run, default=vars)), "dataset": run.dataset, "split": 1}
    said = {"provenance": provenance, "trained": {"seconds": 0.0, "waiting": 0.0}}
    torch.save({"state_dict": model.state_dict(), "vidfusion": said, "global_step": 4}, path)
    return model


def test_what_training_began_with_need_not_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.training.build.load_imagenet", lambda *_: pytest.fail("asked for ImageNet"))
    words = ["strategy=single_frame", "model.backbone=resnet18", "model.pretrained=DEFAULT", "model.weights=gone.ckpt"]
    model = make_checkpoint(tmp_path / "last.ckpt", words)
    trained = load_trained(tmp_path / "last.ckpt")
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in trained.model.state_dict().items())
    assert trained.provenance["pretrained"] == "of a file"


def test_the_checkpoint_holds_where_presets_have_changed_since(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    config = content["vidfusion"]["provenance"]["config"]
    config["training"] |= {"lr": 0.123, "milestones": [3, 4]}
    config["sampling"]["test_views"] = "flip"
    torch.save(content, tmp_path / "last.ckpt")
    for words in ([], ["dataset=ucf101", "data.root=elsewhere"]):  # another data set does not change the network
        run = load_trained(tmp_path / "last.ckpt", words, other_data=bool(words)).run
        assert (run.training.lr, run.training.milestones, run.sampling.test_views) == (0.123, [3, 4], "flip")
    assert (run.dataset, run.data.root, run.data.split) == ("ucf101", "elsewhere", 1)


class NoData:
    """An object that is more than plain data."""


def nested(path):
    """100,000 lists in each other, which pickle itself would not write."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".")
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")


def bomb(path):
    """A small archive of 10 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**7))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_text("some words"), "no checkpoint, or one that is cut short"),
        (lambda path: torch.save(NoData(), path), "NoData, which is no plain data"),
        (lambda path: torch.save({"weight": torch.zeros(2)}, path), "does not say which run it is of"),
        (nested, "does not say which run it is of"),
        (bomb, "declares "),
    ],
    ids=["missing", "folder", "text", "code", "weights alone", "nested", "bomb"],
)
def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path, capsys, make, expected):
    path = tmp_path / "some.ckpt"
    make(path)
    for words in (["--test", str(path)], ["--predict", str(path), "a.mp4"]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: {path}: ") and expected in said and said.count("\n") == 1


OTHER = "does not say which run it is of"


@pytest.mark.parametrize(
    ("names", "value", "expected"),
    [
        (["vidfusion"], [1], OTHER),
        (["vidfusion", "trained"], None, OTHER),
        (["vidfusion", "provenance", "config"], {}, OTHER),
        (["vidfusion", "provenance", "config", "overrides"], [3], OTHER),
        (["vidfusion", "provenance", "classes"], [1, 2, 3], OTHER),
        (["vidfusion", "provenance", "made_of"], ["code"], OTHER),
        (["vidfusion", "provenance", "id"], "../../elsewhere", OTHER),
        (["global_step"], None, OTHER),
        (["state_dict"], {"weight": 3}, OTHER),
        (
            ["state_dict", "trunk"],
            torch.zeros(1).expand(2**40),
            "claims 1,099,511,627,776 numbers, more than it stores",
        ),
        (["state_dict", "trunk"], torch.sparse_coo_tensor(size=(2**20, 2**20)), "is no dense tensor"),
        (["state_dict", "trunk"], torch.zeros(3), "do not fit the network that its settings describe (Unexpected key"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else "",
)
def test_a_checkpoint_that_lacks_something_or_is_hostile_is_refused(checkpoint, tmp_path, names, value, expected):
    content = torch.load(checkpoint, weights_only=True)
    *above, last = names
    functools.reduce(dict.__getitem__, above, content)[last] = value
    torch.save(content, tmp_path / "some.ckpt")
    with pytest.raises(ValueError, match=rf"some\.ckpt: .*{re.escape(expected)}"):
        load_trained(tmp_path / "some.ckpt")


def test_a_checkpoint_does_not_say_what_is_sent_to_whom(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    config = content["vidfusion"]["provenance"]["config"]
    words = [word for word in config["overrides"] if not word.startswith("wandb.")]
    words += ["wandb.film_strips=always", "wandb.entity=stranger", "wandb.project=theirs"]
    for mode, expected in (("online", "auto"), ("offline", "offline"), ("disabled", "disabled")):
        config["overrides"] = sorted([*words, f"wandb.mode={mode}", "wandb.private=true"])
        torch.save(content, tmp_path / "last.ckpt")
        assert load_trained(tmp_path / "last.ckpt").run.wandb == WandbConfig(expected, private=True)
    trained = load_trained(tmp_path / "last.ckpt", ["wandb.mode=online", "wandb.entity=mine"])
    assert (trained.run.wandb.mode, trained.run.wandb.entity) == ("online", "mine")


def test_what_steers_a_terminal_is_shown_as_letters(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    content["vidfusion"]["provenance"] |= {"classes": ["läuft 跳", "\x1b[2Jx", "\u202ey"], "id": "a\nb"}
    torch.save(content, tmp_path / "last.ckpt")
    trained = load_trained(tmp_path / "last.ckpt")
    assert (trained.id, trained.classes) == ("a\\nb", ["läuft 跳", "\\x1b[2Jx", "\\u202ey"])
    assert printable("caf\udce9\x07.mp4") == "caf\\xe9\\x07.mp4"


def test_a_gpu_that_is_not_there_is_said_and_not_needed_to_predict(runs, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    content = torch.load(checkpoint, weights_only=True)
    content["vidfusion"]["provenance"]["config"]["overrides"].append("trainer.accelerator=gpu")
    torch.save(content, tmp_path / "last.ckpt")
    said = "error: trainer.accelerator=gpu: there is no GPU here; use trainer.accelerator=auto\n"
    assert main(["--test", str(tmp_path / "last.ckpt")]) == 1 and capsys.readouterr().err == said
    video = str(videos_of(runs["early_fusion"], checkpoint.parent)[0][0])
    assert main(["--predict", str(tmp_path / "last.ckpt"), video, f"results={tmp_path}"]) == 0


# -- testing -----------------------------------------------------------------------------------------------------------


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


# -- predicting --------------------------------------------------------------------------------------------------------


def videos_of(run, folder):
    """The test videos of a run and their clips' scores (videos, clips, classes) as its own test saved them."""
    with np.load(folder / "scores.npz") as saved:
        names, scores = saved["videos"].tolist(), saved["scores"][:, -1]
    return [Path(run.data.root) / name for name in names], scores.reshape(len(names), -1, scores.shape[1])


def test_the_answer_to_a_test_video_is_the_tests(runs, tmp_path, capfd):
    run = runs["two_stream"]
    files, scores = videos_of(run, folder_of(run))
    chosen = [0, 3]
    words = [str(checkpoint_of(run)), *(str(files[index]) for index in chosen), f"results={tmp_path}"]
    assert main(["--predict", *words, "--json"]) == 0
    said = capfd.readouterr()
    document = json.loads(said.out)
    assert document["run"] == run.id and document["errors"] == [] and said.err == ""
    for index, answer in zip(chosen, document["videos"], strict=True):
        own = scores[index]
        assert [clip["probability"] for clip in answer["clips"]] == own.max(1).tolist(), "bit for bit"
        assert [document["classes"].index(clip["class"]) for clip in answer["clips"]] == own.argmax(1).tolist()
        mean = own.astype(np.float64).mean(0)
        best = np.argsort(-mean, kind="stable")
        assert [document["classes"].index(said["class"]) for said in answer["top"]] == best.tolist()
        assert np.allclose([said["probability"] for said in answer["top"]], mean[best], atol=1e-6)
        assert answer["frames"] == 24 and 0 < answer["clips"][0]["seconds"] < 24 / answer["fps"]
        assert Path(answer["picture"]).is_file()
    assert not list((tmp_path / "predictions").glob(".*")), "the frames are gone"


def test_what_is_wrong_with_a_file_does_not_stop_the_others(runs, checkpoint, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = videos_of(runs["early_fusion"], checkpoint.parent)[0][0]
    Path("läuft 跳").mkdir()
    Path("other").mkdir()
    names = ["läuft 跳/grüße.mp4", "other/grüße.mp4"]
    for name in names:
        shutil.copy(source, name)
    Path("text.mp4").write_text("no video")
    files = ["gone.mp4", names[0], "text.mp4", "other", names[1]]
    assert predict(checkpoint, [*files, "results=out"]) == 1
    said = capfd.readouterr()
    errors = said.err.splitlines()
    assert [line.split(":")[1].strip() for line in errors] == ["gone.mp4", "text.mp4", "other"]
    assert "no such file" in errors[0] and "cannot be decoded" in errors[1] and "is a folder" in errors[2]
    assert all(f"{name}: " in said.out for name in names) and str(tmp_path) not in said.out
    pictures = sorted(os.listdir("out/predictions"))
    assert len(pictures) == 2 and all(re.fullmatch(r"grüße-\w{8}\.png", name) for name in pictures)
    assert predict(checkpoint, [names[1], "results=out"]) == 0
    assert sorted(os.listdir("out/predictions")) == pictures, "its own picture is replaced"
    with Image.open(f"out/predictions/{pictures[0]}") as picture:
        assert picture.width >= 600


def test_a_video_shorter_than_a_clip_with_a_name_as_long_as_can_be(checkpoint, tmp_path, capsys):
    video = tmp_path / f"{'ü' * 125}.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 36, "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((36, 48, 3), np.uint8))))
        container.mux(stream.encode())
    assert main(["--predict", str(checkpoint), str(video), f"results={tmp_path}/out"]) == 0
    said = capsys.readouterr().out
    assert "over time, 1 of 1 clips:\n     0.10 s" in said
    (name,) = os.listdir(tmp_path / "out" / "predictions")
    assert name.startswith(f"{'ü' * 100}-")


def test_a_video_whose_rate_varies_is_answered_by_its_frames_own_times(checkpoint, tmp_path, capfd):
    """24 frames at 5 per second, then 24 at 25: 8 per second on average."""
    times = [*range(0, 4800, 200), *range(4800, 5760, 40)]
    write_clip(tmp_path / "slow_then_fast.mp4", 48, "libx264", times=times)
    words = [str(checkpoint), str(tmp_path / "slow_then_fast.mp4"), "sampling.test_clips=3", f"results={tmp_path}"]
    assert main(["--predict", *words, "--json"]) == 0
    (answer,) = json.loads(capfd.readouterr().out)["videos"]
    assert [clip["seconds"] for clip in answer["clips"]] == [1.5, 4.7, 5.42], "of frames 7.5, 23.5 and 39.5"
    assert answer["seconds"] == pytest.approx(5.72) and "48 frames, 5.7 s" in _text(answer)


def test_names_of_files_are_taken_as_they_are(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["--predict", str(checkpoint)]) == 1
    assert "no video is given" in capsys.readouterr().err
    missing = ["./a=b #1.mp4", "/none/x=y.mp4", "~/c d.mp4"]
    assert predict(checkpoint, [*missing, f"results={tmp_path}/with #1 = sign"]) == 1
    shown = [*missing[:2], f"{tmp_path}/c d.mp4"]
    assert capsys.readouterr().err.splitlines() == [f"error: {name}: no such file" for name in shown]
    assert (tmp_path / "with #1 = sign" / "predictions").is_dir()
