"""Whether a detector has learned the traces of inserting: its scores where a sham was inserted instead of a nodule.

One place in each radiograph is scored four times: untouched, with a sham of each kind, and with a real nodule. Place,
shape and blur are the same in all of them. A detector of nodules gives a sham what it gives the untouched place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import LESIONS, InsertionTestConfig
from cxrcad.core import Case, DataError, Nodule, Radiograph, Source, UsageError, counted
from cxrcad.datasets.folds import make_folds
from cxrcad.datasets.jsrt.reader import read_jsrt
from cxrcad.datasets.masks import truth_mask
from cxrcad.evaluation.bootstrap import Interval, draw_images, with_intervals
from cxrcad.evaluation.kept import bound_to
from cxrcad.evaluation.metrics import Figures, image_auc
from cxrcad.files import Progress, Silent, check_out, sha256_of, write_atomically, write_json
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import DEFAULT_MODEL, resolve_model
from cxrcad.report.markdown import grid
from cxrcad.synthesis.backgrounds import GRID_MM, GRID_SIDE, Background, read_background, read_backgrounds
from cxrcad.synthesis.dataset import ROLES
from cxrcad.synthesis.insertion import PATCHES, Candidates, Inserted, insert_nodule, reinsert_background
from cxrcad.synthesis.nodules import ANALYTIC, read_nodules
from cxrcad.synthesis.phantom.dataset import SUBTLETY_COUNTS

__all__ = ["VERSIONS", "Scored", "measure_insertion_artefacts", "score_place", "verdict"]

SCHEMA = "cxrcad/fingerprint/1"
SHAMS = tuple(f"sham {patch}" for patch in PATCHES)
VERSIONS = ("untouched", *SHAMS, "nodule")
"""What one place of a radiograph is scored as."""

STOCK = 30  # analytic nodules beyond two a radiograph, so that every size is there

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """One radiograph's place, and the model's highest score in the nodule's disc there by version, 0-1."""

    background: Background
    inserted: Inserted
    subtlety: int
    scores: Mapping[str, float]


def measure_insertion_artefacts(config: InsertionTestConfig, progress: Progress | None = None) -> str:
    """Mean scores, differences, AUCs and the verdict, as Markdown; also written as fingerprint.md and .json.

    Files go to `config.out`, by default to the model's folder in `config.runs`, there to the fold's. Raises UsageError
    for what is not named, ModelError, ReadError, WriteError, and DataError for backgrounds, nodules or data that are
    missing, damaged or empty.
    """
    progress = progress or Silent()
    check_out(config.out)
    if config.backgrounds is None:
        raise UsageError("no backgrounds are named; give --backgrounds DIR")
    if config.nodules is None:
        raise UsageError(f"no nodules are named; give --nodules FILE.npz, or --nodules {ANALYTIC}")
    detector = Detector.open(
        resolve_model(config.model or DEFAULT_MODEL, LESIONS[0]), config.scoring.device, config.scoring.threads
    )
    held_out = _held_out(config, detector.bundle.training_images)
    found = read_backgrounds(config.backgrounds)
    for note in found.notes:
        progress.note(note)
    chosen = _chosen(found.backgrounds, held_out, config)
    candidates, whose = _candidates(len(chosen), held_out, config)
    if whose:
        progress.note(f"nodules {config.nodules}{whose}")
    progress.start("fingerprint", len(chosen), 0)
    scored = []
    for index, background in enumerate(chosen):
        scored.append(score_place(detector, background, candidates, config.seed, index))
        progress.step(len(scored))
    measured = _measured(scored, config)
    trained_on = () if held_out is None else held_out.trained_on
    text = _text(scored, measured, detector, config, trained_on, whose)
    fold = f"fold{config.fold}" if config.fold not in (None, "all") else ""
    out = config.out or config.runs / detector.bundle.name / fold
    write_atomically(out / "fingerprint.md", text)
    document = _document(scored, measured, detector, config, trained_on)
    whose_nodules = {"nodules_are": whose.lstrip(" ,:;") or None}
    bound = bound_to(detector.bundle, () if held_out is None else held_out.cases)
    write_json(out / "fingerprint.json", {**document, **whose_nodules, **bound})
    return text


