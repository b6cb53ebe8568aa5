"""Tables from records made by hand; expected numbers are worked out here, not by the code under test."""

import csv
import json
import re
from html.parser import HTMLParser

import pytest

from experiments.records.files import read_records
from experiments.tables.published import read_published
from experiments.tables.render import COMMAND, Section, to_csv, to_html, to_latex, to_markdown
from experiments.tables.rows import ORDER
from experiments.tables.table import tables
from experiments.tables.wording import DASH
from experiments.tables.write import write_tables

PUBLISHED = read_published()


def make_row(name="slow_fusion", hit1=0.5, **metrics):
    values = {"clip_hit1": hit1 - 0.05, "video_hit1": hit1, "video_hit5": 0.8, "class_accuracy": hit1}
    values |= {"scored_video_hit1": hit1 + 0.1, "scored_video_hit5": 0.9}
    return {
        "name": name,
        "metrics": {f"test/{key}": value for key, value in values.items()} | {"train/clip_hit1": 0.9} | metrics,
        "families": {"motion": {"videos": 40, "video_hit1": hit1 + 0.2, "train_clip_hit1": 0.99}},
        "parameters": 123_456,
        "macs_per_clip": 1_234_567,
        "macs_training": 123_456_789_012,
        "frames_per_clip": 10,
        "frames_per_video": 100,
    }


def make_record(hit1=0.5, *, name="slow_fusion", code="aaaa1111", data="f1", classes=("a", "b"), **changes):
    record = {
        "format": 1,
        "strategy": name,
        "dataset": "moving_shapes",
        "split": 1,
        "seed": 0,
        "recipe": "quick",
        "settings": "1a2b3c4d",
        "size": "tiny",
        "clip": "native",
        "selection": "last checkpoint",
        "pretrained": "none",
        "num_classes": 16,
        "families": {"motion": 4},
        "protocol": {"test_clips": 10, "test_views": "center", "text": "10 clips x 1 view"},
        "videos": {"expected": 100, "scored": 100, "undecodable": 0, "truncated": 0, "padded_clips": 0},
        "rows": [make_row(name, hit1)],
        "seconds": {"train": 40.1, "test": 5.2, "flow": 0},
        "memory_mb": 900,
        "code": {"hash": code, "commit": "abc", "versions": {}},
        "data": {"fingerprint": data, "classes": list(classes)},
        "device": "cpu",
        "command": f"python experiments/run.py strategy={name}",
    } | changes
    identity = (
        f"{record['strategy']}-{record['dataset']}-s{record['seed']}-{record['split']}{record['clip']}{code}{data}"
    )
    return {"id": identity} | record


def ours(records):
    return [section for section in tables(records, PUBLISHED) if section.csv]


def column(section, name):
    """Cells of a column by row label."""
    index = section.columns.index(name)
    return {row[0]: row[index] for row in section.rows}


def save(results, record):
    folder = results / "runs" / record["id"]
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(record))


def test_rows_stand_in_the_fixed_order_after_chance():
    names = ["zeta", "cnn_lstm", "alpha", *reversed(ORDER)]
    (section,) = ours([make_record(name=name) for name in dict.fromkeys(names)])
    assert [row[0] for row in section.rows] == ["chance", *ORDER, "alpha", "zeta"]
    assert all(len(row) == len(section.columns) for row in section.rows)


def test_one_record_may_hold_several_rows():
    names = ("two_stream", "two_stream_spatial", "two_stream_temporal")
    (section,) = ours([make_record(name="two_stream", rows=[make_row(name) for name in names])])
    assert [row[0] for row in section.rows[1:]] == ["two_stream_spatial", "two_stream_temporal", "two_stream"]


def test_chance_row():
    (section,) = ours([make_record()])
    row = dict(zip(section.columns, section.rows[0], strict=True))
    assert (row["Video Hit@1"], row["Class accuracy"], row["Video Hit@1, motion"]) == ("6.2", "6.2", "25.0")
    assert section.csv[0]["test/video_hit5"] == pytest.approx(5 / 16)
    (section,) = ours([make_record(chance={"motion": 0.5})])
    assert column(section, "Video Hit@1, motion")["chance"] == "50.0"


