"""The models that a training starts from, of a run each fold its own; refused where they saw what is held out."""

from __future__ import annotations

from pathlib import Path

from cxrcad.core import TrainingError
from cxrcad.datasets.folds import WHOLE, Split
from cxrcad.datasets.jsrt.reader import Dataset
from cxrcad.files import sha256_of
from cxrcad.inference.model import CARD_NAME, RUN_FOLDER, Bundle, resolve_model

__all__ = ["initial_model"]


def initial_model(name: str, flag: str, dataset: Dataset, split: Split) -> Bundle:
    """The model `name`, or the split's fold of the run `name`.

    Raises TrainingError, which begins with `flag`, for a run without that fold and for a model that saw a case which
    the split holds out, or its patient or series; ModelError for what is no model.
    """
    held = dataset.select((*split.validation, *split.test))
    bundle = resolve_model(_of_fold(Path(name), flag, split.fold) or name, dataset.lesion)
    learned = [c for c in dataset.cases if sha256_of(c.image) in bundle.training_images] if held else []
    groups = {group for case in learned for group in case.groups}  # patients, and series of inserted nodules
    seen = [c.name for c in held if c in learned or groups.intersection(c.groups)]
    if seen:
        raise TrainingError(
            f"{flag} {name}: was trained on {len(seen)} of fold {split.fold}'s validation and test cases, or on their "
            f"patients or series ({seen[0]}); name a model that was not"
        )
    return bundle


def _of_fold(run: Path, flag: str, fold: int) -> Path | None:
    """The fold's folder where `run` is a run. Raises TrainingError where the fold is not finished in it."""
    if not (run / "folds.json").is_file():
        return None
    wanted = run / (f"fold{fold}" if fold else WHOLE)
    if (wanted / RUN_FOLDER / CARD_NAME).is_file():
        return wanted
    held = sorted(card.parent.parent.name for card in run.glob(f"fold?/{RUN_FOLDER}/{CARD_NAME}"))
    raise TrainingError(
        f"{flag} {run}: of this run each fold takes its own model, and it holds no finished {wanted.name} (finished: "
        f"{', '.join(held) or 'none'}); train it, or name a model"
    )
