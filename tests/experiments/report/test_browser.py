"""The page in a real browser: Debian's Chromium, which is asked through Playwright."""

import os
import shutil

import pytest

from experiments.report.update import update
from tests.experiments.report.small_results import HOSTILE, make_results, time_tests
from tests.factories import record_of, save_record

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IMAGE = "<img src=x onerror=alert(1)>"  # as the name of a network


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        assert "VIDFUSION_BROWSER" not in os.environ, "apt-get install chromium: the tests of the page need it here"
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    make_results(results, dataset="sports1m", sweep="")  # with published numbers
    records = make_results(results / "b", ["single_frame", IMAGE, "c3d"], 1, HOSTILE, dataset="x" * 60, size=HOSTILE[0])
    for number, record in enumerate(records):
        shutil.copytree(results / "b" / "runs" / record.id, results / "runs" / f"b{number}")
        record.id = f"b{number}"
        save_record(results, record)
    time_tests(results, records)
    save_record(results, record_of("c3d", dataset="plain", command="word" * 60))
    return update(results).paths[-1]


@pytest.fixture
def page(browser, path):
    """The page, of which nothing may be said or asked for until it is closed."""
    page = browser.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert said == [] and asked == [path.as_uri()]


def column(table, number):
    return table.locator(f"tbody tr > :nth-child({number})").all_inner_texts()


@pytest.mark.slow
def test_every_chart_has_marks_and_nothing_overflows_on_any_screen(page):
    charts = page.locator("svg.chart, svg.bar, svg.matrix")
    marks = charts.evaluate_all("all => all.map(one => one.querySelectorAll('circle, rect, polyline').length)")
    assert len(marks) > 30 and min(marks) > 0
    assert page.locator("svg.chart polyline.mean").count() == 3 * 6 and page.locator("svg.matrix .right").count() > 6
    assert page.locator("svg [id]").count() == page.locator("symbol").count(), "no id is there twice"
    for width, scheme in ((390, "light"), (1440, "dark")):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 900})  # of A4
    assert page.evaluate("document.documentElement.scrollWidth") <= 720


@pytest.mark.slow
def test_tables_sort_by_keyboard(page):
    table = page.locator("table.sortable").first
    head = table.locator("thead th", has_text="Video Hit@1").first
    for order in ("descending", "ascending"):
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == order
        values = [float(text.split()[0]) for text in column(table, 2)]
        assert values == sorted(values, reverse=order == "descending") and len(values) == 4
    table.get_by_role("button").first.press("Enter")
    assert column(table, 1) == sorted(column(table, 1)) and head.get_attribute("aria-sort") == "none"


@pytest.mark.slow
def test_a_choice_of_rows_shows_their_answers_and_names_stay_text(page):
    place = page.locator(".answers").last
    place.get_by_label("Row").first.select_option(IMAGE)
    matrix = place.locator("svg.matrix")
    assert IMAGE in matrix.get_attribute("aria-label") and place.locator("img").count() == 0
    assert HOSTILE[0] in place.locator("[data-part=gains]").inner_text()
    shares = [float(text) for text in place.locator("[data-part=pairs] td:last-child").all_inner_texts()]
    assert shares and all(0 < share < 100 for share in shares)
    place.get_by_label("Row").last.select_option("c3d")
    place.get_by_label("against", exact=True).select_option("c3d")
    assert set(place.locator("[data-part=gains] td:nth-child(3)").all_inner_texts()) == {"0.0"}
    assert place.locator("[data-part=gains] thead").inner_text().count("c3d") == 2
