"""Figures 6-8: cases chosen by a rule, drawn with truth, maps and findings; counts over all test cases beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Box, Case, CxrcadError, Radiograph, counted
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.bootstrap import Comparison
from cxrcad.evaluation.records import nodule_words
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import load_bundle
from cxrcad.paper import case_selection as select
from cxrcad.paper.case_selection import Lesion, Overlap, Scene, Side
from cxrcad.paper.cells import Item
from cxrcad.paper.results import PLACES, CellResult, Drawn, Pair
from cxrcad.report.drawing.case_views import (
    BELOW_THRESHOLD,
    FALSE_POSITIVE,
    HIT,
    TRUE,
    CaseView,
    Mark,
    Panel,
    write_case_views,
)
from cxrcad.report.drawing.crops import box_or_point, crop_px, inside
from cxrcad.report.gallery import read_scored
from cxrcad.report.tables import Table
from cxrcad.scoring.cases import read_true_lung

__all__ = ["draw_item"]

MOST = 6
"""Cases in one picture."""

AROUND_MM = 120.0
"""Side of the part that Figure 7 shows, mm: a third of a chest, in which a 10 mm nodule is 40 pixels wide."""

PLACE_WORDS = {True: "in lung", False: "outside", None: "no mask"}


@dataclass(frozen=True)
class _Plan:
    """A picture before anything is read: what its text says, and for each case that it shows, what draws it."""

    lines: Sequence[str]
    document: Mapping[str, Any]
    shown: Sequence[tuple[Side, Callable[[Radiograph, _Viewer], CaseView]]]


def draw_item(item: Item, rows: Sequence[CellResult], pairs: Sequence[Pair], path: Path) -> Drawn:
    """The text of a figure of cases, its picture written to `path`.

    Without a case to show there is no picture, and one of an earlier call is deleted. A case whose image or model
    cannot be read any more is left out and named. Raises WriteError.
    """
    seed = select.first_seed(rows)
    if seed is None:
        path.unlink(missing_ok=True)
        names = ", ".join(row.cell.name for row in rows if not row.there) or "a seed that all cells share"
        return Drawn((f"No picture: there is no result of {names}.",), {"picture": None})
    plan = _planned(item, rows, pairs, seed)
    views, faults = _views(plan)
    if views:
        write_case_views(views, path, 2 if len(views[0].panels) == 2 else 1)
        told = f"Picture: {path}"
    else:
        path.unlink(missing_ok=True)
        told = "No picture: no case can be read." if plan.shown else "No picture: there is no such case."
    lines = [*plan.lines, *(["", *faults] if faults else []), "", told]
    picture = {"file": path.name if views else None, "seed": seed, **plan.document, "left_out": faults}
    return Drawn(lines, {"picture": picture})


def _planned(item: Item, rows: Sequence[CellResult], pairs: Sequence[Pair], seed: int) -> _Plan:
    if item.pictures == "overlaps":
        return _plan_overlaps(select.sides_of(rows[0], seed), seed)
    by_name = {row.cell.name: row for row in rows}
    multi, single = (by_name[name] for name in item.pairs[0])
    scenes = select.scenes_of(single, multi, seed)
    if item.pictures == "found":
        return _plan_found(scenes, seed)
    pair = next((pair for pair in pairs if pair.seeds == (seed,)), None)
    return _plan_outside(scenes, None if pair is None else pair.figures[PLACES[1]], seed)


# Figure 6


def _plan_outside(scenes: Sequence[Scene], compared: Comparison | None, seed: int) -> _Plan:
    counts, shown = select.count_outside(scenes), select.most_outside(scenes, MOST)
    extent = _extent([scene.single for scene in scenes], seed)
    rule = (
        f"Selection rule: of the {counted(counts.single_images, 'image')} with a false positive of the "
        f"single-task network outside the lung fields, at most {MOST}, those in which the multi-task network has most "
        "fewer first; ties by name."
    )
    totals = [
        ["single", str(counts.single), f"{counts.single_images} of {counts.images}"],
        ["multiple", str(counts.multi), f"{counts.multi_images} of {counts.images}"],
    ]
    lines = [
        f"False positives outside the lung fields at each fold's threshold ({extent}):",
        "",
        *Table(["task", "false positives outside", "images with any"], totals).markdown(),
        "",
        f"The multi-task network has fewer than the single-task one in {counted(counts.fewer, 'image')}, more in "
        f"{counts.more}, as many in {counts.images - counts.fewer - counts.more}.",
    ]
    if compared is not None and compared.difference.value is not None:
        how = "" if compared.difference.low is None else ", paired bootstrap"
        p = "" if compared.p is None else f"; p {compared.p:.4f}"
        lines.append(f"Multiple less single, per image: {compared.difference.shown(2, sign='+')}{how}{p}.")
    if counts.unplaced:
        what = counted(counts.unplaced, "false positive")
        lines.append(f"Not counted: {what} of either network in images without a lung mask.")
    head = ["drawn image", "fold", "nodules", "single: outside", "in lung", "hits", "multi: outside", "in lung", "hits"]
    body = [[s.case.name, str(s.fold), _nodules(s.case), *_counts(s.single), *_counts(s.multi)] for s in shown]
    lines += ["", rule, *(["", *Table(head, body).markdown()] if body else [])]
    document = {
        "rule": rule,
        "counts": asdict(counts),
        "multi_less_single_an_image": None if compared is None else asdict(compared),
        "drawn": [
            {"case": s.case.name, "fold": s.fold, "single": s.single.outside, "multi": s.multi.outside} for s in shown
        ],
    }
    return _Plan(lines, document, [(scene.single, partial(_scene_view, scene)) for scene in shown])


def _counts(side: Side) -> list[str]:
    inside = sum(positive.in_lung is True for positive in side.false_positives)
    return [str(side.outside), str(inside), str(len(side.hits))]


# Figure 7


def _plan_found(scenes: Sequence[Scene], seed: int) -> _Plan:
    found = select.count_found(scenes)
    multi_only = select.surest(found.multi_only, len(found.multi_only))
    shown = multi_only[:MOST]
    rule = (
        f"Selection rule: of the nodules that the multi-task network alone hits, at most {MOST}, its highest "
        "scores first; ties by name."
    )
    body = [_found_row(one, "multiple only", one in shown) for one in multi_only]
    body += [_found_row(one, "single only", False) for one in found.single_only]
    head = ["hit by", "image", "fold", "nodule", "single: score (threshold)", "multiple: score (threshold)", "drawn"]
    p = "no nodule tells the two apart" if found.p is None else f"McNemar's exact p {found.p:.4f}"
    lines = [
        f"Nodules hit at each fold's threshold ({_extent([scene.single for scene in scenes], seed)}): both "
        f"{found.both}, neither {found.neither}, the multi-task network alone {len(found.multi_only)}, the single-task "
        f"network alone {len(found.single_only)}; {p}.",
        "",
        rule,
        *(["", *Table(head, body).markdown()] if body else []),
    ]
    document = {
        "rule": rule,
        "counts": {
            "both": found.both,
            "neither": found.neither,
            "multi_only": len(found.multi_only),
            "single_only": len(found.single_only),
        },
        "mcnemar_exact_p": found.p,
        "multi_only": [_lesion_document(one, one in shown) for one in found.multi_only],
        "single_only": [_lesion_document(one, False) for one in found.single_only],
    }
    return _Plan(lines, document, [(lesion.scene.single, partial(_lesion_view, lesion)) for lesion in shown])


def _found_row(lesion: Lesion, who: str, drawn: bool) -> list[str]:
    scene = lesion.scene
    nodule = nodule_words(scene.case.nodules[lesion.nodule])
    scores = [f"{_score(side, lesion.nodule)} ({side.threshold:.2f})" for side in (scene.single, scene.multi)]
    return [who, scene.case.name, str(scene.fold), nodule, *scores, "yes" if drawn else "no"]


def _score(side: Side, nodule: int) -> str:
    hit = side.hit_on(nodule)
    return "no finding" if hit is None else f"{hit.score:.2f}"


def _lesion_document(lesion: Lesion, drawn: bool) -> dict[str, Any]:
    scene = lesion.scene
    hits = {"single": scene.single.hit_on(lesion.nodule), "multi": scene.multi.hit_on(lesion.nodule)}
    scores = {f"{name}_score": None if hit is None else hit.score for name, hit in hits.items()}
    return {"case": scene.case.name, "fold": scene.fold, "nodule": lesion.nodule, **scores, "drawn": drawn}


# Figure 8


def _plan_overlaps(sides: Sequence[Side], seed: int) -> _Plan:
    found, unknown = select.overlaps(sides)
    shown = select.least_overlapping(found, MOST)
    extent = _extent(sides, seed)
    rule = f"Selection rule: of the hits, at most {MOST}, the lowest IoU with the true box first; ties by name."
    values = [one.iou for one in found]
    numbers: dict[str, Any] = {"hits": len(values), "hits_on_nodules_of_unknown_size": unknown}
    if values:
        low, middle, high = (float(value) for value in np.percentile(values, (25, 50, 75)))
        area = median(one.finding.box_px.area / one.truth_px.area for one in found)
        numbers |= {"mean": fmean(values), "median": middle, "quartiles": [low, high], "median_area_ratio": area}
        lines = [
            f"IoU of the network's box with the true box over {counted(len(values), 'hit')} ({extent}): "
            f"mean {fmean(values):.2f}, median {middle:.2f}, quartiles {low:.2f} and {high:.2f}, lowest "
            f"{min(values):.2f}, highest {max(values):.2f}.",
            f"The network's box has {area:.1f} times the true one's area (median); it is cut where the map falls to "
            "the part of its peak that --grow sets (--method components: at the threshold).",
            _truth_sentence(found),
            "",
            rule,
            "",
            *Table(["drawn image", "fold", "nodule", "score", "IoU"], [_overlap_row(one) for one in shown]).markdown(),
        ]
    else:
        lines = [f"There is no hit on a nodule of known size at the threshold ({extent}).", "", rule]
    if unknown:
        lines += ["", f"Left out: {counted(unknown, 'hit')} on nodules of unknown size."]
    drawn = [{"case": one.side.case.name, "nodule": one.hit.nodule, "iou": one.iou} for one in shown]
    document = {"rule": rule, "iou": numbers, "drawn": drawn}
    return _Plan(lines, document, [(one.side, partial(_overlap_view, one)) for one in shown])


def _truth_sentence(found: Sequence[Overlap]) -> str:
    """What the difference of the two boxes can mean on this data set."""
    exact = sum(one.exact for one in found)
    if exact < len(found):
        return (
            f"The data set gives centre and size of {len(found) - exact} of these nodules and no box: theirs is that "
            "of a disc, and a low IoU does not say which of two boxes is nearer to the nodule."
        )
    inserted = any(map(_inserted, found[0].side.job.config.data.folders))
    start = (
        "The nodules were put into these images (sources.csv)" if inserted else "boxes.csv gives the nodules' extent"
    )
    return (
        f"{start}, so the true boxes are exact: where the two differ, the network errs, not the label. The paper's "
        "claim that the network corrects labels cannot be seen on this data set."
    )


def _inserted(data: Path) -> bool:
    """Whether the data set's sources.csv names an inserted nodule for each image, as `cxrcad simulate` writes it."""
    if not (data / "sources.csv").is_file():
        return False
    head = (data / "sources.csv").read_text(encoding="utf-8").partition("\n")[0]
    return "nodule" in [name.strip() for name in head.split(",")]


