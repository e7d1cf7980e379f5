"""Runs and packaged models scored on the test cases of their folds; raw matches are kept and used again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.config import NODULE, PROTOCOLS, DataConfig, EvaluateConfig, build, check_one_threshold
from cxrcad.core import Case, CxrcadError, DataError, EvaluationError, ModelError, ModelIdentity, UsageError, counted
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import FOLDS, FOLDS_NAME, WHOLE, Split, load_folds, make_folds
from cxrcad.datasets.images import read_case
from cxrcad.datasets.joined import of_sets
from cxrcad.datasets.masks import truth_mask
from cxrcad.datasets.read import how_to_get, read_data
from cxrcad.documents import MALFORMED, as_name, toml_value
from cxrcad.evaluation.protocols import protocol_of, rule_changes
from cxrcad.evaluation.records import FoldResult, ScoringContext, gathered, to_document, write_matches
from cxrcad.evaluation.statistics import dice
from cxrcad.files import check_out, check_results, read_json
from cxrcad.inference.detector import Detector
from cxrcad.inference.lungs import lung_fields
from cxrcad.inference.model import CARD_NAME, Bundle, check_lesion, folds_of_run, load_bundle, resolve_model
from cxrcad.scoring.cases import Detection, evaluate_cases
from cxrcad.scoring.kept import because, has_discs, read_kept, used_again, used_notes
from cxrcad.scoring.predictions import score_predictions

__all__ = ["FoldsToScore", "Scored", "check_places", "data_of_run", "find_run", "folds_to_score", "score", "told_by"]

Note = Callable[[str], None]


@dataclass(frozen=True)
class Scored:
    """The folds of one run or model, and the folder where their figures belong."""

    name: str
    folder: Path
    results: tuple[FoldResult, ...]


@dataclass(frozen=True)
class FoldsToScore:
    """What of a run or a packaged model is scored: each fold's model and parts; `folder` is that of the figures."""

    name: str
    folder: Path
    dataset: Dataset
    folds: tuple[tuple[Bundle, Split], ...]


def find_run(runs: Path, fold: str, lesion: str = NODULE) -> Path | None:
    """The newest run in `runs` that holds `fold` ("all": any fold) of `lesion` finished; None where there is none."""
    held = {run: folds_of_run(run) for run in (runs.iterdir() if runs.is_dir() else ()) if run.is_dir()}
    holding = [run for run, folds in held.items() if folds and (fold == "all" or int(fold) in folds)]
    fitting = [run for run in holding if _lesion_of(run / f"fold{held[run][0]}" / "model" / CARD_NAME) == lesion]

    def finished(run: Path) -> float:
        folds = held[run] if fold == "all" else (int(fold),)
        return max((run / f"fold{number}" / "model" / CARD_NAME).stat().st_mtime for number in folds)

    return max(fitting, key=finished, default=None)


def score(config: EvaluateConfig, note: Note = lambda _: None) -> tuple[Scored, ...]:
    """The scored folds of the run (or packaged model), and of `config.beside` where it is given.

    What was found by the same model in the same image is used again, image by image (`cxrcad.scoring.kept`). `note` is
    told which run was chosen and how it goes on. Raises DataError, EvaluationError, ModelError.
    """
    check_out(config.out)
    check_one_threshold(config.operating_point, config.threshold)
    if config.predictions is not None or (config.truth_file and not config.model and not config.run):
        result = score_predictions(config, note)
        name = as_name(Path(result.context.model.name).stem)
        return (Scored(name, config.out or config.runs / name, (result,)),)
    if config.model is not None and config.run is not None:
        note(f"model {config.model} is scored, and run {config.run} is not: give one of --model and --run")
    first = _scored(config, note)
    if config.beside is None:
        return (first,)
    out = config.out and config.out / config.beside.resolve().name
    second = _scored(replace(config, model=None, run=config.beside, out=out), note)
    folds = [result.context.fold for result in first.results]
    return (first, replace(second, results=tuple(one for one in second.results if one.context.fold in folds)))


def _scored(config: EvaluateConfig, note: Note) -> Scored:
    chosen = folds_to_score(config, note)
    asked = [_threshold(bundle, config) for bundle, _ in chosen.folds]  # before the work: a point may be refused
    results = [_score_fold(bundle, split, chosen, config, note) for bundle, split in chosen.folds]
    reported = (_reported_from(result, *one) for result, one in zip(results, asked, strict=True))
    return Scored(chosen.name, chosen.folder, tuple(reported))


def _threshold(bundle: Bundle, config: EvaluateConfig) -> tuple[float | None, str]:
    """The threshold that was asked for in place of the model's, and by which option. Raises UsageError."""
    if config.operating_point is None:
        return config.threshold, "--threshold"
    return bundle.at_operating_point(config.operating_point).threshold, f"--operating-point {config.operating_point}"


