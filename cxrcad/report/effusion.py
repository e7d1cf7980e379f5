"""`cxrcad evaluate --lesion effusion` as a library call, and pictures of segmentations beside the truth (Figure 9)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import EvaluateConfig
from cxrcad.core import Case, Radiograph
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.evaluation.segmentation import FIGURES, Segmentation, SegmentedFold, measured, score_segmentation, spreads
from cxrcad.evaluation.statistics import Spread
from cxrcad.files import write_atomically, write_json
from cxrcad.imaging.preprocess import Geometry
from cxrcad.report.drawing.overlay import REPORTED, TRUTH
from cxrcad.report.tables import figure_shown, figures_document, figures_text

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PAPER_DICE", "Panel", "report_segmentation", "segmentation_lines", "write_sheet"]

SCHEMA = "cxrcad/segmentation-evaluation/1"
FILE = "evaluation-effusion"

PAPER_DICE = 'The paper (section 4.3) "evaluated using the Dice coefficient" and prints no figure; it shows Figure 9.'

PANEL_SIDE = 320
GAP = 8
LINE = 20
TINT = 0.35
"""Pixels of a sheet's panels, the gap between them and the line of text under them; share of the colour in a found
area."""

Note = Callable[[str], None]


def report_segmentation(config: EvaluateConfig, note: Note = lambda _: None) -> str:
    """Dice and the figures of images of the folds, fold by fold, their spread, and pooled with intervals, as a text.

    It is also written to evaluation-effusion.txt, with evaluation-effusion.json beside it, in the fold's folder of the
    run (or `config.out`). Raises what `score_segmentation` does.
    """
    scored = score_segmentation(config, note)
    found = measured(scored.folds, config.scoring.resamples, config.scoring.bootstrap_seed)
    text = "\n".join([*segmentation_lines(scored.folds), "", *_fold_lines(scored.folds), ""])
    text += "\n" + figures_text(found, config.scoring.resamples) + "\n" + PAPER_DICE + "\n"
    place = scored.folder if config.fold == "all" else scored.folder / f"fold{config.fold}"
    write_atomically(place / f"{FILE}.txt", text)
    write_json(place / f"{FILE}.json", _document(scored, found, config))
    note(f"written: {place / f'{FILE}.txt'}, {place / f'{FILE}.json'}")
    return text


def segmentation_lines(folds: Sequence[SegmentedFold]) -> list[str]:
    """What the figures rest on: data, test cases, threshold, what is reported, and images that are no test."""
    images = [image for fold in folds for image in fold.images]
    effusions = sum(image.positive for image in images)
    numbers = ", ".join(str(fold.fold) for fold in folds)
    chosen = ", ".join(dict.fromkeys(fold.threshold_from for fold in folds))
    areas = ", ".join(dict.fromkeys(f"{fold.min_area_mm2:g}" for fold in folds))
    lines = [
        f"Data {folds[0].data}, test cases of fold{'s' if len(folds) > 1 else ''} {numbers} of five: {effusions} with "
        f"an effusion, {len(images) - effusions} without.",
        f"Dice of the map cut at the threshold, on the model's grid; threshold: {chosen}.",
        f"An image is reported where a connected part of at least {areas} mm2 is found.",
    ]
    seen = [name for fold in folds for name in fold.trained_on]
    if seen:
        lines.append(f"NOT A TEST: the model was trained on {len(seen)} of these images: {', '.join(seen)}")
    return lines


def _fold_lines(folds: Sequence[SegmentedFold]) -> list[str]:
    shown = FIGURES[:5]
    lines = [f"{'fold':<5} {'threshold':>9}  {'Dice':>12} {'sensitivity':>12} {'specificity':>12} {'AUC, highest':>13} "
             f"{'AUC, area':>12}"]  # fmt: skip
    for fold in folds:
        found = measured([fold], 0, 0)
        values = [figure_shown(name, found[name].value) for name in shown]
        lines.append(f"{fold.fold:<5} {fold.model.threshold:>9.2f}  " + _columns(values))
    if len(folds) > 1:
        over = spreads(folds)
        lines.append(f"{'mean ± SD':<15}  " + _columns([_spread(over[name]) for name in shown]))
    return lines


def _columns(values: Sequence[str]) -> str:
    return " ".join(f"{value:>{width}}" for value, width in zip(values, (12, 12, 12, 13, 12), strict=True))


def _spread(found: Spread | None) -> str:
    if found is None:
        return "undefined"
    return f"{100 * found.mean:.1f}" + ("" if found.sd is None else f" ± {100 * found.sd:.1f}")


def _document(scored: Segmentation, found: dict[str, Interval], config: EvaluateConfig) -> dict[str, Any]:
    over = spreads(scored.folds)
    folds = [
        {
            **{name: value for name, value in asdict(fold).items() if name != "images"},
            "images": len(fold.images),
            "positives": sum(image.positive for image in fold.images),
            "figures": {name: one.value for name, one in measured([fold], 0, 0).items()},
        }
        for fold in scored.folds
    ]
    return {
        "schema": SCHEMA,
        "lesion": config.data.lesion,
        "run": scored.name,
        "bootstrap": {"resamples": config.scoring.resamples, "seed": config.scoring.bootstrap_seed, "confidence": 0.95},
        "folds": folds,
        "mean": {name: None if one is None else asdict(one) for name, one in over.items()},
        "pooled": figures_document(found),
    }


@dataclass(frozen=True, eq=False)
class Panel:
    """One case of a sheet: its radiograph, its outlines, the mask that was found on the model's grid, and a caption."""

    radiograph: Radiograph
    case: Case
    found: NDArray[np.bool_]
    geometry: Geometry
    caption: str


