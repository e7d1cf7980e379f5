"""Initial weights per fold; rejects models trained on held-out cases, patients or CT series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxrcad.config import TrainConfig
from cxrcad.core import Case, TrainingError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import FOLDS_NAME, WHOLE, Split
from cxrcad.imaging.volume import image_sha256
from cxrcad.inference.model import CARD_NAME, RUN_FOLDER, Bundle, models_folder, resolve_model
from cxrcad.packaging.series import hashed, listed_series, series_of_cases, unknown_series

__all__ = ["initial_model", "lasting_name", "of_fold"]


def initial_model(name: str, flag: str, config: TrainConfig, dataset: Dataset, split: Split) -> Bundle:
    """The model `name`, or the split's fold of the run `name`.

    Raises TrainingError, which begins with `flag`, for a run without that fold, for a model that saw a case which the
    split holds out, its patient, or a nodule of its CT series, and for one whose series are not known, unless `config`
    allows it; ModelError for what is no model.
    """
    held = dataset.select((*split.validation, *split.test))
    bundle = resolve_model(of_fold(Path(name), flag, split.fold) or name, dataset.lesion)
    learned = [c for c in dataset.cases if image_sha256(c.image) in bundle.training_images] if held else []
    groups = {group for case in learned for group in case.groups}  # patients, and series of inserted nodules
    seen = [c.name for c in held if c in learned or groups.intersection(c.groups)]
    if seen:
        raise TrainingError(
            f"{flag} {name}: was trained on {len(seen)} of fold {split.fold}'s validation and test cases, or on their "
            f"patients or series ({seen[0]}); name a model that was not"
        )
    _check_series(bundle, f"{flag} {name}", config, held, split.fold)
    return bundle


def _check_series(bundle: Bundle, named: str, config: TrainConfig, held: Sequence[Case], fold: int) -> None:
    """Refuse a model that may have been shown nodules of a held-out case's CT series. TrainingError, ModelError."""
    listed = listed_series(bundle)
    seen = [case.name for case in held if listed & hashed(series_of_cases([case]))]
    if seen:
        raise TrainingError(
            f"{named}: may have learned from other nodules of the CT series of {len(seen)} of fold {fold}'s validation "
            f"and test cases ({seen[0]}); name a model that did not"
        )
    unknown = unknown_series(bundle)
    matters = config.synthesis.simulate is not None or bool(series_of_cases(held))
    if unknown and matters and not config.allow_unknown_series:
        raise TrainingError(
            f"{named}: the CT series of its training nodules are not known (its card lists none for "
            f"{', '.join(unknown)}), and may be those of held-out cases; name a model whose card lists "
            "them, or give --allow-unknown-series, and the new model's card will say so"
        )


def lasting_name(name: str) -> str:
    """What finds the same model from any working folder: its absolute path, or the name of a packaged one."""
    packaged = models_folder()
    if packaged is not None and (packaged / name / CARD_NAME).is_file() and not (Path(name) / FOLDS_NAME).is_file():
        return name
    return str(Path(name).absolute())


def of_fold(run: Path, flag: str, fold: int) -> Path | None:
    """The fold's folder where `run` is a run, else None. Raises TrainingError where the fold is not finished in it."""
    if not (run / FOLDS_NAME).is_file():
        return None
    wanted = run / (f"fold{fold}" if fold else WHOLE)
    if (wanted / RUN_FOLDER / CARD_NAME).is_file():
        return wanted
    held = sorted(card.parent.parent.name for card in run.glob(f"fold?/{RUN_FOLDER}/{CARD_NAME}"))
    raise TrainingError(
        f"{flag} {run}: each fold starts from the same fold of this run, which holds no finished {wanted.name} "
        f"(finished: {', '.join(held) or 'none'}); train it, or name a model"
    )
