"""What `cxrcad insertion-test` tells: scores and verdict as Markdown, and insertion_test.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cxrcad.config import InsertionTestConfig
from cxrcad.core import ModelIdentity, counted
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.report.tables import Table
from cxrcad.scoring.insertion_test import INSERTIONS, VERSIONS, ScoredPlace, patch_differences, verdict

__all__ = ["InsertionTest", "held_out_words", "insertion_test_document", "insertion_test_text", "verdict_sentence"]

SCHEMA = "cxrcad/fingerprint/1"


@dataclass(frozen=True)
class InsertionTest:
    """What was scored, and what came of it.

    `trained_on` has the held-out cases that the model saw; `whose` says whose the nodules are, "" where anyone's.
    """

    config: InsertionTestConfig
    model: ModelIdentity
    scored: Sequence[ScoredPlace]
    figures: Mapping[str, Interval]
    trained_on: Sequence[str]
    whose: str


def held_out_words(config: InsertionTestConfig) -> str | None:
    """Where the patients are from; None where they may be anyone."""
    if config.fold is None:
        return None
    which = "all folds" if config.fold == "all" else f"fold {config.fold}"
    return f"the test cases of {which} of {', '.join(map(str, config.data.folders))}"


def verdict_sentence(differences: Mapping[str, Interval], bound: float) -> str:
    """The differences of the background patches from the untouched place, and what follows from them."""
    shown = " and ".join(f"{one.shown(sign='+')} ({patch})" for patch, one in differences.items())
    sentence = f"The mean score of a background patch differs from the untouched place's by {shown}: "
    word = verdict(differences, bound)
    if word == "beyond":
        return f"{sentence}beyond the bound of {bound:g}. The model responds to insertion artefacts."
    if word == "below":
        return f"{sentence}below the bound of {bound:g}."
    known = all(one.low is not None for one in differences.values())
    reason = "as an interval crosses" if known else "as there is no interval to compare with"
    return f"{sentence}undecided, {reason} the bound of {bound:g}; take more radiographs."


def insertion_test_text(test: InsertionTest) -> str:
    """Mean scores, differences, AUCs and the verdict, as Markdown."""
    config, seen = test.config, len(test.trained_on)
    patients = len({one.background.patient for one in test.scored})
    drawn = "no resamples, no interval"
    if config.scoring.resamples:
        drawn = f"{config.scoring.resamples:,} resamples of the patients"
    whose = "The model may have been trained on some of them; --fold and --data take only held-out patients."
    held_out = held_out_words(config)
    head = [
        f"# Insertion-artefact test of {test.model.name}",
        "",
        f"Backgrounds {config.backgrounds}: {counted(len(test.scored), 'radiograph')} of "
        f"{counted(patients, 'patient')}. " + (whose if held_out is None else f"Their patients are in {held_out}."),
        *([f"NOT A TEST: {seen} of these test cases stand in the model's training list"] if seen else []),
        f"Nodules {config.nodules}{test.whose}.",
        "One place in the lung fields of each radiograph; background patches and nodule have the same place, shape and "
        "blur.",
        "Score: the highest value of the nodule map, 0-1, in a disc of the nodule's size at the place. "
        f"Brackets: 95 % bootstrap, {drawn}.",
        "",
    ]
    columns = ("place", "mean score", "less untouched", "AUC against untouched")
    lines = Table(columns, [_row(name, test.figures) for name in VERSIONS]).markdown()
    sentence = verdict_sentence(patch_differences(test.figures), config.bound)
    return "\n".join([*head, *lines, "", sentence]) + "\n"


def _row(name: str, figures: Mapping[str, Interval]) -> tuple[str, ...]:
    patch = INSERTIONS.get(name)
    difference, auc = (figures.get(f"{kind} {name}") for kind in ("difference", "AUC"))
    return (
        name if patch is None else f"background patch, {patch}",
        f"{figures[f'mean {name}'].value:.3f}",
        "" if difference is None else difference.shown(sign="+"),
        "" if auc is None else auc.shown(),
    )


def insertion_test_document(test: InsertionTest) -> dict[str, Any]:
    """insertion_test.json, whose schema and keys are those of the fingerprint.json that it was before."""
    config, differences = test.config, patch_differences(test.figures)
    radiographs = [
        {
            "file": one.background.image.name,
            "patient": one.background.patient,
            "x_px": one.inserted.nodule.x_px,
            "y_px": one.inserted.nodule.y_px,
            "diameter_mm": one.inserted.nodule.diameter_mm,
            "nodule": one.inserted.index,
            "subtlety": one.subtlety,
            "scores": dict(one.scores),
        }
        for one in test.scored
    ]
    return {
        "schema": SCHEMA,
        "model": asdict(test.model),
        "backgrounds": str(config.backgrounds),
        "nodules": str(config.nodules),
        "seed": config.seed,
        "fold": config.fold,
        "held_out": held_out_words(config),
        "trained_on": list(test.trained_on),
        "limit": config.limit,
        "bootstrap": {"resamples": config.scoring.resamples, "seed": config.scoring.bootstrap_seed, "confidence": 0.95},
        "figures": {name: asdict(interval) for name, interval in test.figures.items()},
        "bound": config.bound,
        "verdict": verdict(differences, config.bound),
        "sentence": verdict_sentence(differences, config.bound),
        "radiographs": radiographs,
        "nodules_are": test.whose.lstrip(" ,:;") or None,
    }
