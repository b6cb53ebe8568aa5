"""The page: what stands in it, and that names and files from elsewhere cannot make it do anything."""

import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from experiments.records.record import Ensemble, NetworkTest
from experiments.report.costs import costs
from experiments.report.times import times
from experiments.report.update import update
from experiments.tables.rows import make_rows
from tests.experiments.report.small_results import HOSTILE, make_results, time_tests
from tests.factories import record_of, save_record


class Page(HTMLParser):
    """What a page holds: tags, the texts of scripts, and all text that is shown."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.scripts, self.attributes, self.text, self.open = [], [], [], "", []
        self.source = path.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes += attributes
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.open.remove(tag)

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1] += data
        else:
            self.text += data

    @property
    def lines(self):
        return " ".join(self.text.split())


def page_of(results):
    return Page(update(results).paths[-1])


def test_names_are_text_whatever_they_are(tmp_path):
    tag = "<img src=x onerror=alert(1)>"
    names = dict(zip(("recipe", "clip", "device", "sweep", "size", "selection"), HOSTILE, strict=True))
    records = make_results(tmp_path, ["single_frame", tag], 1, HOSTILE, dataset=tag, **names)
    save_record(tmp_path, record_of("c3d", command=HOSTILE[0], given=HOSTILE, dataset="other", id="odd"))
    time_tests(tmp_path, records)
    page = page_of(tmp_path)
    assert not {"img", "iframe", "object", "embed", "link", "base", "form"} & set(page.tags)
    assert not [name for name, value in page.attributes if name.startswith("on") or name in ("src", "xlink:href")]
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")
    *data, script = page.scripts
    assert [json.loads(of)["classes"][0] for of in data] == [HOSTILE[0]] and "onerror" not in script
    assert all(name in page.text for name in (tag, HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[4]))
    assert not re.search("[\x1b\u202e]", page.source)


def test_the_policy_lets_the_page_ask_for_nothing_and_run_its_own_script_only(tmp_path):
    make_results(tmp_path)
    page = page_of(tmp_path)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page.source)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert rules.pop("script-src") == f"'sha256-{digest}'"
    assert rules.pop("style-src") == "'unsafe-inline'"
    assert rules == dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'") | dict.fromkeys(
        ("img-src", "media-src"), "data:"
    )
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page.source)


def test_what_is_not_there_is_said_with_its_command(tmp_path):
    record = record_of("c3d", sweep="fusion", given=["data.size=32"], split=2)
    save_record(tmp_path, record)
    save_record(tmp_path, record_of("c3d", sweep="fusion", given=["data.size=32"], split=1))
    page = page_of(tmp_path)
    assert page.lines.count(record.command) == 2, "for curves and for scores"
    command = "python experiments/run.py --sweep fusion --time reversed,shuffled,frozen data.size=32 data.split=1,2"
    assert f"{command} results={tmp_path}" in page.lines
    assert "chance" in page.text and len(page.scripts) == 1


def test_rows_that_the_charts_of_costs_leave_out_are_named(tmp_path):
    for name, split in (("c3d", 1), ("slow_fusion", 1), ("late_fusion", 2)):
        save_record(tmp_path, record_of(name, sweep="fusion", split=split))
    assert "Left out, because they were tested on other splits: late_fusion (split 2 only)." in page_of(tmp_path).text


def test_no_records_give_a_page_that_says_so(tmp_path):
    assert "No finished run yet" in page_of(tmp_path).text


def test_the_page_is_made_again_only_where_something_has_changed(tmp_path, monkeypatch):
    records = make_results(tmp_path)
    before = page_of(tmp_path)
    monkeypatch.setattr("experiments.report.page.page", lambda *_: "new")
    assert page_of(tmp_path).source == before.source
    curves = next((tmp_path / "runs" / records[0].id).rglob("metrics.csv"))
    curves.write_text(curves.read_text() + "5,59,0.9,0.1,0.9\n")
    assert page_of(tmp_path).source == "new"


def test_odd_records_stop_no_page(tmp_path):
    numbers = {"parameters": 10**30, "macs_per_clip": 0, "families": {}, "metrics": {"test/video_hit1": None}}
    records = [record_of(name, families={}) for name in ("huge", "zero", "none", "chance")]
    for record, (key, value) in zip(records, numbers.items(), strict=True):
        setattr(record.rows[0], key, value)
    records[0].seconds = {}
    odd = record_of("odd", kind="test", test=NetworkTest("run", "last.ckpt", {"sampling.test_time": ["frozen"]}))
    for record in (*records, odd):
        save_record(tmp_path, record)
    assert all(name in page_of(tmp_path).text for name in ("huge", "zero", "none", "odd"))


def test_films_stand_in_the_page_where_there_are_some(tmp_path, monkeypatch):
    assert 'id="films"' not in page_of(tmp_path / "none").source
    seen = []
    films = "experiments.report.films.films_html"
    monkeypatch.setattr(films, lambda *of: seen.append(of) or "<video></video>")
    record = record_of("c3d")
    save_record(tmp_path, record)
    assert "video" in page_of(tmp_path).tags
    assert [(folder, [of.id for of in records]) for folder, records in seen] == [(tmp_path, [record.id])]


def test_classes_that_gain_and_lose_stand_in_for_families(tmp_path):
    make_results(tmp_path, seeds=1, families={})
    page = page_of(tmp_path)
    assert "Gains most" in page.text and "within each family" not in page.text


def test_published_numbers_stand_beside_ours_where_the_data_set_is_theirs(tmp_path):
    make_results(tmp_path, ["single_frame", "c3d"], 1, dataset="sports1m")
    text = page_of(tmp_path).lines
    assert "59.3 [1]" in text and "Karpathy et al., CVPR 2014, single_frame" in text


def test_only_whole_rows_of_the_same_networks_tell_what_is_left_without_time(tmp_path):
    records = make_results(tmp_path, ["c3d", "slow_fusion"])
    rows = {row.name: row for row in make_rows(records)}
    time_tests(tmp_path, records[:3], hits=0.25)  # one seed of slow fusion lacks them
    tables = update(tmp_path)
    (line,) = times(rows, tables.records)
    assert (line.label, line.others) == ("c3d", dict.fromkeys(("reversed", "shuffled", "frozen"), 25.0))
    assert "25.0 (" in Page(tables.paths[-1]).text
    assert "played reversed" not in Page(tables.paths[-1]).text, "they are no sections of their own"
    other = copy.deepcopy(tables.records)
    for record in other:
        if record.test:
            record.test.made_of = ["other code"]
    assert times(rows, other) == []


def test_multiply_adds_of_a_video_are_summed_over_members_with_clips_of_their_own():
    one, two = record_of("c3d"), record_of("slow_fusion")
    two.rows[0].clips_per_video = 1.0
    both = record_of("cnn_average", id="both")
    both.rows[0].clips_per_video = None
    both.ensemble = SimpleNamespace(of=Ensemble("cnn_average", [(one.id, "c3d"), (two.id, "slow_fusion")]))
    records = [one, two, both]
    rows = {row.name: row for row in make_rows(records)}
    found = costs(rows, {record.id: record for record in records})
    place = found.titles.index("Multiply-adds per video")
    values = {label: cells[place][1] for label, cells in found.rows}
    assert values == {"c3d": 12_345_670, "slow_fusion": 1_234_567, "cnn_average": 13_580_237}
    del records[1]
    found = costs(rows, {record.id: record for record in records})
    assert dict(found.rows)["cnn_average"][place] == ("—", None)


@pytest.mark.parametrize("hits", [[0.5, 0.6, 0.6], [1.0, 1.0, 1.0]])
def test_a_point_is_filled_where_none_is_better_at_its_cost(hits):
    records = [record_of(name, hit) for name, hit in zip(("a", "b", "c"), hits, strict=True)]
    for number, record in enumerate(records):
        record.rows[0].parameters = 10**number
    rows = {row.name: row for row in make_rows(records)}
    chart = costs(rows, {}).charts[1]
    best = {point.label for point in chart.points if point.best}
    assert best == ({"a", "b"} if hits[0] < 1 else {"a"})
    assert all(0 < point.across < 340 and 0 < point.down < 230 for point in chart.points)