def _overlap_row(one: Overlap) -> list[str]:
    case = one.side.case
    words = nodule_words(case.nodules[one.hit.nodule])
    return [case.name, str(one.side.job.fold), words, f"{one.hit.score:.2f}", f"{one.iou:.2f}"]


# Words


def _extent(sides: Sequence[Side], seed: int) -> str:
    """What the counts hold: seed 0, folds 1, 3: 62 images."""
    folds = list(dict.fromkeys(str(side.job.fold) for side in sides))
    name = "fold" if len(folds) == 1 else "folds"
    return f"seed {seed}, {name} {', '.join(folds) or 'none'}: {counted(len(sides), 'image')}"


def _nodules(case: Case) -> str:
    return "; ".join(nodule_words(nodule) for nodule in case.nodules) or "none"


# Drawing


class _Viewer:
    """Reads images, true lung fields and maps; each model and data set is opened once."""

    def __init__(self) -> None:
        self.detectors: dict[str, Detector] = {}
        self.datasets: dict[tuple[Path, ...], Dataset] = {}

    def lung(self, side: Side) -> NDArray[np.bool_] | None:
        """The true lung fields of the side's case; None without a mask."""
        data = side.job.config.data.folders
        if not data:
            return None
        if data not in self.datasets:
            self.datasets[data] = read_dataset(data)
        case = self.datasets[data].by_name.get(side.case.name)
        return None if case is None else read_true_lung(case)

    def shade(self, side: Side, radiograph: Radiograph) -> NDArray[np.float32]:
        """The nodule map of the side's network over the image, without the grid's padding."""
        job = side.job
        if job.key not in self.detectors:
            device = "cpu" if job.config.device == "cpu" else "auto"
            self.detectors[job.key] = Detector.open(load_bundle(job.folder / "model"), device, job.config.threads)
        examined = self.detectors[job.key].examine(radiograph)
        return examined.geometry.as_stored(examined.maps["lesion"])