def test_hit_at_k_of_at_least_all_classes_is_a_dash():
    rows = [make_row(**{"test/video_hit5": None})]
    (section,) = ours([make_record(num_classes=5, rows=rows)])
    assert set(column(section, "Video Hit@5").values()) == {DASH}
    line = list(csv.DictReader(to_csv([section]).splitlines()))[1]
    assert line["test/video_hit5"] == ""


def test_seeds_give_mean_and_sample_deviation():
    (section,) = ours([make_record(hit, seed=seed) for seed, hit in enumerate((0.40, 0.50, 0.66))])
    # mean .52; squared distances .0144 + .0004 + .0196 = .0344; /2 = .0172; root .13115
    assert column(section, "Video Hit@1")["slow_fusion"] == "52.0 ± 13.1"
    assert column(section, "Seeds")["slow_fusion"] == "3"
    assert section.csv[1]["test/video_hit1_sd"] == pytest.approx(0.131149, abs=1e-6)


def test_splits_are_averaged_before_seeds():
    hits = {(0, 1): 0.2, (0, 2): 0.4, (1, 1): 0.6, (1, 2): 0.6}
    (section,) = ours([make_record(hit, seed=s, split=k, data=f"f{k}") for (s, k), hit in hits.items()])
    # seeds .3 and .6: mean .45, deviation .15 * sqrt(2) = .2121
    assert column(section, "Video Hit@1") == {"chance": "6.2", "slow_fusion": "45.0 ± 21.2"}
    assert section.title.startswith("moving_shapes, splits 1, 2,")


def test_an_incomplete_split_set_is_labelled_and_not_averaged_in():
    records = [make_record(0.2, split=1), make_record(0.4, split=2, data="f2"), make_record(0.9, seed=1)]
    (section,) = ours(records)
    assert column(section, "Video Hit@1") == {
        "chance": "6.2",
        "slow_fusion": "30.0",
        "slow_fusion (split 1 only)": "90.0",
    }


def test_a_mean_never_mixes_code_versions():
    (section,) = ours([make_record(0.2, code="aaaa"), make_record(0.4, code="bbbb", seed=1)])
    hits = column(section, "Video Hit@1")
    assert (hits["slow_fusion (code aaaa)"], hits["slow_fusion (code bbbb)"]) == ("20.0", "40.0")


def test_unlike_runs_of_one_point_stay_apart():
    first, second = make_record(0.2, id="one"), make_record(0.4, id="two")
    (section,) = ours([first, second, make_record(0.9, id="three", seed=1)])
    expected = {"slow_fusion (run one)", "slow_fusion (run two)", "slow_fusion (run three)", "chance"}
    assert {row[0] for row in section.rows} == expected


