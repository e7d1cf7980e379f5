"""What a card tells beside test cases: perturbations, insertion artefacts, radiographs without nodules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrcad.config import DataConfig
from cxrcad.core import ModelError, UsageError, counted
from cxrcad.documents import MALFORMED, fault_words
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.files import read_json
from cxrcad.inference.model import Bundle
from cxrcad.packaging.checked import Kept, checked
from cxrcad.synthesis.perturbations import PERTURBATIONS

__all__ = ["negative_figures", "robustness_figures"]

TOLD = ("sensitivity at 1/2", "F1")
"""The figures of a perturbation that a card holds; robustness.json has all."""


FILES = {"robustness": ("robustness.json",), "insertion-test": ("insertion_test.json", "fingerprint.json")}
"""By command, the file that it writes, and the name that the file had before."""


def robustness_figures(source: Bundle, model: str) -> dict[str, Any]:
    """The results of `cxrcad robustness` and `cxrcad insertion-test` in the fold's folder whose model `source` is.

    `model` is the name under which it is packaged. Raises ModelError for a damaged file and for results of another
    model, EvaluationError for those of other data.
    """
    figures: dict[str, Any] = {}
    for command, told in (("robustness", _robustness), ("insertion-test", _insertion_test)):
        there = [path for name in FILES[command] if (path := source.folder.parent / name).is_file()]
        if not there:
            continue
        path = there[0]
        try:
            document = read_json(path, ModelError)
            ((title, figure),) = told(document, model).items()
            again = told(document, str(source.folder))[title]["command"] + _seed_flag(source)
            kept = _kept(path, document, f"{again} --out {path.parent}")
        except MALFORMED as fault:
            words = fault_words(fault)
            raise ModelError(f"{path}: not what cxrcad {command} writes ({words}); run it again") from None
        figures[title] = {**figure, **checked(kept, source)}
    return figures


def _kept(path: Path, document: Mapping[str, Any], again: str) -> Kept:
    """What a document of figures says that it is of; the test cases of all folds are of none."""
    model, fold = document["model"], document["fold"]
    content = document.get("content")
    names = document.get("images", ()) if content is None else content  # earlier versions wrote names, or nothing
    return Kept(
        path=path,
        sha256=str(model["sha256"]),
        settings_sha256=str(document.get("settings_sha256", "")),
        threshold=float(model["threshold"]),
        fold=None if fold in (None, "all") else int(fold),
        images={str(name): {} if content is None else dict(content[name]) for name in names},
        again=again,
    )


def _seed_flag(source: Bundle) -> str:
    """The option that makes the folds of the model's run, where they are not those of the default seed."""
    seed = source.training_config.get("fold_seed", DataConfig.fold_seed)
    return "" if seed == DataConfig.fold_seed else f" --fold-seed {seed}"


def negative_figures(paths: Sequence[Path], source: Bundle) -> dict[str, Any]:
    """Findings per image in boxes.json files of radiographs that have no nodule, by the file's name.

    Raises UsageError for a file that is no boxes.json, or holds what another model found.
    """
    figures: dict[str, Any] = {}
    for path in paths:
        try:
            document = read_json(path, UsageError)
            model, images = document["model"], document["images"]
            found = [
                sum(finding["score"] >= model["threshold"] for finding in image["findings"])
                for image in images
                if "findings" in image
            ]
            digest, threshold = str(model["sha256"]), float(model["threshold"])
            find = dict(document.get("find", {}))  # a file of an earlier version does not have it
            least = float(find.get("min_score", 0))
            seen = [image["path"] for image in images if image["sha256"] in source.training_images]
        except MALFORMED as fault:
            raise UsageError(
                f"--without-nodules {path}: no boxes.json of cxrcad detect ({fault_words(fault)}); name one"
            ) from None
        if digest != source.sha256:
            raise UsageError(
                f"--without-nodules {path}: is what {model.get('name')} found ({digest[:12]}...), not this model "
                f"({source.sha256[:12]}...); detect with it again"
            )
        if threshold != round(source.threshold, 4):
            raise UsageError(
                f"--without-nodules {path}: was reported from a score of {threshold:g} on, not the model's threshold "
                f"of {source.threshold:.4g}; detect without --threshold"
            )
        if find.get("settings_sha256", source.settings_sha256) != source.settings_sha256:
            raise UsageError(
                f"--without-nodules {path}: was found with other settings than the model's card has; detect with "
                f"--model {source.folder} and no other setting again"
            )
        if least > threshold:
            raise UsageError(
                f"--without-nodules {path}: holds no finding below a score of {least:g}, and the model's threshold is "
                f"{threshold:g}; detect without --min-score"
            )
        if seen:
            raise UsageError(
                f"--without-nodules {path}: {counted(len(seen), 'image')} stand in the model's training list "
                f"({seen[0]}); leave them out"
            )
        if not found:
            raise UsageError(f"--without-nodules {path}: holds no image; detect in some")
        name = f"radiographs without a nodule, {path.stem}"
        if name in figures:
            raise UsageError(f"--without-nodules: two files are called {path.stem}; rename one")
        figures[name] = {
            "images": len(found),
            "false positives per image": round(sum(found) / len(found), 4),
            "images without a finding": sum(count == 0 for count in found),
        }
    return figures


