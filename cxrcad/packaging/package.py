"""`cxrcad export` as a library call: a run's fold -> a packaged model of its own, checked on real inputs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cxrcad.config import ExportConfig, PhantomConfig, ScoringConfig
from cxrcad.core import CxrcadError, DataError, ModelError, UsageError, counted, or_unknown
from cxrcad.documents import NAME, is_name
from cxrcad.evaluation.froc import RATES, froc, sensitivity_at
from cxrcad.evaluation.records import context_flags, context_words
from cxrcad.evaluation.segmentation import measured
from cxrcad.files import Progress, Silent, write_atomically
from cxrcad.imaging.preprocess import to_grid
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.batch import expand_paths
from cxrcad.inference.model import CARD_NAME, ONNX_NAME, WEIGHTS_NAME, Bundle, load_bundle, models_folder, write_card
from cxrcad.networks.ensemble import Ensemble
from cxrcad.packaging.calibration import calibrated_fields, score_lines
from cxrcad.packaging.checked import CheckedMatches, kept_matches, kept_segmentation
from cxrcad.packaging.failures import failures
from cxrcad.packaging.int8 import quantize
from cxrcad.packaging.onnx_export import write_onnx
from cxrcad.packaging.out_of_fold import kept_of_folds, out_of_fold
from cxrcad.packaging.parity import differences, load_network
from cxrcad.packaging.robustness_results import negative_figures, robustness_figures
from cxrcad.synthesis.phantom.dataset import write_phantoms

__all__ = ["card_text", "export_run"]

LARGEST_DIFFERENCE = {"fp32": 1e-3, "fp16": 5e-3, "int8": 5e-2}
"""In probability, by the ONNX file's weights; float32 sums in another order differ by some 1e-5."""

WEIGHTS_WORDS = {
    "fp16": " ONNX weights: fp16.",
    "int8": " ONNX weights: int8 in the patch classifier, else fp16.",
}


def export_run(run: Path, out: Path, config: ExportConfig, progress: Progress | None = None) -> str:
    """Package a finished fold of `run` in `out` (model.onnx, model.safetensors, card.json, README.md); one sentence.

    Torch and ONNX Runtime are compared on `config.compare` radiographs of `config.data`, else on phantoms; a
    difference above LARGEST_DIFFERENCE is a ModelError. `run` may also be a fold's folder, or a packaged model by its
    folder or name.
    Raises UsageError where `out` holds a model already, unless `config.overwrite`.
    """
    name = config.name or out.resolve().name
    if not is_name(name):
        raise UsageError(f"--name {name}: the name of a model is no path; it takes {NAME}")
    if config.weights == "int8" and config.data is None:
        raise UsageError("--weights int8: its ranges are taken from radiographs; name some with --data")
    source = _source(run, config.fold)
    _check_out(out, config.overwrite)
    _check_card(source)
    network = _near_lungs(load_network(source.folder), source, config.lung_margin)
    progress = progress or Silent()
    progress.start(f"packaging {name}", config.compare + 2, 0)
    images = _images(source, config)
    progress.step(1)
    card = _card(source, name, _called(name, out), config)
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as place:
        trial = Path(place)  # `out` sees a model only once it is known to be right
        stored = "fp32" if config.weights == "int8" else config.weights
        write_onnx(network, source.tasks, source.multiple, trial / ONNX_NAME, weights=stored)
        if config.weights == "int8":
            quantize(trial / ONNX_NAME, images)
        write_atomically(trial / WEIGHTS_NAME, (source.folder / WEIGHTS_NAME).read_bytes())
        write_card(trial, card)
        progress.step(2)
        found = []
        for one in differences(trial, images):
            found.append(one)
            progress.step(2 + len(found))
        difference = float(np.max(found))
        if not difference <= LARGEST_DIFFERENCE[config.weights]:
            raise ModelError(
                f"{source.folder}: torch and ONNX Runtime differ by {difference:.2g} in probability (allowed "
                f"{LARGEST_DIFFERENCE[config.weights]:g}), so {out} was not written; "
                + ("report it" if config.weights == "fp32" else "use --weights fp32")
            )
        for name in (WEIGHTS_NAME, ONNX_NAME):
            write_atomically(out / name, (trial / name).read_bytes())
    card["parity"] = {"images": len(images), "largest_difference": difference, "weights": config.weights}
    write_card(out, card)
    write_atomically(out / "README.md", card_text(load_bundle(out).card))
    compared = counted(len(images), "radiograph" if config.data else "phantom")
    return f"{out}: packaged; torch and ONNX Runtime differ by at most {difference:.1e} on {compared}"


