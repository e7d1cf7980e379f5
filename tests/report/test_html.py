"""One HTML page that holds its pictures and fetches nothing."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import pytest

from cxrcad.core import WriteError
from cxrcad.report.html import Picture, write_page


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_a_page_holds_its_pictures_with_escaped_captions(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG picture")
    write_page(tmp_path / "page.html", "R & D", ["<b> is text"], [Picture('a "scan"', tmp_path / "a.png", "1 < 2")])
    text = (tmp_path / "page.html").read_text()
    assert "<title>R &amp; D</title>" in text
    assert "<p>&lt;b&gt; is text</p>" in text
    parser = Tags()
    parser.feed(text)
    (image,) = [attributes for tag, attributes in parser.found if tag == "img"]
    assert image["alt"] == 'a "scan": 1 < 2'
    assert image["src"] == "data:image/png;base64," + base64.b64encode(b"\x89PNG picture").decode()
    assert not [tag for tag, _ in parser.found if tag in ("script", "link", "iframe")]
    assert ("html", {"lang": "en"}) in parser.found


def test_a_picture_that_is_gone_is_named(tmp_path):
    with pytest.raises(WriteError, match=r"a\.png: cannot be read for the report \(No such file or directory\)"):
        write_page(tmp_path / "page.html", "x", [], [Picture("a", tmp_path / "a.png", "b")])
    assert list(tmp_path.iterdir()) == []
