"""One self-contained HTML page of words, tables, charts and pictures: no script, nothing fetched, light and dark.

How it looks is in `templates/`: page.html and style.css.
"""

from __future__ import annotations

import base64
import datetime
import html
import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cxrcad
from cxrcad.core import WriteError
from cxrcad.files import write_atomically
from cxrcad.report.drawing.style import COLOURS, GRID, INK, PAPER
from cxrcad.report.tables import Table

__all__ = ["KeyFigure", "Made", "Page", "Picture", "Section", "write_page"]

TEMPLATES = Path(__file__).with_name("templates")

SVG_COLOURS = {
    **{INK: "currentColor", "#000000": "currentColor", GRID: "var(--line)", PAPER: "var(--paper)"},
    **{COLOURS[0]: "var(--first)", COLOURS[1]: "var(--second)"},
}
"""What a plot's ink, grid, ground and first two colours become in the page, which has a light and a dark scheme."""


@dataclass(frozen=True)
class Picture:
    """A PNG file, or a plot's SVG file, with its title and caption."""

    title: str
    path: Path
    caption: str

    @property
    def is_svg(self) -> bool:
        """Whether it is a plot, which becomes an element of the page."""
        return self.path.suffix.lower() == ".svg"


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading, shown in the order of the fields; `charts` are larger than `pictures`."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    charts: tuple[Picture, ...] = ()
    pictures: tuple[Picture, ...] = ()
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True)
class KeyFigure:
    """A figure of the first screen: for each run its name (empty where there is one), value and interval."""

    name: str
    values: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Made:
    """When the page was made (ISO date), and with which command."""

    date: str
    command: str
    version: str = cxrcad.__version__

    @classmethod
    def today(cls, command: str) -> Made:
        """Made now."""
        return cls(datetime.date.today().isoformat(), command)


@dataclass(frozen=True)
class Page:
    """A page: on its first screen warnings, the verdict in a sentence, key figures and a curve; then sections."""

    title: str
    made: Made
    lead: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: tuple[KeyFigure, ...] = ()
    paragraphs: tuple[str, ...] = ()
    curve: Picture | None = None
    pictures: tuple[Picture, ...] = ()
    sections: tuple[Section, ...] = ()


def write_page(path: Path, page: Page) -> None:
    """Write the page to `path`, with its pictures inside it. Raises WriteError."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    numbers = count(1)
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    text = templates.get_template("page.html").render(
        page=page,
        base64=lambda picture: base64.b64encode(_content(picture)).decode(),
        svg=lambda picture: _svg(picture, f"f{next(numbers)}-"),
    )
    write_atomically(path, re.sub(r"\n{2,}", "\n", text).lstrip())


def _content(picture: Picture) -> bytes:
    try:
        return picture.path.read_bytes()
    except OSError as error:
        raise WriteError(f"{picture.path}: cannot be read for the report ({error.strerror}); write it again") from None


def _svg(picture: Picture, prefix: str) -> str:
    """A matplotlib SVG as an element of the page: names of its own, the page's colours, and a text alternative."""
    text = _content(picture).decode()
    text = re.sub(r"<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", text)
    text = re.sub("|".join(SVG_COLOURS), lambda found: SVG_COLOURS[found[0].upper()], text, flags=re.IGNORECASE)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height|xmlns(:\w+)?)="[^"]*"', "", head)
    label = html.escape(f"{picture.title}: {picture.caption}")
    return f'{head} role="img" aria-label="{label}">{rest.strip()}'
