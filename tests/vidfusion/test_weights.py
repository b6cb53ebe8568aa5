"""Weights of other files: of the public ports, and our own."""

import os
import re
import zipfile

import pytest
import torch
from omegaconf import OmegaConf

from tests.vidfusion.weight_files import (
    CLASSES,
    INPUTS,
    KEYS,
    NARROW,
    PUBLISHED,
    build,
    equal,
    every_port,
    functional_c3d,
    port_state,
    refused,
    saved,
    weights_of,
)
from vidfusion.nets.c3d import NETS
from vidfusion.weights import load_weights


@pytest.fixture
def narrow(monkeypatch):
    """C3D at `size=small` is NARROW."""
    monkeypatch.setitem(NETS, "small", NARROW)


# -- the ports -------------------------------------------------------------------------------------------------------


@every_port
def test_published_files_fit_the_published_network(port, tmp_path, monkeypatch):
    monkeypatch.setattr("vidfusion.weights.unfounded", lambda state: "")  # here, shapes without numbers do
    classes = {"c3d-pytorch": 487, "mmaction2": 101}.get(port)
    with torch.device("meta"):
        model = build(classes=classes or 101, size="published", **INPUTS[port])
        state = {}
        for name, shape in zip(KEYS[port], PUBLISHED + [(classes, 4096)] * bool(classes), strict=True):
            state |= {f"{name}.weight": torch.empty(shape), f"{name}.bias": torch.empty(shape[0])}
    report = load_weights(model, saved(tmp_path, state))
    assert (report.layout, report.loaded, len(report.new_head)) == (port, len(state), 0 if classes else 2)
    assert report.loaded + len(report.new_head) == len(model.state_dict())


