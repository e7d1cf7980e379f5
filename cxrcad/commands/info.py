"""What a packaged model, a run or a radiograph is, in lines for a reader or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrcad.config import LESIONS
from cxrcad.core import counted
from cxrcad.datasets.folds import WHOLE
from cxrcad.evaluation.runs import folds_of_run
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.model import CARD_NAME, RUN_FOLDER, Bundle, packaged_models, resolve_model

__all__ = ["describe_models", "describe_path"]


def describe_models(as_json: bool = False) -> str:
    """The packaged models, a line each (or their cards as JSON). Raises ModelError for a damaged one."""
    bundles = packaged_models()
    if as_json:
        return json.dumps([dict(bundle.card) for bundle in bundles], indent=1, ensure_ascii=False)
    if not bundles:
        return "no models are packaged here; `cxrcad export RUN --out DIR` makes one, `--model DIR` uses it"
    return "\n\n".join("\n".join(_model_lines(bundle)) for bundle in bundles)


def describe_path(path: Path, as_json: bool = False) -> str:
    """What `path` is: a model's card, a run's folds, or a radiograph's size, spacing and treatment.

    Raises ReadError, ModelError.
    """
    packaged = not path.exists() and str(path) in [bundle.name for bundle in packaged_models()]
    folds = folds_of_run(path) if path.is_dir() else ()
    if folds or (path / "folds.json").is_file():
        whole = (path / WHOLE / RUN_FOLDER / CARD_NAME).is_file()
        states = [f"finished folds {', '.join(map(str, folds))}"] * bool(folds)
        states += [f"a model trained on every case, {path / WHOLE}"] * whole
        state = "; ".join(states) or "no finished fold; go on with --resume"
        kind: dict[str, Any] = {"kind": "run", "path": str(path), "finished_folds": list(folds), "whole": whole}
        return json.dumps(kind, indent=1) if as_json else f"{path}: a run; {state}"
    if packaged or path.is_dir():
        bundle = resolve_model(str(path))
        card = json.dumps(dict(bundle.card), indent=1, ensure_ascii=False)
        return card if as_json else "\n".join(_model_lines(bundle))
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


def _model_lines(bundle: Bundle) -> list[str]:
    card = bundle.card
    network, training = card.get("network", {}), bundle.training
    size = sum(file.stat().st_size for file in bundle.folder.iterdir() if file.is_file()) / 1e6
    steps = _steps(training)
    length = counted(steps, "step") if isinstance(steps, int) else "unknown steps"
    lines = [
        bundle.name,
        f"  network      {network.get('network', 'unknown')}, tasks {', '.join(bundle.tasks)}"
        + (", patch classifier" if network.get("patch_classifier") else ""),
        f"  grid         shorter side {bundle.grid.side} pixels"
        + (
            f", segmentation network {bundle.grid.side // 2}"
            if network.get("patch_classifier") and network.get("half_side", True)
            else ""
        ),
        f"  threshold    {bundle.threshold:.4g}",
        f"  trained on   {counted(len(bundle.training_images), 'image')}, {length}",
        f"  sha256       {bundle.sha256}",
        f"  folder       {bundle.folder} ({size:.1f} MB)",
    ]
    lines[1:1] = [] if bundle.lesion == LESIONS[0] else [f"  finds        {bundle.lesion}"]
    lines += [f"  use          {card['intended_use']}"] if "intended_use" in card else []
    return lines


def _steps(training: Mapping[str, Any]) -> int | None:
    """The steps of a training and of those that its weights come from; of a patch classifier its own ones alone."""
    own = training.get("steps")
    if not isinstance(own, int):
        return None
    return own + sum(_steps_before(training, start) for start in ("init", "classifier_weights"))


def _steps_before(training: Mapping[str, Any], start: str) -> int:
    before = training.get(start)
    return int(before.get("steps") or 0) + _steps_before(before, start) if before else 0


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, dict):
        return "; ".join(f"{name} {item}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(str(item) for item in value) or "none"
    return str(value)
