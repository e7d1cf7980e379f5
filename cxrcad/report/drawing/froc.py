"""FROC curves as pictures (PNG, SVG), drawn with matplotlib without its global state."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrcad.core import UsageError
from cxrcad.evaluation.froc import RATES, Curve, sensitivity_at
from cxrcad.evaluation.metrics import rate_name
from cxrcad.evaluation.records import AXIS_WORDS
from cxrcad.report.drawing.style import COLOURS, INK, MARKERS, STYLES, legend, percent_axis, save, sheet

Band = tuple[Sequence[float], Sequence[float], Sequence[float]]
"""Rates (false positives per image, rising), and the lowest and highest sensitivity at each, 0-1."""

STEPS_PER_OCTAVE = 8


def plot_froc(
    curves: Mapping[str, Curve],
    paths: Sequence[Path],
    caption: str,
    bands: Mapping[str, Band] | None = None,
    fp_axis: str = "all",
) -> None:
    """Draw named FROC curves from 1/8 to 8 false positives per image (log2), one picture for each path's ending.

    A curve is a step: between two operating points the sensitivity is that of the one with fewer false positives. It
    ends, with a bar across, where its data end; what lies beyond 8 is cut off. Markers stand at the seven rates that it
    reaches.

    Args:
        curves: By the name in the legend.
        paths: Files to write, .png or .svg, atomically.
        caption: What the figure rests on (data, protocol, hit rule); stands under the axes. Without one the plot is
            narrow, and its legend names the curves only.
        bands: 95 % bands by the curve's name (`evaluation.bootstrap.froc_band`), shaded behind it.
        fp_axis: all or normals: the images over which false positives are counted.

    Raises:
        UsageError: No curve, or a path that ends otherwise.
        WriteError: A file cannot be written.
    """
    if not curves:
        raise UsageError("there is no curve to draw; name a run that holds the fold")
    save(lambda: _figure(curves, caption, bands or {}, fp_axis), paths)


def band_rates(curve: Curve) -> tuple[float, ...]:
    """The rates at which a band is worth drawing: 1/8 ... 8, eight to an octave, as far as the curve goes."""
    octaves = round(math.log2(RATES[-1] / RATES[0]))
    rates = (RATES[0] * 2 ** (step / STEPS_PER_OCTAVE) for step in range(octaves * STEPS_PER_OCTAVE + 1))
    return tuple(rate for rate in rates if rate <= curve.final_fp_per_image)


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


def drawn_band(curve: Curve, band: Band) -> tuple[list[float], list[float], list[float]]:
    """The corners (FP per image, low, high) of a curve's band: a step too, which ends where the curve does."""
    end = min(curve.final_fp_per_image, RATES[-1])
    kept = [row for row in zip(*band, strict=True) if RATES[0] <= row[0] <= end]
    x: list[float] = []
    lows: list[float] = []
    highs: list[float] = []
    for (rate, low, high), last in zip(kept, [*(row[0] for row in kept[1:]), end], strict=True):
        x += [rate, last]
        lows += [low, low]
        highs += [high, high]
    return x, lows, highs


def _figure(curves: Mapping[str, Curve], caption: str, bands: Mapping[str, Band], fp_axis: str) -> Any:
    labels = [_label(name, curve) if caption else textwrap.shorten(name, 48) for name, curve in curves.items()]
    shaded = ["shaded: 95 % bootstrap interval"] if bands and caption else []
    named = caption or len(curves) > 1
    figure, (axes,) = sheet(caption, [*labels, *shaded] if named else [], (4.7,))
    for number, (label, (name, curve)) in enumerate(zip(labels, curves.items(), strict=True)):
        if name in bands:
            x, lows, highs = drawn_band(curve, bands[name])
            axes.fill_between(x, lows, highs, color=COLOURS[number % len(COLOURS)], alpha=0.2, linewidth=0, zorder=1)
        _draw(axes, label, curve, number)
    for label in shaded:
        axes.fill_between([], [], [], color=INK, alpha=0.2, linewidth=0, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xlim(RATES[0] / 1.06, RATES[-1] * 1.06)
    axes.set_xticks(RATES, [rate_name(rate) for rate in RATES])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    percent_axis(axes.yaxis)
    axes.set_xlabel(f"false positives per image ({AXIS_WORDS[fp_axis]})", fontsize=12)
    axes.set_ylabel("sensitivity (nodules found)", fontsize=12)
    if named:
        legend(axes)
    return figure


def _label(name: str, curve: Curve) -> str:
    """The curve in the legend: its name, its nodules and images, and where it ends."""
    ends = curve.final_fp_per_image
    label = f"{name} (nodules: {curve.n_nodules}, images: {curve.n_images}"
    label += f"; ends at {ends:.2g} FP/image" if ends < RATES[-1] else ""
    return label + (")" if drawn_steps(curve)[0] else ", left of the axis)")


def _draw(axes: Any, label: str, curve: Curve, number: int) -> None:
    colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
    marker = MARKERS[number % len(MARKERS)]
    x, y = drawn_steps(curve)
    ends = curve.final_fp_per_image
    axes.plot(x, y, style, color=colour, linewidth=2)
    reached = [(rate, sensitivity_at(curve, rate)) for rate in RATES]
    marks = [(rate, sensitivity) for rate, sensitivity in reached if sensitivity is not None]
    axes.plot([rate for rate, _ in marks], [height for _, height in marks], marker, color=colour, markersize=6)
    axes.plot([], [], style, marker=marker, color=colour, linewidth=2, markersize=6, label=label)
    if x and ends < RATES[-1]:
        axes.plot(x[-1], y[-1], "|", color=colour, markersize=16, markeredgewidth=2.5)
