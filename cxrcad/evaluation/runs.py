"""Runs and packaged models scored on the test cases of their folds; raw matches are kept and used again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrcad.config import FOLD_CHOICES, LESIONS, PROTOCOLS, EvaluateConfig
from cxrcad.core import Case, CxrcadError, DataError, EvaluationError, ModelError, ModelIdentity, counted
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import FOLDS, WHOLE, Split, load_folds, make_folds
from cxrcad.datasets.images import read_case
from cxrcad.datasets.masks import truth_mask
from cxrcad.datasets.read import how_to_get, read_data
from cxrcad.documents import MALFORMED, as_name, toml_value
from cxrcad.evaluation.external import score_predictions
from cxrcad.evaluation.kept import Again, because, has_discs, read_kept, used_again, used_notes
from cxrcad.evaluation.protocols import protocol_of, rule_changes
from cxrcad.evaluation.records import FoldResult, ScoringContext, to_document, write_matches
from cxrcad.evaluation.scoring import Detection, evaluate_cases
from cxrcad.evaluation.statistics import dice
from cxrcad.files import check_out, check_results, read_json
from cxrcad.inference.detector import Detector
from cxrcad.inference.lungs import lung_fields
from cxrcad.inference.model import CARD_NAME, Bundle, check_lesion, load_bundle, resolve_model

__all__ = ["Scored", "check_places", "chosen_run", "data_of_run", "find_run", "folds_of_run", "folds_to_score", "score"]

CARD = "the model's card"

Note = Callable[[str], None]


@dataclass(frozen=True)
class Scored:
    """The folds of one run or model, and the folder where their figures belong."""

    name: str
    folder: Path
    results: tuple[FoldResult, ...]


def folds_of_run(run: Path) -> tuple[int, ...]:
    """The folds that a run holds finished, ascending."""
    cards = run.glob("fold?/model/card.json")
    return tuple(sorted(int(name) for card in cards if (name := card.parent.parent.name[-1]) in FOLD_CHOICES))


def find_run(runs: Path, fold: str, lesion: str = LESIONS[0]) -> Path | None:
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

    What was found by the same model in the same image is used again, image by image (`cxrcad.evaluation.kept`). `note`
    is told which run was chosen and how it goes on. Raises DataError, EvaluationError, ModelError.
    """
    check_out(config.out)
    if config.predictions is not None or (config.truth_file and not config.model and not config.run):
        return (_score_predictions(config, note),)
    if config.model is not None:
        if config.run is not None:
            note(f"model {config.model} is scored, and run {config.run} is not: give one of --model and --run")
        first = _score_model(config, note)
    else:
        first = _score_run(chosen_run(config, note), config, note, config.out)
    if config.beside is None:
        return (first,)
    folds = [result.context.fold for result in first.results]
    second = _score_run(config.beside, config, note, config.out and config.out / config.beside.resolve().name)
    return (first, Scored(second.name, second.folder, tuple(r for r in second.results if r.context.fold in folds)))


def chosen_run(config: EvaluateConfig, note: Note) -> Path:
    """The run that is to be scored: `config.run`, else the newest that holds the fold, of which `note` is told.

    Raises EvaluationError where there is none, DataError where nothing was trained at all.
    """
    run = config.run or find_run(config.runs, config.fold, config.data.lesion)
    if run is None:
        if config.data.data is None and not config.runs.is_dir():
            raise DataError(how_to_get(config.data.lesion))
        what = "a finished fold" if config.fold == "all" else f"fold {config.fold} finished"
        other = "" if config.data.lesion == LESIONS[0] else f" --lesion {config.data.lesion}"
        raise EvaluationError(
            f"{config.runs}: no run holds {what}; `cxrcad train{other} --fold {config.fold}` makes one"
        )
    if config.run is None:
        note(f"run {run}: the newest that holds the fold")
    return run


def folds_to_score(run: Path, config: EvaluateConfig, note: Note) -> dict[int, Bundle]:
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


def _score_run(run: Path, config: EvaluateConfig, note: Note, out: Path | None) -> Scored:
    bundles = folds_to_score(run, config, note)
    dataset = _read(config.data.data or data_of_run(run), config)
    splits = {split.fold: split for split in load_folds(run / "folds.json", dataset)}
    results = []
    for fold, bundle in bundles.items():
        place = (out or run) / f"fold{fold}"
        result = _score_fold(bundle, dataset, splits[fold], config, place, note)
        results.append(_reported_from(result, config.threshold))
    return Scored(run.name, out or run, tuple(results))


def _score_model(config: EvaluateConfig, note: Note) -> Scored:
    bundle = resolve_model(config.model, config.data.lesion)
    dataset = _read(config.data.data, config)
    splits = make_folds(dataset, config.data.fold_seed)
    out = config.out or config.runs / bundle.name
    wanted = [split for split in splits if config.fold in ("all", str(split.fold))]
    results = [_score_fold(bundle, dataset, split, config, out / f"fold{split.fold}", note) for split in wanted]
    return Scored(bundle.name, out, tuple(_reported_from(result, config.threshold) for result in results))


def _score_predictions(config: EvaluateConfig, note: Note) -> Scored:
    result = score_predictions(config, note)
    name = as_name(Path(result.context.model.name).stem)
    return Scored(name, config.out or config.runs / name, (result,))


