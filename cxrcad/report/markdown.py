"""Tables of figures as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["grid"]


def grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns are padded to one width."""
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *(line(cells) for cells in body)]
