"""Configuration: every shipped file loads, every mistake is answered, ids depend on what changes the numbers only."""

import json
import os
import re
import shlex
import shutil

import pytest
import torch

from datamodules.datasets import DATASETS
from experiments.records.command import command
from experiments.settings.compose import compose
from experiments.settings.presets import CONFIGS, names
from vidfusion.strategies import STRATEGIES, strategy_class

BASE = ["strategy=c3d"]


@pytest.mark.parametrize("strategy", names("strategy"))
def test_every_strategy_preset_composes_and_builds(strategy):
    """As published on its own clip, and small on the lecture's."""
    for recipe, clip, size in (("published", "native", "published"), ("quick", "lecture", "tiny")):
        run = compose([f"strategy={strategy}", "dataset=ucf101", f"recipe={recipe}", f"clip={clip}"])
        with torch.device("meta"):
            model = run.strategy_class(run.model, run.clip_shape(), 3, run.training)
        assert model.modalities == (("rgb", "flow") if run.sampling.flow_frames else ("rgb",))
        assert run.model.size == size
    own = "trajectory" in strategy or strategy == "tsn"  # whose clips need flow at neighbouring frames
    assert run.sampling.fps == (None if own else 5) and run.sampling.test_clips == 10


def test_every_data_set_has_a_preset():
    assert set(names("dataset")) == set(DATASETS)
    for name, kind in DATASETS.items():
        root = ["data.root=somewhere"] * (name == "folder")
        assert isinstance(compose([*BASE, f"dataset={name}", *root]).data, kind)


@pytest.mark.parametrize(
    ("strategy", "dataset", "expected"),
    [
        # specs: batch, steps, learning rate, views
        ("slow_fusion", "moving_shapes", (32, 15_625_000, 0.001, 20, "random", "4crop")),
        ("slow_fusion", "ucf101", (32, 40_000, 0.001, 50, "random", "4crop")),
        ("c3d", "moving_shapes", (30, 1_900_000, 0.003, 10, "random", "center")),
        ("c3d", "ucf101", (30, 5_072, 0.003, "all", "even", "center")),
        ("c3d_search", "ucf101", (30, 5_072, 0.003, "all", "even", "center")),
        ("two_stream", "hmdb51", (256, 80_000, 0.01, 25, "even", "10crop")),
        ("two_stream_trajectory", "hmdb51", (256, 80_000, 0.01, 25, "even", "10crop")),
        ("cnn_lstm", "ucf101", (24, 30_000, 0.001, "all", "even", "10crop")),
        ("snippets_lstm", "ucf101", (32, 30_000, 0.0003, 1, "even", "center")),
        ("snippets_pool", "ucf101", (32, 30_000, 0.00001, 1, "even", "center")),
    ],
)
def test_published_recipes_are_the_papers(strategy, dataset, expected):
    run = compose([f"strategy={strategy}", f"dataset={dataset}", "recipe=published"])
    training, clip = run.training, run.sampling
    found = (training.batch_size, training.steps, training.lr, clip.test_clips, clip.test_sampling, clip.test_views)
    assert found == expected
    assert (training.optimizer, training.momentum) == ("sgd", 0.9)
    assert training.init == ("torch" if strategy.startswith("snippets") else "paper")


def test_every_network_has_a_preset_and_no_two_are_the_same_on_the_lectures_clip():
    runs = [compose([f"strategy={strategy}", "clip=lecture"]) for strategy in names("strategy")]
    assert {run.strategy_class for run in runs} == set(map(strategy_class, STRATEGIES))
    settings = [repr((run.strategy_class, run.model, run.sampling)) for run in runs]
    assert len(set(settings)) == len(settings)