def write_sheet(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Write the cases as PNG, two in a row as the paper's Figure 9: left the truth's outline, right what was found.

    Raises WriteError.
    """
    from PIL import Image as images
    from PIL import ImageDraw, ImageFont

    across, high = 2 * PANEL_SIDE + GAP, PANEL_SIDE + LINE + GAP
    columns = min(2, len(panels))
    size = (columns * (across + 2 * GAP), -(-len(panels) // 2) * high + LINE + GAP)
    sheet = images.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    draw.text((GAP, GAP // 2), title, fill="black", font=font)
    for number, panel in enumerate(panels):
        x, y = (number % 2) * (across + 2 * GAP) + GAP, number // 2 * high + LINE + GAP
        sheet.paste(_true(panel), (x, y))
        sheet.paste(_found(panel), (x + PANEL_SIDE + GAP, y))
        draw.text((x, y + PANEL_SIDE + 2), panel.caption, fill="black", font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def _square(panel: Panel) -> Image:
    """The radiograph in a panel, its longer side filling it, on black."""
    from PIL import Image as images

    grey = (np.clip(panel.radiograph.pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    picture = images.new("RGB", (PANEL_SIDE, PANEL_SIDE))
    picture.paste(images.fromarray(grey).resize(_size(panel), images.Resampling.LANCZOS).convert("RGB"))
    return picture


def _size(panel: Panel) -> tuple[int, int]:
    zoom = PANEL_SIDE / max(panel.radiograph.rows, panel.radiograph.cols)
    return max(1, round(panel.radiograph.cols * zoom)), max(1, round(panel.radiograph.rows * zoom))


def _true(panel: Panel) -> Image:
    from PIL import ImageDraw

    picture = _square(panel)
    draw, (cols, rows) = ImageDraw.Draw(picture), _size(panel)
    for polygon in panel.case.polygons:
        corners = [(x * cols / panel.case.cols, y * rows / panel.case.rows) for x, y in polygon]
        draw.line([*corners, corners[0]], fill=TRUTH, width=2)
    return picture


def _found(panel: Panel) -> Image:
    """The radiograph with the found area tinted, its rim solid."""
    from PIL import Image as images
    from scipy import ndimage

    content = panel.found[: panel.geometry.content_rows, : panel.geometry.content_cols]
    (cols, rows), picture = _size(panel), np.asarray(_square(panel)).copy()
    scaled = images.fromarray(content.astype(np.uint8) * 255).resize((cols, rows), images.Resampling.BILINEAR)
    mask = np.zeros(picture.shape[:2], bool)
    mask[:rows, :cols] = np.asarray(scaled) >= 128
    rim = mask & ~ndimage.binary_erosion(mask, iterations=2)
    picture[mask] = ((1 - TINT) * picture[mask] + TINT * np.array(REPORTED)).astype(np.uint8)
    picture[rim] = REPORTED
    return images.fromarray(picture)
