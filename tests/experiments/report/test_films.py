"""Films of test videos on a page: which are chosen, what they show, and what a record from elsewhere cannot do."""

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import av
import numpy as np
import pytest

from datamodules.datasets.rendering import render
from datamodules.datasets.scenes import make_scene
from experiments import ROOT
from experiments.report.encode import LARGEST, film
from experiments.report.films import film_sections, films_html
from tests.factories import record_of, save_record, softmax

CLASSES = ("MotionLeft", "MotionRight", "AppearanceDisc", "AppearanceBar")
FAMILIES = {"motion": list(CLASSES[:2]), "appearance": list(CLASSES[2:])}
VIDEOS = [f"{name}/v_{name}_g0{group}_c01.mp4" for name in CLASSES for group in (1, 2)]
GENERATED = {"dataset": "moving_shapes", "data": {"data_seed": 0, "size": 64, "frames": 96, "fps": 25}}


def save(results, strategy, answers, config=GENERATED, classes=CLASSES, families=FAMILIES, videos=VIDEOS):
    """A run whose network answers `answers` (videos, clips), class indices; every class has two videos."""
    record = record_of(strategy, classes=classes, config=config)
    record = replace(record, data=replace(record.data, families=families))
    folder = save_record(results, record)
    videos_, clips = np.shape(answers)
    scores = softmax(5.0 * np.eye(len(classes))[np.ravel(answers)])[:, None].astype(np.float32)
    np.savez(
        folder / "scores.npz", rows=np.array([strategy]), videos=np.array(videos), clusters=np.array(videos),
        video=np.repeat(np.arange(videos_), clips), clip=np.tile(np.arange(clips), videos_),
        center=np.tile(np.linspace(0.5, 3.3, clips, dtype=np.float32), videos_),
        target=np.repeat(np.eye(len(classes), dtype=bool).repeat(2, 0), clips, 0), scores=scores,
    )  # fmt: skip
    return record


TRUE = np.arange(4).repeat(2)[:, None].repeat(3, 1)


@pytest.fixture
def records(tmp_path):
    """Three runs, all right but for some videos, on which one, two or all are wrong."""
    found = []
    for number, strategy in enumerate(("single_frame", "slow_fusion", "c3d")):
        answers = TRUE.copy()
        answers[0] = (answers[0] + 1) % 4  # none is right
        if number == 0:
            answers[3], answers[5, 1] = 2, 0  # one of three is wrong; of the other video, one clip
        if number < 2:
            answers[6] = 0
        found.append(save(tmp_path, strategy, answers))
    return found


def test_one_video_of_each_family_is_shown_on_which_networks_disagree(records, tmp_path):
    (section,) = film_sections(tmp_path, records)
    assert [(film.family, film.path) for film in section.films] == [("motion", VIDEOS[3]), ("appearance", VIDEOS[6])]
    first = section.films[0]
    assert (first.truth, first.seconds) == ("MotionRight", 96 / 25)
    assert [(line.name, line.answer, line.right) for line in first.lines] == [
        ("single_frame", "AppearanceDisc", False), ("slow_fusion", "MotionRight", True), ("c3d", "MotionRight", True),
    ]  # fmt: skip
    assert film_sections(tmp_path, records[::-1])[0].films == section.films, "the order of records changes nothing"


def test_a_strip_shows_the_answers_over_time(tmp_path):
    wrong = TRUE.copy()
    wrong[:, 2] = (wrong[:, 2] + 1) % 4
    records = [save(tmp_path, "c3d", wrong), save(tmp_path, "slow_fusion", TRUE[:, :1])]
    lines = {line.name: line for line in film_sections(tmp_path, records)[0].films[1].lines}
    first, second = lines["c3d"].pieces
    assert first.right and not second.right and (first.answer, second.answer) in [CLASSES[2:], (CLASSES[3], CLASSES[0])]
    assert first.start == 0 and second.start == pytest.approx(100 * (1.9 + 3.3) / 2 / 3.84, abs=0.01)
    assert second.start + second.width == pytest.approx(100, abs=0.02) and first.width == second.start
    (whole,) = lines["slow_fusion"].pieces
    assert (whole.start, whole.width, whole.right) == (0, 100, True)