def test_other_clips_and_pretraining_are_rows_of_their_own():
    records = [make_record(), make_record(clip="lecture"), make_record(pretrained="imagenet", id="p")]
    (section,) = ours(records)
    labels = ["slow_fusion", "slow_fusion (pretrained=imagenet)", "slow_fusion (clip=lecture)"]
    assert {row[0] for row in section.rows[1:]} == set(labels)
    assert column(section, "Clip")["slow_fusion (clip=lecture)"] == "lecture, 10 frames"


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "kth"},
        {"recipe": "modern"},
        {"size": "published"},
        {"num_classes": 17},
        {"protocol": {"test_clips": 10, "test_views": "10crop", "text": "10 clips x 10 views"}},
        {"classes": ("a", "other")},
        {"data": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_not_comparable_is_another_section(change):
    sections = ours([make_record(), make_record(name="c3d", **change)])
    assert sorted(section.rows[1][0] for section in sections) == ["c3d", "slow_fusion"]


def test_undecodable_videos_bring_scored_only_columns():
    (section,) = ours([make_record()])
    assert not any("scored only" in name for name in section.columns)
    videos = {"expected": 100, "scored": 93, "undecodable": 7, "truncated": 2, "padded_clips": 11}
    (section,) = ours([make_record(videos=videos)])
    assert column(section, "Video Hit@1")["slow_fusion"] == "50.0"
    assert column(section, "Video Hit@1, scored only")["slow_fusion"] == "60.0"
    text = " ".join(section.facts)
    assert "100 expected, 93 scored, 7 undecodable, 2 truncated; 11 padded clips" in text


def test_what_the_data_lack_stands_above_the_table_once():
    records = [make_record(), make_record(0.6, name="c3d")]
    for record in records:
        record["data"]["notes"] = ["500 of 1000 listed videos are gone"]
    (section,) = ours(records)
    assert section.facts.count("Of the data: 500 of 1000 listed videos are gone.") == 1


def test_costs_are_readable():
    (section,) = ours([make_record()])
    row = {name: cells["slow_fusion"] for name, cells in ((n, column(section, n)) for n in section.columns)}
    assert (row["Parameters"], row["Multiply-adds per clip"]) == ("123,456", "1.23 M")
    assert (row["Multiply-adds of training"], row["Frames per video"]) == ("123 G", "100")
    assert (row["Flow (s)"], row["Training (s)"], row["Training Clip Hit@1"]) == ("0", "40.1", "90.0")


def test_csv_holds_raw_numbers():
    record = make_record(0.5)
    (line,) = [line for line in csv.DictReader(to_csv(ours([record])).splitlines()) if line["strategy"] != "chance"]
    assert float(line["test/video_hit1"]) == 0.5
    assert float(line["motion/train_clip_hit1"]) == 0.99
    assert int(line["macs_training"]) == 123_456_789_012
    assert (line["protocol"], line["runs"]) == ("10 clips x 1 view", record["id"])


def test_published_column_only_in_sections_of_its_own_data_set():
    name = "Published Video Hit@1 [protocol]"
    shapes, ucf = ours([make_record(), make_record(dataset="ucf101", families={}, num_classes=101)])
    assert name not in shapes.columns
    cell = column(ucf, name)["slow_fusion"]
    assert [float(number) for number in re.findall(r"(\S+) \[", cell)] == [41.3, 65.4, 56.4]
    assert column(ucf, name)["chance"] == DASH
    assert "pretraining: none" in ucf.notes[0] and "pretraining: Sports-1M" in ucf.notes[1]
    (hmdb,) = ours([make_record(dataset="hmdb51")])
    assert column(hmdb, name)["slow_fusion"] == DASH


def test_published_column_is_for_the_published_clip():
    (section,) = ours([make_record(dataset="sports1m"), make_record(dataset="sports1m", clip="lecture")])
    cells = column(section, "Published Video Hit@1 [protocol]")
    assert cells == {"chance": DASH, "slow_fusion": "60.9 [1]", "slow_fusion (clip=lecture)": DASH}


def test_literature_stands_below_in_tables_of_its_own():
    titles = [section.title for section in tables([make_record()], PUBLISHED)]
    assert titles[1:] == ["The literature's numbers on sports1m"]
    *_, sports, ucf = tables([make_record(dataset="ucf101")], PUBLISHED)
    assert column(sports, "Video Hit@5")["slow_fusion"] == "80.2"
    assert column(ucf, "Pretraining")["c3d_svm"] == "I380K"


def test_names_are_escaped():
    name = "<script>alert(1)</script>|x"
    sections = ours([make_record(name=name)])
    page = to_html(sections)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<script" not in to_markdown(sections)
    cells = {line.replace(r"\|", "").count("|") for line in to_markdown(sections).splitlines() if line.startswith("|")}
    assert cells == {len(sections[0].columns) + 1}


def test_html_is_well_formed_and_stands_alone():
    stack, seen = [], []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            seen.append(tag)
            assert not {"src", "href"} & dict(attributes).keys()
            if tag != "meta":
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Parser().feed(to_html(tables([make_record(), make_record(dataset="ucf101")], PUBLISHED)))
    assert stack == []
    assert seen.count("caption") == seen.count("table") == 4


def check_latex(text):
    """Raise AssertionError unless braces and environments close in order, every row has as many cells as its tabular
    has columns, and each special character stands for itself only where it is escaped."""
    lines = text.splitlines()
    assert lines[0].startswith("%") and not any(line.startswith("%") for line in lines[1:])
    body = "\n".join(lines[1:])
    bare = re.sub(r"\\([\\&%$#_{}])", "", body)  # what is escaped, and ends of lines
    assert not re.search(r"[%#_~^<>|\[\]*\"±—]", re.sub(r"\{[\[\]]\}|\$.*?\$", "", bare))
    assert bare.count("$") % 2 == 0
    depth = 0
    for character in bare:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    open_environments = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if what == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert open_environments == []
    for kinds, rows in re.findall(r"\\begin\{tabular\}\{(.*?)\}\n(.*?)\\end\{tabular\}", body, re.DOTALL):
        num_columns = len(re.sub(r"p\{.*?\}", "p", kinds + "}").rstrip("}"))
        rows = [row for row in rows.splitlines() if row != "\\hline"]
        assert rows and all(row.endswith(r" \\") for row in rows)
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {num_columns - 1}


def test_latex_is_well_formed():
    records = [make_record(seed=seed) for seed in (0, 1)] + [make_record(dataset="ucf101")]
    text = to_latex(tables(records, PUBLISHED))
    check_latex(text)
    assert text.count(r"\begin{tabular}") == 4
    assert r"slow\_fusion & 45.0 $\pm$ 0.0 & 50.0 $\pm$ 0.0 &" in text
    assert r"\caption{moving\_shapes, split 1, recipe quick, size tiny. Test: 10 clips x 1 view." in text
    check_latex(to_latex(tables([], PUBLISHED)))


def test_latex_escapes_what_it_would_read_as_something_else():
    odd = r"a_b {c} 50% $d #e ~f ^g \h <i> |j| [k] *"
    section = Section(odd, [odd, "from -1.5 to x-3"], ["Strategy", odd], [["c&d", odd], ["[3] *", "-2"]], [odd])
    text = to_latex([section])
    check_latex(text)
    assert r"c\&d & a\_b \{c\} 50\% \$d \#e \textasciitilde{}f \textasciicircum{}g \textbackslash{}h $<$i$>$" in text
    assert r"{[}3{]} $*$ & $-$2 \\" in text and "from $-$1.5 to x-3" in text


@pytest.mark.parametrize(
    "broken", [r"\begin{tabular}{l}" + "\n" + r"a & b \\" + "\n" + r"\end{tabular}", "a_b", "{", "5%", r"\begin{table}"]
)
def test_the_check_of_latex_sees_what_is_broken(broken):
    with pytest.raises(AssertionError):
        check_latex(f"% head\n{broken}")


def test_files_are_written_whole_and_the_same_every_time(tmp_path):
    for record in (make_record(0.3, name="c3d"), make_record(0.4)):
        save(tmp_path, record)
    paths = write_tables(tmp_path)
    assert [path.name for path in paths] == ["table.md", "table.csv", "table.html", "table.tex"]
    before = [path.read_bytes() for path in paths]
    write_tables(tmp_path)
    assert [path.read_bytes() for path in paths] == before
    assert {path.name for path in tmp_path.iterdir()} == {"runs", *(path.name for path in paths)}
    assert COMMAND in paths[0].read_text() and COMMAND in paths[2].read_text()


def test_a_failed_write_leaves_the_old_table(tmp_path, monkeypatch):
    save(tmp_path, make_record())
    paths = write_tables(tmp_path)
    before = paths[0].read_bytes()

    def refuse(*_):
        raise OSError("disk full")

    save(tmp_path, make_record(name="c3d"))
    monkeypatch.setattr("datamodules.files.os.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_tables(tmp_path)
    assert paths[0].read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"runs", *(path.name for path in paths)}


def test_no_records_give_a_message_not_a_crash(tmp_path):
    markdown, table, page, _ = write_tables(tmp_path / "new")
    assert "No finished run yet" in markdown.read_text() and "No finished run yet" in page.read_text()
    assert list(csv.DictReader(table.read_text().splitlines())) == []
    assert "strategy=single_frame" in markdown.read_text()


@pytest.mark.parametrize(
    ("text", "found"), [("{", "cannot be read"), ('{"format": 2}', "format 2"), ("[]", "'list'"), ("{}", "None")]
)
def test_a_foreign_record_is_named(tmp_path, text, found):
    path = tmp_path / "runs" / "odd" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ValueError, match="run that point again") as caught:
        read_records(tmp_path)
    message = str(caught.value)
    assert str(path) in message and found in message and "\n" not in message