def score_place(detector: Detector, background: Background, candidates: Candidates, seed: int, index: int) -> Scored:
    """The scores at one random place in the lung fields; the subtlety of its nodule comes in JSRT's shares.

    `seed` and `index`, the radiograph's number, decide place, nodule and subtlety. Raises DataError where no place is
    large enough, ReadError.
    """
    image, lung = read_background(background)
    counts = np.array(list(SUBTLETY_COUNTS.values()), np.float64)
    subtlety = int(np.random.default_rng([seed, index, 1]).choice(list(SUBTLETY_COUNTS), p=counts / counts.sum()))
    versions, places = {"untouched": image}, []
    try:
        for patch, name in zip(PATCHES, SHAMS, strict=True):
            rng = np.random.default_rng([seed, index])
            versions[name], place = reinsert_background(
                image, lung, rng, candidates=candidates, outside=False, patch=patch
            )
            places.append(place)
        rng = np.random.default_rng([seed, index])
        versions["nodule"], place = insert_nodule(image, lung, candidates, subtlety, False, rng)
    except DataError as error:
        raise DataError(f"{background.image}: {error}") from None
    assert all(other == place for other in places), "shams and nodule are drawn from one state"
    scores = {name: _score(detector, versions[name], background, place) for name in VERSIONS}
    return Scored(background, place, subtlety, scores)


def _score(detector: Detector, image: Pixels, background: Background, place: Inserted) -> float:
    """The highest score of the nodule map in the place's disc, of the image rounded to 8 bits as a file would be."""
    pixels = (np.clip(np.rint(image), 0, 255) / 255).astype(np.float32)
    spacing = (GRID_MM, GRID_MM)
    radiograph = Radiograph(pixels, spacing, "data set", None, Source(str(background.image), "background", ""))
    examined = detector.examine(radiograph)
    nodule = Nodule(place.x_px, place.y_px, place.diameter_mm)
    case = Case(background.image.stem, background.image, GRID_SIDE, GRID_SIDE, spacing, (nodule,))
    return float(examined.maps["nodule"][truth_mask(case, examined.geometry, "disc")].max())


@dataclass(frozen=True)
class _HeldOut:
    """The test cases of the fold, their patients and CT series; `trained_on` names the cases that the model saw."""

    cases: tuple[Case, ...]
    patients: frozenset[str]
    series: frozenset[str]
    trained_on: tuple[str, ...]


def _held_out(config: InsertionTestConfig, training_images: frozenset[str]) -> _HeldOut | None:
    """What the fold holds out; None where no fold is named."""
    if config.fold is None:
        return None
    if config.data.data is None:
        raise UsageError(
            f"--fold {config.fold}: of which data? Add --data DATA, the data that the model was trained on"
        )
    dataset = read_jsrt(config.data.data)
    splits = make_folds(dataset, config.data.fold_seed)
    names = [name for split in splits if config.fold in ("all", str(split.fold)) for name in split.test]
    cases = dataset.select(names)
    trained_on = tuple(case.name for case in cases if sha256_of(case.image) in training_images)
    groups = [group for case in cases for group in case.groups or (f"patient:{case.name}",)]
    patients, series = (
        frozenset(group.removeprefix(kind) for group in groups if group.startswith(kind))
        for kind in ("patient:", "series:")
    )
    return _HeldOut(cases, patients, series, trained_on)