@pytest.mark.parametrize(
    ("port", "pool5", "windows"),
    [
        ("c3d-pytorch", "padded", {"padding": (0, 1, 1)}),
        ("c3d-pytorch", "ceil", {"ceil_mode": True}),  # Caffe's own windows suit Caffe's weights
        ("mmaction2", "padded", {"padding": (0, 1, 1)}),
    ],
)
def test_output_is_that_of_the_ports_own_network(port, pool5, windows, narrow, tmp_path):
    state = port_state(port)
    model = build(**(INPUTS[port] | {"pool5": pool5}))
    content = {"meta": {"epoch": 45}, "state_dict": state} if port == "mmaction2" else state
    old_format = {"_use_new_zipfile_serialization": port == "mmaction2"}  # False: PyTorch's before 1.6, of older files
    report = load_weights(model, saved(tmp_path, content, **old_format))
    assert (report.layout, report.loaded, report.new_head, report.other_streams) == (port, 22, [], [])
    clips = torch.randn(2, 3, 16, 48, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        found = model.eval().double()(clips)
    torch.testing.assert_close(found, functional_c3d(state, port, clips, windows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("port", ["c3d-pytorch", "mmaction2"])
def test_pixels_reach_the_weights_as_in_training(port, narrow, tmp_path):
    state = port_state(port)
    model = build(**INPUTS[port]).eval()
    load_weights(model, saved(tmp_path, state))
    rgb = torch.randint(0, 256, (2, 3, 16, 48, 48), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    red, green, blue = rgb.double().unbind(1)
    if port == "c3d-pytorch":
        clips = torch.stack([blue - 90.25, green - 97.66, red - 101.41], 1)
    else:
        clips = torch.stack([red - 104, green - 117, blue - 128], 1)
    with torch.no_grad():
        found = model.double()(model.inputs({"rgb": rgb.permute(0, 2, 3, 4, 1)})["rgb"].double())
    expected = functional_c3d(state, port, clips, {"padding": (0, 1, 1)})
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_port_of_other_classes_brings_no_head(narrow, tmp_path):
    model = build(classes=6, **INPUTS["mmaction2"])
    before, state = weights_of(model), port_state("mmaction2", classes=CLASSES)
    report = load_weights(model, saved(tmp_path, state))
    *body, weight, bias = before
    assert report.new_head == [weight, bias] and report.loaded == len(body) == 20
    assert str(report) == f"mmaction2 layout, 20 tensors loaded; new head ({weight}, {bias})"
    after = weights_of(model)
    assert torch.equal(after[weight], before[weight]) and torch.equal(after[bias], before[bias])
    assert all(torch.equal(after[name], tensor) for name, tensor in zip(body, list(state.values())[:20], strict=True))


@every_port
def test_another_input_is_refused_with_the_words_that_set_it(port, narrow, tmp_path):
    other_order = {"rgb": "bgr", "bgr": "rgb"}[INPUTS[port]["channel_order"]]
    config = {"pool5": "floor", "std": [2.0] * 3, "channel_order": other_order}
    path = saved(tmp_path, port_state(port))
    words = re.search(r"(model\.(?:pool5|channel_order|mean|std)=\S+ ?)+$", refused(build(**config), path))[0].split()
    given = OmegaConf.to_container(OmegaConf.from_dotlist(words))["model"]
    found = {name: [float(x) for x in value] if isinstance(value, list) else value for name, value in given.items()}
    assert found == INPUTS[port]
    load_weights(build(**given), path)


def test_another_network_is_told_what_the_port_is(narrow, tmp_path):
    message = refused(build("slow_fusion"), saved(tmp_path, port_state("mmaction2")))
    assert "(mmaction2 layout) does not fit SlowFusion" in message and "wrongly shaped" in message
    assert message.endswith(
        "these are weights of strategy=c3d model.size=published model.pool5=padded model.mean=[104,117,128] "
        "model.std=[1,1,1]"
    )


# -- our own files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["late_fusion", "cnn_lstm", "two_stream", "two_stream_multi_task"])
def test_every_network_takes_its_own_weights(preset, tmp_path):
    saver, reader = build(preset, size="tiny"), build(preset, size="tiny", seed=1)
    path, expected = saved(tmp_path, saver.state_dict()), weights_of(saver)
    report = load_weights(reader, path)
    assert equal(weights_of(reader), expected)
    assert (report.layout, report.loaded, report.new_head) == ("vidfusion", len(expected), [])

    wider = build(preset, classes=CLASSES + 1, size="tiny", seed=1)
    before = weights_of(wider)
    report = load_weights(wider, path)
    heads = [name for name, tensor in before.items() if tensor.shape != expected[name].shape]
    assert report.new_head == heads and len(heads) == 2 * max(len(wider.streams), 1)
    assert equal(weights_of(wider), expected | {name: before[name] for name in heads})


@pytest.mark.parametrize(("known", "new"), [("abcde", False), (None, False), ("edcba", True), ("abcdx", True)], ids=str)
def test_a_runs_checkpoint_keeps_its_head_for_the_same_classes_only(known, new, tmp_path):
    saver, reader = build("single_frame"), build("single_frame", seed=1)
    content = {"state_dict": saver.state_dict(), "vidfusion": {"provenance": {"classes": list("abcde")}}}
    before, reader.provenance = weights_of(reader), {"classes": list(known)} if known else {}
    report = load_weights(reader, saved(tmp_path, content))
    assert report.new_head == (list(before)[-2:] if new else [])
    assert report.loaded == len(before) - 2 * new
    assert equal(weights_of(reader), saver.state_dict() | {name: before[name] for name in report.new_head})


@pytest.mark.parametrize("stream", ["spatial", "temporal"])
def test_one_streams_file_leaves_the_other_stream_alone(stream, tmp_path):
    saver, reader = build("two_stream"), build("two_stream", seed=1)
    state = {name: tensor for name, tensor in saver.state_dict().items() if name.startswith(f"{stream}.")}
    before = weights_of(reader)
    report = load_weights(reader, saved(tmp_path, state))
    (other,) = {"spatial", "temporal"} - {stream}
    assert (report.loaded, report.new_head, report.other_streams) == (len(state), [], [other])
    assert str(report) == f"vidfusion layout, {len(state)} tensors loaded; {other} stream as initialised"
    assert equal(weights_of(reader), before | state)


# -- what is refused -------------------------------------------------------------------------------------------------


def test_mismatches_are_listed_under_both_names_with_both_shapes(narrow, tmp_path):
    state = port_state("c3d-pytorch")
    del state["conv3a.bias"]
    state["conv2.weight"] = torch.zeros(4, 3, 3, 3)
    state["conv6.weight"] = torch.zeros(2, 1)
    model = build(**INPUTS["c3d-pytorch"])
    ours = list(model.state_dict())
    message = refused(model, saved(tmp_path, state))
    assert "(c3d-pytorch layout) does not fit C3D" in message
    assert f"1 missing: conv3a.bias (our {ours[5]}) [5]; " in message
    assert "1 unexpected: conv6.weight [2, 1]; " in message
    assert f"1 wrongly shaped: conv2.weight (our {ours[2]}) [4, 3, 3, 3] instead of [4, 3, 3, 3, 3]; " in message


def test_long_lists_are_cut(tmp_path):
    model = build("single_frame")
    state = weights_of(model) | {f"more.{index}": torch.zeros(2) for index in range(13)}
    message = refused(model, saved(tmp_path, state))
    assert f"13 unexpected: {', '.join(f'more.{index} [2]' for index in range(10))} and 3 more; choose" in message
    assert "missing" not in message and "wrongly shaped" not in message


def test_keys_that_nobody_has_are_shown(tmp_path):
    message = refused(build("single_frame"), saved(tmp_path, {"encoder.weight": torch.zeros(2)}))
    assert "no known layout" in message and "1 found: encoder.weight;" in message
    assert "vidfusion (of a SingleFrame), c3d-pytorch, mmaction2" in message


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([torch.zeros(2)], "holds list,"),
        ({"state_dict": {}}, "holds no tensor,"),
        ({"state_dict": {"weight": 1.5}}, "'weight' in it is float,"),
    ],
)
def test_what_is_no_state_dict_is_refused(content, found, tmp_path):
    message = refused(build("single_frame"), saved(tmp_path, content))
    assert found in message and "expected a state dict" in message


class Attack:
    """What a pickle may carry: a call that is made while it is read."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_file_that_brings_code_is_refused_and_runs_nothing(tmp_path):
    path = saved(tmp_path, {"state_dict": {"weight": Attack(tmp_path / "attacked")}})
    message = refused(build("single_frame"), path)
    assert "weights_only=True" in message and "a pickle can run any code" in message and "mkdir" in message
    assert not (tmp_path / "attacked").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "attacked").exists(), "the file is one that would have done it"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"], ids=["empty", "cut off"])
def test_a_damaged_file_is_refused(content, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert "damaged" in refused(build("single_frame"), path)


@pytest.mark.parametrize("kind", ["bomb", "expanded", "sparse"])
def test_weights_larger_than_their_file_are_refused_before_memory_is_taken(kind, tmp_path):
    path = tmp_path / "weights.pth"
    if kind == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data/0", bytes(10**7))
    else:
        tensor = torch.zeros(1).expand(2**40) if kind == "expanded" else torch.sparse_coo_tensor(size=(2**20, 2**20))
        torch.save({"conv.weight": tensor}, path)
    expected = {"bomb": "declares 10,000,000 bytes", "expanded": "claims", "sparse": "no dense tensor"}[kind]
    assert expected in refused(build("single_frame"), path)


def test_a_path_without_a_file_is_named(tmp_path):
    assert "No such file" in refused(build("single_frame"), tmp_path / "nowhere.pth")
    assert "directory" in refused(build("single_frame"), tmp_path)


def test_a_runs_checkpoint_needs_the_input_that_it_was_trained_on(tmp_path):
    model = build(channel_order="bgr")
    provenance = {"config": {"model": {"channel_order": "bgr", "pool5": "ceil", "mean": None, "size": "tiny"}}}
    torch.save({"state_dict": model.state_dict(), "vidfusion": {"provenance": provenance}}, tmp_path / "last.ckpt")
    assert load_weights(build(channel_order="bgr", seed=1), tmp_path / "last.ckpt").layout == "vidfusion"
    with pytest.raises(ValueError, match=r"input that its weights were trained on: add model\.channel_order=bgr$"):
        load_weights(build(), tmp_path / "last.ckpt")
