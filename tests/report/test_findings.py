"""The page of findings: what it holds, what it hides, and that keyboard, slider and filter really work in Chromium."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import Box, Failure, Finding, ModelIdentity, Radiograph, Result, Source
from cxrcad.interchange.boxes import Found
from cxrcad.report.findings import Pictures, write_findings_page
from cxrcad.report.html import Made
from tests.chromium import chromium, executable

SIDE = 128
THRESHOLD = 0.5
SCORES = {1: (0.9, 0.3), 3: (0.6,), 4: (0.2,), 6: (0.5, 0.45)}
"""The scores of the cases that have findings, by their number from 0; there are eight radiographs."""
NAMES = [f"case {number}.png" for number in range(7)] + ["</script><b>&.png"]


@dataclass(frozen=True)
class Skipped:
    path: str
    reason: str


def radiograph(path):
    rows, cols = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE
    return Radiograph((rows + cols) / 2, None, None, None, Source(path, "PNG", "0" * 64))


def result(number):
    spacing = None if number == 3 else (0.5, 0.5)
    findings = tuple(
        Finding(
            "nodule", score, Box(32, 64 + 8 * place, 64, 96), (48.2, 80.0), 9.0,
            diameter_mm=None if spacing is None else 12.34,
        )
        for place, score in enumerate(SCORES.get(number, ()))
    )  # fmt: skip
    path = f"/data/DOE^JOHN/{NAMES[number]}"
    note = f"{path} was inverted"
    return Result(path, "0" * 64, SIDE, SIDE, spacing, None, findings, (note,), uids={"SOPInstanceUID": "1.2.840.77"})


def found(**find):
    path, other = "/data/DOE^JOHN/cut.dcm", "/data/DOE^JOHN/ct.dcm"
    return Found(
        ModelIdentity("toy", "0" * 64, THRESHOLD, "CPUExecutionProvider"),
        [result(number) for number in range(8)],
        (Failure(path, f"{path}: pixel data ends; look into /data/DOE^JOHN/log.txt, in /data/DOE^JOHN"),),
        skipped=(Skipped(other, f"{other}: Modality CT"),),
        find={"min_score": 0.1, **find},
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("findings")
    pictures = Pictures()
    for one in found().results[:-1]:
        pictures.add(one.path, radiograph(one.path))
    write_findings_page(folder / "page.html", found(), Made("2026-01-02", "cxrcad detect --html page.html"), pictures)
    return folder / "page.html"


def data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def test_a_case_has_its_boxes_as_parts_of_the_image_its_sizes_and_its_notes(page):
    case = data(page)["cases"][1]
    assert case["name"] == "case 1.png"
    assert [(one["score"], one["mm"], one["box"]) for one in case["findings"]] == [
        (0.9, 12.3, [0.25, 0.5, 0.5, 0.75]),
        (0.3, 12.3, [0.25, 0.5625, 0.5, 0.75]),
    ]
    assert case["notes"] == ["case 1.png was inverted"]
    assert data(page)["cases"][3]["findings"][0]["mm"] is None


def test_its_pictures_are_small_and_show_the_radiograph(page):
    texts = re.findall(r'<script type="text/plain" id="picture-(\d+)">(.*?)</script>', page.read_text())
    assert [int(number) for number, _ in texts] == list(range(1, 9))
    assert texts[7][1] == ""  # none was kept, and there is no such file
    picture = Image.open(io.BytesIO(base64.b64decode(texts[0][1]))).convert("L")
    assert picture.format is None or picture.size == (512, 512)
    grey = np.asarray(picture, np.float32)
    assert grey[:64, :64].mean() < grey[-64:, -64:].mean() - 150
    assert len(texts[0][1]) < 16_000


def test_no_folder_and_no_identifier_is_shown_and_research_only_is(page):
    text = page.read_text()
    assert "DOE" not in text
    assert "1.2.840.77" not in text
    assert "Research only, not for diagnosis." in text
    assert "<b>&.png" not in text
    assert "cut.dcm: pixel data ends; look into log.txt, in its folder" in text


def test_nothing_is_fetched(page):
    text = page.read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"https?://", text)


def test_calibrated_scores_are_called_probabilities(page, tmp_path):
    write_findings_page(tmp_path / "page.html", found(calibrated=True), Made("2026-01-02", "cxrcad"), Pictures())
    assert data(tmp_path / "page.html")["score"] == "Calibrated probability"
    assert data(page)["score"] == "Score"


def test_a_file_that_is_there_is_read_again_unless_it_is_another_one_now(tmp_path):
    path = tmp_path / "scan.png"
    Image.fromarray((np.mgrid[:SIDE, :SIDE][0]).astype(np.uint8)).save(path)
    from cxrcad.imaging.read import read_radiograph

    sha256 = read_radiograph(path).source.sha256
    one = Result(str(path), sha256, SIDE, SIDE, None, None, ())
    assert Pictures().of(one)
    assert Pictures().of(Result(str(path), "1" * 64, SIDE, SIDE, None, None, ())) == ""


needs_chromium = pytest.mark.skipif(executable() is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(browser, page):
    browser.requests.clear()
    browser.errors.clear()
    browser.open(page, 1280, 900)
    yield browser
    assert browser.errors == []
    assert all(url.startswith(("file:", "data:")) for url in browser.requests)


def current(tab):
    return tab.script("document.querySelector('[aria-current]').id")


def listed(tab):
    return tab.script("[...document.querySelectorAll('#cases a')].map(link => Number(link.id.slice(5)))")


def boxes(tab, number):
    return tab.script(f"document.querySelectorAll('#case-{number} .box').length")


@needs_chromium
def test_the_keyboard_goes_through_the_cases(tab):
    assert current(tab) == "case-1"
    tab.key("ArrowRight")
    assert current(tab) == "case-2"
    assert tab.script("document.activeElement.id") == "case-2"
    assert tab.script("document.querySelector('#detail h2').textContent") == "2. case 1.png"
    assert tab.script("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    across = tab.script("columns()")
    assert 2 <= across < 8
    tab.key("ArrowDown")
    assert current(tab) == f"case-{2 + across}"
    tab.key("ArrowUp")
    tab.key("ArrowLeft")
    tab.key("ArrowLeft")  # before the first there is none
    assert current(tab) == "case-1"
    tab.key("End")
    assert current(tab) == "case-10"
    assert tab.script("location.hash") == "#case-10"
    assert "ct.dcm: Modality CT" in tab.script("document.querySelector('#detail').textContent")
    tab.key("Home")
    assert current(tab) == "case-1"


@needs_chromium
def test_only_one_case_is_a_stop_of_the_tab_key(tab):
    tab.key("ArrowRight")
    assert tab.script("document.querySelectorAll('#cases [tabindex=\"0\"]').length") == 1


@needs_chromium
def test_the_slider_moves_the_boxes_the_list_and_the_counts(tab):
    assert (boxes(tab, 2), tab.script("at('count-with').textContent")) == (1, "3")
    tab.script("slider.focus()")
    tab.key("Home")
    assert tab.script("slider.value") == "0.1"
    assert current(tab) == "case-1"  # the key is the slider's
    assert (boxes(tab, 2), tab.script("at('count-with').textContent")) == (2, "4")
    assert tab.script("document.querySelectorAll('#case-2 .below').length") == 1
    assert tab.script("slider.getAttribute('aria-valuetext')") == "Score from 0.10"
    tab.key("End")
    assert (boxes(tab, 2), tab.script("at('count-with').textContent")) == (0, "0")
    tab.click("#reset")
    assert (tab.script("at('cut-shown').textContent"), boxes(tab, 2)) == ("0.50", 1)
    tab.script("slider.focus()")
    tab.key("ArrowRight")
    assert tab.script("at('count-with').textContent") == "2"  # the finding of 0.5 is gone


@needs_chromium
def test_the_filter_lists_the_cases_of_a_kind_and_the_keys_keep_to_it(tab):
    tab.click("input[value=with] + span")
    assert listed(tab) == [2, 4, 7]
    assert current(tab) == "case-2"
    tab.script("document.activeElement.blur()")
    tab.key("ArrowRight")
    assert current(tab) == "case-4"
    tab.key("End")
    assert current(tab) == "case-7"
    tab.click("input[value=without] + span")
    assert listed(tab) == [1, 3, 5, 6, 8]
    tab.click("input[value=failed] + span")
    assert listed(tab) == [9]
    assert "pixel data ends" in tab.script("document.querySelector('#detail').textContent")
    tab.click("input[value=skipped] + span")
    assert listed(tab) == [10]
    tab.script("at('order').value = 'score'; at('order').dispatchEvent(new Event('change', {bubbles: true}))")
    tab.click("input[value=all] + span")
    assert listed(tab)[:4] == [2, 4, 7, 5]


@needs_chromium
def test_links_lead_from_case_to_case_and_the_list_tells_score_and_size(tab, page):
    tab.click("#case-2")
    cells = "[...document.querySelectorAll('#detail td')].map(cell => cell.textContent)"
    assert tab.script(cells) == ["nodule", "0.90", "12.3 mm", "48, 80"]
    assert "1 finding below 0.50" in tab.script("document.querySelector('#detail').textContent")
    tab.click("#detail a[rel=next]")
    tab.click("#detail a[rel=next]")
    assert current(tab) == "case-4"
    assert "spacing unknown" in tab.script(cells)
    tab.click("#detail a[rel=prev]")
    assert current(tab) == "case-3"
    assert tab.script("document.querySelector('#detail img').naturalWidth") == 512


@needs_chromium
def test_the_address_opens_a_case(browser, page):
    browser.go(f"{page.as_uri()}#case-7")
    assert current(browser) == "case-7"


@needs_chromium
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_the_window_and_follows_its_colours(browser, page, width, dark):
    browser.open(page, width, 860, dark)
    assert browser.script("document.documentElement.scrollWidth") <= width
    assert browser.script("scrollY") == 0
    assert browser.script("getComputedStyle(document.body).backgroundColor") == (
        "rgb(22, 24, 27)" if dark else "rgb(255, 255, 255)"
    )
    browser.script("slider.focus()")
    browser.key("End")
    browser.click("#reset")
    assert browser.script("at('cut-shown').textContent") == "0.50"
