"""Every document that is read, each of its values in turn another one: it is read or refused in a sentence."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cxrcad.commands.models import model_lines
from cxrcad.config import ReproduceConfig, TrainConfig, to_dict
from cxrcad.config.sources import resolve_config
from cxrcad.core import Box, Case, CxrcadError, Finding, ModelIdentity, Nodule, Result
from cxrcad.datasets.content import Content, read_content
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import load_folds, make_folds, save_folds
from cxrcad.datasets.nih import read as read_effusions
from cxrcad.evaluation.froc import froc
from cxrcad.evaluation.matching import HitRule
from cxrcad.evaluation.records import ScoringContext, read_matches, rematched, to_document
from cxrcad.evaluation.segmentation import SegmentedFold, SegmentedImage, measured, read_segmentation
from cxrcad.inference.model import load_bundle
from cxrcad.interchange import boxes
from cxrcad.interchange.boxes import Found
from cxrcad.interchange.truth import read_truth
from cxrcad.paper.jobs import Job, check_results, read_records
from cxrcad.scoring.cases import Detection, evaluate_cases
from tests.interchange.any_json import places

OTHERS: tuple[Any, ...] = (None, "x", "7", 7, -1, 0.5, True, [], [7], {}, {"x": 7}, ["x"], 10**400, float("nan"))

IDENTITY = ModelIdentity("m", "0" * 64, 0.5, "CPUExecutionProvider")
FINDING = Finding("nodule", 0.75, Box(10, 10, 20, 20), (15.0, 15.0), 100.0, Box(1, 1, 2, 2), 25.0, 5.0, 0.5)
CASES = tuple(
    Case(f"c{number}", Path(f"c{number}.png"), 64, 64, (0.5, 0.5), (Nodule(15, 15, 5.0, 3, "benign", "l", None, box),),
         (), 50, "Male", "PA", (f"patient:{number}",))
    for number, box in enumerate([Box(10, 10, 20, 20), None, None, None, None])
)  # fmt: skip
CONTEXT = ScoringContext("data", "paper", HitRule(), IDENTITY, "u-net", "multi", "half", 3, "all", "all")


def matches() -> Any:
    def detect(case: Case) -> Detection:
        more = replace(FINDING, score=0.7, center_px=(50.0, 50.0))
        return Detection(Result("p", "0" * 64, 64, 64, case.spacing_mm, None, (FINDING, more)))

    return to_document(evaluate_cases(CASES[:2], detect, CONTEXT))


def segmented() -> Any:
    images = tuple(
        SegmentedImage(f"e{n}", f"patient:{n}", "0" * 64, n < 2, 0.5, 0.9, 0.1, True, 0.75) for n in range(3)
    )
    fold = SegmentedFold(3, "data", IDENTITY, "u-net", "multi", "half", 12.0, "0" * 64, images)
    return {"schema": "cxrcad/segmentation/1", **asdict(fold)}


def interval(value: float = 0.5) -> Any:
    return {"value": value, "low": 0.25, "high": 0.75}


def robustness() -> Any:
    figure = {"altered": 0.5, "unaltered": 0.625, "difference": interval(-0.125), "p": 0.5}
    return {
        **{"schema": "cxrcad/robustness/1", "model": asdict(IDENTITY), "data": "d", "fold": 3, "protocol": "paper"},
        **{"images": ["a"], "trained_on": ["a"], "seed": 1, "limit": 2},
        "alterations": [{"name": "none", "words": "as it is", "figures": {"F1": figure}}],
    }


def fingerprint() -> Any:
    return {
        **{"schema": "cxrcad/fingerprint/1", "model": asdict(IDENTITY), "nodules": "n.npz", "fold": "3"},
        **{"trained_on": [], "seed": 1, "limit": 2, "figures": {"mean nodule": interval()}, "sentence": "s"},
        "radiographs": [{"file": "a"}],
    }


CARD: dict[str, Any] = {
    **{"schema": "cxrcad/model/1", "name": "m", "lesion": "nodule", "created": "2026", "intended_use": "Tests."},
    **{"tasks": ["lesion", "lung"], "multiple": 16, "grid": {"side": 128}, "find": {"threshold": 0.5, "grow": 0.5}},
    "network": {
        **{"network": "u-net", "tasks": "multi", "norm": "group", "channels": "raw"},
        **{"patch_classifier": True, "half_side": True},
    },
    "training": {
        **{"images": ["0" * 64], "config": {"fold": "3", "balance": "0.99"}, "steps": 7, "minutes": 0.5},
        "init": {
            **{"name": "n", "sha256": "0" * 64, "steps": 7, "minutes": 1, "config": None},
            "init": {"name": "o", "steps": 3, "minutes": 2, "init": None},
        },
    },
    "figures": {"a": {"f1": 0.5, "sensitivity": {"1": 0.5}}, "b": "words"},
    **{"sources": ["s"], "threshold_from": "half", "cxrcad_version": "0.1.0"},
    "parity": {"images": 3, "largest_difference": 1e-5, "weights": "fp16"},
    "calibration": {
        **{"method": "m", "slope": 1.5, "intercept": -3.0, "on": "o", "case_mix": "c", "command": "c"},
        **{"expected_calibration_error": "e"},
        "reliability": [{"low": 0.25, "mean_score": 0.3, "findings": 3, "lesions": 1}],
    },
    "operating_points": {
        "balanced": {
            **{"threshold": 0.5, "rule": "r", "false_positives_per_normal_image": "f", "sensitivity": "s"},
            **{"on": "o", "command": "c"},
        },
    },
    "training_threshold": {"score": 0.6, "threshold": 0.5, "from": "half"},
    "failures": {
        **{"command": "c", "threshold": 0.5, "missed": ["a"], "nodules": 3},
        **{"false_positives": ["b"], "false_positives_in_all": 2},
    },
}  # fmt: skip


def read_card(path: Path, model: Path) -> None:
    files = json.loads((model / "card.json").read_text())["files"]
    document = json.loads(path.read_text())
    document.setdefault("files", files) if isinstance(document, dict) else None
    folder = path.parent / "model"
    folder.mkdir(exist_ok=True)
    shutil.copy(model / "model.onnx", folder)
    (folder / "card.json").write_text(json.dumps(document))
    bundle = load_bundle(folder)
    _ = bundle.network, bundle.training_images, bundle.training_config, model_lines(bundle)
    try:
        from cxrcad.packaging.package import _check_card, card_text
    except ImportError:
        return
    _check_card(bundle)
    card_text({**bundle.card, "grid": to_dict(bundle.grid), "find": to_dict(bundle.find)})  # as `write_card` has them


def read_all_matches(path: Path, _: Path) -> None:
    from cxrcad.packaging.failures import failures

    result = read_matches(path.rename(path.with_name("matches-x.json")))
    _ = result.operating, froc(result.matches), [rematched(one, result.context.rule) for one in result.scored]
    failures([result], "m")


def read_probes(path: Path, model: Path) -> None:
    from cxrcad.packaging.robustness_results import negative_figures, robustness_figures

    bundle = replace(load_bundle(model), sha256="0" * 64, folder=path.parent / "model")
    for name in ("robustness", "fingerprint"):
        shutil.copy(path, path.with_name(f"{name}.json"))
        (path.with_name("robustness.json")).unlink() if name == "fingerprint" else None
        document = json.loads(path.read_text())
        if isinstance(document, dict) and document.get("schema") == f"cxrcad/{name}/1":
            robustness_figures(bundle, "m")
    negative_figures([path], bundle)


def read_segmented(path: Path, _: Path) -> None:
    fold = read_segmentation(path.rename(path.with_name("segmentation.json")).parent)
    if fold is not None:
        measured([fold], 0, 0)


def read_history(path: Path, _: Path) -> None:
    from cxrcad.paper.learning import _scores

    job = Job((), 3, 0, path.parent, TrainConfig())
    job.folder.mkdir(exist_ok=True)
    shutil.copy(path, job.folder / "history.json")
    _scores(job)


def read_jobs(path: Path, _: Path) -> None:
    path.rename(path.with_name("jobs.json"))
    check_results(ReproduceConfig(out=path.parent))
    read_records(path.parent, [Job((), 3, 0, Path("r"), TrainConfig())])


def read_made_folds(path: Path, _: Path) -> None:
    dataset = Dataset(Path("data"), "paper", CASES)
    load_folds(path, dataset)


def folds() -> Any:
    dataset = Dataset(Path("data"), "paper", CASES)
    place = Path("folds-of-the-test.json")
    save_folds(place, make_folds(dataset, 0), dataset)
    document = json.loads(place.read_text())
    place.unlink()
    return document


def truth() -> Any:
    nodule = {"x_px": 5, "y_px": 6, "diameter_mm": 5, "box_px": asdict(Box(1, 2, 3, 4)), "subtlety": 3, "in_lung": True}
    image = {"name": "a.png", "rows": 64, "cols": 64, "spacing_mm": [1, 1], "age_years": 5, "sex": "M", "view": "PA"}
    return {"schema": "cxrcad/truth/1", "images": [{**image, "nodules": [nodule]}]}


def coco() -> Any:
    return {
        "images": [{"id": 1, "file_name": "a/b.png", "width": 64, "height": 64}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0}],
        "categories": [{"id": 1, "name": "nodule"}],
    }


def found() -> Any:
    result = Result("a.png", "1" * 64, 64, 64, (0.5, 0.5), "DICOM", (FINDING,), ("n",), {"read": 0.5})
    return json.loads(boxes.to_text(boxes.to_document(Found(replace(IDENTITY, threshold=0.5), [result]))))


def outlines(path: Path, _: Path) -> None:
    table = "file,role,patient\na.png,effusion,1\n"
    path.rename(path.with_name("effusion.json"))
    (path.parent / "metadata.csv").write_text(table)
    read_effusions(path.parent)


HISTORY = [{"epoch": 1, "f1": 0.5, "seconds": 3.5, "share": 0.5}]
JOB = {"cells": ["a"], "fold": 3, "seed": 0, "state": "done", "seconds": 3.5, "device": "d", "error": None}
LEDGER = {"schema": "cxrcad/reproduction-jobs/1", "data": "/d", "jobs": {"r/fold3": JOB}}


def read_found(path: Path, model: Path) -> None:
    boxes.read_boxes(path)
    read_probes(path, model)


def read_contents(path: Path, _: Path) -> None:
    read_content(path.rename(path.with_name("content.json")).parent)


def read_true(path: Path, _: Path) -> None:
    read_truth(path)


Reader = Callable[[Path, Path], None]
DOCUMENTS: dict[str, tuple[Callable[[], Any], Reader]] = {
    "card": (lambda: CARD, read_card),
    "matches": (matches, read_all_matches),
    "segmentation": (segmented, read_segmented),
    "robustness": (robustness, read_probes),
    "fingerprint": (fingerprint, read_probes),
    "boxes": (found, read_found),
    "folds": (folds, read_made_folds),
    "content": (
        lambda: {"schema": "cxrcad/content/1", "cases": {"a": asdict(Content("0", "1", "2"))}},
        read_contents,
    ),
    "history": (lambda: HISTORY, read_history),
    "jobs": (lambda: LEDGER, read_jobs),
    "truth": (truth, read_true),
    "coco": (coco, read_true),
    "outlines": (lambda: {"a.png": [{"polygon": [[0, 0], [5, 5], [0, 5]]}]}, outlines),
}
DEEP = "[" * 10_000


def changed(document: Any, where: tuple[Any, ...], value: Any) -> Any:
    if not where:
        return value
    made = copy.deepcopy(document)
    place = made
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    return made


def refusal(read: Callable[[], object], told: str) -> str | None:
    """The sentence in which a reader refuses what it was given, None where it reads it."""
    try:
        read()
    except CxrcadError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"{told}: {type(error).__name__}: {error}") from error
    return None


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_any_value_is_read_or_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_toy: Callable[..., Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    make, read = DOCUMENTS[kind]
    model, document, sentences = make_toy(tmp_path / "toy"), make(), []
    for number, (where, value) in enumerate((where, value) for where in places(document) for value in OTHERS):
        path = tmp_path / str(number) / "document.json"
        path.parent.mkdir()
        path.write_text(json.dumps(changed(document, where, value)))
        sentences.append(refusal(partial(read, path, model), f"{where} = {value!r}"))
        shutil.rmtree(path.parent)
    given = [sentence for sentence in sentences if sentence is not None]
    assert len(given) > len(sentences) / 4
    assert not [sentence for sentence in given if "\n" in sentence or "; " not in sentence]


DEEPER = [kind for kind in DOCUMENTS if kind not in ("card", "robustness", "fingerprint")]


@pytest.mark.parametrize("kind", DEEPER)
def test_a_document_of_ten_thousand_levels_is_refused(kind: str, tmp_path: Path, make_toy: Callable[..., Path]) -> None:
    path = tmp_path / "document.json"
    path.write_text("[" * 10_000)
    with pytest.raises(CxrcadError, match=r"not JSON \(more than 100 levels in each other\)"):
        DOCUMENTS[kind][1](path, make_toy(tmp_path / "toy"))


VALUES = ["[1]", "{a = 1}", "1.5", "'x'", "1979-05-27", "nan", "-inf", "true", "''", "[[[]]]", '"a\\u0000b"']
VALUES += ["0x" + "f" * 5000, "1" * 5000, "[" * 10_000, "[" * 10_000 + "]" * 10_000]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:8])
def test_any_value_of_a_setting_is_read_or_refused(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = (
        "data",
        "side",
        "network",
        "threshold",
        "patch_classifier",
        "fold",
        "epochs",
        "balance",
        "workers",
        "run",
        "seed",
    )
    for name in names:
        (tmp_path / "cxrcad.toml").write_text(f"{name} = {value}\n")
        sentence = refusal(lambda: resolve_config(TrainConfig, {}, folder=tmp_path), f"{name} = {value[:20]}")
        assert sentence is None or "cxrcad.toml: " in sentence
    assert sentence is not None  # of the last, a whole number
