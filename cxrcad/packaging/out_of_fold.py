"""The figures of a model that was trained on every case: those of the run whose folds held their cases out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrcad.config import NO_FOLD, ScoringConfig
from cxrcad.core import CxrcadError, UsageError, counted
from cxrcad.datasets.content import other_cases, read_content
from cxrcad.datasets.folds import WHOLE
from cxrcad.evaluation.bootstrap import bootstrap
from cxrcad.evaluation.records import context_flags, context_words
from cxrcad.evaluation.subgroups import STRATUM_RATES, Stratum, strata
from cxrcad.inference.model import RUN_FOLDER, Bundle, folds_of_run, load_bundle
from cxrcad.packaging.checked import NOT_CHECKED, CheckedMatches, kept_matches
from cxrcad.packaging.failures import failures
from cxrcad.packaging.robustness_results import robustness_figures

__all__ = ["kept_of_folds", "models_of_folds", "out_of_fold"]

KeptOfFolds = Mapping[str, Mapping[int, CheckedMatches]]
"""By file name, the matches that every fold keeps, by fold."""

RECIPE = ("network", "grid", "lesion")  # what models of one recipe have alike
KIND = "subtlety"


def out_of_fold(run: Path, source: Bundle) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The figures of the folds of `run` for the card of `source`, and the failures of one of them.

    Each set of matches that all folds keep (matches-*.json) is pooled: every image is scored by the model of the fold
    that held it out. Robustness, insertion artefacts and failures are those of the folds' models that have them.
    Raises as `kept_of_folds`.
    """
    bundles, kept = kept_of_folds(run, source)
    figures: dict[str, Any] = {}
    for of_folds in kept.values():
        figures |= _pooled(of_folds, run)
    failed = None
    for fold, bundle in bundles.items():
        words = f"fold {fold}'s model of {run.name}"
        probed = robustness_figures(bundle, f"{run.name}/fold{fold}")
        figures |= {f"{name}, {words}": value for name, value in probed.items()}
        if probed and failed is None:
            own = [one.result for one in kept_matches(bundle)]
            failed = failures(own, f"{run.name}/fold{fold}")
    return figures, failed


def kept_of_folds(run: Path, source: Bundle) -> tuple[dict[int, Bundle], KeptOfFolds]:
    """The models of the folds of `run`, and the matches that all of them keep, by file name and fold.

    Raises UsageError for a model that held a fold out itself and for a run without folds, without such matches, of
    another recipe or of other data; EvaluationError, ModelError.
    """
    own = source.training_config.get("fold", NO_FOLD)
    if own != NO_FOLD:
        raise UsageError(
            f"--out-of-fold {run}: the model held fold {own} out itself, and its card has the figures of that; leave "
            "--out-of-fold out, or export a model of --fold none"
        )
    bundles = models_of_folds(run, "--out-of-fold", UsageError)
    for fold, bundle in bundles.items():
        differing = [part for part in RECIPE if getattr(bundle, part) != getattr(source, part)]
        if differing:
            raise UsageError(
                f"--out-of-fold {run}: fold {fold} has another {' and '.join(differing)} than the model; name a run of "
                "the same recipe"
            )
    _check_data(run, bundles, source)
    kept = {fold: {one.path.name: one for one in kept_matches(bundle)} for fold, bundle in bundles.items()}
    names = set.intersection(*(set(own) for own in kept.values()))
    if not names:
        raise UsageError(
            f"--out-of-fold {run}: its folds keep no matches of one protocol; run cxrcad evaluate --run {run} --fold "
            "all"
        )
    return bundles, {name: {fold: of_fold[name] for fold, of_fold in kept.items()} for name in sorted(names)}


def _check_data(run: Path, bundles: Mapping[int, Bundle], source: Bundle) -> None:
    """Raise UsageError where the folds' models were trained on other data than the model, as far as both say on which.

    A packaged model lists its training images only. One that was trained on a part of its data lacks some.
    """
    remedy = "name the run whose folds are of the model's data"
    theirs, own = (read_content(place) for place in (run, source.folder.parent.parent))
    if theirs is not None and own is not None and (odd := other_cases(theirs, own)):
        raise UsageError(f"--out-of-fold {run}: its data are not those of {source.folder}: {odd}; {remedy}")
    if source.training_config.get("train_fraction", 1) != 1:
        return
    for fold, bundle in bundles.items():
        others = bundle.training_images - source.training_images
        if others:
            raise UsageError(
                f"--out-of-fold {run}: fold {fold} was trained on {counted(len(others), 'image')} that the model "
                f"{source.name} was not trained on; {remedy}"
            )


def models_of_folds(run: Path, flag: str, error: type[CxrcadError]) -> dict[int, Bundle]:
    """The models of the run's finished folds, by fold. Raises `error`, which begins with `flag`, and ModelError."""
    folds = folds_of_run(run)
    if folds:
        return {fold: load_bundle(run / f"fold{fold}" / RUN_FOLDER) for fold in folds}
    if not run.is_dir():
        lacks = "there is no such folder; name a run that `cxrcad train` wrote"
    elif (run / WHOLE).is_dir():
        lacks = "was trained on every case itself; name the run that held its folds out"
    elif (run / RUN_FOLDER).is_dir():
        lacks = f"is one fold of a run; name the run, {run.parent}"
    else:
        lacks = "holds no finished fold; train one, or name another run"
    raise error(f"{flag} {run}: {lacks}")


def _pooled(kept: Mapping[int, CheckedMatches], run: Path) -> dict[str, Any]:
    results = [one.result for one in kept.values()]
    unknown = sorted({one.notes[NOT_CHECKED] for one in kept.values() if NOT_CHECKED in one.notes})
    context, scoring = results[0].context, ScoringConfig()
    found = bootstrap(results, scoring.resamples, scoring.bootstrap_seed)
    title = f"out of fold: test cases of folds {', '.join(map(str, kept))} of {run.name}, {context_words(context)}"
    return {
        title: {
            "command": f"cxrcad evaluate --run {run.name} --fold all {context_flags(context)}, and froc with the same",
            "threshold": "each fold's own",
            "each image": "scored by the model of the fold that held it out, never by this one",
            "hit_rule": context.rule.describe(),
            "images": sum(len(result.matches) for result in results),
            "nodules": sum(match.n_nodules for result in results for match in result.matches),
            **{name: str(one) for name, one in found.items() if one.value is not None},
            **{f"{KIND} {one.name}": _stratum(one) for one in strata(results) if one.kind == KIND},
            **({NOT_CHECKED: "; ".join(unknown)} if unknown else {}),
        }
    }


def _stratum(one: Stratum) -> str:
    rates = ", ".join(
        f"{'not reached' if value is None else f'{value:.3f}'} at {rate:g}"
        for rate, value in zip(STRATUM_RATES, one.sensitivities, strict=True)
    )
    return f"recall {one.recall:.3f} of {one.n_nodules}, sensitivity {rates} false positives per image"
