"""Packaged models: a folder with model.onnx, its weights and card.json, found by name or path, checked when opened."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad import __version__
from cxrcad.config import (
    FOLD_CHOICES,
    NODULE,
    FindConfig,
    GridConfig,
    NetworkConfig,
    TrainConfig,
    build,
    renamed,
    to_dict,
)
from cxrcad.core import ModelError, UsageError
from cxrcad.files import read_json, sha256_of, write_json
from cxrcad.inference.calibration import Calibration
from cxrcad.inference.card import FORMER_TASKS, SCHEMA, card_settings
from cxrcad.inference.onnxfile import has_external_data

__all__ = [
    "CARD_NAME",
    "DEFAULT_MODEL",
    "ONNX_NAME",
    "RUN_FOLDER",
    "SCHEMA",
    "WEIGHTS_NAME",
    "Bundle",
    "check_lesion",
    "folds_of_run",
    "load_bundle",
    "models_folder",
    "outlining",
    "packaged_models",
    "resolve_model",
    "write_card",
]

CARD_NAME = "card.json"
ONNX_NAME = "model.onnx"
WEIGHTS_NAME = "model.safetensors"
DEFAULT_MODEL = "deeplabv3plus-real"
RUN_FOLDER = "model"
"""The subfolder of a run's fold that holds its packaged model."""


@dataclass(frozen=True)
class Bundle:
    """A packaged model: what it takes (`grid`, `multiple`), what it gives (`tasks`), and how findings are cut (`find`).

    `find.threshold` is always set. `sha256` is that of the ONNX file, checked against the card. To find otherwise than
    the model's card says, `replace(bundle, find=...)`.
    """

    folder: Path
    name: str
    card: Mapping[str, Any]
    grid: GridConfig
    find: FindConfig
    multiple: int
    tasks: tuple[str, ...]
    onnx_path: Path
    sha256: str

    @property
    def threshold(self) -> float:
        """The score from which a finding is reported, 0-1."""
        assert self.find.threshold is not None, "a bundle is only made with a threshold"
        return self.find.threshold

    @property
    def calibration(self) -> Calibration | None:
        """How its scores become probabilities; None for a model whose scores only rank."""
        fitted = self.card.get("calibration")
        return None if fitted is None else Calibration(float(fitted["slope"]), float(fitted["intercept"]))

    @property
    def map_threshold(self) -> float:
        """The threshold as a probability of the lesion map, 0-1: that of calibrated scores undone."""
        return self.threshold if self.calibration is None else self.calibration.undone(self.threshold)

    @property
    def operating_points(self) -> Mapping[str, float]:
        """The thresholds of its card's operating points, by name; none in a card from before."""
        points = self.card.get("operating_points", {})
        return {name: float(point["threshold"]) for name, point in points.items()}

    @property
    def operating_point(self) -> str | None:
        """The operating point that its threshold is; None where it is another."""
        return next((name for name, value in self.operating_points.items() if value == self.threshold), None)

    def at_operating_point(self, name: str) -> Bundle:
        """The model with the threshold of that operating point. Raises UsageError where its card has none such."""
        points = self.operating_points
        if name not in points:
            has = f"only {', '.join(points)}" if points else "no operating point"
            raise UsageError(
                f"--operating-point {name}: the card of {self.name} has {has}; "
                + ("name one of them, or " if points else "")
                + "give --threshold (`cxrcad export --out-of-fold` makes operating points)"
            )
        return replace(self, find=replace(self.find, threshold=points[name]))

    @property
    def lesion(self) -> str:
        """What its first task marks, and its findings are called; a card that does not say so is of nodules."""
        return str(self.card.get("lesion", NODULE))

    @property
    def settings_sha256(self) -> str:
        """SHA-256 of all that decides, beside the ONNX file, what is found and with which scores.

        That is grid, find, multiple, tasks, lesion, and the calibration where there is one.
        """
        former = {now: before for before, now in FORMER_TASKS.items()}  # as it stands in what was kept before
        tasks = [former.get(task, task) for task in self.tasks]
        settings = [to_dict(self.grid), to_dict(self.find), self.multiple, tasks, self.lesion]
        if self.calibration is not None:
            settings.append([self.calibration.slope, self.calibration.intercept])
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    @property
    def network(self) -> NetworkConfig:
        """Its network's settings; those that came after the card have their defaults. Raises ModelError."""
        try:
            return build(NetworkConfig, self.card.get("network", {}), str(self.folder / CARD_NAME))
        except UsageError as error:
            raise ModelError(f"{error}; export the model again with this version of cxrcad") from None

    @property
    def lung_margin(self) -> int | None:
        """Pixels around the lungs' bounding box in which its patch classifier judges; None where it judges all."""
        margin: int | None = self.card.get("lung_margin")
        return margin

    @property
    def training(self) -> Mapping[str, Any]:
        """What its card tells of the training, as far as it does."""
        training: Mapping[str, Any] = self.card.get("training", {})
        return training

    @property
    def training_config(self) -> Mapping[str, Any]:
        """The settings of the training, as far as the card has them, under their present names."""
        return renamed(self.training.get("config") or {}, TrainConfig)

    @property
    def training_images(self) -> frozenset[str]:
        """The SHA-256 of the images that the weights, or a teacher's, were trained on, as far as the card has them."""
        return frozenset(self.training.get("images", ())) | self.images_of_teacher

    @property
    def images_of_teacher(self) -> frozenset[str]:
        """The SHA-256 of the images that its teacher was trained on; empty for a model that learned from masks."""
        return frozenset((self.training.get("teacher") or {}).get("images", ()))