def _views(plan: _Plan) -> tuple[list[CaseView], list[str]]:
    """A view for each case, and a sentence for each that cannot be read any more."""
    viewer = _Viewer()
    views, faults = [], []
    for side, view in plan.shown:
        try:
            views.append(view(read_scored(side.scored_image), viewer))
        except CxrcadError as error:
            faults.append(f"{side.case.name} is left out of the picture: {error}")
    return views, faults


def _scene_view(scene: Scene, radiograph: Radiograph, viewer: _Viewer) -> CaseView:
    whole = Box(0, 0, radiograph.cols, radiograph.rows)
    sides = "; ".join(
        f"{name}: {side.outside} outside the lungs, {counted(len(side.hits), 'hit')}"
        for name, side in (("Single", scene.single), ("multiple", scene.multi))
    )
    caption = f"{scene.case.name}, fold {scene.fold}. Nodule: {_nodules(scene.case)}. {sides}."
    return CaseView(caption, radiograph, whole, _three(scene, whole, radiograph, viewer))


def _lesion_view(lesion: Lesion, radiograph: Radiograph, viewer: _Viewer) -> CaseView:
    scene, case = lesion.scene, lesion.scene.case
    nodule = case.nodules[lesion.nodule]
    part = crop_px(case, [box_or_point(case, nodule)], AROUND_MM)
    scores = [_score(side, lesion.nodule) for side in (scene.single, scene.multi)]
    caption = (
        f"{case.name}, fold {scene.fold}. Nodule: {nodule_words(nodule)}. "
        f"On it: single {scores[0]}, multiple {scores[1]}."
    )
    return CaseView(caption, radiograph, part, _three(scene, part, radiograph, viewer))


