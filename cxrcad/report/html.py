"""HTML pages that hold all that they show: nothing is fetched; light and dark. Words and layout: `templates/`."""

from __future__ import annotations

import base64
import datetime
import html
import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cxrcad
from cxrcad.core import WriteError, counted
from cxrcad.files import write_atomically
from cxrcad.report.drawing.style import COLOURS, GRID, INK, PAPER

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Made", "Picture", "environment", "write_page"]

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


def write_page(path: Path, template: str, made: Made, **values: Any) -> None:
    """Write the page that `template` makes of the values, with its pictures inside it. Raises WriteError."""
    text = environment().get_template(template).render(made=made, **values)
    write_atomically(path, re.sub(r"\n{2,}", "\n", text).lstrip())


def environment() -> Environment:
    """The templates of one page: `svg` and `base64` give a picture's content, SVGs with names of their own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    found = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    numbers = count(1)
    found.globals |= {
        "counted": counted,
        "base64": lambda picture: base64.b64encode(_content(picture)).decode(),
        "svg": lambda picture: _svg(picture, f"f{next(numbers)}-"),
    }
    return found


def _content(picture: Picture) -> bytes:
    try:
        return picture.path.read_bytes()
    except OSError as error:
        raise WriteError(f"{picture.path}: cannot be read for the report ({error.strerror}); write it again") from None


def _svg(picture: Picture, prefix: str) -> str:
    """A matplotlib SVG as an element of the page: names of its own, the page's colours, and a text alternative."""
    text = _content(picture).decode()
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", text)
    text = re.sub("|".join(SVG_COLOURS), lambda found: SVG_COLOURS[found[0].upper()], text, flags=re.IGNORECASE)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height|xmlns(:\w+)?)="[^"]*"', "", head)
    label = html.escape(f"{picture.title}: {picture.caption}")
    return f'{head} role="img" aria-label="{label}">{rest.strip()}'
