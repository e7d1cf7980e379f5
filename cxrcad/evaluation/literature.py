"""Published nodule-detection results as data, and which of them may stand behind a curve of ours.

A point compares with a curve only on the same data and images, under the same known hit rule, with false positives
counted over the same images. Papers on JSRT differ in all of these, so most points may not be drawn, and `comparable`
says why, one clause each. What could not be read in the source is None and named in the note.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cxrcad.core import UsageError
from cxrcad.evaluation.protocols import TABLE, Protocol
from cxrcad.evaluation.published import paper_row
from cxrcad.evaluation.records import FoldResult, pooled_matches

__all__ = ["PUBLISHED", "PublishedPoint", "comparable", "comparable_with", "derived_fp_per_image"]


@dataclass(frozen=True)
class PublishedPoint:
    """One operating point of one paper, as far as its text was read.

    `protocol` is ours that scores the same images, None where none does or the images are not known; `on_jsrt` is None
    where the source does not name its data. `hit_rule` is the rule in words, None where it is not known to us;
    `hit_rule_kind` and `max_distance_mm` are the same rule in our terms. `n_images` are those that false positives are
    counted over. `sensitivity` is 0-1, None where no figure is known; `fp_per_image` is None for radiologists and where
    none is printed. `verified` says that sensitivity and false positives were read in the source's own text.
    """

    label: str
    year: int
    source: str
    data: str
    on_jsrt: bool | None
    sensitivity: float | None
    fp_per_image: float | None
    verified: bool
    protocol: str | None = None
    hit_rule: str | None = None
    hit_rule_kind: str | None = None
    max_distance_mm: float | None = None
    n_nodules: int | None = None
    n_images: int | None = None
    note: str = ""


def derived_fp_per_image(recall: float, precision: float, n_nodules: int, n_images: int) -> float:
    """False positives an image that recall and precision (0-1) imply: (TP / precision - TP) / images."""
    true_positives = recall * n_nodules
    return (true_positives / precision - true_positives) / n_images


def _this_paper() -> PublishedPoint:
    row = paper_row("mo-segnet", "multi")
    assert row is not None
    recall, precision = row.recall.mean / 100, row.precision.mean / 100
    implied = derived_fp_per_image(recall, precision, 154, 154)
    return PublishedPoint(
        label="Park et al. 2020",
        year=2020,
        source="Park, Jeong, Moon: X-ray Image Segmentation using Multi-task Learning, 31 March 2020, Table 2",
        data="JSRT's 154 positives, five-fold cross-validation",
        on_jsrt=True,
        sensitivity=recall,
        fp_per_image=None,
        verified=True,
        protocol="paper",
        n_nodules=154,
        n_images=154,
        note=f"F1 {row.f1.mean:.1f} %, precision {row.precision.mean:.1f} %. False positives an image are not printed; "
        f"recall and precision imply {implied:.3f}. The paper states no hit rule.",
    )


_SCHILHAM = (
    "Schilham, van Ginneken, Loog: A computer-aided diagnosis system for detection of lung nodules in chest "
    "radiographs with an evaluation on a public database, Medical Image Analysis 2006, pages 247-258, PubMed 16293441"
)
_SCHILHAM_NOTE = (
    "Read in the abstract, which says 'of all nodules' of a public database with many very subtle nodules. Whether "
    "these are 154 or 140, over which images false positives are counted, and the hit rule: not verified here."
)

PUBLISHED: tuple[PublishedPoint, ...] = (
    PublishedPoint(
        label="Radiologists (Shiraishi et al. 2000)",
        year=2000,
        source="Shiraishi et al., AJR 174:71-74, 2000, doi 10.2214/ajr.174.1.1740071",
        data="JSRT: 154 radiographs with a nodule and 93 without, read by 20 radiologists",
        on_jsrt=True,
        sensitivity=0.70,
        fp_per_image=None,
        verified=False,
        protocol="jsrt-247",
        n_nodules=154,
        n_images=247,
        note="An ROC study, so there is no rate of false positives. The 70 % is read in Schilham et al.'s abstract: "
        "nodules indicated with a confidence of 50 % or more. Shiraishi et al.'s abstract gives areas under the curve "
        "only; their full text was not seen.",
    ),
    PublishedPoint(
        label="Schilham et al. 2006",
        year=2006,
        source=_SCHILHAM,
        data="JSRT",
        on_jsrt=True,
        sensitivity=0.51,
        fp_per_image=2.0,
        verified=True,
        note=_SCHILHAM_NOTE,
    ),
    PublishedPoint(
        label="Schilham et al. 2006",
        year=2006,
        source=_SCHILHAM,
        data="JSRT",
        on_jsrt=True,
        sensitivity=0.67,
        fp_per_image=4.0,
        verified=True,
        note=_SCHILHAM_NOTE,
    ),
    PublishedPoint(
        label="Hardie et al. 2008",
        year=2008,
        source="Hardie, Rogers, Wilson, Rogers: Performance analysis of a new computer aided detection system for "
        "identifying lung nodules on chest radiographs, Medical Image Analysis 12(3):240-258, 2008, "
        "doi 10.1016/j.media.2007.10.004",
        data="140 of JSRT's nodules; trained on 167 other radiographs",
        on_jsrt=True,
        sensitivity=0.781,
        fp_per_image=4.0,
        verified=False,
        protocol="jsrt-140",
        n_nodules=140,
        note="The abstract was seen without its end: it confirms training on 167 radiographs with 181 nodules and "
        "JSRT's 154 positives as the test set. The figure, the 140, and the images that false positives are counted "
        "over: not verified here. A hit within 25 mm is ascribed to it; not verified here.",
    ),
    PublishedPoint(
        label="Chen and Suzuki 2013",
        year=2013,
        source="Chen, Suzuki: Computerized detection of lung nodules by means of virtual dual-energy radiography, "
        "IEEE Transactions on Biomedical Engineering 60(2):369-378, 2013, doi 10.1109/TBME.2012.2226583",
        data="140 of JSRT's nodules and 93 normals, leave-one-out cross-validation",
        on_jsrt=True,
        sensitivity=0.85,
        fp_per_image=5.0,
        verified=True,
        n_nodules=140,
        n_images=233,
        note="Read in the abstract: 119 of 140 nodules at 1165 false positives in 233 images, in a publicly available "
        "database that it does not name. A hit within 25 mm is ascribed to it; not verified here.",
    ),
    PublishedPoint(
        label="Wang et al. 2017",
        year=2017,
        source="Wang, Elazab, Wu, Hu: Lung nodule classification using deep feature fusion in chest radiography, "
        "Computerized Medical Imaging and Graphics 57:10-18, 2017, doi 10.1016/j.compmedimag.2016.11.004",
        data="a public data set, unnamed in the abstract",
        on_jsrt=None,
        sensitivity=0.693,
        fp_per_image=1.19,
        verified=True,
        note="Read in the abstract, with a specificity of 96.2 %. The data set, the number of nodules and images, and "
        "the hit rule: not verified here.",
    ),
    PublishedPoint(
        label="Shimazaki et al. 2022",
        year=2022,
        source="Shimazaki et al.: Deep learning-based algorithm for lung cancer detection on chest radiographs using "
        "the segmentation method, Scientific Reports 12:727, 2022, doi 10.1038/s41598-021-04667-w",
        data="own test set: 151 radiographs with 159 malignant nodules or masses",
        on_jsrt=False,
        sensitivity=0.73,
        fp_per_image=0.13,
        verified=True,
        n_nodules=159,
        n_images=151,
        note="Read in the abstract. The hit rule: not verified here.",
    ),
    PublishedPoint(
        label="NODE21 baseline",
        year=2022,
        source="Sogancioglu et al.: Nodule Detection and Generation on Chest X-Rays: NODE21 Challenge, IEEE "
        "Transactions on Medical Imaging 43(8):2839-2853, 2024, doi 10.1109/TMI.2024.3382042; "
        "github.com/node21challenge/node21_detection_baseline",
        data="NODE21's hidden test sets",
        on_jsrt=False,
        sensitivity=None,
        fp_per_image=None,
        verified=False,
        protocol="node21",
        note="A Faster R-CNN, as its README says, which gives no figure. Sensitivity, false positives and hit rule: "
        "not verified here.",
    ),
    _this_paper(),
)
"""Results that are cited beside ours, oldest first; this project's paper last."""


