"""One HTML page that holds its pictures and fetches nothing."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import pytest

from cxrcad.core import WriteError
from cxrcad.report.html import KeyFigure, Made, Page, Picture, Section, write_page
from cxrcad.report.tables import Table

MADE = Made("2020-03-31", "cxrcad demo --out 'a b'", "9.9")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    return parser.found


def test_a_page_holds_its_pictures_with_escaped_captions(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG picture")
    pictures = (Picture('a "scan"', tmp_path / "a.png", "1 < 2"),)
    page = Page("R & D", MADE, ("<b> is text",), pictures=pictures)
    write_page(tmp_path / "page.html", page)
    text = (tmp_path / "page.html").read_text()
    assert "<title>R &amp; D</title>" in text
    assert '<p class="lead">&lt;b&gt; is text</p>' in text
    found = tags(text)
    (image,) = [attributes for tag, attributes in found if tag == "img"]
    assert image["alt"] == 'a "scan": 1 < 2'
    assert image["src"] == "data:image/png;base64," + base64.b64encode(b"\x89PNG picture").decode()
    assert not [tag for tag, _ in found if tag in ("script", "link", "iframe")]
    assert ("html", {"lang": "en"}) in found


def test_a_picture_that_is_gone_is_named(tmp_path):
    with pytest.raises(WriteError, match=r"a\.png: cannot be read for the report \(No such file or directory\)"):
        write_page(tmp_path / "page.html", Page("x", MADE, pictures=(Picture("a", tmp_path / "a.png", "b"),)))
    assert list(tmp_path.iterdir()) == []


SVG = """<?xml version="1.0"?>
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="10pt" height="5pt" viewBox="0 0 10 5">
 <metadata>who made it</metadata><defs><path id="p1" style="stroke: #333333"/></defs>
 <!-- words --><use xlink:href="#p1" style="fill: #ffffff"/><g clip-path="url(#p1)" style="stroke: #dddddd"/>
</svg>
"""


def test_sections_hold_texts_tables_and_charts(tmp_path):
    (tmp_path / "a.svg").write_text(SVG)
    chart = Picture("A chart", tmp_path / "a.svg", "of 1 < 2")
    section = Section(
        "Part & parcel",
        ("words",),
        (Table(("name", "mm"), (("<a>", "3"), ("b", "4" * 41)), "sizes"),),
        ("notes",),
        (chart, chart),
        sections=(Section("Inner"),),
    )
    write_page(tmp_path / "page.html", Page("x", MADE, sections=(section,)))
    text = (tmp_path / "page.html").read_text()
    assert '<a href="#s1">Part &amp; parcel</a>' in text
    assert '<section id="s1">\n<h2>Part &amp; parcel</h2>\n<p>words</p>\n<div class="wide"' in text
    assert "</table></div>\n<p>notes</p>" in text
    assert '<tr><th scope="row">&lt;a&gt;</th><td>3</td></tr>' in text
    assert f'<td class="long">{"4" * 41}</td>' in text
    assert "<section>\n<h3>Inner</h3>" in text
    svgs = [attributes for tag, attributes in tags(text) if tag == "svg"]
    assert svgs == [{"viewbox": "0 0 10 5", "role": "img", "aria-label": "A chart: of 1 < 2"}] * 2
    for number in (1, 2):
        assert f'<path id="f{number}-p1" style="stroke: currentColor"/>' in text
        assert f'<use xlink:href="#f{number}-p1" style="fill: var(--paper)"/>' in text
        assert f'<g clip-path="url(#f{number}-p1)" style="stroke: var(--line)"/>' in text
    assert "metadata" not in text
    assert "http" not in text


def test_the_first_screen_holds_warnings_verdict_and_key_figures_and_the_foot_how_it_was_made(tmp_path):
    (tmp_path / "a.svg").write_text(SVG)
    figure = KeyFigure("F1", (("one", "50.0 %", "[20.0, 70.0]"), ("", "not reached", "")))
    curve = Picture("FROC curve", tmp_path / "a.svg", "words")
    page = Page("x", MADE, ("5 of 15 found.",), ("NOT A TEST",), (figure,), ("24 images.",), curve)
    write_page(tmp_path / "page.html", page)
    text = (tmp_path / "page.html").read_text()
    first, foot = text.index("<header>"), text.index("<footer>")
    places = [text.index(words) for words in ("NOT A TEST", "5 of 15 found.", "50.0 %", "24 images.", "<svg")]
    assert [first, *places, foot] == sorted([first, *places, foot])
    assert "<dt>F1</dt><dd><strong>50.0 %</strong><span>[20.0, 70.0]</span><small>one</small></dd>" in text
    made = "Made by cxrcad 9.9 on 2020-03-31 with <code>cxrcad demo --out &#39;a b&#39;</code>."
    assert f"<p>{made} Research only, not for diagnosis.</p>" in text
    assert text.count("Research only, not for diagnosis.") == 2
    assert "<nav" not in text


def test_rows_are_grouped_and_columns_that_say_the_same_are_found(tmp_path):
    rows = (("size", "small", "1", "7"), ("size", "large", "2", "7"), ("side", "left", "3", "7"))
    table = Table(("kind", "name", "n", "of"), rows, grouped=True)
    assert table.constants() == {"of": "7"}
    assert table.without("of").rows[2] == ("side", "left", "3")
    write_page(tmp_path / "page.html", Page("x", MADE, sections=(Section("A", tables=(table.without("of"),)),)))
    text = (tmp_path / "page.html").read_text()
    assert '<thead><tr><th scope="col">name</th><th scope="col">n</th></tr></thead>' in text
    assert text.count('<th scope="rowgroup" colspan="2">') == 2
    assert '<tr><th scope="row">large</th><td>2</td></tr>\n</tbody>' in text
