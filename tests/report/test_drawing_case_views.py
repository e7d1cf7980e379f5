"""Sheets of panels: sizes, and that boxes, maps and outlines lie where they lie in the image."""

from __future__ import annotations

import numpy as np
import pytest

from cxrcad.core import Box, Radiograph, Source
from cxrcad.report.drawing.case_views import (
    FALSE_POSITIVE,
    HIT,
    LINE,
    MARGIN,
    OUTLINE,
    TRUE,
    WRONG,
    CaseView,
    Mark,
    Panel,
    render_case_views,
    write_case_views,
)
from cxrcad.report.drawing.marks import REPORTED, TRUTH


@pytest.fixture
def radiograph() -> Radiograph:
    """100 x 100 pixels of 1 mm, grey, so that every coloured pixel was drawn."""
    pixels = np.full((100, 100), 0.5, np.float32)
    pixels[::7] = 0.4
    return Radiograph(pixels, (1.0, 1.0), "PixelSpacing", None, Source("a.png", "PNG", "0" * 64))


def strip(radiograph: Radiograph, *panels: Panel, part: Box | None = None, caption: str = "A case.") -> CaseView:
    return CaseView(caption, radiograph, part or Box(0, 0, 100, 100), panels)


def where(picture, colour) -> tuple[int, int, int, int]:
    """First and last column, first and last row of a colour in the first panel of a sheet."""
    side = picture.size[1]
    pixels = np.asarray(picture.crop((MARGIN, MARGIN + LINE, picture.size[0], MARGIN + LINE + side)))[: -2 * LINE - 40]
    rows, cols = np.nonzero((pixels == colour).all(axis=2))
    return int(cols.min()), int(cols.max()), int(rows.min()), int(rows.max())


def test_a_box_lies_where_it_lies_in_the_part(radiograph):
    """One panel of 1472 pixels shows columns 50-100 and rows 0-50: 29.44 a pixel; the line is 4 pixels off."""
    panel = Panel("Title", (Mark(HIT, Box(60, 20, 70, 30), "hit 0.90"),))
    picture = render_case_views([strip(radiograph, panel, part=Box(50, 0, 100, 50))])
    assert picture.size[0] == 1500
    first, last, _, bottom = where(picture, REPORTED)
    assert first == pytest.approx(10 * 29.44 - 4, abs=1)
    assert last == pytest.approx(20 * 29.44 + 4, abs=1)
    assert bottom == pytest.approx(30 * 29.44 + 4, abs=1)


def test_maps_of_any_size_cover_the_image(radiograph):
    """A lung mask of 10 x 20 whose right half is set, and a shade of 4 x 4 with its last row at 1."""
    lung, shade = np.zeros((10, 20), bool), np.zeros((4, 4), np.float32)
    lung[:, 10:], shade[3] = True, 1.0
    picture = render_case_views([strip(radiograph, Panel("Title", (), None, lung))])
    first, last, top, bottom = where(picture, OUTLINE)
    assert (first, last) == (pytest.approx(736, abs=40), first + 1), "a line 2 pixels wide, and none at the borders"
    assert (top, bottom) == (0, 1471)
    pixels = np.asarray(render_case_views([strip(radiograph, Panel("Title", (), shade))])).astype(int)
    redder = (pixels[..., 0] - pixels[..., 2])[MARGIN + LINE : MARGIN + LINE + 1472, MARGIN : MARGIN + 1472]
    assert redder[:700].max() == 0
    assert redder[1300:].min() > 100


def test_panels_and_views_stand_side_by_side(radiograph, tmp_path):
    panels = (
        Panel("Truth", (Mark(TRUE, Box(10, 10, 30, 30)),)),
        Panel("Ours", (Mark(FALSE_POSITIVE, Box(60, 60, 80, 80)),)),
    )
    views = [strip(radiograph, *panels)] * 3
    picture = render_case_views(views, across=2)
    pixels = np.asarray(picture)
    columns = np.nonzero((pixels[:400] == WRONG).all(axis=2).any(axis=0))[0]
    halves = [columns[columns < 750], columns[columns >= 750]]
    assert halves[0].min() > 360, "in the second panel of the first strip"
    assert halves[1].min() > 1100, "and in that of the second strip"
    assert (pixels[400:] == TRUTH).all(axis=2).any(), "the third strip stands on the second line"
    assert not (pixels[440 : picture.size[1] - 60, 800:] != 255).any(), "with nothing beside it"
    write_case_views(views, tmp_path / "a.png", 2)
    write_case_views(views, tmp_path / "b.png", 2)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_long_caption_is_wrapped_and_the_legend_names_only_what_is_drawn(radiograph):
    short = render_case_views([strip(radiograph, Panel("Title"))])
    long = render_case_views([strip(radiograph, Panel("Title"), caption="A nodule of 12 mm. " * 20)])
    assert (long.size[1] - short.size[1]) % LINE == 0
    assert long.size[1] > short.size[1]
    foot = np.asarray(short)[-MARGIN - LINE : -MARGIN, MARGIN:-MARGIN]
    assert (foot == 0).all(), "nothing drawn, nothing named"
    marked = render_case_views([strip(radiograph, Panel("Title", (Mark(HIT, Box(10, 10, 30, 30), "hit"),)))])
    foot = np.asarray(marked)[-MARGIN - LINE : -MARGIN, MARGIN:-MARGIN]
    assert (foot == REPORTED).all(axis=2).any()
    assert not (foot == WRONG).all(axis=2).any()
