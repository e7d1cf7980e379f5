"""The sheet that every plot is drawn on: size, colours, legend, caption, and the files it becomes, with fixed bytes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cxrcad.core import UsageError
from cxrcad.files import write_atomically

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's palette, which colour-blind readers tell apart (jfly.uni-koeln.de/color, 2008)."""

STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

INK, GRID, PAPER = "#333333", "#DDDDDD", "#FFFFFF"
"""Words and axes, grid lines, ground; a page gives an SVG's own ones of a dark scheme (`report.html`)."""

ENDINGS = (".png", ".svg")
PNG_DPI = 150
WIDTH_INCH, NARROW_INCH = 8.0, 5.2
"""Width of a plot with its caption, for a talk, and of one without, whose words a phone's width leaves legible."""

CAPTION_COLUMNS = 105
HASH_SALT = "cxrcad"


def save(draw: Callable[[], Any], paths: Sequence[Path]) -> None:
    """Write the matplotlib Figure that `draw` makes to each path, in the format of its ending, atomically.

    The same drawing gives the same bytes. Raises UsageError for an ending other than .png and .svg, and WriteError.
    """
    for path in paths:
        if path.suffix.lower() not in ENDINGS:
            raise UsageError(f"{path}: plots are written as {' or '.join(ENDINGS)}; change the ending")
    from matplotlib import rc_context

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    # A fixed salt and no date: the same curves give the same bytes.
    style: dict[Any, Any] = {"font.family": "DejaVu Sans", "svg.hashsalt": HASH_SALT, **dict.fromkeys(inked, INK)}
    with rc_context(style):
        figure = draw()
        for path in paths:
            kind = path.suffix.lower()[1:]
            content = io.BytesIO()
            names = ("Date", "Creator", "Format", "Type") if kind == "svg" else ("Software",)
            figure.savefig(content, format=kind, dpi=PNG_DPI, metadata=dict.fromkeys(names))
            write_atomically(path, content.getvalue())


def sheet(
    caption: str, labels: Sequence[str], bodies_inch: Sequence[float], tick_lines: int = 1
) -> tuple[Any, list[Any]]:
    """A figure with its caption at the foot, and its axes from top to bottom, `bodies_inch` high.

    Room is left above for `labels`, those of the legend or title, and for `tick_lines` lines of tick labels below. The
    axes share the left and right edge. Without a caption it is narrow.
    """
    from matplotlib.figure import Figure

    width = WIDTH_INCH if caption else NARROW_INCH
    bodies = [width / WIDTH_INCH * body for body in bodies_inch]
    over = 0.2 + 0.25 * sum(label.count("\n") + 1 for label in labels)
    lines = [line for text in caption.splitlines() for line in textwrap.wrap(text, CAPTION_COLUMNS) or [""]]
    left = 0.96 / width
    under, gap = 0.19 * (len(lines) + tick_lines) + 0.55, 0.15
    height = under + sum(bodies) + gap * (len(bodies) - 1) + over
    figure = Figure(figsize=(width, height))
    axes, top = [], height - over
    for body in bodies:
        axes.append(figure.add_axes((left, (top - body) / height, 0.97 - left, body / height)))
        top -= body + gap
    for one in axes:
        one.tick_params(labelsize=11)
        one.grid(color=GRID, linewidth=0.8)
        one.set_axisbelow(True)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    figure.text(0.02, 0.1 / height, "\n".join(lines), fontsize=9, va="bottom", linespacing=1.35)
    return figure, axes


def broken(label: str, caption: str, columns: int = 84) -> str:
    """The label in lines of at most so many characters on the sheet with that caption: fewer on a narrow one."""
    return "\n".join(textwrap.wrap(label, columns if caption else round(0.55 * columns)) or [""])


def legend(axes: Any) -> None:
    """The labels of what was drawn, above the axes, where they hide no curve."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), fontsize=10, frameon=False, handlelength=3.2)


def percent_axis(axis: Any) -> None:
    """Ticks at 0 %, 20 % ... 100 % of a matplotlib x or y axis that shows parts of 1."""
    axis.set_ticks([tenth / 10 for tenth in range(0, 11, 2)], [f"{tenth * 10} %" for tenth in range(0, 11, 2)])
