"""`cxrcad models`: what a packaged model is, in lines for a reader or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cxrcad.config import NODULE
from cxrcad.core import counted, or_unknown
from cxrcad.inference.model import DEFAULT_MODEL, Bundle, packaged_models

__all__ = ["describe_models", "model_lines"]


def describe_models(as_json: bool = False) -> str:
    """The packaged models, a line each (or their cards as JSON). Raises ModelError for a damaged one."""
    bundles = packaged_models()
    if as_json:
        return json.dumps([dict(bundle.card) for bundle in bundles], indent=1, ensure_ascii=False)
    if not bundles:
        return "no models are packaged here; `cxrcad export RUN --out DIR` makes one, `--model DIR` uses it"
    ordered = sorted(bundles, key=lambda bundle: bundle.name != DEFAULT_MODEL)
    return "\n\n".join("\n".join(model_lines(bundle)) for bundle in ordered)


def model_lines(bundle: Bundle) -> list[str]:
    """Name, network, grid, threshold, training, checksum and folder of a model, a line each."""
    card = bundle.card
    network = {name: value for name, value in card.get("network", {}).items() if value is not None}
    training = bundle.training
    size = sum(file.stat().st_size for file in bundle.folder.iterdir() if file.is_file()) / 1e6
    steps = _steps(training)
    length = counted(steps, "step") if isinstance(steps, int) else "unknown steps"
    lines = [
        bundle.name + (", the default" if bundle.name == DEFAULT_MODEL else ""),
        f"  network      {network.get('network', 'unknown')}, tasks {', '.join(bundle.tasks)}"
        + (", patch classifier" if network.get("patch_classifier") else "")
        + (" near the lungs" if bundle.lung_margin is not None else ""),
        f"  grid         shorter side {bundle.grid.side} pixels"
        + (
            f", segmentation network {bundle.grid.side // 2}"
            if network.get("patch_classifier") and network.get("half_side", True)
            else ""
        ),
        f"  threshold    {bundle.threshold:.4g}" + _points(bundle),
        f"  trained on   {counted(len(training.get('images', ())), 'image')}, {length}",
        *([f"  taught by    {training['teacher'].get('name', 'unknown')}"] if training.get("teacher") else []),
        f"  sha256       {bundle.sha256}",
        f"  folder       {bundle.folder} ({size:.1f} MB)",
    ]
    lines[-2:-2] = _how_good(card.get("figures", {}))
    lines[1:1] = [] if bundle.lesion == NODULE else [f"  finds        {bundle.lesion}"]
    lines += [f"  use          {card['intended_use']}"] if "intended_use" in card else []
    return lines


def _points(bundle: Bundle) -> str:
    """The model's operating points in brackets, where its card has any, and whether its scores are calibrated."""
    told = [f"{name} {threshold:.4g}" for name, threshold in bundle.operating_points.items()]
    told += ["scores calibrated"] if bundle.calibration is not None else []
    return f" ({', '.join(told)})" if told else ""


RATES = {"1/4": "0.25", "1/2": "0.5", "1": "1"}
"""False positives per image at which a sensitivity is told, as two kinds of figures in a card name them."""


def _how_good(figures: Mapping[str, Any]) -> list[str]:
    """The card's figures on test cases, those on most images: sensitivities and F1, in two lines; none without."""
    tested = {
        name: one
        for name, one in figures.items()
        if isinstance(one, Mapping) and "test cases" in name and isinstance(one.get("images"), int)
    }
    if not tested:
        return []
    name, best = max(tested.items(), key=lambda item: item[1]["images"])
    by_rate = best.get("sensitivity_at_fp_per_image") or {}
    reached = [best.get(f"sensitivity at {rate}", by_rate.get(plain)) for rate, plain in RATES.items()]
    told = "; ".join(or_unknown(value) for value in reached)
    f1 = or_unknown(best.get("F1", best.get("f1")))
    return [
        f"  sensitivity  {told} at {', '.join(RATES)} false positives per image; F1 {f1}",
        f"  measured on  {counted(best['images'], 'image')}, {name}",
    ]


def _steps(training: Mapping[str, Any]) -> int | None:
    """The steps of a training and of those that its weights come from; of a patch classifier its own ones alone."""
    own = training.get("steps")
    if not isinstance(own, int):
        return None
    return own + sum(_steps_before(training, start) for start in ("init", "second_init"))


def _steps_before(training: Mapping[str, Any], start: str) -> int:
    before = training.get(start)
    return int(before.get("steps") or 0) + _steps_before(before, start) if before else 0