def test_a_second_data_set_comes_from_the_strategys_settings():
    assert len(compose(["strategy=two_stream", "dataset=ucf101"]).datasets()) == 1
    words = ["strategy=two_stream_multi_task", "dataset=ucf101"]
    run = compose([*words, "model.second_data.split=2", "data.encoding=jpeg", "data.stores=elsewhere"])
    main, second = run.datasets()
    assert isinstance(main, DATASETS["ucf101"]) and isinstance(second, DATASETS["hmdb51"])
    assert (second.split, second.root) == (2, "data/hmdb51")
    assert (second.encoding, second.stores, second.flow) == ("jpeg", "elsewhere", main.flow), "stored alike"
    assert compose(shlex.split(command(run))[2:]) == run
    moved = compose([*words, "model.second_data.root=elsewhere"])
    assert moved.datasets()[1].root == "elsewhere" and moved.id == compose(words).id != run.id
    for dataset, name in (("hmdb51", "ucf101"), ("moving_shapes", "moving_shapes")):
        other = compose(["strategy=two_stream_multi_task", f"dataset={dataset}"]).datasets()[1]
        assert isinstance(other, DATASETS[name])
    assert (other.data_seed, other.families) == (1, ["motion"])
    for word, message in (
        ("model.second_dataset=hmdb", r"model\.second_dataset=hmdb: no such data set\. Did you mean hmdb51"),
        ("model.second_dataset=folder", r"model\.second_data\.root is missing: folder"),
        ("model.second_data.splitt=2", r"model\.second_data, of hmdb51: Key 'splitt' not in"),
        ("model.second_data.split=0", r"^model\.second_data\.split=0: expected 1 or more$"),
        ("model.second_data.quality=101", r"^model\.second_data\.quality=101: expected 1 or more, below 101$"),
        ("model.second_data.validation=0.5", r"model\.second_data\.validation, .*all of it"),
    ):
        with pytest.raises(ValueError, match=message):
            compose([*words, word])


def test_weights_are_part_of_a_runs_identity_by_their_content(tmp_path):
    for name, content in (("one", b"1"), ("same", b"1"), ("other", b"2")):
        (tmp_path / name).write_bytes(content)
    ids = [compose([*BASE, f"model.weights={tmp_path}/{name}"]).id for name in ("one", "same", "other")]
    assert ids[0] == ids[1] != ids[2] and compose(BASE).id not in ids
    with pytest.raises(ValueError, match=r"model\.weights=/nowhere: cannot be read"):
        print(compose([*BASE, "model.weights=/nowhere"]).id)


def test_folders_of_one_name_and_other_videos_are_two_data_sets(monkeypatch):
    """And the same lists are one data set wherever the folder lies, whatever the manifest is called."""
    calls = []
    kind = DATASETS["folder"]
    monkeypatch.setattr(kind, "identity", lambda data: calls.append(data) or data.root.split("/")[1])
    words = [*BASE, "dataset=folder"]
    one, other = (compose([*words, f"data.root=/{disk}/weizmann"]) for disk in ("a", "b"))
    assert not calls, "videos are not looked for before an id is asked for"
    assert one.id.startswith("c3d-weizmann-s0-") and other.id.startswith("c3d-weizmann-s0-")
    assert one.id != other.id and one.settings_hash != other.settings_hash and len(calls) == 2
    same = compose([*words, "data.root=/a/moved/weizmann", "data.manifest=mine.csv"])
    assert same.id == one.id


def test_a_preset_of_ones_own_is_checked(monkeypatch, tmp_path):
    shutil.copytree(CONFIGS, tmp_path / "configs")
    monkeypatch.setattr("experiments.settings.presets.CONFIGS", tmp_path / "configs")
    path = tmp_path / "configs" / "recipe" / "mine.yaml"
    for text, message in (
        ("model: {weights: '${oc.env:HOME}'}", "expected the values themselves"),
        ("- model", "expected settings by node"),
        ("model: {size: tiny", "cannot be read"),
        ("model: {size: tiny}\nmodel: {size: small}", "cannot be read"),
        ("model: {sise: tiny}", "'sise' not in"),
        ("model: {size: huge}", "'huge'"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            compose([*BASE, "recipe=mine"])
        assert "mine.yaml" in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "configs/dataset/mine.yaml").write_text("data: {root: here}\n")
    with pytest.raises(ValueError, match=r"^configs/dataset/mine.yaml: no such data set. Known: moving_shapes, "):
        compose([*BASE, "dataset=mine"])


@pytest.mark.parametrize(
    "word",
    [
        "training.lr=-1", "training.lr=1000", "training.lr=nan", "training.lr=inf",
        "training.steps=0", "training.milestones=[-5]",
        "trainer.threads=0", "data.validation=1.5", "data.split=0", "data.max_store=nan", "data.fps=0",
        "data.quality=101", "seed=-1", "seed=4294967296", "sampling.crop=0", "sampling.resize=[]", "model.std=[0]",
    ],
)  # fmt: skip
def test_a_senseless_number_is_refused_in_one_line(word):
    key = word.partition("=")[0]
    with pytest.raises(ValueError, match=f"^{re.escape(key)}=.*: expected ") as caught:
        compose([*BASE, word])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["/x/my data #1", "007", "null", " a ", "it's", 'a "b"', "a\\b", "$HOME `id` !x", "{a: b}", "été 視頻", "a\tb",
     "~root", "a;b|c&d>e", "--force"],
)  # fmt: skip
def test_a_command_round_trips_whatever_its_words_hold(text):
    """Through a shell's words and a record's JSON."""
    words = [f"sweep={text}", f"results={text}", f"data.root={text}", f"wandb.project={text}", f"data.lists={text}"]
    run = compose([*BASE, *words, "training.lr=1e-3", "data.families=['motion', 'order']", "sampling.fps=null"])
    assert run.sweep == run.wandb.project == text
    assert run.results == run.data.root == os.path.expanduser(text)
    again = compose(shlex.split(command(run))[2:])
    assert again == run and again.id == run.id
    assert compose([*BASE, *json.loads(json.dumps(run.overrides))]) == run


