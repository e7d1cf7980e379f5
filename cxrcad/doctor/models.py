"""The models: each packaged one and the one that is named, its checksums compared and a small image run through it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from cxrcad.core import CxrcadError
from cxrcad.doctor.checks import BROKEN, OK, WARNING, Check
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import CARD_NAME, DEFAULT_MODEL, Bundle, load_bundle, models_folder, resolve_model

__all__ = ["check_models"]

AGAIN = "copy its folder again, or install cxrcad again"


def check_models(name: str | None) -> tuple[Check, ...]:
    """The packaged models, and the model, folder or run `name` as `cxrcad detect --model` takes it."""
    folder = models_folder()
    cards = sorted(folder.glob(f"*/{CARD_NAME}")) if folder is not None else []
    found = [_checked(card.parent.name, card.parent) for card in cards]
    if not cards and name is None:
        told = "no models are packaged here"
        return (Check(DEFAULT_MODEL, BROKEN, told, "install cxrcad again, or name a model with --model"),)
    if name is not None and name not in {card.parent.name for card in cards}:
        found.append(_checked(name, None))
    return tuple(found)


def _checked(name: str, folder: Path | None) -> Check:
    """A model of that folder, or resolved by its name."""
    start = time.monotonic()
    shown = f"{name}, the default" if name == DEFAULT_MODEL else name
    try:
        bundle = load_bundle(folder) if folder is not None else resolve_model(name)
        fault = _fault(Detector.open(bundle, "cpu", 1))
    except CxrcadError as error:
        told, _, remedy = str(error).rpartition("; ")
        return Check(shown, BROKEN, told, remedy)
    facts = {"sha256": bundle.sha256, "folder": str(bundle.folder), "files": dict(bundle.card["files"])}
    if fault:
        return Check(shown, BROKEN, fault, AGAIN, facts)
    missing = [name for name in bundle.card["files"] if not (bundle.folder / name).is_file()]
    if missing:
        told = f"{', '.join(missing)} is not there: it detects, and cannot be trained on"
        return Check(shown, WARNING, told, AGAIN, facts)
    seconds = time.monotonic() - start
    told = f"sha256 {bundle.sha256[:12]} as on its card, opened and run in {seconds:.1f} s"
    return Check(shown, OK, told, facts=facts)


def _fault(detector: Detector) -> str:
    """What is wrong with its maps of a small plain image; "" where nothing is."""
    side = _side(detector.bundle)
    maps = detector.probabilities(np.full((side, side), 0.5, np.float32))
    outside = [task for task, found in maps.items() if found.min() < 0 or found.max() > 1]
    return f"its {' and '.join(outside)} maps have values outside 0-1" if outside else ""


def _side(bundle: Bundle) -> int:
    return bundle.multiple * max(1, 64 // bundle.multiple)
