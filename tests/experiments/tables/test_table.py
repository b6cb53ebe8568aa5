"""Sections made of records; expected numbers are worked out here, not by the code under test."""

from dataclasses import replace

import pytest

from experiments.records.record import Code, Protocol, Videos
from experiments.tables.ensembles import read_ensembles
from experiments.tables.published import read_published
from experiments.tables.rows import ORDER
from experiments.tables.table import tables
from experiments.tables.update import update
from experiments.tables.wording import DASH
from tests.factories import record_of, save_record

PUBLISHED = read_published()


def ours(*records):
    return [section for section in tables(list(records), PUBLISHED) if section.csv]


def column(section, name):
    """Cells of a column by row label."""
    index = section.columns.index(name)
    return {row[0]: row[index] for row in section.rows}


def test_rows_stand_in_the_fixed_order_after_chance():
    streams = ("two_stream", "two_stream_spatial", "two_stream_temporal")  # one record may hold several rows
    names = dict.fromkeys(["zeta", "cnn_lstm", "alpha", *reversed(ORDER)])
    (section,) = ours(
        *(record_of(name) for name in names if name not in streams), record_of("two_stream", rows=streams)
    )
    assert [row[0] for row in section.rows] == ["chance", *ORDER, "alpha", "zeta"]
    assert not any("Difference" in column for column in section.columns), "nothing was compared"
    for name, of in read_ensembles().items():
        assert {name, *of.members} <= set(ORDER)
    assert all(len(row) == len(section.columns) for row in section.rows)


def test_chance_row():
    (section,) = ours(record_of())
    row = dict(zip(section.columns, section.rows[0], strict=True))
    assert (row["Video Hit@1"], row["Class accuracy"], row["Video Hit@1, legs"]) == ("16.7", "16.7", "33.3")
    assert section.csv[0]["test/video_hit5"] == pytest.approx(5 / 6)
    (section,) = ours(record_of(chance={"legs": 0.5}))
    assert column(section, "Video Hit@1, legs")["chance"] == "50.0"


def test_seeds_give_mean_and_sample_deviation():
    (section,) = ours(*(record_of(hit1=hit, seed=seed) for seed, hit in enumerate((0.40, 0.50, 0.66))))
    # mean .52; squared distances .0144 + .0004 + .0196 = .0344; /2 = .0172; root .13115
    assert column(section, "Video Hit@1")["slow_fusion"] == "52.0 ± 13.1"
    assert column(section, "Seeds")["slow_fusion"] == "3"
    assert section.csv[1]["test/video_hit1_sd"] == pytest.approx(0.131149, abs=1e-6)


def test_splits_are_averaged_before_seeds():
    hits = {(0, 1): 0.2, (0, 2): 0.4, (1, 1): 0.6, (1, 2): 0.6}
    (section,) = ours(*(record_of(hit1=hit, seed=seed, split=split) for (seed, split), hit in hits.items()))
    # seeds .3 and .6: mean .45, deviation .15 * sqrt(2) = .2121
    assert column(section, "Video Hit@1")["slow_fusion"] == "45.0 ± 21.2"
    assert section.title.startswith("shapes, splits 1, 2,")


def test_an_incomplete_split_set_is_labelled_and_not_averaged_in():
    (section,) = ours(record_of(hit1=0.2), record_of(hit1=0.4, split=2), record_of(hit1=0.9, seed=1))
    hits = column(section, "Video Hit@1")
    # Of equally large blocks the one with more seeds, which a later split does not change.
    assert hits["slow_fusion (split 1 only)"].startswith("55.0 ±") and hits["slow_fusion (split 2 only)"] == "40.0"


def test_unlike_runs_of_one_point_stay_apart():
    (section,) = ours(record_of(id="one"), record_of(id="two"), record_of(id="three", seed=1))
    assert {row[0] for row in section.rows[1:]} == {f"slow_fusion, {number} of 3" for number in (1, 2, 3)}