def comparable(
    protocol: str,
    hit_rule_kind: str,
    max_distance_mm: float,
    data_is_jsrt: bool,
    points: Iterable[PublishedPoint] = PUBLISHED,
) -> tuple[list[PublishedPoint], list[tuple[PublishedPoint, str]]]:
    """Points that may be drawn behind a curve, and those that may not, each with its reason in one clause.

    Args:
        protocol: The curve's protocol, by name.
        hit_rule_kind: The curve's hit rule: center, iou or distance.
        max_distance_mm: Its limit, which counts for kind distance only.
        data_is_jsrt: Whether the curve is of JSRT's own images; on other data nothing compares.
        points: The published points to choose from.

    Raises:
        UsageError: There is no such protocol.
    """
    rows = {row.name: row for row in TABLE}
    if protocol not in rows:
        raise UsageError(f"protocol is {protocol!r}; choose from {', '.join(rows)}")
    drawn: list[PublishedPoint] = []
    left_out: list[tuple[PublishedPoint, str]] = []
    for point in points:
        reason = (
            _other_data(point, data_is_jsrt)
            or _no_place(point)
            or _other_images(point, rows[protocol], rows)
            or _other_rule(point, hit_rule_kind, max_distance_mm)
        )
        if reason:
            left_out.append((point, reason))
        else:
            drawn.append(point)
    return drawn, left_out


