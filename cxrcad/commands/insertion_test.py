"""`cxrcad insertion-test`: scores of background patches beside the untouched place's, with a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cxrcad.config import NODULE, InsertionTestConfig
from cxrcad.core import Case, DataError, UsageError, counted
from cxrcad.datasets.folds import make_folds
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.files import Progress, Silent, check_results, sha256_of, write_atomically, write_json
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import DEFAULT_MODEL, resolve_model
from cxrcad.report.tables import Table
from cxrcad.scoring.insertion_test import (
    INSERTIONS,
    VERSIONS,
    ScoredPlace,
    insertion_figures,
    patch_differences,
    score_place,
    verdict,
)
from cxrcad.scoring.kept import bound_to
from cxrcad.synthesis.backgrounds import Background, read_backgrounds
from cxrcad.synthesis.dataset import ROLES
from cxrcad.synthesis.insertion import Candidates
from cxrcad.synthesis.nodules import ANALYTIC, read_nodules

__all__ = ["run_insertion_test", "verdict_sentence"]

SCHEMA = "cxrcad/fingerprint/1"
FILE = "insertion_test"
STOCK = 30  # analytic nodules beyond two a radiograph, so that every size is there


@dataclass(frozen=True)
class _Tested:
    """What was scored, of which data, and what came of it. `whose` says whose the nodules are; "" where anyone's."""

    scored: tuple[ScoredPlace, ...]
    figures: Mapping[str, Interval]
    detector: Detector
    trained_on: tuple[str, ...]
    whose: str


def run_insertion_test(config: InsertionTestConfig, progress: Progress | None = None) -> str:
    """Mean scores, differences, AUCs and the verdict, as Markdown; also written as insertion_test.md and .json.

    Files go to `config.out`, by default to the model's folder in `config.runs`, there to the fold's. Raises UsageError
    for what is not named, ModelError, ReadError, WriteError, and DataError for backgrounds, nodules or data that are
    missing, damaged or empty.
    """
    progress = progress or Silent()
    if config.backgrounds is None:
        raise UsageError("no backgrounds are named; give --backgrounds DIR")
    if config.nodules is None:
        raise UsageError(f"no nodules are named; give --nodules FILE.npz, or --nodules {ANALYTIC}")
    bundle = resolve_model(config.model or DEFAULT_MODEL, NODULE)
    fold = f"fold{config.fold}" if config.fold not in (None, "all") else ""
    out = config.out or config.runs / bundle.name / fold
    check_results(out, config.out)
    detector = Detector.open(bundle, config.scoring.device, config.scoring.threads)
    held_out = _held_out(config, bundle.training_images)
    tested = _tested(detector, held_out, config, progress)
    text = _text(tested, config)
    write_atomically(out / f"{FILE}.md", text)
    bound = bound_to(bundle, () if held_out is None else held_out.cases)
    write_json(out / f"{FILE}.json", {**_document(tested, config), **bound})
    return text


@dataclass(frozen=True)
class _HeldOut:
    """The test cases of the fold, their patients and CT series; `trained_on` names the cases that the model saw."""

    cases: tuple[Case, ...]
    patients: frozenset[str]
    series: frozenset[str]
    trained_on: tuple[str, ...]


def _held_out(config: InsertionTestConfig, training_images: frozenset[str]) -> _HeldOut | None:
    """What the fold holds out; None where no fold is named."""
    if config.fold is None:
        return None
    if config.data.data is None:
        raise UsageError(
            f"--fold {config.fold}: of which data? Add --data DATA, the data that the model was trained on"
        )
    dataset = read_dataset(config.data.data)
    splits = make_folds(dataset, config.data.fold_seed)
    names = [name for split in splits if config.fold in ("all", str(split.fold)) for name in split.test]
    cases = dataset.select(names)
    trained_on = tuple(case.name for case in cases if sha256_of(case.image) in training_images)
    groups = [group for case in cases for group in case.groups or (f"patient:{case.name}",)]
    patients, series = (
        frozenset(group.removeprefix(kind) for group in groups if group.startswith(kind))
        for kind in ("patient:", "series:")
    )
    return _HeldOut(cases, patients, series, trained_on)


def _tested(detector: Detector, held_out: _HeldOut | None, config: InsertionTestConfig, progress: Progress) -> _Tested:
    """One place of each chosen radiograph scored."""
    assert config.backgrounds is not None
    found = read_backgrounds(config.backgrounds)
    for note in found.notes:
        progress.note(note)
    chosen = _chosen(found.backgrounds, held_out, config)
    candidates, whose = _candidates(len(chosen), held_out, config)
    if whose:
        progress.note(f"nodules {config.nodules}{whose}")
    progress.start("insertion-test", len(chosen), 0)
    scored: list[ScoredPlace] = []
    for index, background in enumerate(chosen):
        scored.append(score_place(detector, background, candidates, config.seed, index))
        progress.step(len(scored))
    figures = insertion_figures(scored, config.scoring.resamples, config.scoring.bootstrap_seed)
    return _Tested(tuple(scored), figures, detector, () if held_out is None else held_out.trained_on, whose)