def test_later_sources_win():
    assert compose(["strategy=late_fusion"]).sampling.stride == 15
    lecture = compose(["strategy=late_fusion", "clip=lecture"]).sampling
    assert (lecture.frames, lecture.fps) == (16, 5)
    assert compose(["strategy=two_stream", "clip=lecture"]).sampling.flow_frames == 16
    assert compose(["strategy=late_fusion", "clip=lecture", "sampling.frames=4"]).sampling.frames == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["strategy=slow_fushion"], "strategy=slow_fushion: no such preset. Did you mean slow_fusion"),
        ([], "strategy= is missing"),
        (["strategy=c3d", "dataset=ucf"], "dataset=ucf: no such preset. Did you mean ucf101"),
        (["strategy=c3d", "modle.size=tiny"], "Did you mean model"),
        (["strategy=c3d", "training.lrr=1"], "Did you mean training.lr"),
        (["strategy=c3d", "data.flow.method=brox"], "expected one of ['dis', 'farneback', 'tvl1', 'tvl1_torch']"),
        (["strategy=c3d", "model.size=huge"], "expected one of ['tiny', 'small', 'published']"),
        (["strategy=c3d", "dataset=folder"], "data.root is missing"),
        (["strategy=c3d", "training.select=best"], "set data.validation"),
        (["strategy=c3d", "trainer.devices=3"], "expected a multiple of trainer.devices=3"),
    ],
)
def test_mistakes_get_one_line(words, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        compose(words)
    assert "\n" not in str(caught.value)


def test_places_do_not_change_the_id_and_all_else_does():
    base = compose(BASE).id
    for word in (
        "results=elsewhere", "data.root=elsewhere", "data.stores=elsewhere", "data.max_store=3", "trainer.workers=2",
        "trainer.test_batch_size=7", "trainer.accelerator=cpu", "wandb.mode=disabled", "wandb.project=mine",
        "sweep=fusion", "training.select=last",
    ):  # fmt: skip
        assert compose([*BASE, word]).id == base, word
    for word in (
        "training.steps=7", "training.lr=0.1", "sampling.frames=17", "sampling.test_clips=all", "data.split=2",
        "data.validation=0.5", "data.data_seed=1", "data.flow.bound=9", "data.clips.order=3", "model.size=small",
        "model.dropout=0.3", "trainer.precision=bf16-mixed", "trainer.devices=2", "clip=lecture",
        "data.undecodable=skip",
    ):  # fmt: skip
        assert compose([*BASE, word]).id != base, word


def test_seed_and_data_set_stand_in_the_id_and_not_in_the_settings_hash():
    first, second = compose([*BASE, "seed=0"]), compose([*BASE, "seed=1", "data.split=2"])
    assert first.id.startswith("c3d-moving_shapes-s0-") and second.id.startswith("c3d-moving_shapes-s1-")
    assert first.settings_hash == second.settings_hash
