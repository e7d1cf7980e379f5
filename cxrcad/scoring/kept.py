"""What an earlier evaluation kept, used again image by image: bound by model, settings, image, truth and masks.

A file's name, folder and time decide nothing: what comes out always equals a fresh evaluation of the present data.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.core import Case, CxrcadError, counted
from cxrcad.datasets.content import Content, content_of, differences, truth_sha256
from cxrcad.datasets.made_masks import models_of_masks
from cxrcad.evaluation.matching import HitRule
from cxrcad.evaluation.records import FoldResult, ScoredImage, ScoredMatch, ScoringContext, read_matches, rematched
from cxrcad.inference.model import Bundle

__all__ = [
    "NEW",
    "Again",
    "because",
    "bound_to",
    "has_discs",
    "model_changes",
    "named",
    "read_kept",
    "used_again",
    "used_notes",
]

NAMED = 3
"""Images that a sentence names; all are counted."""

NEW = "new"
"""The reason to detect an image for which nothing was kept."""


@dataclass(frozen=True)
class Again:
    """One image whose findings, kept in `path`, are used again, matched with the present truth; `how` says so in words.

    `provider` is what the findings were made with.
    """

    path: Path
    provider: str
    how: str
    scored: ScoredMatch


def read_kept(first: Path) -> dict[Path, FoldResult]:
    """What `first` holds, then the other files of matches beside it; one that cannot be read is as if it was not."""
    found = {}
    for path in (first, *sorted(set(first.parent.glob("matches-*.json")) - {first})):
        with contextlib.suppress(CxrcadError):
            found[path] = read_matches(path)
    return found


def used_again(
    files: Mapping[Path, FoldResult], cases: Sequence[Case], bundle: Bundle, rule: HitRule
) -> tuple[dict[str, Again], dict[str, tuple[str, ...]]]:
    """By case: the images whose kept findings are used again; for the others, in words, why they are not.

    Raises EvaluationError where a case cannot be matched, DataError where its files cannot be read.
    """
    known = {
        path: {image.case.name: (image, overlap) for image, overlap in zip(kept.scored, kept.lung_dice, strict=False)}
        for path, kept in files.items()
    }
    again: dict[str, Again] = {}
    reasons: dict[str, tuple[str, ...]] = {}
    for case in cases:
        content = content_of(case)
        for path, images in known.items():
            if case.name not in images:
                continue
            context, (scored_image, overlap) = files[path].context, images[case.name]
            changed = _changes(context, scored_image, case, content, bundle)
            if not changed and (overlap is not None) != _takes_dice(case, bundle):
                changed = ("who drew the lung masks changed",)
            if not changed:
                how, now = _matched(context.rule, scored_image, case, rule)
                again[case.name] = Again(path, context.model.provider, how, (rematched(now, rule), overlap, now))
                break
            reasons.setdefault(case.name, changed)
    return again, {case.name: reasons.get(case.name, (NEW,)) for case in cases if case.name not in again}


def model_changes(sha256: str, settings_sha256: str, bundle: Bundle) -> tuple[str, ...]:
    """What of the model changed since something was kept, in words; none where it is the same."""
    if sha256 != bundle.sha256:
        return ("model changed",)
    if not settings_sha256:
        return ("kept by an earlier version",)
    return () if settings_sha256 == bundle.settings_sha256 else ("settings changed",)


def bound_to(bundle: Bundle, cases: Sequence[Case]) -> dict[str, Any]:
    """What a document of figures says of what it rests on: the model's settings, image, truth and masks of each case.

    Raises DataError for a file that cannot be read.
    """
    content = {case.name: asdict(content_of(case)) for case in cases}
    return {"settings_sha256": bundle.settings_sha256, "content": content}


def has_discs(case: Case) -> bool:
    """Whether the case has nodules and all have a disc of known size, so that a nodule Dice is taken."""
    sized = case.spacing_mm is not None and all(nodule.diameter_mm is not None for nodule in case.nodules)
    return bool(case.nodules) and sized


def because(reasons: Mapping[str, Sequence[str]]) -> str:
    """Of images that are done again, why: ": image changed (A, B); new (C)", or "" where nothing was kept of any."""
    by_reason = defaultdict(list)
    for name, words in reasons.items():
        by_reason[", ".join(words)].append(name)
    if set(by_reason) <= {NEW}:
        return ""
    return ": " + "; ".join(f"{reason} ({named(names)})" for reason, names in by_reason.items())


def used_notes(again: Mapping[str, Again]) -> Iterator[str]:
    """A line for each file and each way in which its images are used again."""
    groups = Counter((one.path, one.how) for one in again.values())
    return (f"{counted(count, 'image')}, matches of {path} {how}" for (path, how), count in groups.items())


def _changes(
    context: ScoringContext, scored_image: ScoredImage, case: Case, content: Content, bundle: Bundle
) -> tuple[str, ...]:
    """Why an image is to be detected again; none where its kept findings can be used.

    Another truth is matched with the same findings, unless maps are needed again for it, which are not kept.
    """
    model = model_changes(context.model.sha256, context.settings_sha256, bundle)
    if model:
        return model
    truth = truth_sha256(scored_image.case) if _needs_maps(scored_image.case, case) else content.truth
    before = Content(scored_image.sha256, truth, scored_image.masks_sha256 or "")
    return tuple(f"{what} changed" for what in differences(before, content))


def _takes_dice(case: Case, bundle: Bundle) -> bool:
    """Whether a lung Dice is taken: with masks that somebody drew, which model.json beside them tells. DataError."""
    return "lung" in bundle.tasks and bool(case.lung_masks) and not models_of_masks([case])


def _needs_maps(before: Case, now: Case) -> bool:
    """Whether the truth changed in what is measured on the model's maps: nodule Dice, distances in mm."""
    if (before.rows, before.cols, before.spacing_mm) != (now.rows, now.cols, now.spacing_mm):
        return True
    discs = [[(n.x_px, n.y_px, n.diameter_mm) for n in case.nodules] for case in (before, now)]
    return has_discs(now) and discs[0] != discs[1]


def _matched(before: HitRule, scored_image: ScoredImage, case: Case, rule: HitRule) -> tuple[str, ScoredImage]:
    """How the kept findings are used, in words, and the image with its present truth."""
    how = "used again"
    if before != rule:
        how = "matched again under this hit rule"
    elif truth_sha256(scored_image.case) != truth_sha256(case):
        how = "matched again with the changed truth"
    nodule_dice = scored_image.nodule_dice if has_discs(case) else None
    return how, replace(scored_image, case=replace(case, lung_masks=()), nodule_dice=nodule_dice)


def named(names: Sequence[str]) -> str:
    """The first names, and how many more there are: "A, B, C and 2 more"."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
