"""A data set by the lesion that is looked for, and which of its cases a training is given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cxrcad.config import DataConfig
from cxrcad.core import Case, DataError
from cxrcad.datasets.jsrt.reader import Dataset, how_to_get_data, read_jsrt
from cxrcad.datasets.nih import EFFUSION, how_to_get_effusions, read_effusions

__all__ = ["cases_to_train", "how_to_get", "read_data"]


def how_to_get(lesion: str) -> str:
    """A few lines: which data a command needs for this lesion, and where they come from."""
    return how_to_get_effusions() if lesion == EFFUSION else how_to_get_data()


def read_data(config: DataConfig) -> Dataset:
    """The data set in `config.data`: JSRT's layout for nodules, the NIH layout for effusion.

    Raises DataError, which says how to get data where no folder is named; ReadError, UsageError.
    """
    if config.data is None:
        raise DataError(how_to_get(config.lesion))
    if config.lesion == EFFUSION:
        return read_effusions(config.data)
    return read_jsrt(config.data, protocol=config.protocol)


def cases_to_train(dataset: Dataset, names: Sequence[str], normals: bool) -> tuple[Case, ...]:
    """Those of the cases `names`, part of a fold, that are trained (or validated) on, in their order.

    All with a lesion; with `normals` the others too. For effusion, whose radiographs have no lung masks, the normals
    teach the lung task: without `normals` there are as many as cases with an effusion, chosen by a hash of their names.
    Raises DataError where none of `names` has a lesion.
    """
    cases = dataset.select(names)
    positives = sum(case.positive for case in cases)
    if not positives:
        raise DataError(
            f"{dataset.folder}: none of the {len(cases)} cases of a part of the fold has the lesion "
            f"({dataset.lesion}); remove the run's folds.json for other folds, or take more data"
        )
    if normals:
        return cases
    kept = {case.name for case in cases if case.positive}
    if dataset.lesion == EFFUSION:
        others = sorted((case.name for case in cases if not case.positive), key=_chance)
        kept |= set(others[:positives])
    return tuple(case for case in cases if case.name in kept)


def _chance(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