def test_records_are_sorted_by_id(tmp_path):
    for name in ("c3d", "alpha"):
        save(tmp_path, make_record(name=name))
    assert [record["strategy"] for record in read_records(tmp_path)] == ["alpha", "c3d"]


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: f"{entry['dataset']}-{entry['system']}")
def test_every_published_entry_says_how_it_was_measured(entry):
    fields = {"system", "paper", "dataset", "split", "metrics", "protocol", "pretraining", "note"}
    assert entry.keys() == fields
    assert all(isinstance(entry[key], str) for key in fields - {"metrics"})
    assert all(entry[key] for key in fields - {"note"})
    assert entry["dataset"] in {"sports1m", "ucf101", "hmdb51"}
    assert entry["split"] in {"test", "1", "mean of 3", "not stated"}
    assert "video_hit1" in entry["metrics"]
    assert all(1 < value < 100 for value in entry["metrics"].values())


def test_published_numbers_of_sports1m():
    numbers = {
        e["system"]: e["metrics"] for e in PUBLISHED if e["paper"].startswith("Karpathy") and e["split"] == "test"
    }
    clip, video, five = "clip_hit1", "video_hit1", "video_hit5"
    assert numbers == {
        "feature_histograms": {video: 55.3},
        "single_frame": {clip: 41.1, video: 59.3, five: 77.7},
        "single_frame_multires": {clip: 42.4, video: 60.0, five: 78.5},
        "single_frame_fovea": {clip: 30.0, video: 49.9, five: 72.8},
        "single_frame_context": {clip: 38.1, video: 56.0, five: 77.2},
        "early_fusion": {clip: 38.9, video: 57.7, five: 76.8},
        "late_fusion": {clip: 40.7, video: 59.3, five: 78.7},
        "slow_fusion": {clip: 41.9, video: 60.9, five: 80.2},
        "cnn_average": {clip: 41.4, video: 63.9, five: 82.4},
    }