def _overlap_view(one: Overlap, radiograph: Radiograph, viewer: _Viewer) -> CaseView:
    case = one.side.case
    truth = Mark(TRUE, one.truth_px)
    ours = Mark(HIT, one.finding.box_px, f"{one.hit.score:.2f}")
    panels = (
        Panel("True box", (truth,)),
        Panel("The network's box", (truth, ours), viewer.shade(one.side, radiograph)),
    )
    words = nodule_words(case.nodules[one.hit.nodule])
    caption = f"{case.name}, fold {one.side.job.fold}. Nodule: {words}. IoU {one.iou:.2f}."
    return CaseView(caption, radiograph, crop_px(case, [one.truth_px, one.finding.box_px]), panels)


def _three(scene: Scene, part: Box, radiograph: Radiograph, viewer: _Viewer) -> tuple[Panel, ...]:
    """Input with truth, then either network's map with its findings in that part of the image."""
    lung = viewer.lung(scene.single)
    truth = tuple(Mark(TRUE, box_or_point(scene.case, nodule)) for nodule in scene.case.nodules)
    panels = [Panel("Input and truth", truth, None, lung)]
    for name, side in (("Single task", scene.single), ("Multiple task", scene.multi)):
        marks = tuple(mark for mark in _marks(side) if inside(mark.box_px.center, part))
        title = f"{name}, reported from {side.threshold:.2f}"
        panels.append(Panel(title, (*truth, *marks), viewer.shade(side, radiograph), lung))
    return tuple(panels)


def _marks(side: Side) -> list[Mark]:
    """The reported findings as what they are, best first, then the nodules' own below the threshold."""
    kinds = {hit.finding: (HIT, "hit") for hit in side.match.hits}
    kinds |= {one.finding: (FALSE_POSITIVE, PLACE_WORDS[one.in_lung]) for one in side.match.false_positives}
    marks, below = [], []
    for number, finding in enumerate(side.scored_image.findings):
        kind, word = kinds.get(number, (HIT, "again"))
        if finding.score >= side.threshold:
            marks.append(Mark(kind, finding.box_px, f"{word} {finding.score:.2f}"))
        elif word == "hit":
            below.append(Mark(BELOW_THRESHOLD, finding.box_px, f"missed {finding.score:.2f}"))
    return marks + below
