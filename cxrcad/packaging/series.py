"""From which CT series the nodules came that a model was trained on, as SHA-256 of their UIDs.

They are those of its training cases' inserted nodules, those of the nodules that could be projected into them, and
those of the models that it started from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from cxrcad.core import Case, ModelError
from cxrcad.inference.model import CARD_NAME, Bundle

__all__ = ["hashed", "listed_series", "series_of_cases", "unknown_series"]

GROUP = "series:"


def series_of_cases(cases: Iterable[Case]) -> frozenset[str]:
    """The UIDs of the CT series that the cases' inserted nodules came from."""
    return frozenset(group.removeprefix(GROUP) for case in cases for group in case.groups if group.startswith(GROUP))


def hashed(series: Iterable[str]) -> frozenset[str]:
    """SHA-256 of each UID; "" is none, of a nodule from formulas."""
    return frozenset(hashlib.sha256(uid.encode()).hexdigest() for uid in series if uid)


def listed_series(bundle: Bundle) -> frozenset[str]:
    """What the model's card lists. Raises ModelError for a damaged list."""
    return frozenset(_names(bundle, "series") or ())


def unknown_series(bundle: Bundle) -> tuple[str, ...]:
    """The models, this one or one before it, whose card lists no series. Raises ModelError for a damaged list."""
    before = tuple(_names(bundle, "series_unknown") or ())
    return before if _names(bundle, "series") is not None else (bundle.name, *before)


def _names(bundle: Bundle, key: str) -> Sequence[str] | None:
    training = bundle.card.get("training", {})
    names = training.get(key) if isinstance(training, dict) else None
    if names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        return names
    raise ModelError(
        f"{bundle.folder / CARD_NAME}: its training's {key} is no list of texts; copy the model's folder again"
    )
