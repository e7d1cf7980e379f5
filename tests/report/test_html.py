"""One HTML page that holds its pictures and fetches nothing."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import pytest

from cxrcad.core import WriteError
from cxrcad.report.html import Made, Picture, environment, write_page
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
    write_page(tmp_path / "page.html", "demo.html", MADE, title="R & D", summary="<b> is text", pictures=pictures)
    text = (tmp_path / "page.html").read_text()
    assert "<title>R &amp; D</title>" in text
    assert '<p class="lead">&lt;b&gt; is text.</p>' in text
    found = tags(text)
    (image,) = [attributes for tag, attributes in found if tag == "img"]
    assert image["alt"] == 'a "scan": 1 < 2'
    assert image["src"] == "data:image/png;base64," + base64.b64encode(b"\x89PNG picture").decode()
    assert not [tag for tag, _ in found if tag in ("script", "link", "iframe")]
    assert ("html", {"lang": "en"}) in found
    made = "Made by cxrcad 9.9 on 2020-03-31 with <code>cxrcad demo --out &#39;a b&#39;</code>."
    assert f"<p>{made} Research only, not for diagnosis.</p>" in text[text.index("<footer>") :]
    assert text.count("Research only, not for diagnosis.") == 2


def test_a_picture_that_is_gone_is_named(tmp_path):
    pictures = (Picture("a", tmp_path / "a.png", "b"),)
    with pytest.raises(WriteError, match=r"a\.png: cannot be read for the report \(No such file or directory\)"):
        write_page(tmp_path / "page.html", "demo.html", MADE, title="x", summary="y", pictures=pictures)
    assert list(tmp_path.iterdir()) == []


SVG = """<?xml version="1.0"?>
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="10pt" height="5pt" viewBox="0 0 10 5">
 <metadata>who made it</metadata><defs><path id="p1" style="stroke: #333333"/></defs>
 <!-- words --><use xlink:href="#p1" style="fill: #ffffff"/><g clip-path="url(#p1)" style="stroke: #dddddd"/>
</svg>
"""


def render(source: str, **values: object) -> str:
    """The text of a template that uses the macros of parts.html."""
    macros = '{% from "parts.html" import figures, table %}'
    return environment().from_string(macros + source).render(**values)


def test_charts_become_elements_with_names_and_colours_of_the_page(tmp_path):
    (tmp_path / "a.svg").write_text(SVG)
    chart = Picture("A chart", tmp_path / "a.svg", "of 1 < 2")
    text = render('{{ figures("charts", charts) }}', charts=(chart, chart))
    svgs = [attributes for tag, attributes in tags(text) if tag == "svg"]
    assert svgs == [{"viewbox": "0 0 10 5", "role": "img", "aria-label": "A chart: of 1 < 2"}] * 2
    for number in (1, 2):
        assert f'<path id="f{number}-p1" style="stroke: currentColor"/>' in text
        assert f'<use xlink:href="#f{number}-p1" style="fill: var(--paper)"/>' in text
        assert f'<g clip-path="url(#f{number}-p1)" style="stroke: var(--line)"/>' in text
    assert "metadata" not in text
    assert "http" not in text


def test_a_table_escapes_its_cells_and_each_names_its_column():
    table = Table(("name", "mm"), (("<a>", "3"), ("b", "4" * 41)))
    text = render('{{ table(one, "sizes") }}', one=table)
    assert "<caption>sizes</caption>" in text
    assert '<tr><th scope="row">&lt;a&gt;</th><td data-label="mm">3</td></tr>' in text
    assert f'<td data-label="mm" class="long">{"4" * 41}</td>' in text
    assert "cards" not in text
    wide = Table(("name", "a", "b", "c"), (("x", "1", "2", "3"),))
    assert '<table class="cards">' in render("{{ table(one) }}", one=wide)


def test_rows_are_grouped_and_columns_that_say_the_same_are_found():
    rows = (("size", "small", "1", "7"), ("size", "large", "2", "7"), ("side", "left", "3", "7"))
    table = Table(("kind", "name", "n", "of"), rows, grouped=True)
    assert table.constants() == {"of": "7"}
    assert table.without("of").rows[2] == ("side", "left", "3")
    text = render("{{ table(one) }}", one=table.without("of"))
    assert '<thead><tr><th scope="col">name</th><th scope="col">n</th></tr></thead>' in text
    assert text.count('<th scope="rowgroup" colspan="2">') == 2
    assert '<tr><th scope="row">large</th><td data-label="n">2</td></tr>\n</tbody>' in text


def test_the_same_table_as_text_and_as_markdown():
    table = Table(("name", "mm"), (("a", "3"), ("long", "12.5")))
    assert table.text("{:<5}{:>5}") == ["name    mm", "a        3", "long  12.5"]
    assert table.markdown() == ["| name | mm   |", "|------|------|", "| a    | 3    |", "| long | 12.5 |"]
