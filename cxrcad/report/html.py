"""One self-contained HTML page of pictures with captions: no script, nothing fetched, light and dark."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrcad.core import WriteError
from cxrcad.jobs import write_atomically

__all__ = ["Picture", "write_page"]

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
.pictures { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }
figure { margin: 0; }
img { width: 100%; height: auto; background: #000; }
figcaption { font-size: 0.875rem; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Picture:
    """A PNG file with its title and caption."""

    title: str
    path: Path
    caption: str


def write_page(path: Path, title: str, paragraphs: Sequence[str], pictures: Sequence[Picture]) -> None:
    """Write the page to `path`, the pictures inside it. Raises WriteError."""
    body = [f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(text)}</p>" for text in paragraphs)]
    figures = [_figure(picture) for picture in pictures]
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n'
        + "</head>\n<body>\n"
        + "\n".join(body)
        + '\n<div class="pictures">\n'
        + "\n".join(figures)
        + "\n</div>\n</body>\n</html>\n"
    )
    write_atomically(path, page)


def _figure(picture: Picture) -> str:
    try:
        data = base64.b64encode(picture.path.read_bytes()).decode()
    except OSError as error:
        raise WriteError(f"{picture.path}: cannot be read for the report ({error.strerror}); write it again") from None
    title, caption = html.escape(picture.title), html.escape(picture.caption)
    return (
        f'<figure><img alt="{title}: {caption}" src="data:image/png;base64,{data}">'
        f"<figcaption><strong>{title}</strong><br>{caption}</figcaption></figure>"
    )
