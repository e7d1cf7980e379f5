"""The report of an evaluation: one page that holds every figure, and fetches nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cxrcad.core import EvaluationError
from cxrcad.evaluation.bootstrap import bootstrap, compare
from cxrcad.report.html import Made
from cxrcad.report.page import write_evaluation_report
from cxrcad.report.tables import SHOWN, figure_shown, interval_shown

MADE = Made("2020-03-31", "cxrcad evaluate --run runs/ours", "9.9")


def report(results_by_name, folder, resamples=0):
    """The report of these folds, with their figures and the comparison of two runs."""
    runs = list(results_by_name.values())
    compared = compare(*runs, resamples, 0) if len(runs) == 2 else None
    figures = [bootstrap(results, resamples, 0) for results in runs]
    return write_evaluation_report(results_by_name, folder, resamples, 0, MADE, figures, compared)


class Reader(HTMLParser):
    """The page's tags, and the cells of its tables' rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.in_cell = tag in ("td", "th")

    def handle_endtag(self, tag):
        self.in_cell = False

    def handle_data(self, data):
        if self.in_cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def page(make_crafted, tmp_path_factory):
    crafted = make_crafted(tmp_path_factory.mktemp("images"))
    folder = tmp_path_factory.mktemp("report")
    path = report({"our run": [crafted.fold(1), crafted.fold(2)]}, folder, 50)
    return path, path.read_text()


def test_it_holds_each_figure_with_its_interval(crafted, page):
    rows = Reader(page[1]).rows
    found = bootstrap([crafted.fold(1), crafted.fold(2)], 50, 0)
    for name, one in found.items():
        if one.value is not None or name.startswith("sensitivity at"):
            bound = " (lower bound: the curve ends before 8)" if name == "CPM" else ""
            assert [SHOWN.get(name, name), figure_shown(name, one.value), interval_shown(name, one) + bound] in rows
    assert ["recall", "66.7 %", interval_shown("recall", found["recall"])] in rows
    assert ["sensitivity at 8", "not reached", ""] in rows
    assert not [row for row in rows if row and row[0] == "lung Dice"], "undefined"


def test_it_says_what_was_scored(page):
    rows = Reader(page[1]).rows
    assert [row for row in rows if len(row) == 1 and row[0] in ("fold", "1", "2")] == [["fold"], ["1"], ["2"]]
    chosen = "chosen from best F1 on the fold&#39;s validation cases; run by CPUExecutionProvider"
    said = f"images 4; nodules 3; model net; threshold 0.5; {chosen}; model&#39;s sha256 {'ab12' * 16}"
    assert f"In every fold: {said}." in page[1]
    for words in (
        "Data open-jsrt, protocol jsrt-247",
        "A hit is a finding whose centre lies in the nodule&#39;s disc",
        "A score ranks findings; it is not the probability",
        "MO-SegNet, multiple task, folds 1, 2: 8 images, 6 nodules",
    ):
        assert words in page[1]
    assert ["pooled", "57.1 %", "66.7 % [30.0, 90.3]", "50.0 %"] in rows
    assert "NOT A TEST" not in page[1]


def test_it_is_self_contained_and_every_picture_has_a_text(page):
    reader = Reader(page[1])
    assert not re.search(r"""(?:src|href)=["']?\s*(?:https?:)?//""", page[1])
    assert not re.search(r"@import|url\((?!#)", page[1])
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.tags}
    targets = {attributes["id"] for _, attributes in reader.tags if attributes.get("id")}
    for tag, attributes in reader.tags:
        for name in ("href", "xlink:href"):
            if name in attributes:
                assert attributes[name][1:] in targets, (tag, attributes)
    pictures = [attributes for tag, attributes in reader.tags if tag == "img"]
    charts = [attributes for tag, attributes in reader.tags if tag == "svg"]
    assert len(pictures) == 10
    assert len(charts) == 6
    assert all(attributes["alt"] for attributes in pictures)
    assert all(attributes["aria-label"] for attributes in charts)


def test_names_inside_its_charts_are_given_once(page):
    names = [attributes["id"] for _, attributes in Reader(page[1]).tags if attributes.get("id")]
    repeated = {name for name in names if names.count(name) > 1}
    assert not repeated


def test_charts_take_the_page_s_colours(page):
    assert not re.search("#(333333|dddddd|ffffff)", page[1], re.IGNORECASE)
    assert "prefers-color-scheme: dark" in page[1]


def test_pictures_lie_beside_it(page):
    folder = page[0].parent
    names = {"froc", "roc", "folds", "subtlety", "size", "reliability"}
    assert {path.name for path in (folder / "charts").iterdir()} == {
        f"{name}{end}" for name in names for end in (".png", ".svg", "-small.svg")
    }
    assert len(list((folder / "gallery").iterdir())) == 10