def comparable_with(
    results: Sequence[FoldResult],
) -> tuple[list[PublishedPoint], list[tuple[PublishedPoint, str]]]:
    """`comparable` for scored folds, whose images are JSRT's where all bear its names (JPCLN001, JPCNN001)."""
    terms = results[0].terms
    is_jsrt = all(match.case.upper().startswith(("JPCLN", "JPCNN")) for match in pooled_matches(results))
    return comparable(terms.protocol, terms.rule.kind, terms.rule.max_distance_mm, is_jsrt)


def _other_data(point: PublishedPoint, data_is_jsrt: bool) -> str | None:
    if point.on_jsrt is None:
        return "data set not verified"
    if not point.on_jsrt:
        return "own data"
    return None if data_is_jsrt else "on JSRT, not on this data"


def _no_place(point: PublishedPoint) -> str | None:
    """Why the point has no place on the axes of a FROC curve."""
    if point.sensitivity is None:
        return "no figure known"
    return "no false positives an image given" if point.fp_per_image is None else None


def _other_images(point: PublishedPoint, curve: Protocol, rows: dict[str, Protocol]) -> str | None:
    if point.protocol is None and point.n_nodules is None:
        return "images not verified"
    counted = f"{point.n_nodules or 'unknown'} of JSRT's nodules"
    if point.protocol is None:
        return f"other images: {counted}, false positives over {point.n_images or 'unknown'} images"
    own = rows[point.protocol]
    if own.images != curve.images:
        return f"other images: {counted}"
    return "false positives over other images" if own.fp_axis != curve.fp_axis else None


def _other_rule(point: PublishedPoint, kind: str, max_distance_mm: float) -> str | None:
    if point.hit_rule_kind is None:
        return "hit rule not stated or not verified"
    same = point.hit_rule_kind == kind and (kind != "distance" or point.max_distance_mm == max_distance_mm)
    if kind == "iou" and same:
        return "IoU limits not compared"
    return None if same else f"other hit rule: {point.hit_rule}"