def _chosen(
    backgrounds: Sequence[Background], held_out: _HeldOut | None, config: InsertionTestConfig
) -> tuple[Background, ...]:
    """The backgrounds that are scored, in an order drawn from the seed."""
    usable = [background for background in backgrounds if background.role in ROLES]
    if held_out is not None:
        usable = [background for background in usable if background.patient in held_out.patients]
    if not usable:
        why = (
            "has the role normal or other_finding"
            if held_out is None
            else f"is of a patient of {_held_out_words(config)}"
        )
        raise DataError(
            f"{config.backgrounds}: none of its {counted(len(backgrounds), 'background')} {why}; name other "
            "--backgrounds" + ("" if held_out is None else ", or the --data that was made of these")
        )
    order = np.random.default_rng(config.seed).permutation(len(usable))
    return tuple(usable[index] for index in order[: config.limit])


def _candidates(count: int, held_out: _HeldOut | None, config: InsertionTestConfig) -> tuple[Candidates, str]:
    """The nodules that may be inserted, with a fold those of its CT series if the file has any; whose, in words."""
    assert config.nodules is not None
    stock = read_nodules(config.nodules, count=2 * count + STOCK, seed=config.seed)
    usable = stock.usable()
    held = [index for index in usable if held_out is not None and stock.series_uid[index] in held_out.series]
    if not usable:
        raise DataError(f"{config.nodules}: no nodule of 6 mm or more in it; take --nodules {ANALYTIC}")
    if held_out is None or config.nodules == ANALYTIC:
        return Candidates(stock, usable), ""
    if held:
        return Candidates(stock, held), f", {counted(len(held), 'nodule')} of held-out CT series"
    return Candidates(stock, usable), ": none is of a held-out CT series, so the model may have been trained on them"


def _measured(scored: Sequence[Scored], config: InsertionTestConfig) -> dict[str, Interval]:
    """Means, differences from the untouched place and AUCs against it, with intervals over patients."""
    scores = {name: np.array([one.scores[name] for one in scored]) for name in VERSIONS}
    patients = list(dict.fromkeys(one.background.patient for one in scored))
    cluster = np.array([patients.index(one.background.patient) for one in scored], np.intp)
    weights = None
    if config.scoring.resamples and len(patients) > 1:
        weights = draw_images(
            cluster, np.zeros(len(scored), bool), config.scoring.resamples, config.scoring.bootstrap_seed
        )

    def measure(counts: NDArray[np.float64]) -> Figures:
        def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
            result: NDArray[np.float64] = (counts @ values) / counts.sum(1)
            return result

        found = {f"mean {name}": mean(scores[name]) for name in VERSIONS}
        changed = np.repeat([False, True], len(scored))
        for name in VERSIONS[1:]:
            found[f"difference {name}"] = mean(scores[name] - scores["untouched"])
            both = np.concatenate([scores["untouched"], scores[name]])
            found[f"AUC {name}"] = image_auc(both, changed, np.hstack([counts, counts]))
        return found

    return with_intervals(measure, len(scored), weights)


def verdict(differences: Mapping[str, Interval], bound: float) -> tuple[str, str]:
    """below, beyond or undecided, and the sentence; `differences` are shams less untouched, by kind of sham.

    Below: every interval lies within -bound to bound. Beyond: one lies wholly outside of it.
    """
    intervals = [(one.low, one.high) for one in differences.values() if one.low is not None and one.high is not None]
    shown = " and ".join(f"{_shown(one)} ({name})" for name, one in differences.items())
    sentence = f"The mean score of a sham differs from the untouched place's by {shown}: "
    if any(low > bound or high < -bound for low, high in intervals):
        return "beyond", f"{sentence}beyond the bound of {bound:g}. The model sees the traces of inserting."
    if len(intervals) == len(differences) and all(-bound < low and high < bound for low, high in intervals):
        return "below", f"{sentence}below the bound of {bound:g}."
    reason = "an interval reaches over" if len(intervals) == len(differences) else "without an interval none is under"
    return "undecided", f"{sentence}not decided, as {reason} the bound of {bound:g}; take more radiographs."