def _read(folder: Path | None, config: EvaluateConfig) -> Dataset:
    """The data set with the image set that is scored: the protocol's, or that of --images."""
    same = {images: name for name, images in reversed(tuple(PROTOCOLS.items()))}
    protocol, images = protocol_of(config)
    name = protocol.name if images is None else same[images]
    return read_data(replace(config.data, data=folder, protocol=name))


def _score_fold(
    bundle: Bundle, dataset: Dataset, split: Split, config: EvaluateConfig, place: Path, note: Note
) -> FoldResult:
    protocol, images = protocol_of(config)
    names = {case.name for case in dataset.scored()}
    cases = [case for case in dataset.select(split.test) if case.name in names]
    network = bundle.card.get("network", {})
    context = ScoringContext(
        data=str(dataset.folder),
        protocol=protocol.name,
        rule=protocol.rule,
        model=ModelIdentity(bundle.name, bundle.sha256, bundle.threshold, ""),
        network=str(network.get("network", bundle.name)),
        tasks=str(network.get("tasks", "multi")),
        threshold_from=str(bundle.card.get("threshold_from", CARD)),
        fold=split.fold,
        images=images,
        fp_axis=protocol.fp_axis,
        settings_sha256=bundle.settings_sha256,
    )
    changed = rule_changes(protocol.name, protocol.rule, protocol.fp_axis)
    parts = (protocol.name, images, protocol.rule.kind, *(f"{name}-{value}" for name, value in changed.items()))
    path = place / f"matches-{'-'.join(filter(None, parts))}.json"
    files = read_kept(path)
    again, reasons = used_again(files, cases, bundle, protocol.rule)
    for line in used_notes(again):
        note(f"fold {split.fold}: {line}")
    found = None
    if reasons:
        check_places(place, config)
        detector = Detector.open(bundle, config.scoring.device, config.scoring.threads)
        note(f"fold {split.fold}: detecting in {counted(len(reasons), 'image')}{because(reasons)}")
        todo = [case for case in cases if case.name in reasons]
        found = evaluate_cases(todo, _detect_with(detector), replace(context, model=detector.identity))
    result = _joined(cases, again, found, context, bundle.training_images)
    if not files or files[0].path != path or to_document(files[0].result) != to_document(result):
        write_matches(path, result)
    return result


def check_places(place: Path, config: EvaluateConfig) -> None:
    """Raise before the work where nothing can be written to the fold's folder or, for all folds, to the one above.

    Raises UsageError, WriteError.
    """
    for folder in (place, place.parent) if config.fold == "all" else (place,):
        check_results(folder, config.out and folder)


def _joined(
    cases: Sequence[Case],
    again: Mapping[str, Again],
    found: FoldResult | None,
    context: ScoringContext,
    training_images: frozenset[str],
) -> FoldResult:
    """What is used again and what was found now, in the cases' order."""
    images = {name: (one.match, one.lung_dice, one.scored_image) for name, one in again.items()}
    results = [one.origin.result for one in again.values()]
    if found is not None:
        new = zip(found.matches, found.lung_dice, found.scored, strict=True)
        images |= {match.case: (match, overlap, scored_image) for match, overlap, scored_image in new}
        results.append(found)
    providers = sorted({one for result in results for one in result.context.model.provider.split(", ")})
    ordered = [images[case.name] for case in cases]
    return FoldResult(
        context=replace(context, model=replace(context.model, provider=", ".join(providers))),
        matches=tuple(match for match, _, _ in ordered),
        lung_dice=tuple(overlap for _, overlap, _ in ordered),
        trained_on=tuple(
            scored_image.case.name for _, _, scored_image in ordered if scored_image.sha256 in training_images
        ),
        scored=tuple(scored_image for _, _, scored_image in ordered),
    )


def _reported_from(result: FoldResult, threshold: float | None) -> FoldResult:
    """The same matches with --threshold in place of the model's; the nodule maps were cut at that one."""
    if threshold is None:
        return result
    context = replace(
        result.context, model=replace(result.context.model, threshold=threshold), threshold_from="--threshold"
    )
    scored_images = tuple(replace(scored_image, nodule_dice=None) for scored_image in result.scored)
    return replace(result, context=context, scored=scored_images)


def _detect_with(detector: Detector) -> Callable[[Case], Detection]:
    def detect(case: Case) -> Detection:
        examined = detector.examine(read_case(case))
        probabilities, geometry = examined.maps.get("lung"), examined.geometry
        lung = None
        if probabilities is not None:
            content = probabilities[: geometry.content_rows, : geometry.content_cols]
            lung = lung_fields(content, detector.bundle.find.lung_threshold)
        overlap = None
        if has_discs(case):
            truth = truth_mask(case, examined.geometry, "disc")
            overlap = dice(examined.maps["nodule"] >= detector.bundle.threshold, truth)
        return Detection(examined.result, lung, overlap)

    return detect


def _lesion_of(card: Path) -> str:
    """What a card says that its model is made for; a damaged card is looked at when the model is opened."""
    try:
        return str(read_json(card, ModelError).get("lesion", LESIONS[0]))
    except (AttributeError, CxrcadError):
        return LESIONS[0]


def data_of_run(run: Path) -> Path:
    """The data folder that the run was trained on, from a fold's config.toml. Raises DataError."""
    file = next(iter(sorted(run.glob("fold?/config.toml"))), run / "fold1" / "config.toml")
    try:
        text = file.read_text(encoding="utf-8")
        return Path(toml_value(text)["data"])
    except (OSError, *MALFORMED) as error:
        raise DataError(f"{file}: does not say which data ({error}); name the folder with --data") from None
