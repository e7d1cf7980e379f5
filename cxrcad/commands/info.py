"""`cxrcad info`: what a radiograph, a model or a run is, in lines for a reader or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrcad.commands.models import model_lines
from cxrcad.core import CxrcadError
from cxrcad.datasets.folds import WHOLE
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.model import CARD_NAME, RUN_FOLDER, folds_of_run, packaged_models, resolve_model

__all__ = ["Description", "describe_path", "describe_paths"]


@dataclass(frozen=True)
class Description:
    """What several paths are, as a text, and how many could not be described."""

    text: str
    failed: int


def describe_paths(paths: Sequence[Path], as_json: bool, note: Callable[[str], None]) -> Description:
    """`describe_path` of each, with an empty line between them; `note` is told of those that fail.

    Raises ReadError or ModelError where a single path fails.
    """
    text, failed = "", 0
    for place, path in enumerate(paths):
        try:
            text += ("\n" if place and not as_json else "") + describe_path(path, as_json) + "\n"
        except CxrcadError as error:
            if len(paths) == 1:
                raise
            note(f"failed: {error}")
            failed += 1
    return Description(text, failed)


def describe_path(path: Path, as_json: bool = False) -> str:
    """What `path` is: a model's card, a run's folds, or a radiograph's size, spacing and treatment.

    Raises ReadError, ModelError.
    """
    packaged = not path.exists() and str(path) in [bundle.name for bundle in packaged_models()]
    folds = folds_of_run(path) if path.is_dir() else ()
    if folds or (path / "folds.json").is_file():
        whole = (path / WHOLE / RUN_FOLDER / CARD_NAME).is_file()
        states = [f"finished folds: {', '.join(map(str, folds))}"] * bool(folds)
        states += [f"a model trained on every case, {path / WHOLE}"] * whole
        state = "; ".join(states) or "no finished fold; go on with --resume"
        kind: dict[str, Any] = {"kind": "run", "path": str(path), "finished_folds": list(folds), "whole": whole}
        return json.dumps(kind, indent=1) if as_json else f"{path}: a run; {state}"
    if packaged or path.is_dir():
        bundle = resolve_model(str(path))
        card = json.dumps(dict(bundle.card), indent=1, ensure_ascii=False)
        return card if as_json else "\n".join(model_lines(bundle))
    if not path.exists() and str(path) == path.stem:
        resolve_model(str(path))  # a mistyped name: says which models there are
    facts = _radiograph_facts(path)
    if as_json:
        return json.dumps(facts, indent=1, ensure_ascii=False)
    return "\n".join(f"{name.replace('_', ' '):<13} {_shown(value)}" for name, value in facts.items())


def _radiograph_facts(path: Path) -> dict[str, Any]:
    radiograph = read_radiograph(path)
    source = radiograph.source
    return {
        "kind": "radiograph",
        "path": str(path),
        "format": source.format,
        "rows": radiograph.rows,
        "cols": radiograph.cols,
        "spacing_mm": list(radiograph.spacing_mm) if radiograph.spacing_mm else None,
        "spacing_from": radiograph.spacing_from,
        "orientation": list(radiograph.orientation) if radiograph.orientation else None,
        "sha256": source.sha256,
        "uids": dict(source.uids),
        "notes": list(source.notes),
    }


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, dict):
        return "; ".join(f"{name} {item}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(str(item) for item in value) or "none"
    return str(value)