def _card(source: Bundle, name: str, model: str, config: ExportConfig) -> dict[str, Any]:
    """The source's card with what was measured of it; `model` is what --model takes for the package."""
    kept = kept_matches(source)
    card = {**source.card, "name": name}
    card["figures"] = {
        **source.card.get("figures", {}),
        **_figures(kept, model),
        **_area_figures(source, model),
        **robustness_figures(source, model),
        **negative_figures(_paths(config.without_nodules), source),
    }
    if config.out_of_fold is None:
        failed = failures([one.result for one in kept], model)
    else:
        pooled, failed = out_of_fold(config.out_of_fold, source)
        card["figures"] |= pooled
        if config.points.calibrate:
            card = _calibrated(card, config.out_of_fold, source, config)
    if failed is not None:
        card["failures"] = failed
    if config.lung_margin is not None:
        card["lung_margin"] = config.lung_margin
    if config.sources is not None:
        card["sources"] = _lines(config.sources)
    return card


def _near_lungs(network: nn.Module, source: Bundle, margin: int | None) -> nn.Module:
    """The network with that lung margin, if there is one. Raises ModelError where no patch classifier can have it."""
    if margin is not None:
        if not isinstance(network, Ensemble) or "lung" not in source.tasks:
            raise ModelError(
                f"--lung-margin {margin}: {source.name} has no patch classifier, or finds no lungs; leave it out"
            )
        network.margin = margin
    return network


def _calibrated(card: dict[str, Any], run: Path, source: Bundle, config: ExportConfig) -> dict[str, Any]:
    """The card with calibration and operating points; figures of the source's own say at which threshold they are."""
    kept = {name: [one.result for one in folds.values()] for name, folds in kept_of_folds(run, source)[1].items()}
    fields = calibrated_fields(kept, run, source, config.points)
    figures = {**card["figures"], **fields.pop("figures", {})}
    if "find" in fields:
        before = f"{source.threshold:.4g}, that of the training"
        own = {*robustness_figures(source, ""), *negative_figures(_paths(config.without_nodules), source)}
        figures |= {name: {"threshold": before, **figures[name]} for name in own}
    return {**card, **fields, "figures": figures}


def _called(name: str, out: Path) -> str:
    """What --model takes for the model in `out`: its name where it is packaged, else its folder."""
    packaged = models_folder()
    return name if packaged is not None and out.resolve() == (packaged / name).resolve() else str(out)


def card_text(card: Mapping[str, Any]) -> str:
    """A model's card as Markdown: what it is, how it was trained, its figures, its sources, its use."""
    training = card["training"]
    network = {name: or_unknown(value) for name, value in card["network"].items()}
    settings = training.get("config") or {}
    lines = [
        f"# {card['name']}",
        "",
        card["intended_use"],
        "",
        *([f"- finds: {card['lesion']}"] if "lesion" in card else []),
        f"- network: {network['network']}, tasks {', '.join(card['tasks'])}, norm {network['norm']}, "
        f"input channels {network['channels']}"
        + (", patch classifier" if card["network"].get("patch_classifier") else "")
        + _margin(card.get("lung_margin")),
        f"- grid: shorter side {card['grid']['side']} pixels; height and width in multiples of {card['multiple']}",
        f"- threshold: {card['find']['threshold']:.4g} ({card.get('threshold_from', 'unknown')})",
        f"- training: {counted(len(training['images']), 'image')}, {counted(training['steps'], 'step')}, "
        f"{training['minutes']} minutes; lambda {or_unknown(settings.get('balance'))}, "
        f"seed {or_unknown(settings.get('seed'))}; "
        "SHA-256 of each image in card.json",
        *(
            f"- lung masks: {counted(one['masks'], 'training image')} with masks of the model {one['name']}, not drawn "
            f"(SHA-256 {one['sha256'][:12]})"
            for one in training.get("lung_masks_from", ())
        ),
        *_before(training, "init", "before that: "),
        *_before(training, "second_init", "its patch classifier before that: "),
        *_before(training, "teacher", "its teacher: ", counted_too=False),
        f"- written by cxrcad {card['cxrcad_version']}, {card['created']}",
    ]
    lines += score_lines(card)
    for name, value in card.get("figures", {}).items():
        lines += ["", f"## Figures: {name}", "", *_items(value)]
    if "failures" in card:
        lines += _failures(card["failures"])
    if "parity" in card:
        parity = card["parity"]
        lines += ["", "## Torch against ONNX Runtime", ""]
        lines += [
            f"Largest difference in probability on {counted(parity['images'], 'image')}: "
            f"{parity['largest_difference']:.1e}.{WEIGHTS_WORDS.get(parity.get('weights'), '')}"
            + _as_measured(parity.get("weights") == "int8", card.get("lung_margin") is not None)
        ]
    if card.get("sources"):
        lines += ["", "## Sources", "", *(f"- {source}" for source in card["sources"])]
    return "\n".join(lines) + "\n"