@pytest.mark.parametrize(
    ("system", "ucf101", "hmdb51"),
    [
        ("idt", 85.9, 57.2),
        ("idt_hybrid_encodings", 87.9, 61.1),
        ("idt_stacked_fisher_vectors", None, 66.8),
        ("hmax", None, 22.8),
        ("slow_fusion", 65.4, None),
        ("two_stream_spatial", 73.0, 40.5),
        ("two_stream_multi_task_temporal", 83.7, 54.6),
        ("two_stream_multi_task", 86.9, 58.0),
        ("two_stream_multi_task_svm", 88.0, 59.4),
        ("c3d_svm_3_nets_idt", 90.4, None),
        ("cnn_lstm", 68.2, None),
    ],
)
def test_published_means_of_three_splits(system, ucf101, hmdb51):
    for dataset, expected in (("ucf101", ucf101), ("hmdb51", hmdb51)):
        matches = [e for e in PUBLISHED if (e["system"], e["dataset"], e["split"]) == (system, dataset, "mean of 3")]
        found = {entry["metrics"]["video_hit1"] for entry in matches}
        assert expected in found if expected else not found


def test_no_published_number_appears_twice_under_one_protocol():
    seen = [(e["system"], e["dataset"], e["split"], e["pretraining"], e["note"]) for e in PUBLISHED]
    assert len(seen) == len(set(seen))
