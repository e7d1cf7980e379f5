"""`cxrcad models`: what a packaged model is, in lines for a reader or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cxrcad.config import LESIONS
from cxrcad.core import counted
from cxrcad.inference.model import Bundle, packaged_models

__all__ = ["describe_models", "model_lines"]


def describe_models(as_json: bool = False) -> str:
    """The packaged models, a line each (or their cards as JSON). Raises ModelError for a damaged one."""
    bundles = packaged_models()
    if as_json:
        return json.dumps([dict(bundle.card) for bundle in bundles], indent=1, ensure_ascii=False)
    if not bundles:
        return "no models are packaged here; `cxrcad export RUN --out DIR` makes one, `--model DIR` uses it"
    return "\n\n".join("\n".join(model_lines(bundle)) for bundle in bundles)


def model_lines(bundle: Bundle) -> list[str]:
    """Name, network, grid, threshold, training, checksum and folder of a model, a line each."""
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
    return own + sum(_steps_before(training, start) for start in ("init", "second_init"))


def _steps_before(training: Mapping[str, Any], start: str) -> int:
    before = training.get(start)
    return int(before.get("steps") or 0) + _steps_before(before, start) if before else 0