def _margin(pixels: int | None) -> str:
    return "" if pixels is None else f" within the lungs' bounding box grown by {counted(pixels, 'pixel')}"


def _as_measured(int8: bool, near: bool) -> str:
    """What of the figures of a model that was packaged with these is of the model before."""
    before = ["in float32"] * int8 + ["with the patch classifier judging everything"] * near
    return f" Figures and threshold were measured before that: {' and '.join(before)}." if before else ""


def _failures(failed: Mapping[str, Any]) -> list[str]:
    """The card's section on what the model gets wrong."""
    wrong, missed = failed["false_positives"], failed["missed"]
    limit = f" of {failed['threshold']:.4g}" if "threshold" in failed else ""  # cards from before name none
    lines = ["", f"## Failures at the threshold{limit}", "", f"`{failed['command']}` draws them.", ""]
    lines += [f"Missed, {len(missed)} of {counted(failed['nodules'], 'nodule')}, most obvious first:", ""]
    lines += [f"- {line}" for line in missed or ["none"]]
    shown = f", the {len(wrong)} with the highest scores" if len(wrong) < failed["false_positives_in_all"] else ""
    lines += ["", f"False positives, {failed['false_positives_in_all']}{shown}:", ""]
    return [*lines, *(f"- {line}" for line in wrong or ["none"])]


def _before(training: Mapping[str, Any], start: str, what: str, counted_too: bool = True) -> list[str]:
    """A line for each training that the weights (`start`: init, second_init, teacher) went through before."""
    before = training.get(start)
    if before is None:
        return []
    steps = counted(before["steps"], "step") if "steps" in before else "unknown steps"
    length = f"{steps}, {before.get('minutes', 'unknown')} minutes"
    images = "; its images are counted" if counted_too else ""
    line = f"- {what}{length} ({before.get('name', 'unknown')}){images}"
    return [line, *_before(before, start, what, counted_too)]


def _figures(kept: Sequence[CheckedMatches], model: str) -> dict[str, Any]:
    """The figures of every evaluation that the fold's folder keeps."""
    figures: dict[str, Any] = {}
    for one in kept:
        result = one.result
        counts, curve = result.operating, froc(result.matches, result.context.fp_axis)
        reached = {f"{rate:g}": sensitivity_at(curve, rate) for rate in RATES}
        overlaps = result.known_dice
        context = result.context
        fold = "all folds" if context.fold is None else f"fold {context.fold}"
        figures[f"test cases of {fold}, {context_words(context)}"] = {
            "command": f"cxrcad evaluate --model {model} --fold {context.fold or 'all'} {context_flags(context)}, "
            "and froc with the same",
            "hit_rule": context.rule.describe(),
            "images": counts.n_images,
            "nodules": counts.tp + counts.fn,
            "f1": _rounded(counts.f1),
            "recall": _rounded(counts.recall),
            "precision": _rounded(counts.precision),
            "false_positives_per_image": _rounded(counts.fp_per_image),
            "false_positives_in_lung": counts.fp_in_lung,
            "false_positives_outside_lung": counts.fp_outside_lung,
            "sensitivity_at_fp_per_image": {
                rate: "not reached" if value is None else _rounded(value) for rate, value in reached.items()
            },
            "lung_dice": _rounded(sum(overlaps) / len(overlaps)) if overlaps else None,
            **one.notes,
        }
    return figures


