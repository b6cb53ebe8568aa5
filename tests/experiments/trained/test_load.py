"""A trained network out of its checkpoint, whatever the file holds."""

import functools
import json
import re
import shutil
import zipfile

import pytest
import torch

from datamodules.datasets.folder import Folder
from datamodules.text import printable
from experiments.run import main
from experiments.settings.compose import compose
from experiments.settings.schema import WandbConfig
from experiments.trained.load import load_trained
from experiments.training.build import make_model
from tests.experiments.trained.small_runs import (
    CLASSES,
    SMALL,
    checkpoint_of,
    videos_of,
)


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
    for words in (["--test", str(path)], *([option, str(path), "a.mp4"] for option in ("--predict", "--look"))):
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