def load_bundle(folder: Path) -> Bundle:
    """The packaged model in `folder`, its files checked against the SHA-256 of its card. Raises ModelError."""
    card_path = folder / CARD_NAME
    card = read_json(card_path, ModelError)
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        found = card.get("schema") if isinstance(card, dict) else type(card).__name__
        raise ModelError(f"{card_path}: its schema is {found!r}, not {SCHEMA!r}; export the model again")
    settings = card_settings(card, card_path)
    card = {**card, "tasks": list(settings["tasks"])}
    if "network" in card:
        card = {**card, "network": renamed(card["network"], NetworkConfig)}
    digests = _checked_files(folder, card, card_path)
    _check_whole(folder / ONNX_NAME, digests[ONNX_NAME])
    return Bundle(folder=folder, card=card, onnx_path=folder / ONNX_NAME, sha256=digests[ONNX_NAME], **settings)


def folds_of_run(run: Path) -> tuple[int, ...]:
    """The folds that a run holds finished, ascending."""
    cards = run.glob(f"fold?/{RUN_FOLDER}/{CARD_NAME}")
    return tuple(sorted(int(name) for card in cards if (name := card.parent.parent.name[-1]) in FOLD_CHOICES))


def outlining(bundle: Bundle) -> Bundle:
    """The model as an area is measured with it: an area has no peaks."""
    return replace(bundle, find=replace(bundle.find, method="components"))


def check_lesion(bundle: Bundle, lesion: str) -> None:
    """Raise ModelError unless the model is made for `lesion`."""
    if bundle.lesion != lesion:
        raise ModelError(
            f"{bundle.folder}: the model {bundle.name} is made for {bundle.lesion}, not for {lesion}; name another "
            f"model or run, or give --lesion {bundle.lesion} where the command takes it"
        )


def resolve_model(name_or_path: str | Path | None = None, lesion: str | None = None) -> Bundle:
    """The packaged model of that name, in that folder or of that run's fold; DEFAULT_MODEL when None.

    A name that is packaged goes before a folder of the same name in the working folder (write ./NAME for that). Where
    `lesion` is given, None is the first packaged model that is made for it, and any other one is refused.
    Raises ModelError, which lists the packaged models or the run's folds.
    """
    if lesion is None:
        return _resolved(str(name_or_path or DEFAULT_MODEL))
    if name_or_path is not None:
        bundle = _resolved(str(name_or_path))
        check_lesion(bundle, lesion)
        return bundle
    fitting = {bundle.name: bundle for bundle in packaged_models() if bundle.lesion == lesion}
    if not fitting:
        raise ModelError(
            f"--lesion {lesion}: no packaged model is made for it; train one (`cxrcad train --lesion {lesion}`) and "
            "name it with --model"
        )
    return fitting.get(DEFAULT_MODEL) or next(iter(fitting.values()))