def _area_figures(source: Bundle, model: str) -> dict[str, Any]:
    """The figures of the segmentation that the fold's folder keeps."""
    kept = kept_segmentation(source)
    if kept is None:
        return {}
    area, notes = kept
    found = measured([area], ScoringConfig().resamples, ScoringConfig().bootstrap_seed)
    which = f"--lesion {source.lesion} --model {model} --fold {area.fold}"
    return {
        f"test cases of fold {area.fold}, lesion {source.lesion}": {
            "command": f"cxrcad evaluate {which} --data DATA",
            "images": len(area.images),
            **{name: str(one) for name, one in found.items() if one.value is not None},
            **notes,
        }
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _paths(names: str | None) -> list[Path]:
    return [Path(name.strip()) for name in (names or "").split(",") if name.strip()]


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--sources {path}: cannot be read as text ({error}); name a text file") from None


def _items(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"- {name.replace('_', ' ')}: {_shown(item)}" for name, item in value.items()]
    return [str(value)]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{item} at {name}" for name, item in value.items())
    return or_unknown(value)


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise UsageError unless `out` is new, empty, or holds a packaged model that may be replaced."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / CARD_NAME).is_file():
        raise UsageError(f"--out {out}: holds other files; name a new folder")
    if (out / CARD_NAME).is_file() and not overwrite:
        raise UsageError(
            f"--out {out}: holds {_name_of(out)} already; name another folder, or give --overwrite to replace it"
        )


def _name_of(folder: Path) -> str:
    """The packaged model in `folder`, damaged or not, in words."""
    try:
        return f"the model {load_bundle(folder).name}"
    except ModelError:
        return "a damaged model"


def _check_card(source: Bundle) -> None:
    """Raise ModelError for a card that lacks what an export tells of."""
    needed = {"created": (), "intended_use": (), "network": ("network", "norm", "channels")}
    parts = {**needed, "training": ("images", "steps", "minutes")}
    missing = [
        ".".join(filter(None, (part, name)))
        for part, names in parts.items()
        for name in names or ("",)
        if part not in source.card or (name and name not in source.card[part])
    ]
    if missing:
        raise ModelError(f"{source.folder / CARD_NAME}: {', '.join(missing)} missing; train or export it again")


def _source(run: Path, fold: str) -> Bundle:
    if not run.is_dir():
        packaged = models_folder()
        if packaged is not None and (packaged / run / CARD_NAME).is_file():
            return load_bundle(packaged / run)
        raise ModelError(f"{run}: there is no such run; name a folder that `cxrcad train` wrote, or a packaged model")
    if fold != "all":
        if not (run / f"fold{fold}" / "model" / CARD_NAME).is_file():
            raise ModelError(f"{run}: holds no finished fold {fold}; train it, or choose another with --fold")
        return load_bundle(run / f"fold{fold}" / "model")
    for folder in (run, run / "model"):
        if (folder / "card.json").is_file():
            return load_bundle(folder)
    found = sorted(path.parent for path in run.glob("fold?/model/card.json"))
    if len(found) == 1:
        return load_bundle(found[0])
    if not found:
        raise ModelError(f"{run}: holds no finished fold; train one with `cxrcad train`, or name another run")
    raise UsageError(f"{run}: holds {len(found)} folds; choose one with --fold")


def _images(bundle: Bundle, config: ExportConfig) -> list[NDArray[np.float32]]:
    """`config.compare` radiographs on the model's grid."""
    if config.data is not None:
        folders = config.data if isinstance(config.data, tuple) else (config.data,)
        for folder in folders:
            if not folder.exists():
                raise DataError(f"{folder}: there is no such folder; --data takes radiographs to compare on")
        return _on_grid(bundle, expand_paths(folders), config.compare, ", ".join(map(str, folders)))
    folder = Path(tempfile.mkdtemp(prefix="cxrcad-"))
    try:
        write_phantoms(folder, PhantomConfig(cases=config.compare, image_side=1024, format="png"))
        return _on_grid(bundle, sorted((folder / "images").iterdir()), config.compare, str(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _on_grid(bundle: Bundle, files: Sequence[Path], count: int, origin: str) -> list[NDArray[np.float32]]:
    images: list[NDArray[np.float32]] = []
    for file in files:
        if len(images) == count:
            break
        try:
            images.append(to_grid(read_radiograph(file), bundle.grid, bundle.multiple)[0])
        except CxrcadError:
            continue
    if not images:
        raise DataError(f"{origin}: holds no radiograph to compare torch and ONNX Runtime on; name another --data")
    return images