def _robustness(document: Mapping[str, Any], model: str) -> dict[str, Any]:
    fold = "" if document["fold"] is None else f" --fold {document['fold']}"
    rows = {
        str(one["words"]): ", ".join(_cell(one["figures"], title) for title in TOLD) for one in document["alterations"]
    }
    return {
        "altered radiographs": {
            "command": f"cxrcad robustness --model {model}{fold} --protocol {document['protocol']} --data DATA"
            + _perturbations(document)
            + _more(document),
            "images": len(document["images"]),
            **_seen(document["trained_on"]),
            **rows,
        }
    }


def _perturbations(document: Mapping[str, Any]) -> str:
    """The option that names the perturbations, where they are not all."""
    names = [one["name"] for one in document["alterations"] if one["name"] in PERTURBATIONS]
    return "" if set(names) == set(PERTURBATIONS) else f" --perturbations {','.join(names)}"


def _seen(names: Sequence[str]) -> dict[str, str]:
    return {"NOT A TEST": f"{counted(len(names), 'case')} of these stand in the training list"} if names else {}


def _more(document: Mapping[str, Any]) -> str:
    """The options that change which images or draws the figures are of."""
    limit = "" if document["limit"] is None else f" --limit {document['limit']}"
    return limit + (f" --seed {document['seed']}" if document["seed"] else "")


def _cell(figures: Mapping[str, Any], name: str) -> str:
    one = figures.get(name)
    if one is None:
        return f"{name} not reached"
    text = f"{name} not reached" if one["altered"] is None else f"{name} {100 * one['altered']:.1f} %"
    change = _interval(one["difference"])
    if change.value is None or one["altered"] == one["unaltered"]:
        return text
    return f"{text} ({change.shown(1, 100, sign='+')})"


def _interval(kept: Mapping[str, Any]) -> Interval:
    return Interval(kept["value"], kept.get("low"), kept.get("high"))


def _insertion_test(document: Mapping[str, Any], model: str) -> dict[str, Any]:
    means = {name: str(_interval(value)) for name, value in document["figures"].items() if value["value"] is not None}
    nodules = Path(document["nodules"]).name
    return {
        f"traces of inserting, {nodules}": {
            "command": f"cxrcad insertion-test --model {model} --backgrounds BACKGROUNDS --nodules {nodules}"
            + (f" --fold {document['fold']} --data DATA" if document["fold"] else "")
            + _more(document),
            "radiographs": counted(len(document["radiographs"]), "radiograph"),
            "held out": _held_out(document["fold"]),
            **_seen(document["trained_on"]),
            **means,
            "verdict": document["sentence"],
        }
    }


def _held_out(fold: str | None) -> str:
    """Whose the radiographs are."""
    if fold is None:
        return "unknown"
    return f"patients in the test cases of {'all folds' if fold == 'all' else f'fold {fold}'}"
