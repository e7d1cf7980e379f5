"""The report of an evaluation: one page that holds every figure, and fetches nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cxrcad.core import EvaluationError
from cxrcad.evaluation.bootstrap import bootstrap
from cxrcad.report.page import write_evaluation_report
from cxrcad.report.tables import figure_shown, interval_shown


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
    path = write_evaluation_report({"our run": [crafted.fold(1), crafted.fold(2)]}, folder, 50, 0)
    return path, path.read_text()


def test_it_holds_each_figure_with_its_interval(crafted, page):
    rows = Reader(page[1]).rows
    found = bootstrap([crafted.fold(1), crafted.fold(2)], 50, 0)
    for name, one in found.items():
        if one.value is not None or name.startswith("sensitivity at"):
            assert [name, figure_shown(name, one.value), interval_shown(name, one)] in rows
    assert ["recall", "66.7 %", interval_shown("recall", found["recall"])] in rows
    assert ["sensitivity at 8", "not reached", ""] in rows
    assert not [row for row in rows if row and row[0] == "lung Dice"], "undefined"


def test_it_says_what_was_scored(page):
    rows = Reader(page[1]).rows
    chosen, run_by, sha256 = "best F1 on the fold's validation cases", "CPUExecutionProvider", "ab12" * 16
    for fold in ("1", "2"):
        assert [fold, "4", "3", "net", "0.5", chosen, run_by, sha256] in rows
    for words in (
        "Data open-jsrt, protocol jsrt-247",
        "A hit is a finding whose centre lies in the nodule&#x27;s disc",
        "Folds 1, 2: 8 images, 6 nodules.",
        "A score ranks findings; it is not the probability",
        "Multiple  MO-SegNet    pooled           57.1 %          66.7 % [30.0, 90.3]    50.0 %",
        "Drawn behind the curve: none.",
    ):
        assert words in page[1]
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
    assert {path.name for path in (folder / "charts").iterdir()} == {f"{n}.{e}" for n in names for e in ("png", "svg")}
    assert len(list((folder / "gallery").iterdir())) == 10


def test_the_same_folds_give_the_same_bytes_and_what_is_not_drawn_again_goes(crafted, page, tmp_path):
    folder = tmp_path / "out"
    path = write_evaluation_report({"our run": [crafted.fold(1), crafted.fold(2)]}, folder, 50, 0)
    assert path.read_text() == page[1]
    (folder / "charts" / "notes.png").write_bytes(b"kept")
    write_evaluation_report({"our run": [crafted.fold(1)]}, folder, 50, 0)
    assert not (folder / "charts" / "folds.png").exists()
    assert (folder / "charts" / "notes.png").exists()


def test_strata_of_which_nothing_is_known_vanish(crafted, tmp_path):
    rows = Reader(write_evaluation_report({"run": [crafted.fold()]}, tmp_path / "a", 0, 0).read_text()).rows
    assert ["1", "4", "2", "50.0 %", "[9.5, 90.5]", "0.50", "50.0 %", "100.0 %", "-", "-", "-"] in rows
    nodule = (replace(crafted.fold().details[0].case.nodules[0], subtlety=None, location=None),)
    bare = crafted.result(crafted.scored("U", nodule, crafted.finding(0.9, 100, 100)))
    text = write_evaluation_report({"run": [bare]}, tmp_path / "b", 0, 0).read_text()
    assert "<caption>size</caption>" in text
    assert "<caption>subtlety</caption>" not in text
    assert "unknown" not in re.sub(r"the spacing is unknown", "", text)
    assert not (tmp_path / "b" / "charts" / "subtlety.png").exists()
    assert not (tmp_path / "b" / "charts" / "roc.png").exists(), "no normal image"


def test_two_runs_are_compared_and_told_apart(crafted, tmp_path):
    model = replace(crafted.fold().terms.model, threshold=0.65)
    seen = replace(crafted.fold(model=model), trained_on=("A3",))
    path = write_evaluation_report({"first": [crafted.fold()], "second": [seen]}, tmp_path, 50, 0)
    text = path.read_text()
    assert ["figure", "first", "95 % interval", "second", "95 % interval"] in Reader(text).rows
    assert "<h2>Comparison</h2>" in text
    assert re.search(r"precision +50\.0 % +66\.7 % +-16\.7 ", text)
    warning = "NOT A TEST: 1 of the scored images of second stand in the model&#x27;s training list: A3"
    assert f'<p class="warning">{warning}</p>' in text
    assert (tmp_path / "charts" / "subtlety-2.svg").is_file()
    assert (tmp_path / "gallery-2" / "hit-01-A3.png").is_file()
    assert "<h3>second: Misses, most obvious first</h3>" in text


def test_an_image_that_is_gone_is_named_in_the_page(crafted, tmp_path):
    fold = crafted.fold()
    (crafted.folder / "N3.png").unlink()
    text = write_evaluation_report({"run": [fold]}, tmp_path / "a", 0, 0).read_text()
    assert "N3 is left out of the gallery: " in text
    assert "no resamples were asked for" in text


def test_folds_without_a_nodule_are_an_error(crafted, tmp_path):
    with pytest.raises(EvaluationError, match="none of the 1 images holds a nodule"):
        write_evaluation_report({"run": [crafted.result(crafted.scored("N", ()))]}, tmp_path / "a", 0, 0)
    assert not (tmp_path / "a" / "report.html").exists()