class Tags(HTMLParser):
    """The tags of a page: (name, attributes)."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, name):
        return [attributes for tag, attributes in self.found if tag == name]


def decoded(source):
    kind, _, content = source.partition(";base64,")
    assert kind == "data:video/mp4"
    content = base64.b64decode(content)
    with av.open(io.BytesIO(content)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        return content, np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_page_has_the_film_of_a_generated_video_without_its_file(records, tmp_path):
    videos = Tags(films_html(tmp_path, records)).of("video")
    assert len(videos) == 2 and all({"muted", "loop", "controls"} <= set(video) for video in videos)
    content, frames = decoded(videos[0]["src"])
    expected = render(make_scene(0, "motion", "MotionRight", 2, 1)).repeat(2, 1).repeat(2, 2)
    assert len(content) < LARGEST and frames.shape == expected.shape == (96, 128, 128, 3)
    assert np.abs(frames.astype(int) - expected).mean() < 8 < np.abs(frames[::-1].astype(int) - expected).mean()


def test_a_film_of_noise_still_fits():
    assert len(film(np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8), 10)) < LARGEST


def test_nothing_of_other_data_is_shown_and_links_stay_in_their_folder(tmp_path):
    results, root = tmp_path / "results", tmp_path / "my #videos"
    for path in ("a/there.mp4", "../outside.mp4"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).resolve().write_text("private")
    (root / "linked.mp4").symlink_to(tmp_path / "outside.mp4")
    names = ["a/there.mp4", "../outside.mp4", f"{tmp_path}/outside.mp4", "linked.mp4", "a/gone.mp4", "a\0b", "..", "x"]
    config = {"dataset": "folder", "data": {"root": str(root)}}
    links = set()
    for shift in range(len(names)):  # each is the video of a family once
        videos = names[shift:] + names[:shift]
        wrong = np.where(np.arange(8)[:, None] == 0, 1, TRUE)
        records = [
            save(results, name, answers, config, videos=videos)
            for name, answers in (("c3d", wrong), ("slow_fusion", TRUE))
        ]
        page = films_html(results, records)
        assert "<article>" in page and "base64" not in page
        links |= {link["href"] for link in Tags(page).of("a")}
    assert {os.path.normpath(results / unquote(link)) for link in links} == {str(root / "a" / "there.mp4")}
    assert all("#" not in link for link in links)


@pytest.mark.parametrize(
    "data", [None, [], {"data_seed": "0"}, *({**GENERATED["data"], **bad} for bad in ({"size": 10**6}, {"fps": 0}))]
)
def test_settings_that_no_generated_video_has_show_none(tmp_path, data):
    config = {"dataset": "moving_shapes", "data": data}
    records = [save(tmp_path, name, TRUE, config) for name in ("c3d", "slow_fusion")]
    page = films_html(tmp_path, records)
    assert page.count("<article>") == 2 and not Tags(page).of("video")


def test_names_are_never_markup(tmp_path):
    bad = '"><script>alert(1)</script>'
    classes = tuple(f"{name}{bad}" for name in CLASSES)
    families = {f"f{bad}": list(classes)}
    videos = [f"{bad}{number}.mp4" for number in range(8)]
    records = [save(tmp_path, name, TRUE, GENERATED, classes, families, videos) for name in ("c3d", "slow_fusion")]
    records = [replace(record, dataset=bad, given=[f"data.x={bad}"]) for record in records]
    page = films_html(tmp_path, records)
    tags = Tags(page)
    assert not tags.of("script") and "alert" in page
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)


def test_scores_that_are_not_whole_are_left_out(records, tmp_path):
    (tmp_path / "runs" / records[0].id / "scores.npz").write_bytes(b"no scores")
    names = [line.name for line in film_sections(tmp_path, records)[0].films[0].lines]
    assert names == ["slow_fusion", "c3d"]
    (tmp_path / "runs" / records[1].id / "scores.npz").unlink()
    assert films_html(tmp_path, records) == ""


def test_films_of_where_a_network_looks_are_shown_where_the_data_may_be(records, tmp_path):
    (tmp_path / "private.mp4").write_bytes(b"private")
    for record in records[:2]:
        path = tmp_path / "runs" / record.id / "look-a b.mp4"
        path.write_bytes(film(np.zeros((4, 32, 32, 3), np.uint8), 10))
    (tmp_path / "runs" / records[2].id / "look-private.mp4").symlink_to(tmp_path / "private.mp4")
    (section,) = film_sections(tmp_path, records)
    assert [name for name, _ in section.looks] == ["single_frame, look-a b", "slow_fusion, look-a b"]
    assert all(len(decoded(picture.source)[1]) == 4 for _, picture in section.looks)
    others = [replace(record, config={"dataset": "ucf101", "data": {"root": "."}}) for record in records]
    (section,) = film_sections(tmp_path, others)
    assert [picture.link for _, picture in section.looks] == [
        f"runs/{record.id}/look-a%20b.mp4" for record in records[:2]
    ]
    assert not any(picture.source for _, picture in section.looks)
    for number in range(5):
        shutil.copy(path, path.with_name(f"look-{number}.mp4"))
    assert films_html(tmp_path, records).count("<figure>") == 1 + 4, "no run has the page to itself"


def test_films_are_made_without_torch():
    code = "import sys; import experiments.report.films; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_template_leaves_nothing_unescaped():
    assert not re.search(r"\|\s*safe|autoescape", (ROOT / "experiments/report/templates/films.html").read_text())