def test_the_same_folds_give_the_same_bytes_and_what_is_not_drawn_again_goes(crafted, page, tmp_path):
    folder = tmp_path / "out"
    path = report({"our run": [crafted.fold(1), crafted.fold(2)]}, folder, 50)
    assert path.read_text() == page[1]
    (folder / "charts" / "notes.png").write_bytes(b"kept")
    report({"our run": [crafted.fold(1)]}, folder, 50)
    assert not (folder / "charts" / "folds.png").exists()
    assert (folder / "charts" / "notes.png").exists()


def test_strata_of_which_nothing_is_known_vanish(crafted, tmp_path):
    rows = Reader(report({"run": [crafted.fold()]}, tmp_path / "a").read_text()).rows
    assert ["subtlety"] in rows
    assert ["1", "2", " 50.0 [9.5, 90.5]", "50.0"] in rows, "what every subgroup has is said once"
    same = "In every subgroup: at 1/2 100.0; at 1 -; at 2 -; at 4 -; images 4; false positives per image 0.50."
    assert f"<p>{same}</p>" in (tmp_path / "a" / "report.html").read_text()
    nodule = (replace(crafted.fold().scored[0].case.nodules[0], subtlety=None, location=None),)
    bare = crafted.result(crafted.scored("U", nodule, crafted.finding(0.9, 100, 100)))
    text = report({"run": [bare]}, tmp_path / "b").read_text()
    assert ">size</th>" in text
    assert ">subtlety</th>" not in text
    assert "unknown" not in re.sub(r"the spacing is unknown", "", text)
    assert not (tmp_path / "b" / "charts" / "subtlety.png").exists()
    assert not (tmp_path / "b" / "charts" / "roc.png").exists(), "no normal image"


def test_two_runs_are_compared_and_told_apart(crafted, tmp_path):
    model = replace(crafted.fold().context.model, threshold=0.65)
    seen = replace(crafted.fold(model=model), trained_on=("A3",))
    path = report({"first": [crafted.fold()], "second": [seen]}, tmp_path, 50)
    text = path.read_text()
    assert ["figure", "first", "second"] in Reader(text).rows
    assert "<h2>Comparison</h2>" in text
    assert ["precision", "50.0 %", "66.7 %", "-16.7"] in [row[:4] for row in Reader(text).rows]
    f1 = "<dt>F1 at the threshold</dt><dd><strong>57.1 %</strong>"
    assert f1 in text
    found = "At its threshold 2 of 3 nodules found, with 0.25 false positives per image."
    assert f'<p class="lead">second: {found}</p>' in text
    warning = "NOT A TEST: 1 of the scored images of second stand in the model's training list: A3"
    assert f'<p class="warning">{warning}</p>' in text
    assert (tmp_path / "charts" / "subtlety-2.svg").is_file()
    assert (tmp_path / "gallery-2" / "hit-01-A3.png").is_file()
    assert "<h3>second: Missed nodules, most obvious first</h3>" in text


def test_an_image_that_is_gone_is_named_in_the_page(crafted, tmp_path):
    fold = crafted.fold()
    (crafted.folder / "N3.png").unlink()
    text = report({"run": [fold]}, tmp_path / "a").read_text()
    assert "N3 is left out of the gallery: " in text
    assert "no resamples were asked for" in text


def test_folds_without_a_nodule_are_an_error(crafted, tmp_path):
    with pytest.raises(EvaluationError, match="none of the 1 images holds a nodule"):
        write_evaluation_report(
            {"run": [crafted.result(crafted.scored("N", ()))]}, tmp_path / "a", 0, 0, MADE, [{}], None
        )
    assert not (tmp_path / "a" / "report.html").exists()


def test_the_first_screen_is_the_verdict_and_the_gallery_begins_with_what_was_missed(page):
    header = page[1][: page[1].index("</header>")]
    assert "<h1>Evaluation of our run</h1>" in header
    assert "At its threshold 4 of 6 nodules found, with 0.50 false positives per image." in header
    assert "<p>Folds 1, 2: 8 images, 6 nodules.</p>" in header
    assert "<p>Data open-jsrt, protocol jsrt-247 (images with a nodule and normal images).</p>" in header
    names = re.findall(r"<dt>(.*?)</dt>", header)
    assert names == [
        "Sensitivity at 1/4 false positive per image",
        "Sensitivity at 1 false positive per image",
        "F1 at the threshold",
    ]
    assert header.count("<svg") == 1
    gallery = page[1][page[1].index("<h2>Gallery</h2>") :]
    assert re.findall(r"<h3>(.*?),", gallery) == ["Missed nodules", "False positives", "Found nodules"]
    assert "with <code>cxrcad evaluate --run runs/ours</code>" in page[1]