def _chosen(
    backgrounds: Sequence[Background], held_out: _HeldOut | None, config: InsertionTestConfig
) -> tuple[Background, ...]:
    """The backgrounds that are scored, in an order drawn from the seed."""
    usable = [background for background in backgrounds if background.role in ROLES]
    if held_out is not None:
        usable = [background for background in usable if background.patient in held_out.patients]
    if not usable:
        why = (
            "has the role normal or other_finding"
            if held_out is None
            else f"is of a patient of {_held_out_words(config)}"
        )
        raise DataError(
            f"{config.backgrounds}: none of its {counted(len(backgrounds), 'background')} {why}; name other "
            "--backgrounds" + ("" if held_out is None else ", or the --data that was made of these")
        )
    order = np.random.default_rng(config.seed).permutation(len(usable))
    return tuple(usable[index] for index in order[: config.limit])


def _candidates(count: int, held_out: _HeldOut | None, config: InsertionTestConfig) -> tuple[Candidates, str]:
    """The nodules that may be inserted, with a fold those of its CT series if the file has any; whose, in words."""
    assert config.nodules is not None
    stock = read_nodules(config.nodules, count=2 * count + STOCK, seed=config.seed)
    usable = stock.usable()
    held = [index for index in usable if held_out is not None and stock.series_uid[index] in held_out.series]
    if not usable:
        raise DataError(f"{config.nodules}: no nodule of 6 mm or more in it; take --nodules {ANALYTIC}")
    if held_out is None or config.nodules == ANALYTIC:
        return Candidates(stock, usable), ""
    if held:
        return Candidates(stock, held), f", {counted(len(held), 'nodule')} of held-out CT series"
    return Candidates(stock, usable), ": none is of a held-out CT series, so the model may have been trained on them"


def _held_out_words(config: InsertionTestConfig) -> str | None:
    """Where the patients are from; None where they may be anyone."""
    if config.fold is None:
        return None
    which = "all folds" if config.fold == "all" else f"fold {config.fold}"
    return f"the test cases of {which} of {config.data.data}"


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


def _text(tested: _Tested, config: InsertionTestConfig) -> str:
    patients = len({one.background.patient for one in tested.scored})
    resamples, seen = config.scoring.resamples, tested.trained_on
    drawn = f"{resamples:,} resamples of the patients" if resamples else "no resamples, no interval"
    whose = "The model may have been trained on some of them; --fold and --data take only held-out patients."
    held_out = _held_out_words(config)
    head = [
        f"# Insertion-artefact test of {tested.detector.bundle.name}",
        "",
        f"Backgrounds {config.backgrounds}: {counted(len(tested.scored), 'radiograph')} of "
        f"{counted(patients, 'patient')}. " + (whose if held_out is None else f"Their patients are in {held_out}."),
        *([f"NOT A TEST: {len(seen)} of these test cases stand in the model's training list"] * bool(seen)),
        f"Nodules {config.nodules}{tested.whose}.",
        "One place in the lung fields of each radiograph; background patches and nodule have the same place, shape and "
        "blur.",
        "Score: the highest value of the nodule map, 0-1, in a disc of the nodule's size at the place. "
        f"Brackets: 95 % bootstrap, {drawn}.",
        "",
    ]
    columns = ("place", "mean score", "less untouched", "AUC against untouched")
    lines = Table(columns, [_row(name, tested.figures) for name in VERSIONS]).markdown()
    return "\n".join([*head, *lines, "", _sentence(tested, config)]) + "\n"


def _row(name: str, figures: Mapping[str, Interval]) -> tuple[str, ...]:
    patch = INSERTIONS.get(name)
    difference, auc = (figures.get(f"{kind} {name}") for kind in ("difference", "AUC"))
    return (
        name if patch is None else f"background patch, {patch}",
        f"{figures[f'mean {name}'].value:.3f}",
        "" if difference is None else difference.shown(sign="+"),
        "" if auc is None else auc.shown(),
    )


def _sentence(tested: _Tested, config: InsertionTestConfig) -> str:
    return verdict_sentence(patch_differences(tested.figures), config.bound)


def _document(tested: _Tested, config: InsertionTestConfig) -> dict[str, Any]:
    """insertion_test.json, whose schema and keys are those of the fingerprint.json that it was before."""
    radiographs = [
        {
            "file": one.background.image.name,
            "patient": one.background.patient,
            **{name: getattr(one.inserted.nodule, name) for name in ("x_px", "y_px", "diameter_mm")},
            **{"nodule": one.inserted.index, "subtlety": one.subtlety, "scores": dict(one.scores)},
        }
        for one in tested.scored
    ]
    return {
        "schema": SCHEMA,
        "model": asdict(tested.detector.identity),
        **{"backgrounds": str(config.backgrounds), "nodules": str(config.nodules), "seed": config.seed},
        **{"fold": config.fold, "held_out": _held_out_words(config), "trained_on": list(tested.trained_on)},
        "limit": config.limit,
        "bootstrap": {"resamples": config.scoring.resamples, "seed": config.scoring.bootstrap_seed, "confidence": 0.95},
        "figures": {name: asdict(interval) for name, interval in tested.figures.items()},
        "bound": config.bound,
        "verdict": verdict(patch_differences(tested.figures), config.bound),
        "sentence": _sentence(tested, config),
        "radiographs": radiographs,
        "nodules_are": tested.whose.lstrip(" ,:;") or None,
    }
