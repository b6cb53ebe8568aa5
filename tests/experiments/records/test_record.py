"""Records are read as they were written, and a file that is none is named."""

import dataclasses
import json

import pytest

from experiments.records.files import read_record, read_records
from experiments.records.record import Record
from tests.factories import record_of, save_record


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = record_of(rows=["two_stream_spatial", "two_stream"], given=["training.steps=7"])
    read = Record.read(save_record(tmp_path, record) / "record.json")
    assert dataclasses.replace(read, digest="", file_digest="") == record
    assert read.plain() == record.plain() and read.digest and read.file_digest
    assert not {"ensemble", "test", "digest", "file_digest"} & record.plain().keys(), "what is None is left out"


def test_unknown_keys_are_ignored_and_integers_stay_integers(tmp_path):
    path = save_record(tmp_path, record_of()) / "record.json"
    before = Record.read(path)
    path.write_text(json.dumps(before.plain() | {"auxiliary_of_old": "none"}))
    read = Record.read(path)
    assert read.plain() == before.plain() and read.digest != before.digest
    assert (type(read.seed), type(read.split), type(read.rows[0].parameters)) == (int, int, int)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"{", "Expecting property name"),
        (b"\xff\xfe{}", "invalid start byte"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "format 'list'"),
        (b'{"format": 2}', "format 2"),
        (b'{"format": 1}', "id: Field required"),
    ],
    ids=str,
)
def test_a_foreign_file_is_named_and_the_others_are_read(tmp_path, text, found):
    good = record_of()
    save_record(tmp_path, good)
    path = tmp_path / "runs" / "odd" / "record.json"
    path.parent.mkdir()
    path.write_bytes(text)
    records, (problem,) = read_records(tmp_path)
    assert [record.id for record in records] == [good.id]
    assert str(path) in problem and found in problem and "run that point again" in problem and "\n" not in problem
    assert read_record(path.parent) is None


@pytest.mark.parametrize(("where", "number"), [("metrics", "NaN"), ("families", "-Infinity"), ("seconds", "1e999")])
def test_a_record_with_a_number_that_is_none_is_left_out(tmp_path, where, number):
    plain = record_of().plain()
    if where == "metrics":
        plain["rows"][0]["metrics"]["test/video_hit1"] = "odd"
    elif where == "families":
        plain["rows"][0]["families"]["legs"]["video_hit1"] = "odd"
    else:
        plain["seconds"]["train"] = "odd"
    path = tmp_path / "runs" / plain["id"] / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(plain).replace('"odd"', number))
    records, (problem,) = read_records(tmp_path)
    assert records == [] and "Input should be" in problem and where in problem


def test_a_copied_folder_does_not_count_twice(tmp_path):
    record = record_of()
    (tmp_path / "runs").mkdir()
    for name in (record.id, f"{record.id} (copy)"):
        (tmp_path / "runs" / name).mkdir()
        record.write(tmp_path / "runs" / name / "record.json")
    records, (problem,) = read_records(tmp_path)
    assert len(records) == 1 and "(copy)" in problem and "not of its folder" in problem


@pytest.mark.parametrize(
    ("where", "name"),
    [*(("id", name) for name in ("../../elsewhere", "/etc/x", "a/b", "a\0b", ".", "..", "")),
     *((where, "..") for where in ("strategy", "dataset", "row", "member"))],
)  # fmt: skip
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, name, where):
    plain = record_of().plain()
    if where == "row":
        plain["rows"][0]["name"] = name
    elif where == "member":
        of = {"name": "mine", "members": [[name, "c3d"], ["b", "c3d"]], "fuse": "mean", "cost": 1.0, "folds": {}}
        fused = {"of": of, "text": "", "level": "clip", "clips": {}, "code": "", "inputs": {}}
        plain |= {"kind": "ensemble", "ensemble": fused}
    else:
        plain[where] = name
    path = tmp_path / "runs" / "odd" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(plain))
    records, (problem,) = read_records(tmp_path)
    assert records == [] and "should match pattern" in problem


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"num_classes": 9}, "num_classes is 9, and it names 6 classes"), ({"kind": "test"}, "it has no part `test`")],
)
def test_a_record_that_contradicts_itself_is_refused(tmp_path, changes, said):
    path = save_record(tmp_path, record_of(**changes)) / "record.json"
    with pytest.raises(ValueError, match=f"is no record: .*{said}"):
        Record.read(path)
