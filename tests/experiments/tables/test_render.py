"""Sections as Markdown, CSV, HTML and LaTeX: well-formed whatever the names are."""

import csv
import re
from html.parser import HTMLParser

import pytest

from experiments.tables.published import read_published
from experiments.tables.render import Section, to_csv, to_html, to_latex, to_markdown
from experiments.tables.table import tables
from tests.factories import record_of

PUBLISHED = read_published()


def test_csv_holds_raw_numbers():
    record = record_of()
    sections = tables([record], PUBLISHED)
    chance, line = csv.DictReader(to_csv(sections).splitlines())
    assert (chance["strategy"], line["strategy"]) == ("chance", "slow_fusion")
    assert (float(line["test/video_hit1"]), float(line["legs/train_clip_hit1"])) == (0.5, 0.99)
    assert int(line["macs_training"]) == 123_456_789_012
    assert (line["protocol"], line["runs"]) == ("10 clips x 1 view", record.id)


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

    Parser().feed(to_html(tables([record_of(), record_of(dataset="ucf101")], PUBLISHED)))
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
    records = [record_of(seed=0), record_of(seed=1), record_of(dataset="ucf101")]
    text = to_latex(tables(records, PUBLISHED))
    check_latex(text)
    assert text.count(r"\begin{tabular}") == 4
    assert r"slow\_fusion & 45.0 $\pm$ 0.0 & 50.0 $\pm$ 0.0 &" in text
    assert r"\caption{shapes, split 1, recipe quick, size tiny. Test: 10 clips x 1 view." in text
    check_latex(to_latex(tables([], PUBLISHED)))


def test_latex_escapes_what_it_would_read_as_something_else():
    odd = r"a_b {c} 50% $d #e ~f ^g \h <i> |j| [k] *"
    section = Section(odd, [odd, "from -1.5 to x-3"], ["Strategy", odd], [["c&d", odd], ["[3] *", "-2"]], [odd])
    text = to_latex([section])
    check_latex(text)
    assert r"c\&d & a\_b \{c\} 50\% \$d \#e \textasciitilde{}f \textasciicircum{}g \textbackslash{}h $<$i$>$" in text
    assert r"{[}3{]} $*$ & $-$2 \\" in text and "from $-$1.5 to x-3" in text


MARKUP = [
    "<script>alert(1)</script>|x",
    "a|b\\|c",
    "`code`",
    "*bold* and **more**",
    "_slanted_ two_words",
    "~~gone~~",
    "[link](http://example.com)",
    "![picture](x.png)",
    "https://example.com www.example.com",
    "$x^2$",
    "&lt;b&gt; &#60;",
    "- item",
    "1. item",
    "# title\n- item\r\n| a | b |",
    "red \x1b[31m and \u202e turned \ud800",
]


@pytest.mark.parametrize("name", MARKUP)
def test_names_are_no_markup(name):
    record = record_of(name, classes=("a", "b"), families={name: 2}, clip=name, device=name, id="plain")
    record.rows[0].families = {name: record.rows[0].families["legs"]}
    record.data.notes = [name]
    sections = tables([record], [])
    text = to_markdown(sections)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4, "no name makes a line"
    cells = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}
    assert cells == {len(sections[0].columns) + 1}
    bare = re.sub(r"\\[\\`|$~*_(:.&]", "", text.rpartition("\n\nMade from")[0])
    assert not re.search(r"[`$<]|~~|\*\S|\S\*|\b_|_\b|\]\(|://|www\.|&#|&(?!lt;)\w+;|\x1b|\u202e|\ud800", bare)
    assert not re.search(r"^- (#|>|[-+] |\d\. )", text, re.M)
    page = to_html(sections)
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    check_latex(to_latex(sections))
    for written in (text, page, to_csv(sections), to_latex(sections)):
        written.encode()


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1+1", "\r\n=1", " =1"])
def test_a_spreadsheet_runs_no_cell(name):
    record = record_of(name, families={name: 6}, device=name, id="plain")
    record.rows[0].families = {name: record.rows[0].families["legs"]}
    lines = list(csv.reader(to_csv(tables([record], [])).splitlines()))
    texts = [cell for line in lines for cell in line if cell]
    assert not [cell for cell in texts if cell[0] in "=+-@\t\r" and not re.fullmatch(r"-?[0-9.e-]+", cell)]
    assert sum(cell.startswith("'") for cell in texts) >= 3
