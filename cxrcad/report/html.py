"""One self-contained HTML page of words, tables, charts and pictures: no script, nothing fetched, light and dark."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from cxrcad.core import WriteError
from cxrcad.files import write_atomically
from cxrcad.report.drawing.style import GRID, INK, PAPER

__all__ = ["Picture", "Section", "Table", "write_page"]

STYLE = """
:root { color-scheme: light dark; --line: #ddd; --warn: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --warn: #ff8a80; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1, h2, h3, p, nav { overflow-wrap: anywhere; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
nav a { margin-right: 1.25rem; white-space: nowrap; }
.pictures { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
.small { grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); }
.charts { display: grid; gap: 2rem; grid-template-columns: repeat(auto-fill, minmax(min(34rem, 100%), 1fr)); }
figure { margin: 0; min-width: 0; }
img { width: 100%; height: auto; background: #000; }
svg { display: block; width: 100%; min-width: 32rem; height: auto; }
figcaption { font-size: 0.875rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
pre { font-size: 0.8125rem; line-height: 1.4; margin: 0; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; }
th, td { text-align: left; padding: 0.2rem 1rem 0.2rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody th { font-weight: 400; white-space: normal; min-width: 6rem; }
.warning { color: var(--warn); font-weight: 600; overflow-wrap: anywhere; }
"""

SVG_COLOURS = {INK: "currentColor", "#000000": "currentColor", GRID: "var(--line)", PAPER: "Canvas"}
"""What a plot's own ink, grid and ground become in the page, which has a light and a dark scheme."""


@dataclass(frozen=True)
class Picture:
    """A PNG file, or a plot's SVG file, with its title and caption."""

    title: str
    path: Path
    caption: str


@dataclass(frozen=True)
class Table:
    """Cells as they are shown; the first of each row names it."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading, shown in the order of the fields; `text` keeps its lines and columns.

    `charts` are plots, in two columns where there is room; `pictures` are smaller.
    """

    heading: str
    paragraphs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    text: str = ""
    tables: tuple[Table, ...] = ()
    charts: tuple[Picture, ...] = ()
    pictures: tuple[Picture, ...] = ()
    sections: tuple[Section, ...] = ()


def write_page(
    path: Path, title: str, paragraphs: Sequence[str], pictures: Sequence[Picture], sections: Sequence[Section] = ()
) -> None:
    """Write the page to `path`, the pictures inside it, and a line of links to the sections. Raises WriteError."""
    numbers = count(1)
    body = [f"<h1>{html.escape(title)}</h1>", *_paragraphs(paragraphs)]
    if sections:
        links = [f'<a href="#s{n}">{html.escape(one.heading)}</a>' for n, one in enumerate(sections, 1)]
        body.append(f'<nav aria-label="Sections">{" ".join(links)}</nav>')
    body += _grid("pictures", pictures, numbers)
    for number, section in enumerate(sections, 1):
        body += _section(section, 2, f' id="s{number}"', numbers)
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n'
        "</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )
    write_atomically(path, page)


def _section(section: Section, level: int, anchor: str, numbers: Iterator[int]) -> list[str]:
    lines = [f"<section{anchor}>", f"<h{level}>{html.escape(section.heading)}</h{level}>"]
    lines += _paragraphs(section.paragraphs)
    lines += [f'<p class="warning">{html.escape(text)}</p>' for text in section.warnings]
    if section.text:
        lines.append(_box(section.heading, f"<pre>{html.escape(section.text)}</pre>"))
    lines += [_table(table) for table in section.tables]
    lines += _grid("charts", section.charts, numbers)
    lines += _grid("pictures small", section.pictures, numbers)
    for part in section.sections:
        lines += _section(part, level + 1, "", numbers)
    return [*lines, "</section>"]


def _paragraphs(texts: Sequence[str]) -> list[str]:
    return [f"<p>{html.escape(text)}</p>" for text in texts]


def _box(label: str, content: str) -> str:
    """A box in which wide content scrolls, with keys too, so that the page does not."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{html.escape(label)}">{content}</div>'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.columns)
    rows = "\n".join(
        f'<tr><th scope="row">{html.escape(name)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in table.rows
    )
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    body = f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"
    return _box(table.caption or table.columns[0], body)


def _grid(name: str, pictures: Sequence[Picture], numbers: Iterator[int]) -> list[str]:
    figures = [_figure(picture, next(numbers)) for picture in pictures]
    return [f'<div class="{name}">', *figures, "</div>"] if figures else []


def _figure(picture: Picture, number: int) -> str:
    try:
        content = picture.path.read_bytes()
    except OSError as error:
        raise WriteError(f"{picture.path}: cannot be read for the report ({error.strerror}); write it again") from None
    title, caption = html.escape(picture.title), html.escape(picture.caption)
    if picture.path.suffix.lower() == ".svg":
        shown = _box(picture.title, _svg(content.decode(), f"f{number}-", f"{title}: {caption}"))
    else:
        shown = f'<img alt="{title}: {caption}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'
    return f"<figure>{shown}<figcaption><strong>{title}</strong><br>{caption}</figcaption></figure>"


def _svg(text: str, prefix: str, label: str) -> str:
    """A matplotlib SVG as an element of the page: names of its own, the page's colours, and a text for who hears it."""
    text = re.sub(r"<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", text)
    text = re.sub("|".join(SVG_COLOURS), lambda found: SVG_COLOURS[found[0].upper()], text, flags=re.IGNORECASE)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height|xmlns(:\w+)?)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{label}">{rest.strip()}'