def _text(
    scored: Sequence[Scored],
    measured: Mapping[str, Interval],
    detector: Detector,
    config: InsertionTestConfig,
    trained_on: Sequence[str],
    whose_nodules: str,
) -> str:
    rows: list[tuple[str, ...]] = [("place", "mean score", "less untouched", "AUC against untouched")]
    for name in VERSIONS:
        own = [measured.get(f"{kind} {name}") for kind in ("difference", "AUC")]
        mean = f"{measured[f'mean {name}'].value:.3f}"
        rows.append((name, mean, *("" if one is None else _shown(one, "+" if one is own[0] else "") for one in own)))
    lines = grid(rows[0], rows[1:])
    patients = len({one.background.patient for one in scored})
    drawn = (
        f"{config.scoring.resamples:,} resamples of the patients"
        if config.scoring.resamples
        else "no resamples, no interval"
    )
    whose = "The model may have been trained on some of them: --fold and --data take only patients that are held out."
    held_out = _held_out_words(config)
    head = [
        f"# Traces of inserting: {detector.bundle.name}",
        "",
        f"Backgrounds {config.backgrounds}: {counted(len(scored), 'radiograph')} of {counted(patients, 'patient')}. "
        + (whose if held_out is None else f"Their patients are in {held_out}."),
        *([f"NOT A TEST: {len(trained_on)} of these test cases stand in the model's training list"] * bool(trained_on)),
        f"Nodules {config.nodules}{whose_nodules}.",
        "One place in the lung fields of each radiograph: place, shape and blur of shams and nodule are the same.",
        "Score: the highest of the nodule map in the disc of the nodule's size at the place, 0-1. "
        f"Brackets: 95 % bootstrap, {drawn}.",
        "",
    ]
    _, sentence = verdict(_of_shams(measured), config.bound)
    return "\n".join([*head, *lines, "", sentence]) + "\n"


def _held_out_words(config: InsertionTestConfig) -> str | None:
    """Where the patients are from; None where they may be anyone."""
    if config.fold is None:
        return None
    which = "all folds" if config.fold == "all" else f"fold {config.fold}"
    return f"the test cases of {which} of {config.data.data}"


def _of_shams(measured: Mapping[str, Interval]) -> dict[str, Interval]:
    return {patch: measured[f"difference sham {patch}"] for patch in PATCHES}


def _shown(one: Interval, sign: str = "+") -> str:
    if one.value is None:
        return "undefined"
    value = f"{round(one.value, 3) + 0.0:{sign}.3f}"  # + 0.0: no -0.000
    if one.low is None or one.high is None:
        return value
    return f"{value} [{round(one.low, 3) + 0.0:.3f}, {round(one.high, 3) + 0.0:.3f}]"


def _document(
    scored: Sequence[Scored],
    measured: Mapping[str, Interval],
    detector: Detector,
    config: InsertionTestConfig,
    trained_on: Sequence[str],
) -> dict[str, Any]:
    word, sentence = verdict(_of_shams(measured), config.bound)
    radiographs = [
        {
            "file": one.background.image.name,
            "patient": one.background.patient,
            **{"x_px": one.inserted.x_px, "y_px": one.inserted.y_px, "diameter_mm": one.inserted.diameter_mm},
            **{"nodule": one.inserted.index, "subtlety": one.subtlety, "scores": dict(one.scores)},
        }
        for one in scored
    ]
    return {
        "schema": SCHEMA,
        "model": asdict(detector.identity),
        **{"backgrounds": str(config.backgrounds), "nodules": str(config.nodules), "seed": config.seed},
        **{
            "fold": config.fold,
            "held_out": _held_out_words(config),
            "trained_on": list(trained_on),
            "limit": config.limit,
        },
        "bootstrap": {"resamples": config.scoring.resamples, "seed": config.scoring.bootstrap_seed, "confidence": 0.95},
        "figures": {name: asdict(interval) for name, interval in measured.items()},
        "bound": config.bound,
        "verdict": word,
        "sentence": sentence,
        "radiographs": radiographs,
    }
