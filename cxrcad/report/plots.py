"""FROC curves as pictures (PNG, SVG), drawn with matplotlib without its global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrcad.core import UsageError
from cxrcad.evaluation.froc import RATES, Curve, sensitivity_at
from cxrcad.jobs import write_atomically

__all__ = ["drawn_steps", "plot_froc"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's palette, which colour-blind readers tell apart (jfly.uni-koeln.de/color, 2008)."""

STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
ENDINGS = (".png", ".svg")
PNG_DPI = 150


def plot_froc(curves: Mapping[str, Curve], paths: Sequence[Path], caption: str) -> None:
    """Draw named FROC curves from 1/8 to 8 false positives per image (log2), one picture for each path's ending.

    A curve is a step: between two operating points the sensitivity is that of the one with fewer false positives. It
    ends, with a bar across, where its data end; what lies beyond 8 is cut off. Markers stand at the seven rates that it
    reaches.

    Args:
        curves: By the name in the legend.
        paths: Files to write, .png or .svg, atomically.
        caption: What the figure rests on (data, protocol, hit rule); stands under the axes.

    Raises:
        UsageError: No curve, or a path that ends otherwise.
        WriteError: A file cannot be written.
    """
    if not curves:
        raise UsageError("there is no curve to draw; name a run that holds the fold")
    for path in paths:
        if path.suffix.lower() not in ENDINGS:
            raise UsageError(f"{path}: plots are written as {' or '.join(ENDINGS)}; change the ending")
    from matplotlib import rc_context

    # A fixed salt and no date: the same curves give the same bytes.
    with rc_context({"font.family": "DejaVu Sans", "svg.hashsalt": "cxrcad"}):
        figure = _figure(curves, caption)
        for path in paths:
            kind = path.suffix.lower()[1:]
            content = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            figure.savefig(content, format=kind, dpi=PNG_DPI, metadata=metadata)
            write_atomically(path, content.getvalue())


def drawn_steps(curve: Curve) -> tuple[list[float], list[float]]:
    """The corners (FP per image, sensitivity) of the curve's step within 1/8..8, empty where it ends before 1/8.

    The first corner stands at 1/8 with the sensitivity reached there; the last where the data end, or at 8.
    """
    low, high = RATES[0], RATES[-1]
    start, end = sensitivity_at(curve, low), min(curve.final_fp_per_image, high)
    if start is None:
        return [], []
    x, y = [low], [start]
    for fp, sensitivity in zip(curve.fp_per_image, curve.sensitivity, strict=True):
        if low < fp <= high:
            x += [fp, fp]
            y += [y[-1], sensitivity]
    if x[-1] < end:
        x.append(end)
        y.append(y[-1])
    return x, y


def _figure(curves: Mapping[str, Curve], caption: str) -> Any:
    from matplotlib.figure import Figure

    lines = [line for text in caption.splitlines() for line in _wrapped(text, 105)]
    under, over = 0.19 * (len(lines) + 1) + 0.55, 0.25 * len(curves) + 0.2
    height = 4.7 + under + over
    figure = Figure(figsize=(8.0, height))
    axes = figure.add_axes((0.12, under / height, 0.85, 4.7 / height))
    for number, (name, curve) in enumerate(curves.items()):
        _draw(axes, name, curve, number)
    axes.set_xscale("log", base=2)
    axes.set_xlim(RATES[0] / 1.06, RATES[-1] * 1.06)
    axes.set_xticks(RATES, [f"{rate:g}" if rate >= 1 else f"1/{round(1 / rate)}" for rate in RATES])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_yticks([tenth / 10 for tenth in range(0, 11, 2)], [f"{tenth * 10} %" for tenth in range(0, 11, 2)])
    axes.set_xlabel("false positives per image (all scored images)", fontsize=12)
    axes.set_ylabel("sensitivity (nodules found)", fontsize=12)
    axes.tick_params(labelsize=11)
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    # Above the axes, where it hides no curve.
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), fontsize=10, frameon=False, handlelength=3.2)
    figure.text(0.02, 0.1 / height, "\n".join(lines), fontsize=9, color="#333333", va="bottom", linespacing=1.35)
    return figure


def _draw(axes: Any, name: str, curve: Curve, number: int) -> None:
    colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
    marker = MARKERS[number % len(MARKERS)]
    x, y = drawn_steps(curve)
    ends = curve.final_fp_per_image
    label = f"{name} (nodules: {curve.n_nodules}, images: {curve.n_images}"
    label += f"; ends at {ends:.2g} FP/image" if ends < RATES[-1] else ""
    label += ")" if x else ", left of the axis)"
    axes.plot(x, y, style, color=colour, linewidth=2)
    reached = [(rate, sensitivity_at(curve, rate)) for rate in RATES]
    marks = [(rate, sensitivity) for rate, sensitivity in reached if sensitivity is not None]
    axes.plot([rate for rate, _ in marks], [height for _, height in marks], marker, color=colour, markersize=6)
    axes.plot([], [], style, marker=marker, color=colour, linewidth=2, markersize=6, label=label)
    if x and ends < RATES[-1]:
        axes.plot(x[-1], y[-1], "|", color=colour, markersize=16, markeredgewidth=2.5)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width) or [""]