def folds_to_score(config: EvaluateConfig, note: Note) -> FoldsToScore:
    """The models of `config.model`, `config.run` or the newest run, for the folds that are to be scored, with the data.

    The data set has the image set that is scored: the protocol's, or that of --images. Raises as `score`.
    """
    protocol, images = protocol_of(config)
    name = next((name for name, its in PROTOCOLS.items() if its == images), protocol.name)
    data = replace(config.data, protocol=name)
    if config.model is not None:
        bundle = resolve_model(config.model, config.data.lesion)
        dataset = read_data(data)
        splits = make_folds(dataset, data.fold_seed)
        folds = tuple((bundle, split) for split in splits if config.fold in ("all", str(split.fold)))
        dataset, folds = _of_sets(dataset, folds, config.sets)
        return FoldsToScore(bundle.name, config.out or config.runs / bundle.name, dataset, folds)
    run = _chosen_run(config, note)
    bundles = _models_of_run(run, config, note)
    dataset = read_data(data_of_run(run, data))
    of_fold = {split.fold: split for split in load_folds(run / FOLDS_NAME, dataset)}
    folds = tuple((bundle, of_fold[fold]) for fold, bundle in bundles.items())
    dataset, folds = _of_sets(dataset, folds, config.sets)
    return FoldsToScore(run.name, config.out or run, dataset, folds)


def _of_sets(
    dataset: Dataset, folds: tuple[tuple[Bundle, Split], ...], sets: str | None
) -> tuple[Dataset, tuple[tuple[Bundle, Split], ...]]:
    """The data set and the folds' test cases with the cases of `sets` only, of folds drawn over all. DataError."""
    part = of_sets(dataset, sets)
    there = part.by_name
    return part, tuple(
        (bundle, replace(split, test=tuple(name for name in split.test if name in there))) for bundle, split in folds
    )


def _chosen_run(config: EvaluateConfig, note: Note) -> Path:
    """The run that is to be scored: `config.run`, else the newest that holds the fold, which `note` is told.

    Raises EvaluationError where there is none, DataError where nothing was trained at all.
    """
    run = config.run or find_run(config.runs, config.fold, config.data.lesion)
    if run is None:
        if not config.data.folders and not config.runs.is_dir():
            raise DataError(how_to_get(config.data.lesion))
        what = "a finished fold" if config.fold == "all" else f"fold {config.fold} finished"
        other = "" if config.data.lesion == NODULE else f" --lesion {config.data.lesion}"
        raise EvaluationError(
            f"{config.runs}: no run holds {what}; `cxrcad train{other} --fold {config.fold}` makes one"
        )
    if config.run is None:
        note(f"run {run}: the newest that holds the fold")
    return run


def _models_of_run(run: Path, config: EvaluateConfig, note: Note) -> dict[int, Bundle]:
    """The models of the run's finished folds that `config.fold` asks for, by fold; `note` is told which are missing.

    Raises EvaluationError where there is none, ModelError for a damaged one and for one of another lesion.
    """
    held = folds_of_run(run)
    wanted = tuple(range(1, FOLDS + 1)) if config.fold == "all" else (int(config.fold),)
    there = [fold for fold in wanted if fold in held]
    if not run.is_dir():
        raise EvaluationError(f"{run}: there is no such run; name a folder that `cxrcad train` wrote")
    if not there:
        if (run / "model" / CARD_NAME).is_file():
            raise EvaluationError(f"{run}: one fold of a run; name the run, --run {run.parent}, and choose with --fold")
        if (run / WHOLE / "model" / CARD_NAME).is_file() and not held:
            raise EvaluationError(
                f"{run}: its model was trained on every case (--fold none), so no test case is left to score it on; "
                "score the run that --threshold-from named"
            )
        folds = ", ".join(map(str, held)) or "none"
        what = "no finished fold" if config.fold == "all" else f"no finished fold {config.fold}"
        raise EvaluationError(f"{run}: holds {what} (finished: {folds}); train it, or name another")
    if len(there) < len(wanted):
        missing = ", ".join(str(fold) for fold in wanted if fold not in held)
        note(f"{run}: folds {missing} are not finished and not in the figures")
    bundles = {fold: load_bundle(run / f"fold{fold}" / "model") for fold in there}
    for bundle in bundles.values():
        check_lesion(bundle, config.data.lesion)
    return bundles


def told_by(bundle: Bundle) -> dict[str, Any]:
    """What a model's card and settings say of every figure that it gives, by the fields of a ScoringContext."""
    network = bundle.card.get("network", {})
    return {
        "model": ModelIdentity(bundle.name, bundle.sha256, bundle.threshold, ""),
        "network": str(network.get("network", bundle.name)),
        "tasks": str(network.get("tasks", "multi")),
        "threshold_from": str(bundle.card.get("threshold_from", "the model's card")),
        "settings_sha256": bundle.settings_sha256,
    }


