"""`cxrcad insertion-test`: scores of background patches beside the untouched place's, with a verdict."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from cxrcad.config import NODULE, InsertionTestConfig
from cxrcad.core import Case, DataError, UsageError, counted
from cxrcad.datasets.folds import held_out_names
from cxrcad.datasets.read import read_dataset
from cxrcad.files import Progress, Silent, check_results, write_atomically, write_json
from cxrcad.imaging.volume import image_sha256
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import DEFAULT_MODEL, resolve_model
from cxrcad.report.insertion_test import InsertionTest, held_out_words, insertion_test_document, insertion_test_text
from cxrcad.scoring.insertion_test import ScoredPlace, insertion_figures, score_place
from cxrcad.scoring.kept import bound_to
from cxrcad.synthesis.backgrounds import Background, read_backgrounds
from cxrcad.synthesis.dataset import ROLES
from cxrcad.synthesis.insertion import Candidates
from cxrcad.synthesis.nodules import ANALYTIC, read_nodules

__all__ = ["run_insertion_test"]

STOCK = 30  # analytic nodules beyond two a radiograph, so that every size is there


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
    held_out = _held_out(config)
    found = read_backgrounds(config.backgrounds)
    for note in found.notes:
        progress.note(note)
    chosen = _chosen(found.backgrounds, _groups(held_out, "patient"), config)
    candidates, whose = _candidates(config.nodules, len(chosen), _groups(held_out, "series"), config)
    if whose:
        progress.note(f"nodules {config.nodules}{whose}")
    progress.start("insertion-test", len(chosen), 0)
    scored: list[ScoredPlace] = []
    for index, background in enumerate(chosen):
        scored.append(score_place(detector, background, candidates, config.seed, index))
        progress.step(len(scored))
    figures = insertion_figures(scored, config.scoring.resamples, config.scoring.bootstrap_seed)
    trained_on = [case.name for case in held_out if image_sha256(case.image) in bundle.training_images]
    test = InsertionTest(config, detector.identity, scored, figures, trained_on, whose)
    text = insertion_test_text(test)
    write_atomically(out / "insertion_test.md", text)
    write_json(out / "insertion_test.json", {**insertion_test_document(test), **bound_to(bundle, held_out)})
    return text


def _held_out(config: InsertionTestConfig) -> tuple[Case, ...]:
    """The cases that the fold holds out; none where no fold is named."""
    if config.fold is None:
        return ()
    if not config.data.folders:
        raise UsageError(f"--fold {config.fold}: needs the data that the model was trained on; add --data DATA")
    dataset = read_dataset(config.data.folders, labels=config.data.labels)
    return dataset.select(held_out_names(dataset, config.data.fold_seed, config.fold))


def _groups(cases: Sequence[Case], kind: str) -> set[str]:
    """The patients or series of the cases; a case without groups is a patient of its own."""
    groups = [group.partition(":") for case in cases for group in case.groups or (f"patient:{case.name}",)]
    return {name for found, _, name in groups if found == kind}


def _chosen(
    backgrounds: Sequence[Background], patients: Collection[str], config: InsertionTestConfig
) -> tuple[Background, ...]:
    """The backgrounds that are scored, with a fold those of its patients, in an order drawn from the seed."""
    usable = [background for background in backgrounds if background.role in ROLES]
    why, remedy = "has the role normal or other_finding", ""
    if config.fold is not None:
        usable = [background for background in usable if background.patient in patients]
        why = f"is of a patient of {held_out_words(config)}"
        remedy = ", or the --data that was made of these"
    if not usable:
        raise DataError(
            f"{config.backgrounds}: none of its {counted(len(backgrounds), 'background')} {why}; name other "
            f"--backgrounds{remedy}"
        )
    order = np.random.default_rng(config.seed).permutation(len(usable))
    return tuple(usable[index] for index in order[: config.limit])


def _candidates(
    nodules: Path, count: int, series: Collection[str], config: InsertionTestConfig
) -> tuple[Candidates, str]:
    """The nodules that may be inserted, with a fold those of its CT series if the file has any; whose, in words."""
    stock = read_nodules(nodules, count=2 * count + STOCK, seed=config.seed)
    usable = stock.usable()
    if not usable:
        raise DataError(f"{nodules}: no nodule of 6 mm or more in it; take --nodules {ANALYTIC}")
    if config.fold is None or nodules == ANALYTIC:
        return Candidates(stock, usable), ""
    held = [index for index in usable if stock.series_uid[index] in series]
    if held:
        return Candidates(stock, held), f", {counted(len(held), 'nodule')} of held-out CT series"
    return Candidates(stock, usable), ": none is of a held-out CT series, so the model may have been trained on them"
