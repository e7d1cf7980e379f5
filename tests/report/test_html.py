"""One HTML page that holds its pictures and fetches nothing."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import pytest

from cxrcad.core import WriteError
from cxrcad.report.html import Picture, Section, Table, write_page


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
    write_page(tmp_path / "page.html", "R & D", ["<b> is text"], [Picture('a "scan"', tmp_path / "a.png", "1 < 2")])
    text = (tmp_path / "page.html").read_text()
    assert "<title>R &amp; D</title>" in text
    assert "<p>&lt;b&gt; is text</p>" in text
    found = tags(text)
    (image,) = [attributes for tag, attributes in found if tag == "img"]
    assert image["alt"] == 'a "scan": 1 < 2'
    assert image["src"] == "data:image/png;base64," + base64.b64encode(b"\x89PNG picture").decode()
    assert not [tag for tag, _ in found if tag in ("script", "link", "iframe")]
    assert ("html", {"lang": "en"}) in found


def test_a_picture_that_is_gone_is_named(tmp_path):
    with pytest.raises(WriteError, match=r"a\.png: cannot be read for the report \(No such file or directory\)"):
        write_page(tmp_path / "page.html", "x", [], [Picture("a", tmp_path / "a.png", "b")])
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
        ("careful",),
        "a  b\n1  2",
        (Table("sizes", ("name", "mm"), (("<a>", "3"),)),),
        (chart, chart),
        sections=(Section("Inner"),),
    )
    write_page(tmp_path / "page.html", "x", [], [], [section])
    text = (tmp_path / "page.html").read_text()
    assert '<a href="#s1">Part &amp; parcel</a>' in text
    assert '<section id="s1">\n<h2>Part &amp; parcel</h2>\n<p>words</p>\n<p class="warning">careful</p>' in text
    assert "<pre>a  b\n1  2</pre>" in text
    assert '<tr><th scope="row">&lt;a&gt;</th><td>3</td></tr>' in text
    assert "<section>\n<h3>Inner</h3>" in text
    svgs = [attributes for tag, attributes in tags(text) if tag == "svg"]
    assert svgs == [{"viewbox": "0 0 10 5", "role": "img", "aria-label": "A chart: of 1 < 2"}] * 2
    for number in (1, 2):
        assert f'<path id="f{number}-p1" style="stroke: currentColor"/>' in text
        assert f'<use xlink:href="#f{number}-p1" style="fill: Canvas"/>' in text
        assert f'<g clip-path="url(#f{number}-p1)" style="stroke: var(--line)"/>' in text
    assert "metadata" not in text
    assert "http" not in text