def _score_fold(bundle: Bundle, split: Split, chosen: FoldsToScore, config: EvaluateConfig, note: Note) -> FoldResult:
    dataset, place = chosen.dataset, chosen.folder / f"fold{split.fold}"
    protocol, images = protocol_of(config)
    names = {case.name for case in dataset.scored()}
    cases = [case for case in dataset.select(split.test) if case.name in names]
    context = ScoringContext(
        data=dataset.where,
        protocol=protocol.name,
        rule=protocol.rule,
        fold=split.fold,
        images=images,
        fp_axis=protocol.fp_axis,
        calibrated_on="" if bundle.calibration is None else str(bundle.card["calibration"]["on"]),
        **told_by(bundle),
    )
    changed = rule_changes(protocol.name, protocol.rule, protocol.fp_axis)
    parts = (
        protocol.name,
        images,
        protocol.rule.kind,
        config.sets and as_name(config.sets),
        *(f"{name}-{value}" for name, value in changed.items()),
    )
    path = place / f"matches-{'-'.join(filter(None, parts))}.json"
    files = read_kept(path)
    again, reasons = used_again(files, cases, bundle, protocol.rule)
    for line in used_notes(again):
        note(f"fold {split.fold}: {line}")
    scored = {name: one.scored for name, one in again.items()}
    providers = {one for kept in again.values() for one in kept.provider.split(", ")}
    if reasons:
        check_places(place, config)
        detector = Detector.open(bundle, config.scoring.device, config.scoring.threads)
        note(f"fold {split.fold}: detecting in {counted(len(reasons), 'image')}{because(reasons)}")
        todo = [case for case in cases if case.name in reasons]
        found = evaluate_cases(todo, _detect_with(detector), context)
        scored |= zip(reasons, zip(found.matches, found.lung_dice, found.scored, strict=True), strict=True)
        providers.add(detector.provider)
    context = replace(context, model=replace(context.model, provider=", ".join(sorted(providers))))
    result = gathered(context, [scored[case.name] for case in cases], bundle.training_images)
    if path not in files or to_document(files[path]) != to_document(result):
        write_matches(path, result)
    return result


def check_places(place: Path, config: EvaluateConfig) -> None:
    """Raise before the work where nothing can be written to the fold's folder or, for all folds, to the one above.

    Raises UsageError, WriteError.
    """
    for folder in (place, place.parent) if config.fold == "all" else (place,):
        check_results(folder, config.out and folder)


def _reported_from(result: FoldResult, threshold: float | None, option: str) -> FoldResult:
    """The same matches with the option's threshold in place of the model's; the nodule maps were cut at that one."""
    if threshold is None:
        return result
    model = replace(result.context.model, threshold=threshold)
    context = replace(result.context, model=model, threshold_from=option)
    scored_images = tuple(replace(scored_image, nodule_dice=None) for scored_image in result.scored)
    return replace(result, context=context, scored=scored_images)


def _detect_with(detector: Detector) -> Callable[[Case], Detection]:
    def detect(case: Case) -> Detection:
        examined = detector.examine(read_case(case))
        probabilities, geometry = examined.maps.get("lung"), examined.geometry
        lung = None
        if probabilities is not None:
            lung = lung_fields(geometry.as_stored(probabilities), detector.bundle.find.lung_threshold)
        overlap = None
        if has_discs(case):
            truth = truth_mask(case, examined.geometry, "disc")
            overlap = dice(examined.maps["lesion"] >= detector.bundle.map_threshold, truth)
        return Detection(examined.result, lung, overlap)

    return detect


def _lesion_of(card: Path) -> str:
    """What a card says that its model is made for; a damaged card is looked at when the model is opened."""
    try:
        return str(read_json(card, ModelError).get("lesion", NODULE))
    except (AttributeError, CxrcadError):
        return NODULE


def data_of_run(run: Path, data: DataConfig) -> DataConfig:
    """`data` with the folders and labels that the run was trained on, from a fold's config.toml, where it names none.

    Raises DataError where neither names a folder.
    """
    file = next(iter(sorted(run.glob("fold?/config.toml"))), run / "fold1" / "config.toml")
    try:
        values = toml_value(file.read_text(encoding="utf-8"))
        kept = build(DataConfig, {"data": values["data"], "labels": values.get("labels")}, str(file))
    except (OSError, UsageError, *MALFORMED) as error:
        if data.folders:
            return data
        raise DataError(f"{file}: does not say which data ({error}); name the folder with --data") from None
    return replace(data, data=data.data or kept.data, labels=data.labels or kept.labels)