def _resolved(wanted: str) -> Bundle:
    packaged = models_folder()
    names = _packaged_names(packaged)
    if packaged is not None and wanted in names:
        return load_bundle(packaged / wanted)
    folder = Path(wanted)
    for place in (folder, folder / RUN_FOLDER):
        if (place / CARD_NAME).is_file():
            return load_bundle(place)
    known = f"packaged models: {', '.join(names)}" if names else "no models are packaged here"
    if not folder.exists():
        raise ModelError(f"{wanted}: no packaged model has this name and there is no such folder; {known}")
    if folder.is_file():
        raise ModelError(f"{wanted}: a file; a model is a folder with {CARD_NAME} and {ONNX_NAME}, name its folder")
    inside = sorted(str(found.parent.parent) for found in folder.glob(f"*/{RUN_FOLDER}/{CARD_NAME}"))
    inside = inside or sorted(str(found.parent) for found in folder.glob(f"*/{CARD_NAME}"))
    if len(inside) == 1:
        return _resolved(inside[0])
    if inside:
        raise ModelError(f"{wanted}: a folder with several models; name one of {', '.join(inside)}")
    raise ModelError(
        f"{wanted}: holds neither {CARD_NAME} nor {RUN_FOLDER}/{CARD_NAME}, so it is no packaged model and no finished"
        f" fold of a run; {known}"
    )


def packaged_models() -> tuple[Bundle, ...]:
    """Every model that ships with cxrcad, by name. Raises ModelError for a damaged one."""
    folder = models_folder()
    return tuple(load_bundle(folder / name) for name in _packaged_names(folder)) if folder is not None else ()


def models_folder() -> Path | None:
    """The folder of the models that ship: package `cxrcad_models`, else models/ of the checkout, or None."""
    spec = importlib.util.find_spec("cxrcad_models")
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    places.append(Path(__file__).resolve().parents[2] / "models")
    return next((place for place in places if place.is_dir()), None)


def write_card(folder: Path, card: Mapping[str, Any]) -> Path:
    """The path of the card.json written into `folder`: `card` with schema, version and SHA-256 of the files added.

    `card` needs name, tasks, multiple, grid and find (each a config or its leaf values, with a threshold); what else it
    holds is kept. The folder's model.onnx must be there already. Raises ModelError for a card that `load_bundle` would
    refuse, before anything is written.
    """
    path = folder / CARD_NAME
    complete: dict[str, Any] = {"schema": SCHEMA, **card, "cxrcad_version": __version__}
    for part in ("grid", "find", "network"):
        if part in complete and not isinstance(complete[part], Mapping):
            complete[part] = to_dict(complete[part])
    settings = card_settings(complete, path)
    complete |= {part: to_dict(settings[part]) for part in ("grid", "find")}
    files = [folder / name for name in (ONNX_NAME, WEIGHTS_NAME) if (folder / name).is_file()]
    complete["files"] = {file.name: sha256_of(file) for file in files}
    if ONNX_NAME not in complete["files"]:
        raise ModelError(f"{folder}: there is no {ONNX_NAME}; write the network before its card")
    write_json(path, complete)
    return path


def _packaged_names(folder: Path | None) -> list[str]:
    return sorted(card.parent.name for card in folder.glob(f"*/{CARD_NAME}")) if folder is not None else []


def _checked_files(folder: Path, card: Mapping[str, Any], card_path: Path) -> Mapping[str, str]:
    """The card's SHA-256 by file name, each file that is there checked; only the ONNX file must be there."""
    digests: Mapping[str, str] = card.get("files", {})
    if not digests or ONNX_NAME not in digests:
        raise ModelError(f"{card_path}: lists no SHA-256 of {ONNX_NAME}; export the model again with cxrcad export")
    for name, expected in digests.items():
        path = folder / name
        if not path.is_file():
            if name == ONNX_NAME:
                raise ModelError(f"{path}: there is no such file, only its card; copy the whole folder again")
            continue
        try:
            found = sha256_of(path)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
        if found != expected:
            raise ModelError(
                f"{path}: its SHA-256 is {found[:12]}..., its card says {str(expected)[:12]}...;"
                " the file was changed or cut, copy the whole folder again"
            )
    return digests


@functools.lru_cache(maxsize=64)
def _check_whole(path: Path, digest: str) -> None:
    """Raise ModelError unless the ONNX file of this SHA-256 holds all its weights: the card vouches for no other."""
    try:
        elsewhere = has_external_data(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: no whole ONNX file ({error}); copy the whole folder again") from None
    if elsewhere:
        raise ModelError(
            f"{path}: has weights in another file (external data), which the SHA-256 of its card does not cover;"
            " export the model again with cxrcad export, which keeps them in the file"
        )