def test_other_clips_pretraining_and_code_are_rows_of_their_own():
    odd = ({"clip": "lecture"}, {"pretrained": "imagenet", "id": "p"}, {"code": "bbbb", "seed": 1})
    (section,) = ours(record_of(), *(record_of(**change) for change in odd))
    labels = {f"slow_fusion ({mark}, code c0de)" for mark in ("clip=lecture", "pretrained=imagenet")}
    labels |= {"slow_fusion (code c0de)", "slow_fusion (code bbbb)"}
    assert {row[0] for row in section.rows[1:]} == labels
    assert column(section, "Clip")["slow_fusion (clip=lecture, code c0de)"] == "lecture, 10 frames"


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "kth"},
        {"recipe": "modern"},
        {"size": "published"},
        {"protocol": Protocol("even", "10crop", "10 clips x 10 views")},
        {"classes": ("a", "other")},
        {"fingerprint": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_not_comparable_is_another_section(change):
    sections = ours(record_of(), record_of("c3d", **change))
    assert sorted(section.rows[1][0] for section in sections) == ["c3d", "slow_fusion"]


def test_undecodable_videos_bring_scored_only_columns():
    (section,) = ours(record_of())
    assert not any("scored only" in name for name in section.columns)
    records = [record_of(videos=Videos(100, 93, 7, 2, 11)) for _ in range(2)]
    for record in records:
        record.data.notes = ["500 of 1000 listed videos are gone"]
    (section,) = ours(*records[:1], replace(records[1], seed=1))
    assert section.facts.count("Of the data: 500 of 1000 listed videos are gone.") == 1
    assert column(section, "Video Hit@1, scored only")["slow_fusion"] == "60.0 ± 0.0"
    assert "100 expected, 93 scored, 7 undecodable, 2 truncated; 11 padded clips" in " ".join(section.facts)


def test_costs_are_readable():
    (section,) = ours(record_of())
    row = dict(zip(section.columns, section.rows[1], strict=True))
    assert (row["Parameters"], row["Multiply-adds per clip"]) == ("123,456", "1.23 M")
    assert (row["Multiply-adds of training"], row["Frames per video"]) == ("123 G", "100")
    assert (row["Flow (s)"], row["Training (s)"], row["Training Clip Hit@1"]) == ("0", "40.1", "90.0")


def test_published_column_only_in_sections_of_its_own_data_set_and_for_the_published_clip():
    name = "Published Video Hit@1 [protocol]"
    shapes, ucf = ours(record_of(), record_of(dataset="ucf101"))
    assert name not in shapes.columns
    assert column(ucf, name) == {"chance": DASH, "slow_fusion": "41.3 [1], 65.4 [2], 56.4 [3]"}
    assert "pretraining: none" in ucf.notes[0] and "pretraining: Sports-1M" in ucf.notes[1]
    (section,) = ours(record_of(dataset="sports1m"), record_of(dataset="sports1m", clip="lecture"))
    assert column(section, name) == {"chance": DASH, "slow_fusion": "60.9 [1]", "slow_fusion (clip=lecture)": DASH}


def test_files_are_written_whole_and_the_same_every_time(tmp_path, monkeypatch):
    save_record(tmp_path, record_of("c3d"))
    save_record(tmp_path, record_of())
    updated = update(tmp_path)
    assert [path.name for path in updated.paths] == ["table.md", "table.csv", "table.html", "table.tex"]
    before = [path.read_bytes() for path in updated.paths]
    assert update(tmp_path).sections == updated.sections
    save_record(tmp_path, record_of("alpha"))
    monkeypatch.setattr("datamodules.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        update(tmp_path)
    assert [path.read_bytes() for path in updated.paths] == before
    assert {path.name for path in tmp_path.iterdir()} == {"runs", *(path.name for path in updated.paths)}


def test_no_records_give_a_message_not_a_crash(tmp_path):
    markdown, table, page, _ = update(tmp_path / "new").paths
    assert "No finished run yet" in markdown.read_text() and "No finished run yet" in page.read_text()
    assert table.read_text().count("\n") == 1 and "strategy=single_frame" in markdown.read_text()


# -- what runs are made of ---------------------------------------------------------------------------------------------


def test_a_mean_over_several_versions_of_a_package_is_marked():
    old = Code("c0de", "abc", {"torch": "2.13.0", "numpy": "1.0"})
    (section,) = ours(record_of(), record_of(seed=1, id="other"), record_of("c3d"))
    assert [row[0] for row in section.rows[1:]] == ["slow_fusion", "c3d"] and "Versions" not in " ".join(section.facts)
    records = [record_of(), record_of(seed=1, id="other"), record_of("c3d")]
    records[1].code = old
    (section,) = ours(*records)
    assert [row[0] for row in section.rows[1:]] == ["slow_fusion (torch 2.13.0 and 2.14.1)", "c3d"]
    assert "Versions differ between runs: torch 2.13.0 and 2.14.1." in section.facts
    records = [record_of(), record_of(seed=1, id="other")]
    for record, version in zip(records, ("PyAV 14", "PyAV 15"), strict=True):
        record.data.built_with = [version]
    assert ours(*records)[0].rows[1][0] == "slow_fusion (frames by PyAV 14 and PyAV 15)"


def test_drifting_and_damaged_videos_are_facts_where_there_are_any():
    (section,) = ours(record_of())
    assert not {"videos/drifting", "videos/damaged"} & section.csv[1].keys()
    (section,) = ours(record_of(videos=Videos(100, 100, 0, 0, 0, damaged=2, drifting=3, drift=0.8123)))
    text = " ".join(section.facts)
    assert "2 are damaged in half of their frames or more" in text
    assert "3 have a frame rate that varies: times by frame number are off by up to 0.81 s" in text
    assert (section.csv[1]["videos/drifting"], section.csv[1]["videos/drift"]) == ("3", "0.8123")
