"""The task of a patch classifier: patches, hard negatives, and at the end its weight in the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cxrcad.config import TrainConfig, to_dict
from cxrcad.core import Case, TrainingError, UsageError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split
from cxrcad.datasets.samples import Sample
from cxrcad.evaluation.froc import best_f1_threshold, froc, score_at_threshold, sensitivity_at
from cxrcad.evaluation.matching import HitRule, match_image
from cxrcad.files import Progress, write_json
from cxrcad.imaging.preprocess import Geometry
from cxrcad.inference.candidates import find
from cxrcad.inference.model import Bundle
from cxrcad.networks.ensemble import Ensemble, lesion_logit, segmentation_of
from cxrcad.packaging.parity import load_network
from cxrcad.training.data import Source, check_mix
from cxrcad.training.device import Backend
from cxrcad.training.initial_weights import initial_model
from cxrcad.training.patch_classifier.patches import PatchSource, Places, cut, make_grounds
from cxrcad.training.state import State, no_checkpoint

__all__ = ["RATES", "WEIGHTS", "PatchTask", "initial_models", "reached", "start_ensemble"]

Map = NDArray[np.float32]

WEIGHTS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
"""Weights of the patch classifier's logit that are tried on the validation cases."""

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""False positives an image at which the sensitivity is averaged to choose one."""

SOFT = 0.02  # labels are 0.02 and 0.98: an outline is no certainty


def start_ensemble(network: Ensemble, config: TrainConfig, dataset: Dataset, split: Split) -> TrainConfig:
    """Load the segmentation network of --initial-weights into `network`, and the classifier of --classifier-weights.

    What comes back names their folders. Raises UsageError, TrainingError, ModelError.
    """
    first, second = initial_models(config, dataset, split)
    network.segmentation.load_state_dict(segmentation_of(load_network(first.folder)).state_dict())
    config = replace(config, initial_weights=str(first.folder))
    if second is None:
        return config
    before = load_network(second.folder)
    assert isinstance(before, Ensemble)  # `_classifier_model` knows it
    network.classifier.load_state_dict(before.classifier.state_dict())
    return replace(config, classifier=replace(config.classifier, classifier_weights=str(second.folder)))


class PatchTask:
    """Patches are told apart; in between, hard negatives are mined.

    Patches are drawn from the training cases that have lung masks, with nodules, negative insertions and hard negatives
    in them. Hard negatives are mined --mining-rounds times, by the classifier as it then is; each time its weights go
    back to their moving average, which mines them. The ensemble weight is the one with the best mean sensitivity on the
    validation cases. Raises TrainingError where no case has a lung mask, or none of a kind that --real-fraction needs.
    """

    title, everywhere, unused = ", patch classifier", True, False
    remedy = "lower --learning-rate"

    def __init__(
        self,
        network: Ensemble,
        source: Source,
        validation: Sequence[Sample],
        config: TrainConfig,
        progress: Progress,
    ) -> None:
        self.network, self.validation, self.config, self.progress = network, validation, config, progress
        self.epoch = source.epoch
        self.patches = PatchSource(make_grounds(source.samples, source.zones), source.projections, config)
        self.draw = self.patches.draw
        if not self.patches.grounds:
            raise TrainingError(
                "no training case has a lung mask, and a patch classifier is trained in and about the lungs"
            )
        grounds = [ground.sample for ground in self.patches.grounds]
        check_mix(grounds, config.real_fraction, "training image with a lung mask")

    def stops(self, total: int) -> frozenset[int]:
        """The steps after which hard negatives are mined."""
        return frozenset(self.redrawn(total))

    def redrawn(self, total: int) -> Sequence[int]:
        """Hard negatives stay in between."""
        turns = self.config.classifier.mining_rounds
        return sorted({round(total * (turn + 1) / (turns + 1)) for turn in range(turns)})

    def inputs(self, places: Places, backend: Backend) -> tuple[Tensor, Tensor]:
        """The patches at `places` and their labels, on the device."""
        generator = torch.Generator(backend.device).manual_seed(int(places.rng.integers(2**62)))
        torch.manual_seed(int(places.rng.integers(2**62)))  # dropout
        images = cut(places, self.network.inputs, self.config, generator, backend.device)
        return images, places.labels.to(backend.device)

    def loss(self, state: State, backend: Backend, images: Tensor, labels: Tensor) -> Tensor:
        """The cross entropy of the patches."""
        with backend.autocast():
            logits = state.network(images.contiguous(memory_format=torch.channels_last))
        return functional.binary_cross_entropy_with_logits(logits.float(), labels * (1 - 2 * SOFT) + SOFT)

    def work(self, state: State, backend: Backend, folder: Path) -> None:
        """Find each image's hard negatives: what the classifier, averaged, takes for nodules outside them."""
        if self.config.ema:
            state.network.load_state_dict(state.average.state_dict())  # state.network is network.classifier
        self.network.eval()
        for ground in self.patches.grounds:
            image = torch.from_numpy(ground.sample.pixels)[None, None].to(backend.device)
            with torch.inference_mode(), backend.autocast():
                judged = self.network.classify(image)
            ground.take(judged[0, 0].float().cpu().numpy())

    def judged(self, state: State) -> nn.Module:
        """The ensemble with the classifier as it is now: `state.network` is its part."""
        return self.network

    def kept(self) -> Mapping[str, Any]:
        """What a checkpoint holds beside the state: each image's hard negatives."""
        return {"hard": [ground.hard.round(1).tolist() for ground in self.patches.grounds]}

    def take(self, record: Mapping[str, Any], path: Path) -> None:
        """Take them back from the checkpoint `path`. Raises TrainingError for damaged ones."""
        grounds = self.patches.grounds
        try:
            places = [np.array(hard, dtype=np.float64).reshape(-1, 2) for hard in record["hard"]]
            fitting = len(places) == len(grounds) and all(
                ((place >= 0) & (place < ground.sample.image.shape)).all()
                for place, ground in zip(places, grounds, strict=True)
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            fitting = False
        if not fitting:
            raise no_checkpoint(path, f"its hard negatives are no places in {len(grounds)} images")
        for ground, place in zip(grounds, places, strict=True):
            ground.hard = place

    def finished(self, state: State, trained: nn.Module, folder: Path) -> nn.Module:
        """The ensemble to package, its weight chosen and told in the history."""
        self.network.classifier.load_state_dict(trained.state_dict())
        entry = _weigh(self.network, self.validation, self.config)
        self.progress.note(_sentence(entry))
        told = {"step": state.step, "epoch": self.epoch(state.step), "loss": round(state.mean_loss, 6)}
        state.history = (*state.history, {**told, **entry, "seconds": round(state.seconds, 1)})
        write_json(folder / "history.json", list(state.history))
        return self.network


def initial_models(config: TrainConfig, dataset: Dataset, split: Split) -> tuple[Bundle, Bundle | None]:
    """The models that `--initial-weights` and `--classifier-weights` name, if this training of the split can take them.

    Raises UsageError, TrainingError, ModelError.
    """
    return _segmentation_model(config, dataset, split), _classifier_model(config, dataset, split)


def _segmentation_model(config: TrainConfig, dataset: Dataset, split: Split) -> Bundle:
    if config.initial_weights is None:
        raise UsageError(
            "--patch-classifier needs a segmentation network: name a model, or a run, with --initial-weights"
        )
    bundle = initial_model(config.initial_weights, "--initial-weights", config, dataset, split)
    card = bundle.card.get("network", {})
    wanted = {
        name: value
        for name, value in to_dict(config.network).items()
        if name not in ("patch_classifier", "half_side", "patch_side")
    }
    differing = [name for name, value in wanted.items() if card.get(name, value) != value]
    side = config.grid.side // 2 if config.network.half_side else config.grid.side
    own_side = (
        bundle.grid.side // 2 if card.get("patch_classifier") and card.get("half_side", True) else bundle.grid.side
    )
    if differing or own_side != side:
        theirs = ", ".join([f"side {own_side}", *(f"{name} {card[name]}" for name in differing)])
        ours = ", ".join([f"side {side}", *(f"{name} {wanted[name]}" for name in differing)])
        raise TrainingError(
            f"--initial-weights {config.initial_weights}: has {theirs}, and this training's segmentation network "
            f"{ours}; give the settings that its card names (the segmentation network's side is half of --side, or all "
            "of it with --no-half-side)"
        )
    return bundle


def _classifier_model(config: TrainConfig, dataset: Dataset, split: Split) -> Bundle | None:
    name = config.classifier.classifier_weights
    if name is None:
        return None
    bundle = initial_model(name, "--classifier-weights", config, dataset, split)
    own, wanted, side = bundle.network, config.network, config.grid.side
    if not own.patch_classifier or (own.channels, own.patch_side, bundle.grid.side) != (
        wanted.channels,
        wanted.patch_side,
        side,
    ):
        raise TrainingError(
            f"--classifier-weights {name}: is no ensemble of side {side}, channels {wanted.channels} and patch "
            f"{wanted.patch_side}; name one, or leave it out"
        )
    return bundle


def _weigh(network: Ensemble, validation: Sequence[Sample], config: TrainConfig) -> dict[str, Any]:
    """Set the ensemble weight: the one given, else the best mean sensitivity at RATES on the validation cases.

    With validation cases, what the ensemble and either part alone reach on them.
    """
    network.eval()
    given = config.classifier.ensemble_weight
    if not validation:
        assert given is not None  # `training.out_of_fold` put it there
        network.weight.fill_(given)
        return {"share": given}
    logits = [_both_logits(network, sample.pixels) for sample in validation]
    cases = [(sample.case, sample.geometry) for sample in validation]
    tried = sorted({*WEIGHTS, *(() if given is None else (given,))})
    scored = {
        weight: reached([(1 - weight) * own + weight * other for own, other in logits], cases, config)[-2:]
        for weight in tried
    }
    best = max(WEIGHTS, key=lambda weight: scored[weight]) if given is None else given
    network.weight.fill_(best)
    return {
        "share": best,
        "f1": round(scored[best][1], 4),
        "f1_first": round(scored[0.0][1], 4),
        "f1_second": round(scored[1.0][1], 4),
        "mean_sensitivity": {f"{weight:g}": round(value[0], 4) for weight, value in scored.items()},
    }


def _sentence(entry: dict[str, Any]) -> str:
    weight = f"ensemble weight {entry['share']:g}"
    if "f1" not in entry:
        return weight
    alone = f"segmentation network alone {entry['f1_first']:.3f}, patch classifier alone {entry['f1_second']:.3f}"
    return f"{weight}: validation F1 {entry['f1']:.3f} ({alone})"


@torch.inference_mode()
def _both_logits(network: Ensemble, pixels: Map) -> tuple[Map, Map]:
    """The nodule's logits (H, W) of the segmentation network and of the patch classifier, of one grid image, 0-1."""
    x = torch.from_numpy(pixels)[None, None].to(network.weight.device)
    maps = lesion_logit(network.segment(x)), network.classify(x)
    return maps[0][0, 0].cpu().numpy(), maps[1][0, 0].cpu().numpy()


def reached(logits: Sequence[Map], cases: Sequence[tuple[Case, Geometry]], config: TrainConfig) -> list[float]:
    """Sensitivity at RATES (0 where not reached), their mean, and the best F1, of maps of logits."""
    matches = [
        match_image(case, find((1 / (1 + np.exp(-logit))).astype(np.float32), None, geometry, config.find), HitRule())
        for logit, (case, geometry) in zip(logits, cases, strict=True)
    ]
    curve = froc(matches)
    values = [sensitivity_at(curve, rate) or 0.0 for rate in RATES]
    return [*values, float(np.mean(values)), score_at_threshold(matches, best_f1_threshold(matches)).f1]
